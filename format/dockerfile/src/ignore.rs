//! `.dockerignore`: which files of a build context stay behind.

use tare_reference::glob::path_match;

/// Largest file of patterns that is read, in bytes.
pub const MAX_FILE: u64 = 1 << 20;
/// Most components of a path that are matched; deeper ones are not ignored.
const MAX_DEPTH: usize = 256;

/// Patterns in order; the last one that matches counts.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    /// Whether what matches comes along after all (`!`).
    exception: bool,
    parts: Vec<String>,
}

impl Ignore {
    /// Reads a file of patterns.
    pub fn parse(text: &str) -> Result<Ignore, String> {
        let mut out = Ignore::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            out.add(line)?;
        }
        Ok(out)
    }

    /// Adds one pattern.
    pub fn add(&mut self, line: &str) -> Result<(), String> {
        let (exception, pattern) = match line.strip_prefix('!') {
            Some(rest) if rest.trim().is_empty() => return Err("illegal exclusion pattern: \"!\"".into()),
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        let mut parts: Vec<String> = Vec::new();
        for part in pattern.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                part => {
                    path_match(part, "").map_err(|e| format!("{line}: {e}"))?;
                    parts.push(part.to_owned());
                }
            }
        }
        if !parts.is_empty() {
            self.patterns.push(Pattern { exception, parts });
        }
        Ok(())
    }

    /// Whether a path, relative to the context, stays behind: it or a directory above it matches.
    pub fn ignores(&self, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        let matches = |pattern: &Pattern| {
            parts.len() <= MAX_DEPTH && (1..=parts.len()).any(|end| glob(&pattern.parts, &parts[..end]))
        };
        self.patterns.iter().rev().find(|pattern| matches(pattern)).is_some_and(|pattern| !pattern.exception)
    }

    /// Whether something below an ignored directory may come along.
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|p| p.exception)
    }
}

/// Matches all components; `**` stands for any number of them.
fn glob(pattern: &[String], path: &[&str]) -> bool {
    // One row of a table per component of the pattern: which lengths of the path it can have matched up to there.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for part in pattern {
        let mut next = vec![false; path.len() + 1];
        if part == "**" {
            let mut any = false;
            for (to, from) in next.iter_mut().zip(&reached) {
                any |= from;
                *to = any;
            }
        } else {
            for (at, name) in path.iter().enumerate() {
                next[at + 1] = reached[at] && path_match(part, name).unwrap_or(false);
            }
        }
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let ignore =
            Ignore::parse("# comment\n\n*.md\n!README.md\n/tmp/\n**/node_modules\nsrc/*/gen\nsecret*\na/**/z\n")
                .unwrap();
        for (path, ignored) in [
            ("x.md", true),
            ("README.md", false),
            ("doc/x.md", false),
            ("tmp", true),
            ("tmp/deep/file", true),
            ("node_modules/a", true),
            ("a/b/node_modules/c", true),
            ("src/lib/gen/f", true),
            ("src/gen", false),
            ("secrets/key", true),
            ("a/z", true),
            ("a/b/c/z", true),
            ("a/b/y", false),
        ] {
            assert_eq!(ignore.ignores(path), ignored, "{path}");
        }
        assert!(Ignore::parse("**").unwrap().ignores("any/thing"));
        assert_eq!(Ignore::parse("!").unwrap_err(), "illegal exclusion pattern: \"!\"");
        assert_eq!(Ignore::parse("[").unwrap_err(), "[: syntax error in pattern");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "[a*/!.#\\[\n]{0,20}", path in "[a/.]{0,12}") {
            if let Ok(ignore) = Ignore::parse(&text) {
                ignore.ignores(&path);
            }
        }
    }
}
