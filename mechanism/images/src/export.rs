//! Trees as archives: a whole root file system (`docker export`), a container's changes as a layer (`docker commit`).

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;
use tare_archive::path::{OPAQUE_NAME, join, split, whiteout_of};
use tare_archive::{Entry, Kind, Time, Writer};

use crate::rootdir::{OPAQUE_XATTR, RootDir, is_whiteout};
use crate::walk::{Node, Walk, reopen};
use crate::{Error, Result};

/// Longest list of names of extended attributes, in bytes (XATTR_LIST_MAX).
const MAX_XATTR_LIST: usize = 64 << 10;
/// Longest value of an extended attribute, in bytes (XATTR_SIZE_MAX).
const MAX_XATTR: usize = 64 << 10;

/// How entries are named and what is left out.
#[derive(Debug, Clone, Default)]
pub struct Naming {
    /// This much of each path is replaced …
    pub strip: Vec<u8>,
    /// … by this.
    pub prefix: Vec<u8>,
    /// Whether the base directory has an entry of its own.
    pub with_base: bool,
}

/// Writes everything below `base` of a root to an archive, hard links, devices, capabilities and all; sockets are
/// left out, as nothing could be behind them.
pub fn export<W: Write>(root: &RootDir, base: &[u8], naming: &Naming, writer: &mut Writer<W>) -> Result<()> {
    export_part(root, base, naming, &|_| true, writer)
}

/// The same of a part: the paths that count.
pub fn export_part<W: Write>(
    root: &RootDir,
    base: &[u8],
    naming: &Naming,
    counts: &dyn Fn(&[u8]) -> bool,
    writer: &mut Writer<W>,
) -> Result<()> {
    let mut archiver = Archiver { writer, links: HashMap::new(), naming };
    let mut walk = Walk::new(root, base);
    while let Some(node) = walk.next().map_err(walking)? {
        if node.path == base && node.kind() == FileType::Directory && !naming.with_base || !counts(&node.path) {
            continue;
        }
        let name = archiver.name(&node.path);
        archiver.append(&node, name)?;
    }
    Ok(())
}

/// Tells of everything in a root what an archive of it would say, without the content of files: a directory before what it
/// holds, names of a directory sorted by bytes.
pub fn entries(root: &RootDir, each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
    let mut links = HashMap::new();
    let mut walk = Walk::new(root, b"");
    while let Some(node) = walk.next().map_err(walking)? {
        if !node.path.is_empty()
            && let Some(entry) = described(&mut links, &node, node.path.clone())?
        {
            each(entry)?;
        }
    }
    Ok(())
}

/// Writes an overlay's upper directory as a layer: deletions become whiteouts.
pub fn export_layer<W: Write>(upper: &RootDir, writer: &mut Writer<W>) -> Result<()> {
    let naming = Naming::default();
    let mut archiver = Archiver { writer, links: HashMap::new(), naming: &naming };
    let mut walk = Walk::new(upper, b"");
    while let Some(node) = walk.next().map_err(walking)? {
        if is_whiteout(&node.stat) {
            archiver.writer.append(&Entry::new(whiteout_of(&node.path), Kind::File, 0))?;
            continue;
        }
        let directory = node.kind() == FileType::Directory;
        if !node.path.is_empty() {
            archiver.append(&node, node.path.clone())?;
        }
        if directory && is_opaque(&node.fd) {
            archiver.writer.append(&Entry::new(join(&node.path, OPAQUE_NAME), Kind::File, 0))?;
        }
    }
    Ok(())
}

fn walking((path, errno): (Vec<u8>, Errno)) -> Error {
    Error::Io { step: "read", path: String::from_utf8_lossy(&path).into_owned(), source: errno.into() }
}

struct Archiver<'a, W: Write> {
    writer: &'a mut Writer<W>,
    /// First name of files with several, by device and inode.
    links: HashMap<(u64, u64), Vec<u8>>,
    naming: &'a Naming,
}

