//! What parsing may ask of the machine, so that tests can answer: variables and the working directory; and Go's way of
//! saying what went wrong with a file.

use std::io;
use std::path::{Component, Path, PathBuf};

use tare_sys::errno::words;

/// The client's environment.
pub struct Surroundings<'a> {
    /// Looks up an environment variable.
    pub var: &'a dyn Fn(&str) -> Option<String>,
    /// The working directory.
    pub cwd: &'a Path,
}

/// Makes a path absolute and clean without asking the file system, as Go's `filepath.Abs` does.
pub fn absolute(cwd: &Path, path: &str) -> String {
    clean(&cwd.join(path)).to_string_lossy().into_owned()
}

/// Removes `.`, `..` and doubled slashes by text alone, as Go's `filepath.Clean` does.
pub fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => match out.components().next_back() {
                Some(Component::Normal(_)) => {
                    out.pop();
                }
                Some(Component::RootDir) => {}
                _ => out.push(".."),
            },
            part => out.push(part),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

/// An error about a file in Go's words: `open /x: no such file or directory`.
pub fn path_error(step: &str, path: impl AsRef<Path>, error: &io::Error) -> String {
    format!("{step} {}: {}", path.as_ref().display(), words(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleaning_follows_go() {
        for (path, cleaned) in
            [("", "."), ("a/./b//c/", "a/b/c"), ("/..", "/"), ("../a", "../a"), ("a/../..", ".."), ("/a/../b", "/b")]
        {
            assert_eq!(clean(Path::new(path)), Path::new(cleaned), "{path}");
        }
        assert_eq!(absolute(Path::new("/w"), "./x/.."), "/w");
    }

    #[test]
    fn errors_read_like_go() {
        let error = std::fs::File::open("/does/not/exist").unwrap_err();
        assert_eq!(path_error("open", "/does/not/exist", &error), "open /does/not/exist: no such file or directory");
    }
}
