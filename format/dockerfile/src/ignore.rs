//! `.dockerignore`: which files of a build context stay behind.

use tare_reference::glob::path_match;

/// Largest file of patterns that is read, in bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// Patterns in order; the last one that matches counts.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    /// Whether what matches comes along after all (`!`).
    exception: bool,
    parts: Vec<Part>,
}

/// What a place in a pattern stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// One character, as it is or as a class of them says, in the words of a shell pattern.
    One(String),
    /// Any characters within a component.
    Any,
    /// Nothing, or any number of whole components.
    Components,
    /// Whatever follows.
    Rest,
}

/// The patterns of a file, one a line, each in its shortest form and relative to the context.
pub fn lines(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // Only what begins in the first column is a comment.
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::trim);
    lines.filter(|line| !line.is_empty()).map(normal).collect()
}

fn normal(line: &str) -> String {
    let (mark, pattern) = match line.strip_prefix('!') {
        Some(rest) => ("!", rest.trim()),
        None => ("", line),
    };
    if pattern.is_empty() {
        return mark.to_owned();
    }
    let clean = clean(pattern);
    format!("{mark}{}", clean.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&clean))
}

/// The shortest form of a path, by its text alone.
fn clean(path: &str) -> String {
    let root = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if root => {}
            part => parts.push(part),
        }
    }
    match (root, parts.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".to_owned(),
        (false, path) => path,
    }
}

impl Ignore {
    /// Reads a file of patterns.
    pub fn parse(text: &str) -> Result<Ignore, String> {
        let mut out = Ignore::default();
        for line in lines(text) {
            out.add(&line)?;
        }
        Ok(out)
    }

    /// Adds one pattern.
    pub fn add(&mut self, line: &str) -> Result<(), String> {
        let line = normal(line.trim());
        if line.is_empty() {
            return Ok(());
        }
        let (exception, pattern) = match line.strip_prefix('!') {
            Some("") => return Err("illegal exclusion pattern: \"!\"".into()),
            Some(rest) => (true, rest),
            None => (false, line.as_str()),
        };
        path_match(pattern, "").map_err(|error| format!("{line}: {error}"))?;
        self.patterns.push(Pattern { exception, parts: parts(pattern) });
        Ok(())
    }

    /// Whether a path, relative to the context, stays behind: it or a directory above it matches.
    pub fn ignores(&self, path: &str) -> bool {
        let path: Vec<char> = path.chars().collect();
        self.patterns.iter().rev().find(|pattern| pattern.matches(&path)).is_some_and(|pattern| !pattern.exception)
    }

    /// Whether something below an ignored directory may come along.
    pub fn has_exceptions(&self) -> bool {
        self.patterns.iter().any(|p| p.exception)
    }
}

/// Takes a pattern apart, as Docker makes a regular expression of it.
fn parts(pattern: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            '*' if rest.starts_with("**") => {
                let is_first = parts.is_empty();
                rest = rest.strip_prefix("**").unwrap_or(rest);
                let at_names = rest.starts_with('/');
                rest = rest.strip_prefix('/').unwrap_or(rest);
                let is_plain = !rest.contains(['*', '?', '[', ']', '\\']);
                // With nothing special after it, what begins so is what a path ends in.
                let ends = rest.is_empty() || is_first && is_plain && !at_names;
                parts.push(if ends { Part::Rest } else { Part::Components });
                continue;
            }
            '*' => {
                parts.push(Part::Any);
                rest = rest.strip_prefix('*').unwrap_or(rest);
                continue;
            }
            '\\' => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
            '[' => class(rest),
            one => one.len_utf8(),
        };
        let (one, after) = rest.split_at_checked(taken).unwrap_or((rest, ""));
        parts.push(Part::One(one.to_owned()));
        rest = after;
    }
    parts
}

/// How long the class of characters is that a pattern begins with, in bytes.
fn class(pattern: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in pattern.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            ']' => return at + 1,
            _ => {}
        }
    }
    pattern.len()
}

impl Pattern {
    fn matches(&self, path: &[char]) -> bool {
        // One row of a table per part of the pattern: how much of the path can have been matched up to there.
        let mut reached = vec![false; path.len() + 1];
        reached[0] = true;
        for part in &self.parts {
            let mut next = vec![false; path.len() + 1];
            let mut any = false;
            for at in 0..=path.len() {
                let before = at.checked_sub(1);
                let last = before.and_then(|before| path.get(before)).copied();
                next[at] = match part {
                    Part::One(one) => match (before, last) {
                        (Some(before), Some(last)) => reached[before] && is_one(one, last),
                        _ => false,
                    },
                    Part::Any => {
                        any = reached[at] || any && last != Some('/');
                        any
                    }
                    Part::Components => {
                        let whole = any && last == Some('/');
                        any |= reached[at];
                        reached[at] || whole
                    }
                    Part::Rest => {
                        any |= reached[at];
                        any
                    }
                };
            }
            reached = next;
        }
        // What a directory matches is true for all that is in it.
        (1..=path.len()).any(|end| reached[end] && path.get(end).is_none_or(|next| *next == '/'))
    }
}

fn is_one(one: &str, c: char) -> bool {
    match one.chars().next() {
        Some('\\' | '[' | '?') => path_match(one, c.encode_utf8(&mut [0; 4])).unwrap_or(false),
        first => first == Some(c),
    }
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
        assert_eq!(lines("#a\n #a\n/b/../c/\n! d/./e\n"), ["#a", "c", "!d/e"]);
    }

    /// What moby's patternmatcher says of the same.
    #[test]
    fn double_stars() {
        for (pattern, path, ignored) in [
            ("dir1/dir3/**", "dir1/dir3", false),
            ("dir1/dir3/**", "dir1/dir3/a", true),
            ("**/dir4/**", "dir1/dir4", false),
            ("**/dir4/**", "dir1/dir4/f", true),
            ("**/file?A", "dir1/dir5/fileAA", true),
            ("**/file\\?B", "dir1/dir5/fileAB", false),
            ("**/dir5/file.", "dir1/dir5/fileB", false),
            ("**/foo", "foo", true),
            ("**/foo", "a/b/foo", true),
            ("**/foo", "afoo", false),
            ("**foo", "a/bfoo", true),
            ("**f*o", "a/bfoo", false),
            ("**f*o", "a/fxo", true),
            ("a**b", "ab", true),
            ("a**b", "ax/b", true),
            ("a**b", "axb", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("abc**", "abcd/e", true),
            ("../a", "a", false),
            ("a[b-d]e", "ace", true),
            ("a[!b-d]e", "ace", true),
            ("a[^b-d]e", "ace", false),
            (".", "a", false),
            ("x.y", "xzy", false),
        ] {
            assert_eq!(Ignore::parse(pattern).unwrap().ignores(path), ignored, "{pattern} {path}");
        }
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
