//! `/dev`: device nodes and the usual links.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Access, AtFlags, CWD, FileType, Gid, Mode, Uid, accessat, chownat, fstat, mknodat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::mounts::attach;
use super::paths::{self, Make};
use super::{Outcome, at, nth};
use crate::plan::devices::LINKS;
use crate::plan::{DevicePlan, Plan};
use crate::step::Step;

pub(crate) fn populate(plan: &Plan, root: BorrowedFd<'_>, host_proc: BorrowedFd<'_>) -> Outcome {
    let dev = paths::ensure(root, c"dev", Make::Directory).map_err(at(Step::DevLink))?;
    for (index, device) in plan.devices.iter().enumerate() {
        if device.parent.as_c_str() == c"dev" {
            make(index, device, dev.as_fd())?;
        } else {
            let parent = paths::ensure(root, device.parent.as_c_str(), Make::Directory);
            make(index, device, parent.map_err(nth(Step::DevDirectory, index))?.as_fd())?;
        }
    }
    for (name, target) in LINKS {
        if name == c"core" && accessat(host_proc, c"kcore", Access::EXISTS, AtFlags::empty()).is_err() {
            continue;
        }
        match symlinkat(target, &dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(at(Step::DevLink)(errno)),
        }
    }
    Ok(())
}

fn make(index: usize, device: &DevicePlan, parent: BorrowedFd<'_>) -> Outcome {
    let fail = nth(Step::Device, index);
    let name = device.name.as_c_str();
    match mknodat(parent, name, device.kind, Mode::from_raw_mode(device.mode), device.device) {
        Ok(()) => {}
        // The image's own.
        Err(Errno::EXIST) => return Ok(()),
        Err(Errno::PERM) if device.kind != FileType::Fifo => {
            return bind(device, parent).map_err(nth(Step::DeviceBind, index));
        }
        Err(errno) => return Err(fail(errno)),
    }
    if device.uid != 0 || device.gid != 0 {
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
    }
    Ok(())
}

/// In a user namespace no device can be made, but the host's can be shown.
fn bind(device: &DevicePlan, parent: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, device.host.as_c_str(), flags)?;
    let stat = fstat(&tree)?;
    if FileType::from_raw_mode(stat.st_mode) != device.kind || stat.st_rdev != device.device {
        return Err(Errno::NODEV);
    }
    match mknodat(parent, device.name.as_c_str(), FileType::RegularFile, Mode::empty(), 0) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::CLOEXEC;
    let target = rustix::fs::openat(parent, device.name.as_c_str(), flags, Mode::empty())?;
    attach(&tree, target.as_fd())
}
