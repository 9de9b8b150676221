//! Extraction of an archive below a directory, as a layer in overlay form or as files into a container.
//!
//! Everything goes through a directory's descriptor found with RESOLVE_IN_ROOT, and the last component of a name is
//! never followed, so no archive reaches outside. Times and modes of directories come last, since filling a
//! directory changes its time. Set-ID bits follow ownership, capabilities follow both: each clears the next.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::BufRead;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use tare_archive::path::{classify, clean, join, split};
use tare_archive::{Entry, EntryName, Kind, Reader, Time, Whiteout};

use crate::mode::NewMode;
use crate::rootdir::{DirCache, RootDir, is_whiteout_at, remove_all_at, set_opaque_at};
use crate::{Error, Result};

/// Most entries of one archive; an inode each. The largest images have some 500,000.
const MAX_ENTRIES: u64 = 20_000_000;
/// Most bytes of data in one archive (1 TiB): the end of a decompression bomb where the disk does not end it first.
const MAX_BYTES: u64 = 1 << 40;
/// What a block of a file takes on disk, for [`Unpacked::size`].
const BLOCK: u64 = 4096;
/// Attributes by which overlayfs steers itself: an archive must not speak for it.
const OVERLAY_XATTRS: &[u8] = b"trusted.overlay.";

/// How to extract.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whiteouts become overlayfs's; names and attributes are read as a layer's.
    pub layer: bool,
    /// Everything gets this owner and group instead of the archive's.
    pub owner: Option<(u32, u32)>,
    /// Files and directories get this mode instead of the archive's.
    pub mode: Option<NewMode>,
    /// A directory may not replace something else, nor be replaced by it (`docker cp`).
    pub no_overwrite_dir_non_dir: bool,
    /// Where below the root entries go; a clean path, resolved inside.
    pub base: Vec<u8>,
    /// Names that lead out of the root end below it, as in a chroot, instead of being refused.
    pub contained: bool,
}

/// What was extracted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes on disk, files rounded up to blocks.
    pub size: u64,
    /// Entries, whiteouts included.
    pub entries: u64,
    /// Mode, owner and group of the root if the archive has an entry for it.
    pub root: Option<(u32, u32, u32)>,
    /// Directories that the archive has no entry for, made because it has entries in them.
    pub implicit: BTreeSet<Vec<u8>>,
}

/// Extracts all entries of an archive below `root`.
pub fn unpack<R: BufRead>(archive: &mut Reader<R>, root: RootDir, options: Options) -> Result<Unpacked> {
    let mut unpacker = Unpacker {
        directories: DirCache::new(root),
        pending: BTreeMap::new(),
        done: Unpacked::default(),
        bytes: 0,
        mask: umask(),
        options,
    };
    while let Some(entry) = archive.next_entry()? {
        unpacker.entry(&entry, archive)?;
    }
    unpacker.finish()
}

struct Unpacker {
    directories: DirCache,
    /// What directories get at the end, by path.
    pending: BTreeMap<Vec<u8>, Entry>,
    done: Unpacked,
    bytes: u64,
    /// The process's umask, which files are created under.
    mask: u32,
    options: Options,
}

impl Unpacker {
    fn entry<R: BufRead>(&mut self, entry: &Entry, archive: &mut Reader<R>) -> Result<()> {
        self.done.entries += 1;
        if self.done.entries > MAX_ENTRIES {
            return Err(bad(entry, format!("is one of more than {MAX_ENTRIES}")));
        }
        let name = match &self.options {
            Options { layer: true, .. } => classify(&entry.path),
            Options { contained: true, .. } => clean(&[b"/", entry.path.as_slice()].concat()).map(EntryName::Path),
            _ => clean(&entry.path).map(EntryName::Path),
        };
        match name.map_err(|e| bad(entry, e.to_string()))? {
            EntryName::Ignored => Ok(()),
            EntryName::Whiteout(whiteout) => self.whiteout(&whiteout).map_err(failed("whiteout", entry)),
            EntryName::Path(path) if path.is_empty() => self.root_entry(entry),
            EntryName::Path(path) => {
                let path = join_base(&self.options.base, &path);
                match &self.options.mode {
                    Some(mode) if matches!(entry.kind, Kind::Directory | Kind::File) => {
                        let mode = mode.of(entry.mode, entry.kind == Kind::Directory);
                        self.place(&path, &Entry { mode, ..entry.clone() }, archive)
                    }
                    _ => self.place(&path, entry, archive),
                }
            }
        }
    }

