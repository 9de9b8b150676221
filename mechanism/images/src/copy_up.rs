//! Filling a new volume with what the image has at its mount point.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chmodat, chownat, fchmod, fchown,
    fgetxattr, flistxattr, fsetxattr, futimens, mkdirat, mknodat, openat, readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;
use tare_reference::Digest;

use crate::rootdir::RootDir;
use crate::{Error, ImageStore, Result};

/// Deepest directory that is copied: below it lies a loop or an attack, not a volume.
const DEPTH_MAX: usize = 256;
/// Largest extended attribute in bytes (the kernel's `XATTR_SIZE_MAX` is 64 KiB).
const XATTR_BYTES_MAX: usize = 64 * 1024;

impl ImageStore {
    /// Whether an image has something at `path` that is no directory: no volume can be mounted there.
    pub fn has_file(&self, diff_ids: &[Digest], path: &Path) -> Result<bool> {
        let root = RootDir::from_fd(self.mount_image(diff_ids)?);
        let opened = root.open_at(path.as_os_str().as_bytes(), OFlags::PATH | OFlags::DIRECTORY);
        Ok(matches!(opened, Err(Errno::NOTDIR)))
    }

    /// Copies the content of the directory `path` of an image into `target`, with owners, modes and times; the
    /// directory's own go to `target`. Nothing happens when the image has no such directory; returns false when it has
    /// something else there.
    pub fn copy_up(&self, diff_ids: &[Digest], path: &Path, target: &Path) -> Result<bool> {
        let root = RootDir::from_fd(self.mount_image(diff_ids)?);
        let source = match root.open_at(path.as_os_str().as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(source) => source,
            Err(Errno::NOENT) => return Ok(true),
            Err(Errno::NOTDIR) => return Ok(false),
            Err(errno) => return Err(failed("open", path, errno)),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let to = openat(rustix::fs::CWD, target, flags, Mode::empty()).map_err(|e| failed("open", target, e))?;
        copy_directory(&source, &to, 0).map(|()| true).map_err(|errno| failed("copy", path, errno))
    }
}

fn failed(step: &'static str, path: &Path, errno: Errno) -> Error {
    Error::io(step, path)(std::io::Error::from(errno))
}

fn copy_directory(from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<(), Errno> {
    if depth > DEPTH_MAX {
        return Err(Errno::LOOP);
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            copy_entry(from.as_fd(), to.as_fd(), name, depth)?;
        }
    }
    let stat = rustix::fs::fstat(from)?;
    copy_xattrs(from.as_fd(), to.as_fd())?;
    fchown(to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(to, mode(&stat))?;
    futimens(to, &times(&stat))
}

fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<(), Errno> {
    let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            mkdirat(to, name, Mode::RWXU)?;
            let source = openat(from, name, read | OFlags::DIRECTORY, Mode::empty())?;
            let target = openat(to, name, read | OFlags::DIRECTORY, Mode::empty())?;
            copy_directory(&source, &target, depth + 1)
        }
        FileType::RegularFile => {
            let source = openat(from, name, read, Mode::empty())?;
            let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let target = openat(to, name, create, Mode::RUSR | Mode::WUSR)?;
            copy_content(&source, &target)?;
            fchown(&target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
            // After the owner: changing that takes set-user-ID bits and capabilities away.
            fchmod(&target, mode(&stat))?;
            copy_xattrs(source.as_fd(), target.as_fd())?;
            futimens(&target, &times(&stat))
        }
        FileType::Symlink => {
            let link = readlinkat(from, name, Vec::new())?;
            symlinkat(link.as_c_str(), to, name)?;
            own(to, name, &stat)
        }
        kind => {
            mknodat(to, name, kind, Mode::empty(), stat.st_rdev)?;
            own(to, name, &stat)?;
            chmodat(to, name, mode(&stat), AtFlags::empty())
        }
    }
}

fn own(to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
}

fn copy_content(from: &OwnedFd, to: &OwnedFd) -> Result<(), Errno> {
    let mut from = std::fs::File::from(from.try_clone().map_err(|error| errno(&error))?);
    let mut to = std::fs::File::from(to.try_clone().map_err(|error| errno(&error))?);
    // Copied in the kernel, by reference where the file system can.
    std::io::copy(&mut from, &mut to).map(|_| ()).map_err(|error| errno(&error))
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

fn copy_xattrs(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut names = vec![0; XATTR_BYTES_MAX];
    let length = match flistxattr(from, names.as_mut_slice()) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        length => length?,
    };
    let mut value = vec![0; XATTR_BYTES_MAX];
    for name in names.get(..length).unwrap_or_default().split(|byte| *byte == 0) {
        if name.is_empty() || name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let size = fgetxattr(from, name, value.as_mut_slice())?;
        match fsetxattr(to, name, value.get(..size).unwrap_or_default(), rustix::fs::XattrFlags::empty()) {
            // The volume's file system may not have this kind.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn mode(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode & 0o7777)
}

#[expect(clippy::cast_possible_wrap, reason = "nanoseconds are below 10^9")]
fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    }
}
