//! What is opened before the clone: the root, the sources of bind mounts, namespaces to join. Errors here are ordinary
//! ones, and the host's paths are resolved in the host's own namespaces.

use std::cell::OnceCell;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use tare_cgroup::{Cgroup, Hierarchies, MountSources};
use tare_oci_runtime::Spec;
use tare_sys::mount::{MountAttr, attr, mount_setattr, propagation};
use tare_sys::mountinfo::{self, MOUNTINFO};
use tare_sys::process::namespace;

use crate::child::mounts::{apply, open_cgroup, open_source};
use crate::error::{Error, Result};
use crate::launch::CgroupPlace;
use crate::plan::mounts::{IdMap, Ids, Parameter, c_string};
use crate::plan::{MountKind, MountPlan, Plan, RootPath};
use crate::step::Step;
use crate::userns;

/// Descriptors for the child, in the order of the plan's lists.
pub(crate) struct Prepared {
    /// Detached mount that becomes the root.
    pub(crate) root: OwnedFd,
    /// Where it is attached until then.
    pub(crate) root_place: CString,
    pub(crate) mounts: Vec<PreparedMount>,
    /// Namespaces to join.
    pub(crate) joins: Vec<OwnedFd>,
    /// Parameters of the tmpfs that cgroups of v1 are mounted in.
    pub(crate) cgroup_parameters: Vec<Parameter>,
    /// chroot(2) instead of a pivot: what of the host's is mounted in the namespace.
    pub(crate) host_mounts: Option<Vec<HostMount>>,
}

/// A mount of the host, in the order in which they were mounted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HostMount {
    pub(crate) point: CString,
    /// It is mounted on the root itself, and not on another mount.
    pub(crate) top: bool,
    /// A procfs or sysfs, and all of it.
    pub(crate) whole_kernel: bool,
}

/// What of a mount is not in the plan.
pub(crate) struct PreparedMount {
    /// The detached mount: made here, or else by the child.
    pub(crate) made: OnceCell<OwnedFd>,
    pub(crate) cgroups: Cgroups,
}

/// What is behind a mount of cgroups.
pub(crate) enum Cgroups {
    None,
    /// Mounted in a tmpfs.
    V1(Vec<CgroupSource>),
    V2(CgroupSource),
}

/// The container's own group in one hierarchy.
pub(crate) struct CgroupSource {
    pub(crate) name: CString,
    pub(crate) host: CString,
    pub(crate) links: Vec<CString>,
    /// Detached mount of it, made here or else by the child.
    pub(crate) made: OnceCell<OwnedFd>,
}

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

/// The detached mount that becomes the root: the given one, or the directory of the specification.
pub(crate) fn root(given: Option<OwnedFd>, spec: &Spec, bundle: &Path) -> Result<(OwnedFd, CString)> {
    let path = root_directory(spec, bundle);
    let (tree, place) = if let Some(root) = given {
        // Hooks look for the root where the specification has it.
        let place = path.filter(|path| spec.hooks.is_some() && path.is_dir());
        (root, place.unwrap_or_else(|| PathBuf::from("/")))
    } else {
        let path = path.ok_or_else(|| Error::invalid("root: neither given nor specified"))?;
        (open_root(&path)?, path)
    };
    // Nothing that is mounted on it shall reach the host; what the host unmounts shall go here as well.
    let change = MountAttr { propagation: propagation::SLAVE, ..MountAttr::default() };
    mount_setattr(&tree, c"", true, &change).map_err(|errno| Error::os("mount_setattr", "root", errno))?;
    Ok((tree, c_string(place.into_os_string().into_encoded_bytes())?))
}

/// The directory of the host that the specification has as root.
pub(crate) fn root_directory(spec: &Spec, bundle: &Path) -> Option<PathBuf> {
    spec.root.as_ref().map(|root| bundle.join(&root.path))
}

fn open_root(path: &Path) -> Result<OwnedFd> {
    let fail = |step, errno| Error::os(step, path.display(), errno);
    let tree = open_tree(CWD, path, CLONE | OpenTreeFlags::AT_RECURSIVE).map_err(|errno| fail("open_tree", errno))?;
    let stat = fstat(&tree).map_err(|errno| fail("stat", errno))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(fail("open_tree", Errno::NOTDIR));
    }
    Ok(tree)
}

impl Prepared {
    pub(crate) fn new(
        plan: &Plan,
        root: (OwnedFd, CString),
        mut trees: Vec<(PathBuf, OwnedFd)>,
        network: Option<OwnedFd>,
        cgroups: Option<&MountSources>,
        spec: &Spec,
        chroot: bool,
    ) -> Result<Self> {
        let all = plan.mounts.iter().map(|mount| match take(&mut trees, mount)? {
            Some(tree) => given(mount, tree),
            None => prepare(plan, mount, cgroups, spec),
        });
        let mounts = all.collect::<Result<Vec<_>>>()?;
        if let Some((destination, _)) = trees.first() {
            return Err(Error::invalid(format!("mount `{}`: given, but not specified", destination.display())));
        }
        let joins = joins(plan, network)?;
        let mode = Parameter { key: c"mode".to_owned(), value: Some(c"755".to_owned()) };
        let (root, root_place) = root;
        let host_mounts = chroot.then(host_mounts).transpose()?;
        Ok(Self { root, root_place, mounts, joins, cgroup_parameters: vec![mode], host_mounts })
    }

