//! Paths below the container's root, resolved by the kernel so that nothing in the image leads out of it; and making
//! what is missing. Allocates nothing: runs in the child.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, mkdirat, mknodat, readlinkat_raw, statat};
use rustix::io::Errno;
use tare_sys::scoped;

/// Bytes of a path, `PATH_MAX`.
const PATH_BYTES_MAX: usize = 4096;
/// Symbolic links followed in one path, as in the kernel (`MAXSYMLINKS`).
const LINKS_MAX: u32 = 40;

/// What is made where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Make {
    Directory,
    File,
}

const DIRECTORY_MODE: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP).union(Mode::ROTH).union(Mode::XOTH);
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP).union(Mode::ROTH);

/// Opens what `path` names as an `O_PATH` descriptor, as if `root` were `/`.
pub(crate) fn open(root: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    scoped::open(root, path, OFlags::PATH, ResolveFlags::IN_ROOT)
}

/// Opens what `path` names; where nothing is, makes it, and the directories above it.
pub(crate) fn ensure(root: BorrowedFd<'_>, path: &CStr, make: Make) -> Result<OwnedFd, Errno> {
    match open(root, path) {
        Err(Errno::NOENT) => Walk::new(root, path)?.run(make),
        result => result,
    }
}

/// A path in a buffer.
struct Buffer {
    bytes: [u8; PATH_BYTES_MAX],
    length: usize,
}

impl Buffer {
    const fn new() -> Self {
        Self { bytes: [0; PATH_BYTES_MAX], length: 0 }
    }

    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The path as a C string; the root itself when it is empty. There is always room for the NUL.
    fn as_c_str(&self) -> Result<&CStr, Errno> {
        if self.length == 0 {
            return Ok(c".");
        }
        let bytes = self.bytes.get(..=self.length).ok_or(Errno::NAMETOOLONG)?;
        CStr::from_bytes_with_nul(bytes).map_err(|_| Errno::INVAL)
    }

    fn push(&mut self, part: &[u8]) -> Result<(), Errno> {
        // One byte stays free for the NUL.
        let end = self.length.checked_add(part.len()).filter(|end| *end < PATH_BYTES_MAX).ok_or(Errno::NAMETOOLONG)?;
        self.bytes.get_mut(self.length..end).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(part);
        self.length = end;
        self.terminate();
        Ok(())
    }

    fn truncate(&mut self, length: usize) {
        self.length = length.min(self.length);
        self.terminate();
    }

    fn terminate(&mut self) {
        if let Some(byte) = self.bytes.get_mut(self.length) {
            *byte = 0;
        }
    }

    /// Puts `front` before what is there.
    fn prepend(&mut self, front: &[u8]) -> Result<(), Errno> {
        let end = self.length.checked_add(front.len()).filter(|end| *end < PATH_BYTES_MAX).ok_or(Errno::NAMETOOLONG)?;
        self.bytes.copy_within(..self.length, front.len());
        self.bytes.get_mut(..front.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(front);
        self.length = end;
        self.terminate();
        Ok(())
    }
}

/// A walk that goes name by name, because something on the way is missing: a symbolic link may lead to the missing
/// part, which is then made where the link points to.
struct Walk<'a> {
    root: BorrowedFd<'a>,
    /// Where the walk is: free of links and dots.
    here: Buffer,
    /// What is still to go.
    rest: Buffer,
    links: u32,
}

impl<'a> Walk<'a> {
    fn new(root: BorrowedFd<'a>, path: &CStr) -> Result<Self, Errno> {
        let mut rest = Buffer::new();
        rest.push(path.to_bytes())?;
        Ok(Self { root, here: Buffer::new(), rest, links: 0 })
    }

    fn run(mut self, make: Make) -> Result<OwnedFd, Errno> {
        let mut parent = open(self.root, c".")?;
        while let Some((name, last)) = self.next_name()? {
            match name.as_slice() {
                b"." => continue,
                b".." => {
                    let up = self.here.as_slice().iter().rposition(|byte| *byte == b'/').unwrap_or_default();
                    self.here.truncate(up);
                    parent = open(self.root, self.here.as_c_str()?)?;
                    continue;
                }
                _ => {}
            }
            let make = if last { make } else { Make::Directory };
            if create(parent.as_fd(), name.as_c_str()?, make)? == FileType::Symlink {
                self.follow(parent.as_fd(), &name)?;
                parent = open(self.root, self.here.as_c_str()?)?;
                continue;
            }
            if self.here.length > 0 {
                self.here.push(b"/")?;
            }
            self.here.push(name.as_slice())?;
            parent = open(self.root, self.here.as_c_str()?)?;
        }
        Ok(parent)
    }

