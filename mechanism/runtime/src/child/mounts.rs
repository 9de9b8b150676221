//! The container's file system: attaching the root, the mounts, devices and masks below it, and moving in.
//!
//! Everything is attached with move_mount(2) to targets that were opened below the root (see [`super::paths`]).

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};
use tare_sys::mount::{MountAttr, attr, mount_setattr, propagation};
use tare_sys::process::namespace;

use super::paths::{self, Make};
use super::terminal::{self, Terminal};
use super::{ChildStdio, InitTask, Outcome, at, copy, dev, nth, receive, send};
use crate::plan::mounts::Parameter;
use crate::plan::{MountKind, MountPlan, RootPath};
use crate::prepare::{CgroupTrees, PreparedMount};
use crate::step::{Report, Step};

/// Builds the container's file system on the root; the process itself still has the host's.
pub(crate) fn set_up(task: &InitTask<'_>) -> Outcome<Option<Terminal>> {
    let private = MountAttr { propagation: propagation::PRIVATE, ..MountAttr::default() };
    mount_setattr(CWD, c"/", true, &private).map_err(at(Step::PrivateMounts))?;
    let root = task.prepared.root.as_fd();
    let place = task.prepared.root_place.as_c_str();
    move_mount(root, c"", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(at(Step::AttachRoot))?;

    let mut proc = None;
    for (index, (mount, prepared)) in task.plan.mounts.iter().zip(&task.prepared.mounts).enumerate() {
        let made = mount_one(task, index, mount, prepared)?;
        if mount.file_system() == Some(c"proc") && mount.target.as_c_str() == c"proc" {
            proc = made;
        }
    }
    if task.plan.populate_dev {
        dev::populate(task.plan, root, task.common.host_proc)?;
    }
    let terminal = match task.common.stdio {
        ChildStdio::Terminal(size) => {
            let terminal = terminal::open(&task.common, root, *size)?;
            terminal::mount_console(root, &terminal)?;
            Some(terminal)
        }
        ChildStdio::Inherit | ChildStdio::Fds(_) => None,
    };
    if task.plan.hooks {
        send(task.common.socket, Report::Hooks).map_err(at(Step::Hooks))?;
        receive(task.common.socket).map_err(at(Step::Hooks))?;
    }
    hide(task, root, proc.as_ref().map(OwnedFd::as_fd))?;
    paths::ensure(root, task.plan.cwd.as_c_str(), Make::Directory).map_err(at(Step::MakeCwd))?;
    finish_root(task, root)?;
    Ok(terminal)
}

/// One mount; returns its descriptor if it is a new one.
fn mount_one(
    task: &InitTask<'_>,
    index: usize,
    mount: &MountPlan,
    prepared: &PreparedMount,
) -> Outcome<Option<OwnedFd>> {
    let root = task.prepared.root.as_fd();
    let fail = |step| nth(step, index);
    let target = || paths::ensure(root, mount.target.as_c_str(), prepared.make).map_err(fail(Step::Target));
    match (&mount.kind, &prepared.tree, &prepared.cgroup) {
        (MountKind::Bind { .. }, Some(tree), _) => {
            let target = target()?;
            attach(tree, target.as_fd()).map_err(|errno| fail(Step::Attach)(explain(errno, target, prepared.make)))?;
            Ok(None)
        }
        (MountKind::New { file_system, parameters, copy_up }, ..) => {
            let made = new_mount(index, mount, file_system, parameters)?;
            let target = if file_system.as_c_str() == c"proc" || file_system.as_c_str() == c"sysfs" {
                plain_directory(root, &mount.target).map_err(fail(Step::Target))?
            } else {
                target()?
            };
            if *copy_up {
                copy::copy_up(target.as_fd(), made.as_fd()).map_err(fail(Step::CopyUp))?;
            }
            attach(&made, target.as_fd()).map_err(fail(Step::Attach))?;
            for (kind, recursive) in &mount.propagation {
                if *kind != propagation::PRIVATE {
                    let change = MountAttr { propagation: *kind, ..MountAttr::default() };
                    mount_setattr(&made, c"", *recursive, &change).map_err(fail(Step::Attributes))?;
                }
            }
            Ok(Some(made))
        }
        (MountKind::Cgroup, _, Some(CgroupTrees::V1(trees))) => {
            let made = new_mount(index, mount, c"tmpfs", &task.prepared.cgroup_parameters)?;
            attach(&made, target()?.as_fd()).map_err(fail(Step::Attach))?;
            for tree in trees {
                mkdirat(&made, &tree.name, Mode::RWXU).map_err(fail(Step::CgroupTree))?;
                let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                move_mount(&tree.tree, c"", &made, tree.name.as_c_str(), flags).map_err(fail(Step::CgroupTree))?;
                for link in &tree.links {
                    symlinkat(tree.name.as_c_str(), &made, link.as_c_str()).map_err(fail(Step::CgroupTree))?;
                }
            }
            if mount.own.set & attr::RDONLY != 0 {
                let change = MountAttr { set: attr::RDONLY, ..MountAttr::default() };
                mount_setattr(&made, c"", false, &change).map_err(fail(Step::Attributes))?;
            }
            Ok(None)
        }
        (MountKind::Cgroup, _, Some(CgroupTrees::V2(own))) => {
            let made = if task.plan.namespaces.has(namespace::CGROUP) {
                new_mount(index, mount, c"cgroup2", &[]).ok()
            } else {
                None
            };
            attach(made.as_ref().unwrap_or(own), target()?.as_fd()).map_err(fail(Step::Attach))?;
            Ok(None)
        }
        _ => {
            let target = paths::open(root, mount.target.as_c_str()).map_err(fail(Step::Target))?;
            apply(&target, mount).map_err(fail(Step::Attributes))?;
            Ok(None)
        }
    }
}

/// The kernel's answer is the same for a directory on a file as for much else.
fn explain(errno: Errno, target: OwnedFd, wanted: Make) -> Errno {
    let directory = fstat(target).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    if errno == Errno::INVAL && directory != (wanted == Make::Directory) { Errno::NOTDIR } else { errno }
}

fn new_mount(index: usize, mount: &MountPlan, file_system: &CStr, parameters: &[Parameter]) -> Outcome<OwnedFd> {
    let context = fsopen(file_system, FsOpenFlags::FSOPEN_CLOEXEC).map_err(nth(Step::FsOpen, index))?;
    for Parameter { key, value } in parameters {
        match value {
            Some(value) => fsconfig_set_string(&context, key.as_c_str(), value.as_c_str()),
            None => fsconfig_set_flag(&context, key.as_c_str()),
        }
        .map_err(nth(Step::FsConfig, index))?;
    }
    fsconfig_create(&context).map_err(nth(Step::FsConfig, index))?;
    let mut set = mount.own.set | mount.recursive.set;
    if matches!(mount.kind, MountKind::Cgroup) && file_system == c"tmpfs" {
        // Its directories are still to be made.
        set &= !attr::RDONLY;
    }
    let set = MountAttrFlags::from_bits_retain(u32::try_from(set).unwrap_or_default());
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, set).map_err(nth(Step::FsMount, index))
}