    /// The numbers of all descriptors in it.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let of_mounts = self.mounts.iter().flat_map(|mount| {
            let sources: &[CgroupSource] = match &mount.cgroups {
                Cgroups::None => &[],
                Cgroups::V1(sources) => sources,
                Cgroups::V2(source) => std::slice::from_ref(source),
            };
            let all = sources.iter().map(|source| &source.made).chain([&mount.made]);
            all.filter_map(|made| made.get().map(AsRawFd::as_raw_fd))
        });
        let others = self.joins.iter().chain([&self.root]);
        of_mounts.chain(others.map(AsRawFd::as_raw_fd))
    }
}

/// The given tree for a bind mount, if there is one.
fn take(trees: &mut Vec<(PathBuf, OwnedFd)>, mount: &MountPlan) -> Result<Option<OwnedFd>> {
    if !matches!(mount.kind, MountKind::Bind { .. }) {
        return Ok(None);
    }
    for index in 0..trees.len() {
        if trees.get(index).map(|(destination, _)| RootPath::new(destination)).transpose()?.as_ref()
            == Some(&mount.target)
        {
            return Ok(Some(trees.swap_remove(index).1));
        }
    }
    Ok(None)
}

fn given(mount: &MountPlan, tree: OwnedFd) -> Result<PreparedMount> {
    apply(&tree, mount).map_err(|errno| Error::os(Step::Attributes.text(), &mount.target, errno))?;
    Ok(PreparedMount { made: OnceCell::from(tree), cgroups: Cgroups::None })
}

/// The child makes its mounts itself, in their order, as they are then listed. In a user namespace it may not reach all
/// that the host shows it, and in an existing mount namespace it does not see it, so these are made here.
fn prepare(plan: &Plan, mount: &MountPlan, cgroups: Option<&MountSources>, spec: &Spec) -> Result<PreparedMount> {
    let foreign = plan.namespaces.joins(namespace::MOUNT);
    let early = plan.namespaces.has(namespace::USER) || foreign;
    let mut prepared = PreparedMount { made: OnceCell::new(), cgroups: Cgroups::None };
    match &mount.kind {
        MountKind::Bind { source, recursive, in_root: false } if early || mount.idmap.is_some() => {
            let fail = |step: Step| move |errno| Error::os(step.text(), source.to_string_lossy(), errno);
            let tree = open_source(source, *recursive).map_err(fail(Step::OpenSource))?;
            if let Some(idmap) = &mount.idmap {
                map_ids(&tree, idmap).map_err(fail(Step::Attributes))?;
            }
            apply(&tree, mount).map_err(fail(Step::Attributes))?;
            prepared.made = OnceCell::from(tree);
        }
        MountKind::Cgroup => prepared.cgroups = cgroup_sources(mount, cgroups, spec, early)?,
        MountKind::Bind { .. } | MountKind::New { .. } | MountKind::Change => {}
    }
    Ok(prepared)
}

pub(crate) fn map_ids(tree: &OwnedFd, idmap: &IdMap) -> Result<(), Errno> {
    let namespace = match &idmap.ids {
        Ids::Maps { uids, gids } => {
            userns::namespace(uids, gids).map_err(|error| Errno::from_raw_os_error(error.errno()))?
        }
        Ids::Namespace(path) => openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?,
    };
    let userns_fd = u64::from(namespace.as_raw_fd().cast_unsigned());
    let change = MountAttr { set: attr::IDMAP, userns_fd, ..MountAttr::default() };
    mount_setattr(tree, c"", idmap.recursive, &change)
}

fn cgroup_sources(mount: &MountPlan, cgroups: Option<&MountSources>, spec: &Spec, early: bool) -> Result<Cgroups> {
    let own;
    let sources = match cgroups {
        Some(sources) => sources,
        None => {
            let path = spec.linux.as_ref().map(|linux| linux.cgroups_path.as_str()).unwrap_or_default();
            if path.is_empty() {
                return Err(Error::invalid(format!("mount `{}`: the container has no cgroup", mount.target)));
            }
            let hierarchies = Hierarchies::detect().map_err(|error| Error::invalid(error.to_string()))?;
            own = Cgroup::open(&hierarchies, path).mount_sources();
            &own
        }
    };
    let source = |name: &str, host: &Path, links: &[String]| -> Result<CgroupSource> {
        let host = c_string(host.as_os_str().as_encoded_bytes())?;
        let tree = if early { cgroup_tree(mount, &host)? } else { None };
        let links = links.iter().map(|link| c_string(link.as_str())).collect::<Result<Vec<_>>>()?;
        let made = tree.map_or_else(OnceCell::new, OnceCell::from);
        Ok(CgroupSource { name: c_string(name)?, host, links, made })
    };
    match sources {
        MountSources::V1(all) => {
            let all = all.iter().map(|own| source(&own.name, &own.host, &own.links));
            all.collect::<Result<_>>().map(Cgroups::V1)
        }
        MountSources::V2 { host } => source("", host, &[]).map(Cgroups::V2),
    }
}

