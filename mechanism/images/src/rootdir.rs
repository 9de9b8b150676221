//! Paths below a directory whose contents are hostile: no lookup leaves it, whatever links it holds.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use tare_archive::path::{join, split};

/// Links followed in one path, as in the kernel.
const MAX_LINKS: u32 = 40;
/// Directories kept open at once.
const CACHED_DIRECTORIES: usize = 128;

/// A directory that acts as `/` for everything below it (openat2 with RESOLVE_IN_ROOT).
#[derive(Debug)]
pub struct RootDir {
    fd: OwnedFd,
    /// The mount namespace that keeps what is mounted below it, where it is not the caller's.
    _namespace: Option<OwnedFd>,
}

impl RootDir {
    /// Opens a directory on the host. The path itself is trusted.
    pub fn open(path: &Path) -> Result<RootDir, Errno> {
        let fd = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(RootDir::from_fd(fd))
    }

    /// Takes a directory, for example a detached mount.
    pub fn from_fd(fd: OwnedFd) -> RootDir {
        RootDir { fd, _namespace: None }
    }

    /// Takes a directory in a mount namespace that would end without this.
    pub(crate) fn in_namespace(fd: OwnedFd, namespace: OwnedFd) -> RootDir {
        RootDir { fd, _namespace: Some(namespace) }
    }

    /// Opens `path`, a clean relative path (empty for the root itself), following links inside.
    pub fn open_at(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        tare_sys::scoped::open(&self.fd, OsStr::from_bytes(path), flags, ResolveFlags::IN_ROOT)
    }

    /// Opens a directory for use with the `at` calls only.
    pub fn open_dir(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        self.open_at(path, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// Opens the parent of `path`; gives the last component back. The parent is resolved, the component is not.
    pub fn open_parent<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p OsStr), Errno> {
        let (parent, name) = split(path);
        Ok((self.open_dir(parent)?, OsStr::from_bytes(name)))
    }

    /// The path without links: every directory in it resolved, the last component too with `follow`.
    ///
    /// A snapshot: a container can change links meanwhile, but never so that [`Self::open_at`] leaves the root.
    pub fn real_path(&self, path: &[u8], follow: bool) -> Result<Vec<u8>, Errno> {
        let (real, missing) = self.resolve(path, follow)?;
        missing.map_or(Ok(real), Err)
    }

    /// Like [`Self::real_path`] with `follow`; from the first component on that is not there, the path as it is written.
    pub fn leads_to(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        self.resolve(path, true).map(|(real, _)| real)
    }

    /// The path without links, and what keeps it from being one that exists.
    fn resolve(&self, path: &[u8], follow: bool) -> Result<(Vec<u8>, Option<Errno>), Errno> {
        let mut ahead: Vec<Vec<u8>> = components(path).collect();
        let mut real: Vec<u8> = Vec::new();
        let mut missing = None;
        let mut links = 0;
        while let Some(component) = ahead.pop() {
            if component == b".." {
                real.truncate(split(&real).0.len());
                continue;
            }
            let next = join(&real, &component);
            let fd = match self.open_at(&next, OFlags::PATH | OFlags::NOFOLLOW) {
                Ok(fd) => fd,
                Err(errno @ (Errno::NOENT | Errno::NOTDIR)) => {
                    missing = missing.or(Some(errno));
                    real = next;
                    continue;
                }
                Err(errno) => return Err(errno),
            };
            let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
            if kind == FileType::Symlink && (follow || !ahead.is_empty()) {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = rustix::fs::readlinkat(&fd, "", Vec::new())?.into_bytes();
                if target.first() == Some(&b'/') {
                    real.clear();
                }
                ahead.extend(components(&target));
                continue;
            }
            if kind != FileType::Directory && !ahead.is_empty() {
                missing = missing.or(Some(Errno::NOTDIR));
            }
            real = next;
        }
        Ok((real, missing))
    }

    /// `lstat` of a path below.
    pub fn lstat(&self, path: &[u8]) -> Result<Stat, Errno> {
        let fd = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        rustix::fs::fstat(fd)
    }
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Directories below a root, kept open under their paths. Must be told when a directory or link goes away.
#[derive(Debug)]
pub struct DirCache {
    root: RootDir,
    open: HashMap<Vec<u8>, OwnedFd>,
}

impl DirCache {
    /// With nothing open yet.
    pub fn new(root: RootDir) -> DirCache {
        DirCache { root, open: HashMap::new() }
    }

    /// The root itself.
    pub fn root(&self) -> &RootDir {
        &self.root
    }

    /// The directory at `path`. Missing ones are made with mode 0755 and shown to `made`.
    pub fn get_or_make(&mut self, path: &[u8], made: &mut dyn FnMut(&[u8])) -> Result<BorrowedFd<'_>, Errno> {
        if path.is_empty() {
            return Ok(self.root.as_fd());
        }
        if !self.open.contains_key(path) {
            let fd = match self.root.open_dir(path) {
                Err(Errno::NOENT | Errno::NOTDIR) => self.make(path, made)?,
                other => other?,
            };
            self.remember(path, fd);
        }
        self.open.get(path).map(AsFd::as_fd).ok_or(Errno::NOENT)
    }

    /// Forgets everything open.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    fn remember(&mut self, path: &[u8], fd: OwnedFd) {
        if self.open.len() >= CACHED_DIRECTORIES {
            self.open.clear();
        }
        self.open.insert(path.to_vec(), fd);
    }