    /// The archive's entry for the root: a layer's attributes for `/`. Other extractions leave the base alone.
    fn root_entry(&mut self, entry: &Entry) -> Result<()> {
        if self.options.layer && entry.kind == Kind::Directory {
            let (uid, gid) = self.owner(entry)?;
            self.done.root = Some((entry.mode, uid, gid));
            self.pending.insert(Vec::new(), entry.clone());
        }
        Ok(())
    }

    fn place<R: BufRead>(&mut self, path: &[u8], entry: &Entry, archive: &mut Reader<R>) -> Result<()> {
        let (parent, name) = split(path);
        let name = OsStr::from_bytes(name);
        if self.options.no_overwrite_dir_non_dir {
            self.check_overwrite(path, entry)?;
        }
        match entry.kind {
            Kind::Directory => self.directory(path, entry),
            Kind::File => self.file(path, entry, archive),
            Kind::HardLink => self.hard_link(path, entry),
            Kind::Symlink => {
                let target = OsStr::from_bytes(&entry.link);
                self.create(path, |at, name| rustix::fs::symlinkat(target, at, name))
                    .map_err(failed("symlinkat", entry))?;
                let (uid, gid) = self.owner(entry)?;
                let at = self.parent(parent).map_err(failed("open parent of", entry))?;
                finish_node(at, name, entry, (uid, gid), None)
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => {
                let kind = match entry.kind {
                    Kind::CharDevice => FileType::CharacterDevice,
                    Kind::BlockDevice => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let device = rustix::fs::makedev(entry.device.0, entry.device.1);
                let mode = Mode::from_raw_mode(entry.mode & 0o777);
                self.create(path, |at, name| rustix::fs::mknodat(at, name, kind, mode, device))
                    .map_err(failed("mknodat", entry))?;
                let (uid, gid) = self.owner(entry)?;
                let at = self.parent(parent).map_err(failed("open parent of", entry))?;
                finish_node(at, name, entry, (uid, gid), Some(entry.mode))
            }
            Kind::Other(flag) => Err(bad(entry, format!("has unknown type {:?}", char::from(flag)))),
        }
    }

    fn directory(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        let (parent, name) = split(path);
        let name = OsStr::from_bytes(name);
        let at = self.parent(parent).map_err(failed("open parent of", entry))?;
        match rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => self.done.size += BLOCK,
            Err(Errno::EXIST) => self.existing_directory(path, entry)?,
            Err(e) => return Err(failed("mkdirat", entry)(e)),
        }
        self.done.implicit.remove(path);
        self.pending.insert(path.to_vec(), entry.clone());
        Ok(())
    }

    /// A directory stays, anything else makes room.
    fn existing_directory(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        let (parent, name) = split(path);
        let name = OsStr::from_bytes(name);
        let layer = self.options.layer;
        let at = self.parent(parent).map_err(failed("open parent of", entry))?;
        let stat = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("fstatat", entry))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Ok(());
        }
        let opaque = layer && crate::rootdir::is_whiteout(&stat);
        self.forget(path);
        let at = self.parent(parent).map_err(failed("open parent of", entry))?;
        remove_all_at(at, name).map_err(failed("remove", entry))?;
        rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o700)).map_err(failed("mkdirat", entry))?;
        if opaque {
            set_opaque_at(at, name).map_err(failed("set opaque", entry))?;
        }
        Ok(())
    }

    fn file<R: BufRead>(&mut self, path: &[u8], entry: &Entry, archive: &mut Reader<R>) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (uid, gid) = self.owner(entry)?;
        let foreign = uid != 0 || gid != 0;
        // nobody else reads it before it has its owner and mode
        let mode = if foreign { 0o600 } else { entry.mode & 0o777 };
        let file = self
            .create(path, |at, name| rustix::fs::openat(at, name, flags, Mode::from_raw_mode(mode)))
            .map_err(failed("openat", entry))?;
        let mut end = 0;
        while let Some(chunk) = archive.chunk()? {
            self.bytes = self.bytes.saturating_add(chunk.data.len() as u64);
            if self.bytes > MAX_BYTES {
                return Err(Error::TooLarge { what: "archive", limit: MAX_BYTES });
            }
            if chunk.offset != end {
                rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(chunk.offset)).map_err(failed("lseek", entry))?;
            }
            write_all(&file, chunk.data).map_err(failed("write", entry))?;
            end = chunk.offset + chunk.data.len() as u64;
            self.done.size += chunk.data.len() as u64;
        }
        self.done.size = self.done.size.next_multiple_of(BLOCK);
        if end < entry.size {
            rustix::fs::ftruncate(&file, entry.size).map_err(failed("ftruncate", entry))?;
        }
        if foreign || self.options.owner.is_some() {
            rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .map_err(failed("fchown", entry))?;
        }
        if mode & !self.mask != entry.mode {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode)).map_err(failed("fchmod", entry))?;
        }
        for (name, value) in &entry.xattrs {
            set_xattr(entry, name, |name| rustix::fs::fsetxattr(&file, name, value, XattrFlags::empty()))?;
        }
        rustix::fs::futimens(&file, &times(entry.mtime)).map_err(failed("futimens", entry))
    }

    fn hard_link(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        let target = clean(&entry.link).map_err(|e| bad(entry, format!("hard link target {e}")))?;
        let target = join_base(&self.options.base, &target);
        if target == path {
            return Ok(());
        }
        let (old_at, old_name) =
            self.directories.root().open_parent(&target).map_err(failed("open parent of target of", entry))?;
        if self.options.layer && is_whiteout_at(&old_at, old_name) {
            return Err(bad(entry, "hard link target is deleted by the same layer".to_owned()));
        }
        self.create(path, |at, name| rustix::fs::linkat(&old_at, old_name, at, name, AtFlags::empty()))
            .map_err(failed("linkat", entry))
    }

    fn whiteout(&mut self, whiteout: &Whiteout) -> Result<(), Errno> {
        match whiteout {
            Whiteout::Path(path) => {
                let (parent, name) = split(path);
                let name = OsStr::from_bytes(name);
                let at = self.parent(parent)?;
                match rustix::fs::mknodat(at, name, FileType::CharacterDevice, Mode::empty(), 0) {
                    // the layer's own: a whiteout is about the layers below, which a directory would let through
                    Err(Errno::EXIST) => match set_opaque_at(at, name) {
                        Err(Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::NODEV) => Ok(()),
                        other => other,
                    },
                    other => other,
                }
            }
            Whiteout::Opaque(path) => {
                let at = self.parent(path)?;
                set_opaque_at(at, OsStr::new("."))
            }
        }
    }

    /// Runs a call that must make `name`; whatever has the name already makes room once.
    fn create<T>(
        &mut self,
        path: &[u8],
        mut make: impl FnMut(BorrowedFd<'_>, &OsStr) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let (parent, name) = split(path);
        let name = OsStr::from_bytes(name);
        let at = self.parent(parent)?;
        match make(at, name) {
            Err(Errno::EXIST) => {
                self.forget(path);
                let at = self.parent(parent)?;
                remove_all_at(at, name)?;
                make(at, name)
            }
            other => other,
        }
    }

    /// What is at `path` goes, with everything below. Before it does: open directories would make the kernel keep
    /// what is removed, and pay for it later (3 ms for each on ext4).
    fn forget(&mut self, path: &[u8]) {
        self.directories.clear();
        self.pending.remove(path);
        self.done.implicit.remove(path);
        // '0' is the byte after '/'
        let below = [path, b"/"].concat()..[path, b"0"].concat();
        let gone: Vec<Vec<u8>> = self.pending.range(below.clone()).map(|(p, _)| p.clone()).collect();
        for path in &gone {
            self.pending.remove(path);
        }
        let gone: Vec<Vec<u8>> = self.done.implicit.range(below).cloned().collect();
        for path in &gone {
            self.done.implicit.remove(path);
        }
    }

    /// The directory at `path`, made if need be.
    fn parent(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, Errno> {
        let done = &mut self.done;
        self.directories.get_or_make(path, &mut |made| {
            done.size += BLOCK;
            done.implicit.insert(made.to_vec());
        })
    }

    fn check_overwrite(&self, path: &[u8], entry: &Entry) -> Result<()> {
        let existing = match self.directories.root().lstat(path) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
            Err(_) => return Ok(()),
        };
        let word = |directory| if directory { "directory" } else { "non-directory" };
        let new = entry.kind == Kind::Directory;
        if existing == new {
            return Ok(());
        }
        let absolute = |path: &[u8]| format!("/{}", String::from_utf8_lossy(path));
        let (path, target) = (absolute(path), absolute(&self.options.base));
        Err(Error::Overwrite { existing: word(existing), path, new: word(new), target })
    }

    fn owner(&self, entry: &Entry) -> Result<(u32, u32)> {
        if let Some(owner) = self.options.owner {
            return Ok(owner);
        }
        // the highest ID means "leave as it is" to chown
        let id = |id: u64, what: &str| {
            u32::try_from(id)
                .ok()
                .filter(|&id| id != u32::MAX)
                .ok_or_else(|| bad(entry, format!("{what} {id} out of range")))
        };
        Ok((id(entry.uid, "uid")?, id(entry.gid, "gid")?))
    }

    /// Gives directories what they could not have while they were being filled.
    fn finish(mut self) -> Result<Unpacked> {
        for (path, entry) in std::mem::take(&mut self.pending) {
            let directory = self
                .directories
                .root()
                .open_at(&path, OFlags::RDONLY | OFlags::DIRECTORY)
                .map_err(failed("open directory", &entry))?;
            let (uid, gid) = self.owner(&entry)?;
            if uid != 0 || gid != 0 || !self.options.layer {
                rustix::fs::fchown(&directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                    .map_err(failed("fchown", &entry))?;
            }
            rustix::fs::fchmod(&directory, Mode::from_raw_mode(entry.mode)).map_err(failed("fchmod", &entry))?;
            for (name, value) in &entry.xattrs {
                set_xattr(&entry, name, |name| rustix::fs::fsetxattr(&directory, name, value, XattrFlags::empty()))?;
            }
            rustix::fs::futimens(&directory, &times(entry.mtime)).map_err(failed("futimens", &entry))?;
        }
        Ok(self.done)
    }
}

/// Owner, mode, attributes and time of a node that cannot be opened itself.
fn finish_node(
    at: BorrowedFd<'_>,
    name: &OsStr,
    entry: &Entry,
    (uid, gid): (u32, u32),
    mode: Option<u32>,
) -> Result<()> {
    let nofollow = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::chownat(at, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), nofollow)
        .map_err(failed("fchownat", entry))?;
    if mode.is_some() || !entry.xattrs.is_empty() {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node: OwnedFd = rustix::fs::openat(at, name, flags, Mode::empty()).map_err(failed("open node", entry))?;
        // the node itself, however the name may change meanwhile
        let path = format!("/proc/self/fd/{}", node.as_fd().as_raw_fd());
        if let Some(mode) = mode {
            rustix::fs::chmod(&path, Mode::from_raw_mode(mode)).map_err(failed("chmod", entry))?;
        }
        for (name, value) in &entry.xattrs {
            set_xattr(entry, name, |name| rustix::fs::setxattr(&path, name, value, XattrFlags::empty()))?;
        }
    }
    rustix::fs::utimensat(at, name, &times(entry.mtime), nofollow).map_err(failed("utimensat", entry))
}

