//! Moving into the root, and letting go of the host's file systems.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, PROC_SUPER_MAGIC, fstatfs, openat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use tare_sys::mount::{MountAttr, mount_setattr, propagation};
use tare_sys::process::namespace;

use super::hide::empty_directory;
use super::mounts::attach;
use super::{InitTask, Outcome, at};
use crate::prepare::HostMount;
use crate::step::Step;

/// Makes the root the process's own and lets go of the host's file system.
pub(crate) fn enter_root(task: &InitTask<'_>) -> Outcome {
    move_in(task)?;
    // Not before: no root can be pivoted to that is shared.
    if let Some((kind, recursive)) = task.plan.root_propagation {
        let change = |propagation| MountAttr { propagation, ..MountAttr::default() };
        if kind == propagation::SHARED {
            // In a group of its own, which receives nothing from the host either.
            let private = change(propagation::PRIVATE);
            mount_setattr(&task.prepared.root, c"", false, &private).map_err(at(Step::RootAttributes))?;
        }
        mount_setattr(&task.prepared.root, c"", recursive, &change(kind)).map_err(at(Step::RootAttributes))?;
    }
    Ok(())
}

fn move_in(task: &InitTask<'_>) -> Outcome {
    rustix::process::fchdir(&task.prepared.root).map_err(at(Step::EnterRoot))?;
    if !task.plan.namespaces.has(namespace::MOUNT) {
        // The host's root stays what it is.
        return rustix::process::chroot(c".").map_err(at(Step::Chroot));
    }
    if let Some(mounts) = &task.prepared.host_mounts {
        if task.prepared.root_place.as_c_str() != c"/" {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(&task.prepared.root, c"", CWD, c"/", flags).map_err(at(Step::AttachRoot))?;
        }
        let_go(mounts)?;
        return rustix::process::chroot(c".").map_err(at(Step::Chroot));
    }
    rustix::process::pivot_root(c".", c".").map_err(at(Step::Pivot))?;
    // The old root lies on top of the new one now, and that is what `.` leads to.
    unmount(c".", UnmountFlags::DETACH).map_err(at(Step::DetachHost))?;
    rustix::process::chdir(c"/").map_err(at(Step::EnterRoot))
}

/// Without a pivot the host's mounts stay in the namespace below the new root, out of sight. But as long as a procfs is
/// among them of which nothing is hidden, the kernel lets the container mount another such: it may see no more there than
/// it could have seen. Paths still lead where the host's do, as the process's root is not changed yet.
fn let_go(mounts: &[HostMount]) -> Outcome {
    // What was mounted last comes first: it may hide what was mounted before.
    for mount in mounts.iter().rev().filter(|mount| mount.top) {
        match unmount(mount.point.as_c_str(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Gone with another, or locked because it came from a more privileged user namespace.
            Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::NOENT) => {}
            Err(errno) => return Err(at(Step::DetachHost)(errno)),
        }
    }
    for mount in mounts.iter().filter(|mount| mount.whole_kernel) {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(point) = openat(CWD, mount.point.as_c_str(), flags, Mode::empty()) else { continue };
        if is_kernels(&point).map_err(at(Step::DetachHost))? {
            let cover = empty_directory().map_err(at(Step::DetachHost))?;
            attach(&cover, point.as_fd()).map_err(at(Step::DetachHost))?;
        }
    }
    Ok(())
}

fn is_kernels(point: &OwnedFd) -> Result<bool, Errno> {
    /// `SYSFS_MAGIC`
    const SYSFS: i64 = 0x6265_6572;
    let kind = fstatfs(point)?.f_type;
    Ok(kind == PROC_SUPER_MAGIC || kind == SYSFS)
}
