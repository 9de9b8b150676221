//! What the local file system says about the source or the destination of a copy.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::paths::{Side, asserts_directory, base, cleaned, keep_ending, link_target, rebased, split_entry};
use crate::opts::surroundings::{absolute, path_error};

/// Most links that a destination may lead over.
const MAX_LINKS: usize = 10;

/// Makes a path absolute, its ending kept.
pub fn resolve(path: &str) -> Result<String, String> {
    let cwd = std::env::current_dir().map_err(|e| format!("getwd: {e}"))?;
    Ok(keep_ending(absolute(&cwd, path), path))
}

fn lstat(path: &str) -> Result<fs::Metadata, String> {
    fs::symlink_metadata(path).map_err(|e| path_error("lstat", path, &e))
}

fn real(path: &str) -> Result<String, String> {
    let real = fs::canonicalize(path).map_err(|e| path_error("lstat", path, &e))?;
    real.into_os_string().into_string().map_err(|name| format!("{}: not UTF-8", name.display()))
}

/// The source of a copy. Links before the last element are followed, the last one only with `follow`.
pub fn source(path: &str, follow: bool) -> Result<Side, String> {
    let (path, name) = if follow {
        rebased(path, real(path)?)
    } else {
        let (directory, entry) = path.rsplit_once('/').unwrap_or((".", path));
        let directory = if directory.is_empty() { "/" } else { directory };
        let resolved = format!("{}/{entry}", real(directory)?.trim_end_matches('/'));
        let other_name = path.ends_with('/') && base(path) != base(&resolved);
        let name = other_name.then(|| base(path).to_owned());
        (resolved, name)
    };
    let is_directory = lstat(&path)?.is_dir();
    Ok(Side { path, exists: true, is_directory, name })
}

/// The destination of a copy. It need not exist, its directory must.
pub fn destination(path: &str) -> Result<Side, String> {
    let original = path;
    let mut path = path.to_owned();
    for _ in 0..=MAX_LINKS {
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => {
                let target = fs::read_link(&path).map_err(|e| path_error("readlink", &path, &e))?;
                path = link_target(&path, &target.to_string_lossy());
            }
            Ok(meta) => return Ok(Side { path, exists: true, is_directory: meta.is_dir(), name: None }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let (parent, _) = split_entry(&path);
                let meta = fs::metadata(&parent).map_err(|e| path_error("stat", &parent, &e))?;
                if !meta.is_dir() {
                    return Err("not a directory".into());
                }
                return Ok(Side { path, ..Side::default() });
            }
            Err(e) => return Err(path_error("lstat", &path, &e)),
        }
    }
    Err(format!("too many symlinks in {original}"))
}

/// Refuses destinations that cannot be written to: without a directory, or devices.
pub fn check_output(path: &str) -> Result<(), String> {
    let clean = cleaned(path);
    let directory = match clean.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((directory, _)) => directory,
        None => ".",
    };
    if !Path::new(directory).exists() {
        return Err(format!("invalid output path: directory {} does not exist", crate::values::quote(directory)));
    }
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(path_error("stat", path, &e)),
        Ok(meta) if meta.file_type().is_block_device() || meta.file_type().is_char_device() => Err(format!(
            "invalid output path: {} must be a directory or a regular file: got a device",
            crate::values::quote(path)
        )),
        Ok(meta) if meta.is_file() && asserts_directory(path) => Err("not a directory".into()),
        Ok(_) => Ok(()),
    }
}

/// Bytes of the regular files in a tree; `None` when it cannot be read.
pub fn content_size(path: &Path) -> Option<u64> {
    let meta = fs::symlink_metadata(path).ok()?;
    if !meta.is_dir() {
        return Some(if meta.is_file() { meta.len() } else { 0 });
    }
    let mut total = 0_u64;
    for entry in fs::read_dir(path).ok()? {
        total = total.checked_add(content_size(&entry.ok()?.path())?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| format!("{}/{name}", fs::canonicalize(root.path()).unwrap().display());
        fs::create_dir(at("dir")).unwrap();
        fs::write(at("dir/file"), "12345").unwrap();
        std::os::unix::fs::symlink("dir", at("link")).unwrap();
        std::os::unix::fs::symlink("nothing", at("broken")).unwrap();

        let plain = source(&at("dir/file"), false).unwrap();
        assert_eq!(plain, Side { path: at("dir/file"), exists: true, is_directory: false, name: None });
        // A link is copied as a link, with a slash as what it leads to under its own name.
        assert!(!source(&at("link"), false).unwrap().is_directory);
        let through = source(&at("link/"), false).unwrap();
        assert_eq!(through, Side { path: at("dir/"), exists: true, is_directory: true, name: Some("link".into()) });
        let followed = source(&at("link"), true).unwrap();
        assert_eq!(followed, Side { path: at("dir"), exists: true, is_directory: true, name: Some("link".into()) });
        assert!(source(&at("nothing"), false).unwrap_err().ends_with("/nothing: no such file or directory"));

        assert!(destination(&at("link")).unwrap().is_directory);
        assert_eq!(destination(&at("broken")).unwrap(), Side { path: at("nothing"), ..Side::default() });
        assert!(destination(&at("no/where")).unwrap_err().starts_with("stat "));
        assert_eq!(content_size(root.path()), Some(5));
        assert_eq!(check_output(&at("new")), Ok(()));
        assert!(check_output("/dev/null").unwrap_err().ends_with("got a device"));
        assert!(check_output(&at("no/where")).unwrap_err().ends_with("does not exist"));
    }
}
