//! Walks a hostile tree: iteratively, with one directory open at a time, without following links.

use std::os::fd::OwnedFd;

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use tare_archive::path::join;

use crate::rootdir::RootDir;

/// What is at a path.
#[derive(Debug)]
pub(crate) struct Node {
    /// Relative to the root, clean.
    pub(crate) path: Vec<u8>,
    pub(crate) stat: Stat,
    /// The node itself (O_PATH).
    pub(crate) fd: OwnedFd,
}

impl Node {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// Nodes in order: a directory before what it holds, names of a directory sorted by bytes.
pub(crate) struct Walk<'a> {
    root: &'a RootDir,
    /// Paths to come, the next one last.
    pending: Vec<Vec<u8>>,
    /// The directory whose names are still to be read.
    enter: Option<Vec<u8>>,
}

impl<'a> Walk<'a> {
    /// Walks what is below `base`, and `base` itself first.
    pub(crate) fn new(root: &'a RootDir, base: &[u8]) -> Walk<'a> {
        Walk { root, pending: vec![base.to_vec()], enter: None }
    }

    /// The next node. What vanished meanwhile is left out.
    pub(crate) fn next(&mut self) -> Result<Option<Node>, (Vec<u8>, Errno)> {
        if let Some(directory) = self.enter.take() {
            match list(self.root, &directory) {
                Ok(names) => self.pending.extend(names.into_iter().rev().map(|name| join(&directory, &name))),
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(e) => return Err((directory, e)),
            }
        }
        while let Some(path) = self.pending.pop() {
            match open_node(self.root, &path) {
                Ok((fd, stat)) => {
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                        self.enter = Some(path.clone());
                    }
                    return Ok(Some(Node { path, stat, fd }));
                }
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(e) => return Err((path, e)),
            }
        }
        Ok(None)
    }
}

fn open_node(root: &RootDir, path: &[u8]) -> Result<(OwnedFd, Stat), Errno> {
    let fd = root.open_at(path, OFlags::PATH | OFlags::NOFOLLOW)?;
    let stat = rustix::fs::fstat(&fd)?;
    Ok((fd, stat))
}

/// The names in a directory, sorted by bytes.
pub(crate) fn list(root: &RootDir, path: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
    let fd = root.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
    let mut names = Vec::new();
    for entry in Dir::new(fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Opens a node for reading through its own descriptor, so that it is the one that was looked at.
pub(crate) fn reopen(node: &OwnedFd, flags: OFlags) -> Result<OwnedFd, Errno> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", node.as_raw_fd());
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
}
