//! What the container shall not see or not write to.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, makedev, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};
use tare_sys::mount::{MountAttr, attr, mount_setattr};

use super::mounts::{attach, clone_tree};
use super::{InitTask, Outcome, nth, paths};
use crate::plan::RootPath;
use crate::step::Step;

/// Masks paths and makes others read-only. What lies in procfs is looked up in the mount that was just made, whatever
/// is mounted at its place now.
pub(super) fn hide(task: &InitTask<'_>, root: BorrowedFd<'_>, proc: Option<BorrowedFd<'_>>) -> Outcome {
    let mut null_attached = false;
    let mut null: Option<OwnedFd> = None;
    let mut empty: Option<OwnedFd> = None;
    for (index, path) in task.plan.masked.iter().enumerate() {
        let fail = nth(Step::Mask, index);
        let target = match find(root, proc, path) {
            Ok(target) => target,
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(errno) => return Err(fail(errno)),
        };
        let kind = FileType::from_raw_mode(fstat(&target).map_err(&fail)?.st_mode);
        if kind == FileType::Directory {
            let attached = empty.is_some();
            let source = match empty.take() {
                Some(source) => source,
                None => empty_directory().map_err(&fail)?,
            };
            stamp(source.as_fd(), attached, target.as_fd()).map_err(&fail)?;
            empty = Some(source);
        } else {
            let source = match null.take() {
                Some(source) => source,
                None => null_device().map_err(&fail)?,
            };
            stamp(source.as_fd(), null_attached, target.as_fd()).map_err(&fail)?;
            null_attached = true;
            null = Some(source);
        }
    }
    for (index, path) in task.plan.readonly.iter().enumerate() {
        let fail = nth(Step::Readonly, index);
        let target = match find(root, proc, path) {
            Ok(target) => target,
            Err(Errno::NOENT | Errno::NOTDIR) => continue,
            Err(errno) => return Err(fail(errno)),
        };
        let tree = clone_tree(target.as_fd(), OpenTreeFlags::AT_RECURSIVE).map_err(&fail)?;
        let change = MountAttr { set: attr::RDONLY, ..MountAttr::default() };
        mount_setattr(&tree, c"", true, &change).map_err(&fail)?;
        attach(&tree, target.as_fd()).map_err(&fail)?;
    }
    Ok(())
}

fn find(root: BorrowedFd<'_>, proc: Option<BorrowedFd<'_>>, path: &RootPath) -> Result<OwnedFd, Errno> {
    let below_proc = path.as_c_str().to_bytes_with_nul().strip_prefix(b"proc/");
    match (proc, below_proc.and_then(|rest| CStr::from_bytes_with_nul(rest).ok())) {
        (Some(proc), Some(rest)) => {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            tare_sys::scoped::open(proc, rest, OFlags::PATH, resolve)
        }
        _ => paths::open(root, path.as_c_str()),
    }
}

/// Puts one mount in several places. A detached mount can be cloned from Linux 6.15 on only, so the first place gets
/// the mount itself and the others clones of that.
fn stamp(source: BorrowedFd<'_>, attached: bool, target: BorrowedFd<'_>) -> Result<(), Errno> {
    if attached { attach(clone_tree(source, OpenTreeFlags::empty())?, target) } else { attach(source, target) }
}

/// A detached mount of the host's `/dev/null`, and of nothing else that might be in its place.
fn null_device() -> Result<OwnedFd, Errno> {
    const NULL: (u32, u32) = (1, 3);
    let device = openat(CWD, c"/dev/null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstat(&device)?;
    let character = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if !character || stat.st_rdev != makedev(NULL.0, NULL.1) {
        return Err(Errno::NODEV);
    }
    clone_tree(device.as_fd(), OpenTreeFlags::empty())
}

pub(super) fn empty_directory() -> Result<OwnedFd, Errno> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in [(c"source", c"tmpfs"), (c"mode", c"755"), (c"nr_blocks", c"1"), (c"nr_inodes", c"1")] {
        fsconfig_set_string(&context, key, value)?;
    }
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