impl<W: Write> Archiver<'_, W> {
    fn name(&self, path: &[u8]) -> Vec<u8> {
        let rest = path.strip_prefix(self.naming.strip.as_slice()).unwrap_or(path);
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        match (self.naming.prefix.as_slice(), rest) {
            (b"", b"") => b"./".to_vec(),
            (b"", rest) => rest.to_vec(),
            (prefix, b"") => prefix.to_vec(),
            (b"/", rest) => [b"/", rest].concat(),
            (prefix, rest) => join(prefix, rest),
        }
    }

    fn append(&mut self, node: &Node, name: Vec<u8>) -> Result<()> {
        let Some(entry) = described(&mut self.links, node, name)? else { return Ok(()) };
        if entry.kind != Kind::File {
            return Ok(self.writer.append(&entry)?);
        }
        let file = reopen(&node.fd, OFlags::RDONLY | OFlags::NOATIME)
            .or_else(|_| reopen(&node.fd, OFlags::RDONLY))
            .map_err(failed("open", node))?;
        match self.writer.append_data(&entry, &mut File::from(file)) {
            // truncated while it was read; the archive is whole nevertheless
            Err(tare_archive::Error::Size) => Ok(()),
            other => Ok(other?),
        }
    }
}

/// The header of a node; `None` for sockets. What has an earlier name is a link to that.
fn described(links: &mut HashMap<(u64, u64), Vec<u8>>, node: &Node, name: Vec<u8>) -> Result<Option<Entry>> {
    let Some(mut entry) = entry_of(&node.stat, name) else { return Ok(None) };
    if entry.kind != Kind::Directory && node.stat.st_nlink > 1 {
        let key = (node.stat.st_dev, node.stat.st_ino);
        if let Some(first) = links.get(&key) {
            entry.link.clone_from(first);
            (entry.kind, entry.size) = (Kind::HardLink, 0);
            return Ok(Some(entry));
        }
        links.insert(key, entry.path.clone());
    }
    if entry.kind == Kind::Symlink {
        let target = rustix::fs::readlinkat(&node.fd, "", Vec::new()).map_err(failed("readlinkat", node))?;
        entry.link = target.into_bytes();
    } else {
        entry.xattrs = xattrs(&node.fd);
    }
    Ok(Some(entry))
}

fn failed(step: &'static str, node: &Node) -> impl FnOnce(Errno) -> Error {
    move |errno| walking_step(step, &node.path, errno)
}

fn walking_step(step: &'static str, path: &[u8], errno: Errno) -> Error {
    Error::Io { step, path: String::from_utf8_lossy(path).into_owned(), source: errno.into() }
}

/// The header of a node; `None` for sockets. Times are whole seconds, as in Docker's archives.
fn entry_of(stat: &Stat, name: Vec<u8>) -> Option<Entry> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket | FileType::Unknown => return None,
    };
    let mut entry = Entry::new(name, kind, stat.st_mode & 0o7777);
    entry.uid = u64::from(stat.st_uid);
    entry.gid = u64::from(stat.st_gid);
    entry.mtime = Time { seconds: stat.st_mtime, nanoseconds: 0 };
    if kind == Kind::File {
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
    }
    if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
        entry.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    }
    Some(entry)
}

/// Capabilities and users' attributes; what belongs to this host (SELinux labels, overlayfs's own) stays here.
fn xattrs(node: &OwnedFd) -> Vec<(Vec<u8>, Vec<u8>)> {
    let path = format!("/proc/self/fd/{}", node.as_raw_fd());
    let mut list = [0u8; 512];
    let names = match rustix::fs::listxattr(&path, &mut list[..]) {
        Ok(0) => return Vec::new(),
        Ok(length) => list.get(..length).unwrap_or_default().to_vec(),
        Err(Errno::RANGE) => {
            let mut long = vec![0; MAX_XATTR_LIST];
            let length = rustix::fs::listxattr(&path, long.as_mut_slice()).unwrap_or(0);
            long.truncate(length);
            long
        }
        Err(_) => return Vec::new(),
    };
    let mut found = Vec::new();
    for name in names.split(|&b| b == 0) {
        if name != b"security.capability" && !name.starts_with(b"user.") {
            continue;
        }
        let mut value = vec![0; MAX_XATTR];
        if let Ok(length) = rustix::fs::getxattr(&path, name, value.as_mut_slice()) {
            value.truncate(length);
            found.push((name.to_vec(), value));
        }
    }
    found
}

pub(crate) fn is_opaque(directory: &OwnedFd) -> bool {
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let mut value = [0u8; 1];
    rustix::fs::getxattr(&path, OPAQUE_XATTR, &mut value[..]).is_ok_and(|n| n == 1 && value == *b"y")
}

/// The last component of a path, for naming an archive of it.
pub(crate) fn base_name(path: &[u8]) -> &[u8] {
    split(path).1
}