/// Sets an attribute unless it is overlayfs's own. Attributes that the file system does not know are left out, as
/// Docker does; a security label of another system (SELinux) that may not be set is left out too.
fn set_xattr(entry: &Entry, name: &[u8], set: impl FnOnce(&OsStr) -> Result<(), Errno>) -> Result<()> {
    if name.starts_with(OVERLAY_XATTRS) {
        return Ok(());
    }
    match set(OsStr::from_bytes(name)) {
        Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
        Err(Errno::PERM | Errno::INVAL) if name != b"security.capability" => Ok(()),
        Err(e) => Err(failed("setxattr", entry)(e)),
    }
}

fn write_all(file: &OwnedFd, mut data: &[u8]) -> Result<(), Errno> {
    while !data.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(file, data))?;
        data = data.get(written..).unwrap_or_default();
    }
    Ok(())
}

fn times(mtime: Time) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanoseconds) };
    Timestamps { last_access: time, last_modification: time }
}

fn join_base(base: &[u8], path: &[u8]) -> Vec<u8> {
    if base.is_empty() { path.to_vec() } else { join(base, path) }
}

fn bad(entry: &Entry, reason: String) -> Error {
    Error::Entry { path: String::from_utf8_lossy(&entry.path).into_owned(), reason }
}

fn failed(step: &'static str, entry: &Entry) -> impl FnOnce(Errno) -> Error {
    move |errno| Error::Io { step, path: String::from_utf8_lossy(&entry.path).into_owned(), source: errno.into() }
}

/// The umask, without changing it (it is the whole process's); 0777 where /proc does not tell, so that every mode
/// is set explicitly.
fn umask() -> u32 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
            u32::from_str_radix(line.trim(), 8).ok()
        })
        .unwrap_or(0o777)
}
