//! The container's file system: attaching the root, and the mounts, devices and masks below it.
//!
//! Everything is attached with move_mount(2) to targets that were opened below the root (see [`super::paths`]).

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use tare_sys::mount::{MountAttr, attr, mount_setattr, propagation};
use tare_sys::process::namespace;

use super::paths::{self, Make};
use super::terminal::{self, Terminal};
use super::{ChildStdio, InitTask, Outcome, at, copy, dev, hide, nth, over, receive, send};
use crate::plan::mounts::Parameter;
use crate::plan::{MountKind, MountPlan, RootPath};
use crate::prepare::{CgroupSource, Cgroups, PreparedMount};
use crate::step::{Report, Step};

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

/// Builds the container's file system on the root; the process itself still has the host's.
pub(crate) fn set_up(task: &InitTask<'_>) -> Outcome<Option<Terminal>> {
    // All of them before anything is attached, because only until then do the host's paths lead where they always do;
    // and before anything is private, because bind mounts may be peers of the host's.
    for (index, (mount, prepared)) in all(task).filter(|(_, (mount, _))| !mount.is_made_late()) {
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
    for (index, (mount, prepared)) in all(task) {
        put(task, index, mount, prepared)?;
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
    hide::hide(task, root, proc)?;
    paths::ensure(root, task.plan.cwd.as_c_str(), Make::Directory).map_err(at(Step::MakeCwd))?;
    let change = MountAttr { set: attr::RDONLY, ..MountAttr::default() };
    for (index, (_, prepared)) in all(task).filter(|(_, (mount, _))| mount.read_only_last) {
        if let Some(made) = prepared.made.get() {
            mount_setattr(made, c"", false, &change).map_err(nth(Step::Attributes, index))?;
        }
    }
    if task.plan.root_readonly {
        mount_setattr(root, c"", false, &change).map_err(at(Step::RootAttributes))?;
    }
    Ok(terminal)
}

/// The mounts in their order.
fn all<'a>(task: &InitTask<'a>) -> impl Iterator<Item = (usize, (&'a MountPlan, &'a PreparedMount))> {
    task.plan.mounts.iter().zip(&task.prepared.mounts).enumerate()
}

/// Makes one mount, detached.
fn make(task: &InitTask<'_>, index: usize, mount: &MountPlan, prepared: &PreparedMount) -> Outcome {
    let fail = |step| nth(step, index);
    let made = match (&mount.kind, &prepared.cgroups) {
        (MountKind::Bind { source, recursive, .. }, _) => {
            if prepared.made.get().is_some() {
                return Ok(());
            }
            let tree = open_source(source, *recursive).map_err(fail(Step::OpenSource))?;
            if mount.idmap.is_some() {
                // Only who owns the file system may.
                ask_for_ids(task, index, &tree).map_err(fail(Step::IdMap))?;
            }
            apply(&tree, mount).map_err(fail(Step::Attributes))?;
            tree
        }
        (MountKind::New { file_system, parameters, .. }, _) => {
            let mode = if mount.is_made_late() { mode_of(task, mount).map_err(fail(Step::Target))? } else { None };
            new_mount(index, mount, file_system, parameters, mode)?
        }
        (MountKind::Cgroup, Cgroups::V1(sources)) => {
            let made = new_mount(index, mount, c"tmpfs", &task.prepared.cgroup_parameters, None)?;
            for source in sources {
                keep_cgroup(source, mount).map_err(fail(Step::CgroupTree))?;
            }
            made
        }
        // A new mount in the container's cgroup namespace, else its own group of the host's.
        (MountKind::Cgroup, Cgroups::V2(source)) => {
            let new = || new_mount(index, mount, c"cgroup2", &[], None).ok();
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

/// Has the parent map the IDs of a mount.
fn ask_for_ids(task: &InitTask<'_>, index: usize, tree: &OwnedFd) -> Result<(), Errno> {
    let report = Report::MapIds(u16::try_from(index).unwrap_or(u16::MAX)).encode();
    tare_sys::socket::send_with_fds(task.common.socket, &report, &[tree.as_fd()])?;
    receive(task.common.socket)
}

/// The mode of the directory that is about to be mounted on; none if that is still to be made.
fn mode_of(task: &InitTask<'_>, mount: &MountPlan) -> Result<Option<u32>, Errno> {
    match paths::open(task.prepared.root.as_fd(), mount.target.as_c_str()) {
        Ok(target) => Ok(Some(fstat(&target)?.st_mode & 0o7777)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
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
fn put(task: &InitTask<'_>, index: usize, mount: &MountPlan, prepared: &PreparedMount) -> Outcome {
    let fail = |step| nth(step, index);
    let root = task.prepared.root.as_fd();
    if mount.is_made_late() {
        make(task, index, mount, prepared)?;
    }
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

fn new_mount(
    index: usize,
    mount: &MountPlan,
    file_system: &CStr,
    parameters: &[Parameter],
    mode: Option<u32>,
) -> Outcome<OwnedFd> {
    let context = fsopen(file_system, FsOpenFlags::FSOPEN_CLOEXEC).map_err(nth(Step::FsOpen, index))?;
    for Parameter { key, value } in parameters {
        match value {
            Some(value) => fsconfig_set_string(&context, key.as_c_str(), value.as_c_str()),
            None => fsconfig_set_flag(&context, key.as_c_str()),
        }
        .map_err(nth(Step::FsConfig, index))?;
    }
    if let Some(mode) = mode {
        let octal = octal(mode);
        let value = CStr::from_bytes_with_nul(&octal).map_err(|_| nth(Step::FsConfig, index)(Errno::INVAL))?;
        fsconfig_set_string(&context, c"mode", value).map_err(nth(Step::FsConfig, index))?;
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

/// Four digits of a mode, and a NUL.
fn octal(mode: u32) -> [u8; 5] {
    let digit = |shift: u32| b'0' + u8::try_from(mode >> shift & 7).unwrap_or_default();
    [digit(9), digit(6), digit(3), digit(0), 0]
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
    if let Some(locks) = plan.locks {
        locks.check(&mount)?;
    }
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

pub(crate) fn clone_tree(mount: BorrowedFd<'_>, flags: OpenTreeFlags) -> Result<OwnedFd, Errno> {
    open_tree(mount, c"", CLONE | OpenTreeFlags::AT_EMPTY_PATH | flags)
}
