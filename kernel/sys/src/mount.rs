//! mount_setattr(2).

use std::ffi::CStr;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

/// `struct mount_attr` of `linux/mount.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`, or 0 to leave it.
    pub propagation: u64,
    /// User namespace for `MOUNT_ATTR_IDMAP`.
    pub userns_fd: u64,
}

const _: () = assert!(size_of::<MountAttr>() == 32);

impl MountAttr {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.set == 0 && self.clear == 0 && self.propagation == 0
    }
}

/// `MOUNT_ATTR_*` of `linux/mount.h`.
pub mod attr {
    /// Read-only.
    pub const RDONLY: u64 = 0x1;
    /// Ignore set-user-ID and file capabilities.
    pub const NOSUID: u64 = 0x2;
    /// No device files.
    pub const NODEV: u64 = 0x4;
    /// No execution.
    pub const NOEXEC: u64 = 0x8;
    /// The two bits of access time; to be cleared before one is set.
    pub const ATIME: u64 = 0x70;
    /// No access times.
    pub const NOATIME: u64 = 0x10;
    /// Access times always.
    pub const STRICTATIME: u64 = 0x20;
    /// No access times of directories.
    pub const NODIRATIME: u64 = 0x80;
    /// Mapped IDs.
    pub const IDMAP: u64 = 0x10_0000;
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// Propagation types (`MS_*` of `linux/mount.h`).
pub mod propagation {
    /// `MS_UNBINDABLE`
    pub const UNBINDABLE: u64 = 1 << 17;
    /// `MS_PRIVATE`
    pub const PRIVATE: u64 = 1 << 18;
    /// `MS_SLAVE`
    pub const SLAVE: u64 = 1 << 19;
    /// `MS_SHARED`
    pub const SHARED: u64 = 1 << 20;
}

/// `AT_RECURSIVE`
const RECURSIVE: u32 = 0x8000;
/// `AT_EMPTY_PATH`
const EMPTY_PATH: u32 = 0x1000;

/// Changes the mount that `path` below `directory` (or, with an empty path, `directory` itself) is the root of, and
/// with `recursive` all below it. Errors: `mount_setattr(2)`.
pub fn mount_setattr(directory: impl AsFd, path: &CStr, recursive: bool, attributes: &MountAttr) -> Result<(), Errno> {
    let flags = if recursive { RECURSIVE } else { 0 } | if path.is_empty() { EMPTY_PATH } else { 0 };
    // SAFETY: the path is NUL-terminated and the structure is valid for reads of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory.as_fd().as_raw_fd(),
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<MountAttr>(),
        )
    };
    crate::check(result).map(drop)
}

#[cfg(test)]
mod tests {
    use rustix::mount::{OpenTreeFlags, open_tree};

    use super::*;

    #[test]
    fn a_detached_clone_becomes_read_only() {
        let directory = std::env::temp_dir();
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(rustix::fs::CWD, &directory, flags).unwrap();
        let change = MountAttr { set: attr::RDONLY, propagation: propagation::PRIVATE, ..MountAttr::default() };
        mount_setattr(&tree, c"", true, &change).unwrap();
        let error = rustix::fs::mkdirat(&tree, "no", rustix::fs::Mode::RWXU).unwrap_err();
        assert_eq!(error, Errno::ROFS);
        let nonsense = MountAttr { set: 1 << 40, ..MountAttr::default() };
        assert_eq!(mount_setattr(&tree, c"", false, &nonsense), Err(Errno::INVAL));
    }
}
