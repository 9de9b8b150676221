//! Parts of what is copied: `--exclude`, and `--parents`.

use std::collections::HashSet;
use std::sync::Arc;

use tare_archive::path::split;
use tare_dockerfile::ignore::Ignore;
use tare_images::rootdir::RootDir;

use crate::sources::{self, Source, Words, has_wildcards, one, walk};

/// Which part.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part {
    /// Paths keep the directories above them, as far as they are named; `/./` stands where that begins.
    pub(crate) parents: bool,
    /// Patterns of what is left out, each relative to what is copied.
    pub(crate) exclude: Vec<String>,
}

impl Part {
    /// Whether it is no mistake that nothing is found.
    pub(crate) fn may_be_nothing(&self) -> bool {
        self.parents || !self.exclude.is_empty()
    }

    /// Finds what a path or pattern names.
    pub(crate) fn find(&self, root: &Arc<RootDir>, path: &str, words: Words) -> Result<Vec<Source>, String> {
        let found = match self.parents {
            true => vec![with_parents(root, path, words)?],
            false => sources::find(root, path, words)?,
        };
        if self.exclude.is_empty() {
            return Ok(found);
        }
        let exclude = patterns(&self.exclude)?;
        let mut kept = Vec::new();
        for source in found {
            if !source.is_directory {
                if !exclude.ignores(&String::from_utf8_lossy(&source.name)) {
                    kept.push(source);
                }
                continue;
            }
            let all = match &source.only {
                Some(only) => only.iter().cloned().collect(),
                None => walk(root, &source.path)?,
            };
            let stays = |path: &Vec<u8>| *path == source.path || !exclude.ignores(&below(path, &source.path));
            let only = all.into_iter().filter(stays).collect();
            kept.push(source.narrowed(only)?);
        }
        Ok(kept)
    }
}

fn patterns(texts: &[String]) -> Result<Ignore, String> {
    let mut all = Ignore::default();
    for text in texts {
        all.add(text)?;
    }
    Ok(all)
}

/// A path from a directory above it.
fn below(path: &[u8], directory: &[u8]) -> String {
    let rest = path.strip_prefix(directory).unwrap_or(path);
    String::from_utf8_lossy(rest.strip_prefix(b"/").unwrap_or(rest)).into_owned()
}

/// What a pattern matches below the place where paths begin to be kept, with the directories in between.
fn with_parents(root: &Arc<RootDir>, path: &str, words: Words) -> Result<Source, String> {
    let (base, pattern) = path.split_once("/./").unwrap_or(("", path));
    let pattern = pattern.trim_start_matches('/');
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    let base = one(root, base, words)?;
    let matching = patterns(&[pattern.to_owned()])?;
    let mut only = HashSet::new();
    for path in walk(root, &base.path)? {
        // Without a pattern, everything is meant.
        if !pattern.is_empty() && pattern != "." && !matching.ignores(&below(&path, &base.path)) {
            continue;
        }
        let mut above = split(&path).0.to_vec();
        while above.len() > base.path.len() && only.insert(above.clone()) {
            above.truncate(split(&above).0.len());
        }
        only.insert(path);
    }
    if only.is_empty() && !has_wildcards(pattern) {
        // Says that there is no such file.
        one(root, path, words)?;
    }
    base.narrowed(only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_tree() {
        let place = tempfile::tempdir().unwrap();
        for file in ["d/a.log", "d/b", "d/deep/x", "d/deep/y.log", "e/f"] {
            let path = place.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        let root = Arc::new(RootDir::open(place.path()).unwrap());
        let find = |parents, exclude: &[&str], path: &str| {
            let part = Part { parents, exclude: exclude.iter().map(|text| (*text).to_owned()).collect() };
            let found = part.find(&root, path, Words::BuildKit)?;
            let mut all = Vec::new();
            for source in found {
                match source.only {
                    Some(only) => all.extend(only.iter().map(|path| String::from_utf8_lossy(path).into_owned())),
                    None => all.push(String::from_utf8_lossy(&source.path).into_owned()),
                }
            }
            all.sort();
            Ok::<_, String>(all.join(" "))
        };
        assert_eq!(find(false, &["*.log"], "d").unwrap(), "d d/b d/deep d/deep/x d/deep/y.log");
        assert_eq!(find(false, &["**/*.log", "!a.log"], "d").unwrap(), "d d/a.log d/b d/deep d/deep/x");
        assert_eq!(find(false, &["*.log"], "d/*").unwrap(), "d/b d/deep d/deep/x");
        assert_eq!(find(true, &[], "d/deep").unwrap(), "d d/deep d/deep/x d/deep/y.log");
        assert_eq!(find(true, &[], "d/./deep/x").unwrap(), "d/deep d/deep/x");
        let hash = |parents: bool, exclude: &[&str], path: &str| {
            let part = Part { parents, exclude: exclude.iter().map(|text| (*text).to_owned()).collect() };
            sources::hash(&part.find(&root, path, Words::BuildKit).unwrap())
        };
        // The same files, but of another directory.
        assert_ne!(hash(false, &["none"], "d"), hash(true, &[], "d"));
        assert_eq!(find(true, &["**/x"], "**/*.log").unwrap(), "d d/a.log d/deep d/deep/y.log");
        assert_eq!(find(true, &[], "no*").unwrap(), "");
        assert!(find(true, &[], "d/none").unwrap_err().contains("not found"));
    }
}