/// procfs and sysfs lie where the specification says, not where the image has a link to: the masks count on it.
fn plain_directory(root: BorrowedFd<'_>, path: &RootPath) -> Result<OwnedFd, Errno> {
    let open = || {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        paths::open_with(root, path.as_c_str(), flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
    };
    match open() {
        Err(Errno::NOENT) => {
            paths::ensure(root, path.as_c_str(), Make::Directory)?;
            open()
        }
        result => result,
    }
}

pub(crate) fn attach(mount: impl AsFd, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", target, c"", flags)
}

/// Attributes and propagation of a mount that is there.
pub(crate) fn apply(mount: impl AsFd, plan: &MountPlan) -> Result<(), Errno> {
    let (mut own, mut recursive) = (plan.own, plan.recursive);
    let mut types = plan.propagation.as_slice();
    if let [(kind, all)] = types {
        // The usual case: in one call with the attributes.
        if *all {
            recursive.propagation = *kind
        } else {
            own.propagation = *kind
        }
        types = &[];
    }
    for (change, all) in [(recursive, true), (own, false)] {
        if !change.is_empty() {
            mount_setattr(&mount, c"", all, &change)?;
        }
    }
    for (kind, all) in types {
        mount_setattr(&mount, c"", *all, &MountAttr { propagation: *kind, ..MountAttr::default() })?;
    }
    Ok(())
}

/// Masks paths and makes others read-only. What lies in procfs is looked up in the mount that was just made, whatever
/// is mounted at its place now.
fn hide(task: &InitTask<'_>, root: BorrowedFd<'_>, proc: Option<BorrowedFd<'_>>) -> Outcome {
    let mut file_attached = false;
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
            let source = task.prepared.null.as_ref().ok_or_else(|| fail(Errno::NOENT))?;
            stamp(source.as_fd(), file_attached, target.as_fd()).map_err(&fail)?;
            file_attached = true;
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
            paths::open_with(proc, rest, OFlags::PATH, resolve)
        }
        _ => paths::open(root, path.as_c_str()),
    }
}

/// Puts one mount in several places. A detached mount can be cloned from Linux 6.15 on only, so the first place gets the
/// mount itself and the others clones of that.
fn stamp(source: BorrowedFd<'_>, attached: bool, target: BorrowedFd<'_>) -> Result<(), Errno> {
    if attached { attach(clone_tree(source, OpenTreeFlags::empty())?, target) } else { attach(source, target) }
}

pub(crate) fn clone_tree(mount: BorrowedFd<'_>, flags: OpenTreeFlags) -> Result<OwnedFd, Errno> {
    let base = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(mount, c"", base | flags)
}

fn empty_directory() -> Result<OwnedFd, Errno> {
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

fn finish_root(task: &InitTask<'_>, root: BorrowedFd<'_>) -> Outcome {
    if let Some((kind, recursive)) = task.plan.root_propagation {
        let change = MountAttr { propagation: kind, ..MountAttr::default() };
        // What was private stays so below a root that is to be private: nothing to do.
        if kind != propagation::PRIVATE {
            mount_setattr(root, c"", recursive, &change).map_err(at(Step::RootAttributes))?;
        }
    }
    if task.plan.root_readonly {
        let change = MountAttr { set: attr::RDONLY, ..MountAttr::default() };
        mount_setattr(root, c"", false, &change).map_err(at(Step::RootAttributes))?;
    }
    Ok(())
}

/// Makes the root the process's own and lets go of the host's file system.
pub(crate) fn enter_root(task: &InitTask<'_>) -> Outcome {
    rustix::process::fchdir(&task.prepared.root).map_err(at(Step::EnterRoot))?;
    if !task.pivot {
        let root = task.prepared.root.as_fd();
        if task.prepared.root_place.as_c_str() != c"/" {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            move_mount(root, c"", CWD, c"/", flags).map_err(at(Step::AttachRoot))?;
        }
        return rustix::process::chroot(c".").map_err(at(Step::Chroot));
    }
    rustix::process::pivot_root(c".", c".").map_err(at(Step::Pivot))?;
    // The old root lies on top of the new one now, and that is what `.` leads to.
    unmount(c".", UnmountFlags::DETACH).map_err(at(Step::DetachHost))?;
    rustix::process::chdir(c"/").map_err(at(Step::EnterRoot))
}
