//! The container's file system: attaching the root, the mounts, devices and masks below it, and moving in.
//!
//! Everything is attached with move_mount(2) to targets that were opened below the root (see [`super::paths`]).

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, makedev, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};
use tare_sys::mount::{MountAttr, attr, mount_setattr, propagation};
use tare_sys::process::namespace;

use super::paths::{self, Make};
use super::terminal::{self, Terminal};
use super::{ChildStdio, InitTask, Outcome, at, copy, dev, nth, over, receive, send};
use crate::plan::mounts::Parameter;
use crate::plan::{MountKind, MountPlan, RootPath};
use crate::prepare::{CgroupSource, Cgroups, PreparedMount};
use crate::step::{Report, Step};

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

/// Builds the container's file system on the root; the process itself still has the host's.
pub(crate) fn set_up(task: &InitTask<'_>) -> Outcome<Option<Terminal>> {
    // All of them before anything is attached, because only until then do the host's paths lead where they always do;
    // and before anything is private, because bind mounts may be peers of the host's.
    for (index, (mount, prepared)) in task.plan.mounts.iter().zip(&task.prepared.mounts).enumerate() {
        make(task, index, mount, prepared)?;
    }
    if task.plan.namespaces.has(namespace::MOUNT) {
        let private = MountAttr { propagation: propagation::PRIVATE, ..MountAttr::default() };
        mount_setattr(CWD, c"/", true, &private).map_err(at(Step::PrivateMounts))?;
    }
    let root = task.prepared.root.as_fd();
    let place = task.prepared.root_place.as_c_str();
    // The bundle may have a link to its root.
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    move_mount(root, c"", CWD, place, flags).map_err(at(Step::AttachRoot))?;
    let mut proc = None;
    for (index, (mount, prepared)) in task.plan.mounts.iter().zip(&task.prepared.mounts).enumerate() {
        put(root, index, mount, prepared)?;
        if mount.file_system() == Some(c"proc") && mount.target.as_c_str() == c"proc" {
            proc = prepared.made.get().map(OwnedFd::as_fd);
        }
    }
    if task.plan.populate_dev {
        dev::populate(task.plan, root, task.common.host_proc)?;
    }
    let terminal = match task.common.stdio {
        ChildStdio::Terminal { size, raw_newlines } => {
            let terminal = terminal::open(&task.common, root, *size, *raw_newlines)?;
            terminal::mount_console(root, &terminal)?;
            Some(terminal)
        }
        ChildStdio::Inherit | ChildStdio::Fds(_) => None,
    };
    if task.plan.parent_acts {
        send(task.common.socket, Report::Hooks).map_err(at(Step::Hooks))?;
        receive(task.common.socket).map_err(at(Step::Hooks))?;
    }
    hide(task, root, proc)?;
    paths::ensure(root, task.plan.cwd.as_c_str(), Make::Directory).map_err(at(Step::MakeCwd))?;
    if task.plan.root_readonly {
        let change = MountAttr { set: attr::RDONLY, ..MountAttr::default() };
        mount_setattr(root, c"", false, &change).map_err(at(Step::RootAttributes))?;
    }
    Ok(terminal)
}

/// Makes one mount, detached.
fn make(task: &InitTask<'_>, index: usize, mount: &MountPlan, prepared: &PreparedMount) -> Outcome {
    let fail = |step| nth(step, index);
    let made = match (&mount.kind, &prepared.cgroups) {
        (MountKind::Bind { source, recursive }, _) => {
            if prepared.made.get().is_some() {
                return Ok(());
            }
            let tree = open_source(source, *recursive).map_err(fail(Step::OpenSource))?;
            apply(&tree, mount).map_err(fail(Step::Attributes))?;
            tree
        }
        (MountKind::New { file_system, parameters, .. }, _) => new_mount(index, mount, file_system, parameters)?,
        (MountKind::Cgroup, Cgroups::V1(sources)) => {
            let made = new_mount(index, mount, c"tmpfs", &task.prepared.cgroup_parameters)?;
            for source in sources {
                keep_cgroup(source, mount).map_err(fail(Step::CgroupTree))?;
            }
            made
        }
        // A new mount in the container's cgroup namespace, else its own group of the host's.
        (MountKind::Cgroup, Cgroups::V2(source)) => {
            let new = || new_mount(index, mount, c"cgroup2", &[]).ok();
            match task.plan.namespaces.has(namespace::CGROUP).then(new).flatten() {
                Some(made) => made,
                None => return keep_cgroup(source, mount).map_err(fail(Step::CgroupTree)),
            }
        }
        (MountKind::Cgroup | MountKind::Change, _) => return Ok(()),
    };
    let _ = prepared.made.set(made);
    Ok(())
}

/// A detached mount of a path of the host.
pub(crate) fn open_source(source: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    open_tree(CWD, source, if recursive { CLONE | OpenTreeFlags::AT_RECURSIVE } else { CLONE })
}

