//! Rules about paths: trailing `/` and `/.`, directories that exist or not, new names. Pure text, as Docker's client does it.

use std::path::Path;

use crate::opts::surroundings::clean;

/// Splits `container:path`; `None` for a local path. A local path with a colon is written with a leading `/` or `.`.
pub fn split_argument(argument: &str) -> (Option<&str>, &str) {
    if argument.starts_with('/') {
        return (None, argument);
    }
    match argument.split_once(':') {
        Some((container, path)) if !container.is_empty() && !container.starts_with('.') => (Some(container), path),
        Some(("", path)) => (None, path),
        _ => (None, argument),
    }
}

/// Go's `filepath.Base`.
pub fn base(path: &str) -> &str {
    let trimmed = path.trim_end_matches('/');
    match (path, trimmed) {
        ("", _) => ".",
        (_, "") => "/",
        _ => trimmed.rsplit('/').next().unwrap_or(trimmed),
    }
}

/// Go's `filepath.Clean`.
pub fn cleaned(path: &str) -> String {
    clean(Path::new(path)).to_string_lossy().into_owned()
}

/// Whether the last element is `.`.
pub fn is_current(path: &str) -> bool {
    base(path) == "."
}

/// Whether a path says that it is a directory.
pub fn asserts_directory(path: &str) -> bool {
    path.ends_with('/') || is_current(path)
}

/// Gives a clean path the `/.` or `/` that the original ended with.
pub fn keep_ending(clean: String, original: &str) -> String {
    let mut out = clean;
    if !is_current(&out) && is_current(original) {
        if !out.ends_with('/') {
            out.push('/');
        }
        out.push('.');
    }
    if !out.ends_with('/') && original.ends_with('/') {
        out.push('/');
    }
    out
}

/// A path as its directory and the entry in it; the entry is `.` where the path says so.
pub fn split_entry(path: &str) -> (String, String) {
    let mut clean = cleaned(path);
    if is_current(path) {
        if !clean.ends_with('/') {
            clean.push('/');
        }
        clean.push('.');
    }
    let directory = clean.rfind('/').map_or("", |slash| &clean[..=slash]);
    (cleaned(directory), base(&clean).to_owned())
}

/// A path that a link leads to, with the ending of the path that was asked for; and the name that was asked for, where
/// the link's target has another.
pub fn rebased(path: &str, resolved: String) -> (String, Option<String>) {
    let mut out = resolved;
    if is_current(path) && !is_current(&out) {
        out.push_str("/.");
    }
    if path.ends_with('/') && !out.ends_with('/') {
        out.push('/');
    }
    let name = (base(path) != base(&out)).then(|| base(path).to_owned());
    (out, name)
}

/// The target of a link in `path`'s directory.
pub fn link_target(path: &str, target: &str) -> String {
    if target.starts_with('/') {
        return target.to_owned();
    }
    cleaned(&format!("{}/{target}", split_entry(path).0))
}

/// One side of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Absolute path, its ending kept.
    pub path: String,
    /// Whether something is there.
    pub exists: bool,
    /// Whether that is a directory.
    pub is_directory: bool,
    /// The name that its entries have in the archive, where it is not that of the path.
    pub name: Option<String>,
}

/// Where an archive is to be extracted, and which name its first element gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The directory.
    pub directory: String,
    /// From which name to which.
    pub rename: Option<(String, String)>,
}

/// Why something cannot be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// A directory onto a file.
    #[error("cannot copy directory")]
    DirectoryOntoFile,
    /// A file to a directory that does not exist.
    #[error("no such directory")]
    NoDirectory,
}

/// Decides where a source goes.
pub fn place(source: &Side, destination: &Side) -> Result<Placement, PlaceError> {
    if destination.exists && destination.is_directory {
        return Ok(Placement { directory: destination.path.clone(), rename: None });
    }
    if destination.exists && source.is_directory {
        return Err(PlaceError::DirectoryOntoFile);
    }
    if !destination.exists && !source.is_directory && asserts_directory(&destination.path) {
        return Err(PlaceError::NoDirectory);
    }
    // What is copied takes the destination's name, in the destination's directory.
    let (directory, new) = split_entry(&destination.path);
    let old = source.name.clone().unwrap_or_else(|| split_entry(&source.path).1);
    Ok(Placement { directory, rename: Some((old, new)) })
}

