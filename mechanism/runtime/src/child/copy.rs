//! Copying what a directory holds into the file system that is about to hide it.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawDir, Stat, Uid, chmodat, chownat, fstat, mkdirat, mknodat, openat,
    readlinkat_raw, sendfile, statat, symlinkat,
};
use rustix::io::Errno;

/// Directories in each other; each takes a few kilobytes of stack.
const DEPTH_MAX: u32 = 64;
/// Bytes of directory entries read at a time.
const ENTRIES_BYTES: usize = 2048;
/// Bytes of a symbolic link's target, `PATH_MAX`.
const LINK_BYTES_MAX: usize = 4096;

/// Copies the contents and the owner and mode of `from` into `to`, not following links.
pub(crate) fn copy_up(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let stat = fstat(from)?;
    let to = directory(to, c".")?;
    rustix::fs::fchown(&to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode))?;
    copy_entries(&directory(from, c".")?, &to, 0)
}

fn directory(parent: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn copy_entries(from: &OwnedFd, to: &OwnedFd, depth: u32) -> Result<(), Errno> {
    if depth > DEPTH_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    let mut buffer = [MaybeUninit::uninit(); ENTRIES_BYTES];
    let mut entries = RawDir::new(from, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
        copy_entry(from, to, name, &stat, depth)?;
    }
    Ok(())
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &CStr, stat: &Stat, depth: u32) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(stat.st_mode);
    let kind = FileType::from_raw_mode(stat.st_mode);
    match kind {
        FileType::Directory => {
            mkdirat(to, name, Mode::RWXU)?;
            copy_entries(&directory(from, name)?, &directory(to, name)?, depth + 1)?;
        }
        FileType::RegularFile => copy_file(from, to, name, stat.st_size)?,
        FileType::Symlink => {
            let mut target = [0u8; LINK_BYTES_MAX];
            let length = readlinkat_raw(from, name, &mut target[..LINK_BYTES_MAX - 1])?;
            let target = target.get(..=length).ok_or(Errno::NAMETOOLONG)?;
            symlinkat(CStr::from_bytes_with_nul(target).map_err(|_| Errno::INVAL)?, to, name)?;
        }
        _ => mknodat(to, name, kind, mode, stat.st_rdev)?,
    }
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if kind != FileType::Symlink {
        chmodat(to, name, mode, AtFlags::empty())?;
    }
    Ok(())
}

fn copy_file(from: &OwnedFd, to: &OwnedFd, name: &CStr, size: i64) -> Result<(), Errno> {
    /// Bytes per sendfile(2); the kernel stops earlier by itself.
    const CHUNK: usize = 1 << 30;
    let source = openat(from, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
    // A file that grows meanwhile must not hold us.
    let mut left = usize::try_from(size).unwrap_or_default();
    while left > 0 {
        match rustix::io::retry_on_intr(|| sendfile(&target, &source, None, left.min(CHUNK)))? {
            0 => break,
            sent => left = left.saturating_sub(sent),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn everything_is_copied_with_owner_and_mode() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = from.path();
        fs::create_dir_all(path.join("a/b")).unwrap();
        fs::write(path.join("a/b/file"), "content").unwrap();
        fs::set_permissions(path.join("a/b/file"), PermissionsExt::from_mode(0o4751)).unwrap();
        std::os::unix::fs::chown(path.join("a"), Some(7), Some(8)).unwrap();
        symlink("/nowhere", path.join("link")).unwrap();
        for number in 0..200 {
            fs::write(path.join(format!("many{number}")), "").unwrap();
        }
        fs::set_permissions(path, PermissionsExt::from_mode(0o1777)).unwrap();
        let open = |path| fs::File::open(path).unwrap();
        copy_up(open(path).as_fd(), open(to.path()).as_fd()).unwrap();
        let copy = to.path();
        assert_eq!(fs::read_to_string(copy.join("a/b/file")).unwrap(), "content");
        assert_eq!(fs::metadata(copy.join("a/b/file")).unwrap().mode() & 0o7777, 0o4751);
        assert_eq!(fs::metadata(copy.join("a")).unwrap().uid(), 7);
        assert_eq!(fs::read_link(copy.join("link")).unwrap(), std::path::Path::new("/nowhere"));
        assert_eq!(fs::metadata(copy).unwrap().mode() & 0o7777, 0o1777);
        assert_eq!(fs::read_dir(copy).unwrap().count(), 202);
    }
}
