//! What a container changed (`docker diff`): its upper directory compared with the layers below.

use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tare_archive::path::{join, split};

use crate::export::is_opaque;
use crate::rootdir::{RootDir, is_whiteout};
use crate::walk::{Walk, list};
use crate::{Error, Result};

/// How a path differs. The numbers are those of Docker's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum ChangeKind {
    /// Other content or attributes, or a directory in which something changed.
    Modified = 0,
    /// Not in the image.
    Added = 1,
    /// Only in the image.
    Deleted = 2,
}

/// A path that differs from the image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Absolute, in the container.
    pub path: PathBuf,
    /// How.
    pub kind: ChangeKind,
}

/// Compares an upper directory with the layers below it (topmost first). Sorted by path.
pub fn changes(upper: &Path, lowers: &[PathBuf]) -> Result<Vec<Change>> {
    let upper = RootDir::open(upper).map_err(Error::io("open", upper))?;
    let mut below = Vec::new();
    for lower in lowers {
        below.push(RootDir::open(lower).map_err(Error::io("open", lower))?);
    }
    let mut found: Vec<(Vec<u8>, ChangeKind)> = Vec::new();
    let mut walk = Walk::new(&upper, b"");
    // the opaque directories that the walk is in: their contents owe nothing to the layers below
    let mut opaque: Vec<Vec<u8>> = Vec::new();
    while let Some(node) = walk.next().map_err(|(path, e)| Error::Io {
        step: "read",
        path: String::from_utf8_lossy(&path).into_owned(),
        source: e.into(),
    })? {
        while opaque.last().is_some_and(|directory| !is_below(&node.path, directory)) {
            opaque.pop();
        }
        let hidden = !opaque.is_empty();
        let old = lower_stat(&below, &node.path);
        if is_whiteout(&node.stat) {
            if old.is_some() && !hidden {
                found.push((node.path, ChangeKind::Deleted));
            }
            continue;
        }
        let directory = node.kind() == FileType::Directory;
        match &old {
            _ if node.path.is_empty() => {}
            Some(old) if !differs(old, &node.stat) => {}
            Some(_) => found.push((node.path.clone(), ChangeKind::Modified)),
            None => found.push((node.path.clone(), ChangeKind::Added)),
        }
        if directory && old.is_some() && is_opaque(&node.fd) {
            let kept = list(&upper, &node.path).unwrap_or_default();
            for name in lower_names(&below, &node.path) {
                if kept.binary_search(&name).is_err() {
                    found.push((join(&node.path, &name), ChangeKind::Deleted));
                }
            }
            opaque.push(node.path);
        }
    }
    Ok(with_parents(found))
}

/// A directory in which something was added, deleted or modified is itself modified.
fn with_parents(mut found: Vec<(Vec<u8>, ChangeKind)>) -> Vec<Change> {
    let mut known: std::collections::BTreeMap<Vec<u8>, ChangeKind> = found.drain(..).collect();
    let paths: Vec<Vec<u8>> = known.keys().cloned().collect();
    for path in paths {
        let (mut parent, _) = split(&path);
        while !parent.is_empty() && !known.contains_key(parent) {
            known.insert(parent.to_vec(), ChangeKind::Modified);
            parent = split(parent).0;
        }
    }
    known.into_iter().map(|(path, kind)| Change { path: absolute(&path), kind }).collect()
}

fn absolute(path: &[u8]) -> PathBuf {
    Path::new("/").join(OsStr::from_bytes(path))
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| directory.is_empty() || rest.first() == Some(&b'/'))
}

/// Type, mode, owner, device; and for what is no directory also time and size.
fn differs(old: &Stat, new: &Stat) -> bool {
    let attributes = |s: &Stat| (s.st_mode, s.st_uid, s.st_gid, s.st_rdev);
    let content = |s: &Stat| (s.st_size, s.st_mtime, s.st_mtime_nsec);
    attributes(old) != attributes(new)
        || FileType::from_raw_mode(new.st_mode) != FileType::Directory && content(old) != content(new)
}

/// `lstat` in the merged lower layers.
fn lower_stat(lowers: &[RootDir], path: &[u8]) -> Option<Stat> {
    for lower in lowers {
        match lookup(lower, path) {
            Lookup::Found(stat) => return Some(stat),
            Lookup::Absent => {}
            Lookup::Hidden => return None,
        }
    }
    None
}

enum Lookup {
    Found(Stat),
    /// Ask the next layer.
    Absent,
    /// Deleted here, or below an opaque directory or something that is no directory.
    Hidden,
}

fn lookup(lower: &RootDir, path: &[u8]) -> Lookup {
    let Ok(mut at) = lower.open_dir(b"") else { return Lookup::Absent };
    let mut opaque = false;
    let mut components = path.split(|&b| b == b'/').filter(|c| !c.is_empty()).peekable();
    while let Some(component) = components.next() {
        let name = OsStr::from_bytes(component);
        let Ok(stat) = rustix::fs::statat(&at, name, AtFlags::SYMLINK_NOFOLLOW) else {
            return if opaque { Lookup::Hidden } else { Lookup::Absent };
        };
        if is_whiteout(&stat) {
            return Lookup::Hidden;
        }
        if components.peek().is_none() {
            return Lookup::Found(stat);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&at, name, flags, rustix::fs::Mode::empty()) {
            Ok(next) => at = next,
            Err(_) => return Lookup::Hidden,
        }
        opaque |= is_opaque(&at);
    }
    rustix::fs::fstat(&at).map_or(Lookup::Absent, Lookup::Found)
}

/// The names that the merged lower layers show in a directory.
fn lower_names(lowers: &[RootDir], path: &[u8]) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = lowers.iter().flat_map(|lower| list(lower, path).unwrap_or_default()).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| lower_stat(lowers, &join(path, name)).is_some());
    names
}