/// Replaces the first element of an entry's name.
pub fn rename(name: &[u8], old: &str, new: &str) -> Vec<u8> {
    let (old, new) = (old.trim_end_matches('/').as_bytes(), new.trim_end_matches('/').as_bytes());
    if old.is_empty() {
        let start = name.iter().position(|b| *b != b'/').unwrap_or(name.len());
        let rest = &name[start..];
        return if new.is_empty() { rest.to_vec() } else { [new, b"/", rest].concat() };
    }
    match name.strip_prefix(old) {
        Some(rest) if rest.is_empty() || rest.starts_with(b"/") => [new, rest].concat(),
        _ => name.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        assert_eq!(split_argument("c:/x"), (Some("c"), "/x"));
        assert_eq!(split_argument("c:"), (Some("c"), ""));
        assert_eq!(split_argument("/a:b"), (None, "/a:b"));
        assert_eq!(split_argument("./a:b"), (None, "./a:b"));
        assert_eq!(split_argument("file"), (None, "file"));
        assert_eq!(split_argument("-"), (None, "-"));
    }

    #[test]
    fn elements() {
        for (path, expected) in [("", "."), ("/", "/"), ("a/", "a"), ("/a/.", "."), ("a/b", "b"), ("..", "..")] {
            assert_eq!(base(path), expected, "{path}");
        }
        let split = |path| split_entry(path);
        assert_eq!(split("/a/b"), ("/a".into(), "b".into()));
        assert_eq!(split("/a/b/"), ("/a".into(), "b".into()));
        assert_eq!(split("/a/b/."), ("/a/b".into(), ".".into()));
        assert_eq!(split("/"), ("/".into(), "/".into()));
        assert_eq!(split("/."), ("/".into(), ".".into()));
        assert_eq!(split("a"), (".".into(), "a".into()));
        assert_eq!(keep_ending("/a".into(), "./a/."), "/a/.");
        assert_eq!(keep_ending("/a".into(), "a/"), "/a/");
        assert_eq!(keep_ending("/".into(), "/."), "/.");
        assert_eq!(rebased("/a/link/", "/b/target".into()), ("/b/target/".into(), Some("link".into())));
        assert_eq!(rebased("/a/link/.", "/b/target".into()), ("/b/target/.".into(), None));
        assert_eq!(link_target("/a/link", "t"), "/a/t");
        assert_eq!(link_target("/a/link", "/t"), "/t");
    }

    fn side(path: &str, is: &str) -> Side {
        Side { path: path.into(), exists: !is.is_empty(), is_directory: is == "directory", name: None }
    }

    #[test]
    fn placements() {
        let show = |source: (&str, &str), destination: (&str, &str)| match place(
            &side(source.0, source.1),
            &side(destination.0, destination.1),
        ) {
            Err(error) => format!("! {error}"),
            Ok(Placement { directory, rename: None }) => format!("into {directory}"),
            Ok(Placement { directory, rename: Some((old, new)) }) => format!("into {directory}, {old} as {new}"),
        };
        insta::assert_snapshot!(show(("/s/f", "file"), ("/d", "directory")), @"into /d");
        insta::assert_snapshot!(show(("/s/f", "file"), ("/d/g", "file")), @"into /d, f as g");
        insta::assert_snapshot!(show(("/s/f", "file"), ("/d/g", "")), @"into /d, f as g");
        insta::assert_snapshot!(show(("/s/f", "file"), ("/d/g/", "")), @"! no such directory");
        insta::assert_snapshot!(show(("/s/t", "directory"), ("/d", "directory")), @"into /d");
        insta::assert_snapshot!(show(("/s/t/.", "directory"), ("/d", "directory")), @"into /d");
        insta::assert_snapshot!(show(("/s/t", "directory"), ("/d/n", "")), @"into /d, t as n");
        insta::assert_snapshot!(show(("/s/t/.", "directory"), ("/d/n", "")), @"into /d, . as n");
        insta::assert_snapshot!(show(("/s/t", "directory"), ("/d/n/", "")), @"into /d, t as n");
        insta::assert_snapshot!(show(("/s/t", "directory"), ("/d/g", "file")), @"! cannot copy directory");
    }

    #[test]
    fn names() {
        let renamed = |name: &str, old, new| String::from_utf8(rename(name.as_bytes(), old, new)).unwrap();
        assert_eq!(renamed("t/", "t", "n"), "n/");
        assert_eq!(renamed("t/a", "t", "n"), "n/a");
        assert_eq!(renamed("tt/a", "t", "n"), "tt/a");
        assert_eq!(renamed("./a", ".", "n"), "n/a");
        assert_eq!(renamed("/bin/a", "/", "n"), "n/bin/a");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(path in "[a./]{0,10}", other in "[a./]{0,10}") {
            let _ = (split_argument(&path), keep_ending(cleaned(&path), &path), split_entry(&path));
            let _ = (rebased(&path, other.clone()), rename(path.as_bytes(), &other, &path));
        }
    }
}