/// A detached mount of a cgroup; none if it does not exist.
pub(crate) fn open_cgroup(host: &CStr, mount: &MountPlan) -> Result<Option<OwnedFd>, Errno> {
    let tree = match open_tree(CWD, host, CLONE) {
        Ok(tree) => tree,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    mount_setattr(&tree, c"", false, &MountAttr { propagation: propagation::PRIVATE, ..mount.own })?;
    Ok(Some(tree))
}

fn keep_cgroup(source: &CgroupSource, mount: &MountPlan) -> Result<(), Errno> {
    if source.made.get().is_none()
        && let Some(tree) = open_cgroup(&source.host, mount)?
    {
        let _ = source.made.set(tree);
    }
    Ok(())
}

/// Attaches one mount.
fn put(root: BorrowedFd<'_>, index: usize, mount: &MountPlan, prepared: &PreparedMount) -> Outcome {
    let fail = |step| nth(step, index);
    let made = match (&prepared.cgroups, prepared.made.get()) {
        (_, Some(made)) => made,
        (Cgroups::V2(source), None) => match source.made.get() {
            Some(made) => made,
            None => return Err(fail(Step::CgroupTree)(Errno::NOENT)),
        },
        // Nothing new.
        _ => {
            let target = paths::open(root, mount.target.as_c_str()).map_err(fail(Step::Target))?;
            return apply(&target, mount).map_err(fail(Step::Attributes));
        }
    };
    let want = wanted(mount, made).map_err(fail(Step::Attach))?;
    let target = match mount.file_system() {
        Some(file_system) if file_system == c"proc" || file_system == c"sysfs" => plain_directory(root, &mount.target),
        _ => paths::ensure(root, mount.target.as_c_str(), want),
    };
    let target = target.map_err(fail(Step::Target))?;
    over::check(mount, made.as_fd(), target.as_fd()).map_err(fail(Step::OverProc))?;
    if let MountKind::New { copy_up: true, .. } = mount.kind {
        copy::copy_up(target.as_fd(), made.as_fd()).map_err(fail(Step::CopyUp))?;
    }
    attach(made, target.as_fd()).map_err(|errno| fail(Step::Attach)(explain(errno, target, want)))?;
    if let Cgroups::V1(sources) = &prepared.cgroups {
        fill(made, mount, sources).map_err(fail(Step::CgroupTree))?;
    }
    // Bind mounts have theirs already, and new mounts are private.
    let shared = |(kind, _): &&(u64, bool)| *kind != propagation::PRIVATE && mount.file_system().is_some();
    for (kind, recursive) in mount.propagation.iter().filter(shared) {
        let change = MountAttr { propagation: *kind, ..MountAttr::default() };
        mount_setattr(made, c"", *recursive, &change).map_err(fail(Step::Attributes))?;
    }
    Ok(())
}

/// What a mount can be mounted on.
fn wanted(mount: &MountPlan, made: &OwnedFd) -> Result<Make, Errno> {
    if !matches!(mount.kind, MountKind::Bind { .. }) {
        return Ok(Make::Directory);
    }
    let directory = FileType::from_raw_mode(fstat(made)?.st_mode) == FileType::Directory;
    Ok(if directory { Make::Directory } else { Make::File })
}

/// Mounts the container's group of every hierarchy of v1 in a tmpfs.
fn fill(tmpfs: &OwnedFd, mount: &MountPlan, sources: &[CgroupSource]) -> Result<(), Errno> {
    for source in sources {
        // A hierarchy in which the container has no group of its own is left out.
        let Some(tree) = source.made.get() else { continue };
        let name = source.name.as_c_str();
        mkdirat(tmpfs, name, Mode::RWXU)?;
        move_mount(tree, c"", tmpfs, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        for link in &source.links {
            symlinkat(name, tmpfs, link.as_c_str())?;
        }
    }
    if mount.own.set & attr::RDONLY != 0 {
        mount_setattr(tmpfs, c"", false, &MountAttr { set: attr::RDONLY, ..MountAttr::default() })?;
    }
    Ok(())
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
        tare_sys::scoped::open(root, path.as_c_str(), flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
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

pub(crate) fn clone_tree(mount: BorrowedFd<'_>, flags: OpenTreeFlags) -> Result<OwnedFd, Errno> {
    open_tree(mount, c"", CLONE | OpenTreeFlags::AT_EMPTY_PATH | flags)
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

/// Makes the root the process's own and lets go of the host's file system.
pub(crate) fn enter_root(task: &InitTask<'_>) -> Outcome {
    move_in(task)?;
    // Not before: no root can be pivoted to that is shared.
    if let Some((kind, recursive)) = task.plan.root_propagation {
        let change = MountAttr { propagation: kind, ..MountAttr::default() };
        mount_setattr(&task.prepared.root, c"", recursive, &change).map_err(at(Step::RootAttributes))?;
    }
    Ok(())
}

fn move_in(task: &InitTask<'_>) -> Outcome {
    rustix::process::fchdir(&task.prepared.root).map_err(at(Step::EnterRoot))?;
    if !task.plan.namespaces.has(namespace::MOUNT) {
        // The host's root stays what it is.
        return rustix::process::chroot(c".").map_err(at(Step::Chroot));
    }
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