    /// Takes the next name off the rest, and says whether it is the last one.
    fn next_name(&mut self) -> Result<Option<(Buffer, bool)>, Errno> {
        let rest = self.rest.as_slice();
        let Some(start) = rest.iter().position(|byte| *byte != b'/') else { return Ok(None) };
        let end = rest.iter().skip(start).position(|byte| *byte == b'/').map_or(rest.len(), |length| start + length);
        let mut name = Buffer::new();
        name.push(rest.get(start..end).ok_or(Errno::INVAL)?)?;
        let last = rest.iter().skip(end).all(|byte| *byte == b'/');
        let length = self.rest.length;
        self.rest.bytes.copy_within(end..length, 0);
        self.rest.truncate(length - end);
        Ok(Some((name, last)))
    }

    fn follow(&mut self, parent: BorrowedFd<'_>, name: &Buffer) -> Result<(), Errno> {
        self.links += 1;
        if self.links > LINKS_MAX {
            return Err(Errno::LOOP);
        }
        let mut target = Buffer::new();
        let mut space = [0u8; PATH_BYTES_MAX];
        let length = readlinkat_raw(parent, name.as_c_str()?, &mut space[..])?;
        target.push(space.get(..length).ok_or(Errno::NAMETOOLONG)?)?;
        if target.as_slice().first() == Some(&b'/') {
            self.here.truncate(0);
        }
        if self.rest.length > 0 {
            target.push(b"/")?;
        }
        self.rest.prepend(target.as_slice())
    }
}

/// Makes `name` unless it is there, and says what is there.
fn create(parent: BorrowedFd<'_>, name: &CStr, make: Make) -> Result<FileType, Errno> {
    let made = match make {
        Make::Directory => mkdirat(parent, name, DIRECTORY_MODE),
        Make::File => mknodat(parent, name, FileType::RegularFile, FILE_MODE, 0),
    };
    match made {
        Ok(()) => Ok(if make == Make::Directory { FileType::Directory } else { FileType::RegularFile }),
        Err(error) => match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(FileType::from_raw_mode(stat.st_mode)),
            Err(_) => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn made(directory: &Path, path: &CStr, make: Make) -> Result<std::path::PathBuf, Errno> {
        let root = fs::File::open(directory).unwrap();
        let fd = ensure(root.as_fd(), path, make)?;
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        Ok(fs::read_link(link).unwrap().strip_prefix(directory).unwrap().to_owned())
    }

    #[test]
    fn missing_parts_are_made() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert_eq!(made(root, c"a/b/c", Make::Directory), Ok("a/b/c".into()));
        assert!(root.join("a/b/c").is_dir());
        assert_eq!(made(root, c"a/b/file", Make::File), Ok("a/b/file".into()));
        assert!(root.join("a/b/file").is_file());
        assert_eq!(made(root, c"a/b/file", Make::Directory), Ok("a/b/file".into()), "what is there stays");
        assert_eq!(made(root, c"a/b/file/x", Make::File), Err(Errno::NOTDIR));
        assert_eq!(made(root, c"a//./b/../d/", Make::Directory), Ok("a/d".into()));
        assert_eq!(made(root, c".", Make::Directory), Ok("".into()));
    }

    #[test]
    fn links_lead_nowhere_outside() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        symlink("../run/resolve/stub.conf", root.join("etc/resolv.conf")).unwrap();
        symlink("/../../../../outside", root.join("etc/up")).unwrap();
        symlink("../../../../outside", root.join("relative")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        assert_eq!(made(&root, c"etc/resolv.conf", Make::File), Ok("run/resolve/stub.conf".into()));
        assert_eq!(made(&root, c"etc/up/x", Make::Directory), Ok("outside/x".into()));
        assert_eq!(made(&root, c"relative/y", Make::Directory), Ok("outside/y".into()));
        assert_eq!(made(&root, c"etc/../../../z", Make::File), Ok("z".into()));
        assert_eq!(made(&root, c"loop/x", Make::File), Err(Errno::LOOP));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn magic_links_are_not_followed() {
        let root = fs::File::open("/").unwrap();
        assert_eq!(open(root.as_fd(), c"proc/self/fd/0").map(drop), Err(Errno::LOOP));
    }

    proptest! {
        /// Whatever links an image has, everything that is made lies below its root.
        #[test]
        fn nothing_is_made_outside(
            links in proptest::collection::vec(("[abc]", "(/|)(\\.\\./){0,3}[abcd](/[abcd.]{1,2}){0,2}"), 0..4),
            path in "[abc]/(\\.\\./){0,3}[abcd](/[abcd]){0,2}",
        ) {
            let directory = tempfile::tempdir().unwrap();
            let root = directory.path().join("x/y/root");
            fs::create_dir_all(&root).unwrap();
            for (name, target) in links {
                let _ = symlink(target, root.join(name));
            }
            let path = std::ffi::CString::new(path).unwrap();
            // `made` itself asserts that the result is below the root.
            let _ = made(&root, &path, Make::Directory);
            prop_assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
            prop_assert_eq!(fs::read_dir(directory.path().join("x")).unwrap().count(), 1);
            prop_assert_eq!(fs::read_dir(directory.path().join("x/y")).unwrap().count(), 1);
        }
    }
}