    /// Makes a directory and its parents, following links as [`RootDir`] does, also to where nothing is yet.
    fn make(&mut self, path: &[u8], made: &mut dyn FnMut(&[u8])) -> Result<OwnedFd, Errno> {
        let mut ahead: Vec<Vec<u8>> = components(path).collect();
        let mut real: Vec<u8> = Vec::new();
        let mut parent = self.root.open_dir(&real)?;
        let mut links = 0;
        while let Some(component) = ahead.pop() {
            if component == b".." {
                real.truncate(split(&real).0.len());
                parent = self.root.open_dir(&real)?;
                continue;
            }
            let name = OsStr::from_bytes(&component);
            let next = join(&real, &component);
            match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    set_default_mode(&parent, name)?;
                    made(&next);
                }
                Err(Errno::EXIST) => {
                    if let Some(target) = existing(&parent, name, &next, made)? {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(Errno::LOOP);
                        }
                        if target.first() == Some(&b'/') {
                            real.clear();
                            parent = self.root.open_dir(&real)?;
                        }
                        ahead.extend(components(&target));
                        continue;
                    }
                }
                Err(e) => return Err(e),
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            parent = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
            real = next;
        }
        Ok(parent)
    }
}

/// Something has the name of a directory to be made: a directory will do, the target of a link is returned, and
/// a deletion gives way to a directory in which what lies below does not show.
fn existing(
    parent: &OwnedFd,
    name: &OsStr,
    path: &[u8],
    made: &mut dyn FnMut(&[u8]),
) -> Result<Option<Vec<u8>>, Errno> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Ok(None),
        FileType::Symlink => Ok(Some(rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes())),
        _ if is_whiteout(&stat) => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755))?;
            set_default_mode(parent, name)?;
            set_opaque_at(parent, name)?;
            made(path);
            Ok(None)
        }
        _ => Err(Errno::NOTDIR),
    }
}

/// The components of a path, last one first.
fn components(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.rsplit(|&b| b == b'/').filter(|c| !c.is_empty() && *c != b".").map(<[u8]>::to_vec)
}

/// 0755 whatever the umask.
fn set_default_mode(parent: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(0o755))
}

/// Whether a directory has, under this name, what overlayfs takes for a deletion: a character device 0:0.
pub(crate) fn is_whiteout_at(parent: impl AsFd, name: &OsStr) -> bool {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| is_whiteout(&stat))
}

/// Whether this is what overlayfs takes for a deletion.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// The attribute by which overlayfs hides what lower layers have in a directory.
pub(crate) const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// Makes the directory `name` opaque for overlayfs.
pub(crate) fn set_opaque_at(parent: impl AsFd, name: &OsStr) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    rustix::fs::fsetxattr(&fd, OPAQUE_XATTR, b"y", rustix::fs::XattrFlags::empty())
}

/// Removes whatever is at `name`, directories with all they hold, without following links.
pub(crate) fn remove_all_at(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => {}
        other => return other,
    }
    // a stack of open directories instead of recursion: depth is the archive's choice
    let mut stack = vec![(open_list(parent, name)?, name.to_owned())];
    while let Some((directory, _)) = stack.last_mut() {
        let next = directory.find_map(|entry| match entry {
            Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => None,
            other => Some(other),
        });
        match next {
            Some(entry) => {
                let entry = entry?;
                let child = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
                let fd = directory.fd()?;
                match rustix::fs::unlinkat(fd, &child, AtFlags::empty()) {
                    Err(Errno::ISDIR | Errno::PERM) => {
                        let list = open_list(fd, &child)?;
                        stack.push((list, child));
                    }
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(e) => return Err(e),
                }
            }
            None => {
                if let Some((done, name)) = stack.pop() {
                    drop(done);
                    match stack.last() {
                        Some((up, _)) => rustix::fs::unlinkat(up.fd()?, &name, AtFlags::REMOVEDIR)?,
                        None => rustix::fs::unlinkat(parent, &name, AtFlags::REMOVEDIR)?,
                    }
                }
            }
        }
    }
    Ok(())
}

fn open_list(parent: impl AsFd, name: &OsStr) -> Result<rustix::fs::Dir, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::Dir::new(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}