fn cgroup_tree(mount: &MountPlan, host: &CStr) -> Result<Option<OwnedFd>> {
    open_cgroup(host, mount).map_err(|errno| Error::os("open_tree", host.to_string_lossy(), errno))
}

fn joins(plan: &Plan, network: Option<OwnedFd>) -> Result<Vec<OwnedFd>> {
    let mut network = network;
    let mut all = Vec::with_capacity(plan.namespaces.join.len());
    for join in &plan.namespaces.join {
        all.push(match (&join.path, network.take()) {
            (None, Some(fd)) => fd,
            (None, None) => return Err(Error::invalid("network namespace: not given")),
            (Some(path), given) => {
                network = given;
                openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                    .map_err(|errno| Error::os("open namespace", path.display(), errno))?
            }
        });
    }
    Ok(all)
}

/// What is mounted in this process's namespace, besides its root.
fn host_mounts() -> Result<Vec<HostMount>> {
    let text = std::fs::read(MOUNTINFO).map_err(|error| Error::io("read", MOUNTINFO, &error))?;
    Ok(parse_mounts(&text))
}

fn parse_mounts(text: &[u8]) -> Vec<HostMount> {
    let (roots, others): (Vec<_>, Vec<_>) = mountinfo::mounts(text).partition(|mount| mount.point == b"/");
    let host_mount = |mount: mountinfo::Mount<'_>| {
        let whole_kernel = mount.root == b"/" && (mount.kind == b"proc" || mount.kind == b"sysfs");
        let top = roots.iter().any(|root| root.id == mount.parent);
        Some(HostMount { point: CString::new(mount.point).ok()?, top, whole_kernel })
    };
    others.into_iter().filter_map(host_mount).collect()
}

/// The descriptor with a number of at least `floor`: those below are about to be overwritten in the child.
pub(crate) fn above(fd: OwnedFd, floor: RawFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() >= floor {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, floor).map_err(|errno| Error::os("dup", fd.as_raw_fd(), errno))
}

/// What is opened of a [`CgroupPlace`].
pub(crate) struct OpenedPlace<'a> {
    /// The files of [`Task::cgroup`](crate::child::Task).
    pub(crate) files: Vec<OwnedFd>,
    given: Option<BorrowedFd<'a>>,
    unified: Option<OwnedFd>,
}

impl OpenedPlace<'_> {
    /// The directory to clone into.
    pub(crate) fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.given.or(self.unified.as_ref().map(OwnedFd::as_fd))
    }
}

/// Opens a place. A group of v2 among those to join is cloned into, as joining it would wait for a grace period of the
/// kernel; but not by a process that is without privileges on the host by then (`foreign`).
pub(crate) fn open_place<'a>(place: &CgroupPlace<'a>, foreign: bool) -> Result<OpenedPlace<'a>> {
    let given = if let CgroupPlace::Into(fd) = place { Some(*fd) } else { None };
    let mut opened = OpenedPlace { files: Vec::new(), given, unified: None };
    let CgroupPlace::Join(directories) = place else { return Ok(opened) };
    for directory in *directories {
        let failed = |errno| Error::os("open cgroup", directory.display(), errno);
        let open = |name| openat(CWD, directory.join(name), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        match open("tasks") {
            // Only v1 has it.
            Err(Errno::NOENT) if foreign => opened.files.push(open("cgroup.procs").map_err(failed)?),
            Err(Errno::NOENT) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                opened.unified = Some(openat(CWD, directory, flags, Mode::empty()).map_err(failed)?);
            }
            tasks => opened.files.push(tasks.map_err(failed)?),
        }
    }
    Ok(opened)
}

/// The host's `/proc`.
pub(crate) fn host_proc() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, c"/proc", flags, Mode::empty()).map_err(|errno| Error::os("open", "/proc", errno))
}

/// Opens the root of a running process.
pub(crate) fn root_of(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path.as_str(), flags, Mode::empty()).map_err(|errno| Error::os("open", path, errno))
}

/// Whether a process still exists, reaped or not.
pub(crate) fn is_alive(pidfd: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&now)), Ok(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_the_host() {
        let text = b"31 30 0:20 / /proc rw - proc proc rw\n30 1 8:1 / / rw shared:1 - ext4 /dev/vda rw\n\
            32 30 0:5 / /with\\040space rw master:2 - tmpfs tmpfs rw\n33 32 0:21 / /with\\040space/sys rw - sysfs s rw\n\
            34 31 0:20 /sys /proc/sys ro - proc proc rw\n\n";
        let found = parse_mounts(text);
        let mount = |point: &CStr, top, whole_kernel| HostMount { point: point.to_owned(), top, whole_kernel };
        let expected = [
            mount(c"/proc", true, true),
            mount(c"/with space", true, false),
            mount(c"/with space/sys", false, true),
            mount(c"/proc/sys", false, false),
        ];
        assert_eq!(found, expected);
    }
}
