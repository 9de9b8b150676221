//! What is opened before the clone: the root, the sources of bind mounts, namespaces to join. Errors here are ordinary
//! ones, and the host's paths are resolved in the host's own namespaces.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, makedev, openat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use tare_cgroup::{Cgroup, Hierarchies, MountSource, MountSources};
use tare_oci_runtime::Spec;
use tare_sys::mount::{MountAttr, attr, mount_setattr, propagation};

use crate::child::mounts::{apply, clone_tree};
use crate::child::paths::Make;
use crate::error::{Error, Result};
use crate::launch::CgroupPlace;
use crate::plan::mounts::{Parameter, c_string};
use crate::plan::{MountKind, MountPlan, Plan};
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
    /// Detached mount of `/dev/null`, for masks.
    pub(crate) null: Option<OwnedFd>,
    /// Parameters of the tmpfs that cgroups of v1 are mounted in.
    pub(crate) cgroup_parameters: Vec<Parameter>,
}

pub(crate) struct PreparedMount {
    /// Detached mount of a bind mount's source, with its attributes.
    pub(crate) tree: Option<OwnedFd>,
    /// What the target has to be.
    pub(crate) make: Make,
    pub(crate) cgroup: Option<CgroupTrees>,
}

/// Detached mounts of the container's own cgroups.
pub(crate) enum CgroupTrees {
    V1(Vec<CgroupTree>),
    V2(OwnedFd),
}

pub(crate) struct CgroupTree {
    pub(crate) name: CString,
    pub(crate) tree: OwnedFd,
    pub(crate) links: Vec<CString>,
}

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

/// The detached mount that becomes the root: the given one, or the directory of the specification.
pub(crate) fn root(given: Option<OwnedFd>, spec: &Spec, bundle: &Path) -> Result<(OwnedFd, CString)> {
    let path = spec.root.as_ref().map(|root| bundle.join(&root.path));
    if let Some(root) = given {
        // Hooks look for the root where the specification has it.
        let place = path.filter(|path| spec.hooks.is_some() && path.is_dir());
        let place = place.as_deref().unwrap_or(Path::new("/"));
        return Ok((root, c_string(place.as_os_str().as_encoded_bytes())?));
    }
    let path = path.ok_or_else(|| Error::invalid("root: neither given nor specified"))?;
    let fail = |step, errno| Error::os(step, path.display(), errno);
    let tree = open_tree(CWD, &path, CLONE | OpenTreeFlags::AT_RECURSIVE).map_err(|errno| fail("open_tree", errno))?;
    let stat = fstat(&tree).map_err(|errno| fail("stat", errno))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(fail("open_tree", Errno::NOTDIR));
    }
    // Nothing that is mounted on it shall reach the host; what the host unmounts shall go here as well.
    let change = MountAttr { propagation: propagation::SLAVE, ..MountAttr::default() };
    mount_setattr(&tree, c"", true, &change).map_err(|errno| fail("mount_setattr", errno))?;
    let place = c_string(path.as_os_str().as_encoded_bytes())?;
    Ok((tree, place))
}

impl Prepared {
    pub(crate) fn new(
        plan: &Plan,
        root: (OwnedFd, CString),
        network: Option<OwnedFd>,
        cgroups: Option<&MountSources>,
        spec: &Spec,
    ) -> Result<Self> {
        let mounts = plan.mounts.iter().map(|mount| prepare(mount, cgroups, spec)).collect::<Result<Vec<_>>>()?;
        let joins = joins(plan, network)?;
        let null = if plan.masked.is_empty() { None } else { Some(null()?) };
        let mode = Parameter { key: c"mode".to_owned(), value: Some(c"755".to_owned()) };
        let (root, root_place) = root;
        Ok(Self { root, root_place, mounts, joins, null, cgroup_parameters: vec![mode] })
    }

    /// The numbers of all descriptors in it.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let of_mounts = self.mounts.iter().flat_map(|mount| {
            let of_cgroups: Vec<RawFd> = match &mount.cgroup {
                None => Vec::new(),
                Some(CgroupTrees::V1(trees)) => trees.iter().map(|tree| tree.tree.as_raw_fd()).collect(),
                Some(CgroupTrees::V2(tree)) => vec![tree.as_raw_fd()],
            };
            mount.tree.iter().map(AsRawFd::as_raw_fd).chain(of_cgroups)
        });
        let others = self.joins.iter().chain(&self.null).chain([&self.root]);
        of_mounts.chain(others.map(AsRawFd::as_raw_fd))
    }
}

fn prepare(mount: &MountPlan, cgroups: Option<&MountSources>, spec: &Spec) -> Result<PreparedMount> {
    let mut prepared = PreparedMount { tree: None, make: Make::Directory, cgroup: None };
    match &mount.kind {
        MountKind::Bind { source, recursive } => {
            let (tree, make) = bind(mount, source, *recursive)?;
            prepared.make = make;
            prepared.tree = Some(tree);
        }
        MountKind::Cgroup => prepared.cgroup = Some(cgroup_trees(mount, cgroups, spec)?),
        MountKind::New { .. } | MountKind::Change => {}
    }
    Ok(prepared)
}

fn bind(mount: &MountPlan, source: &Path, recursive: bool) -> Result<(OwnedFd, Make)> {
    let fail = |step, errno| Error::os(step, source.display(), errno);
    let flags = if recursive { CLONE | OpenTreeFlags::AT_RECURSIVE } else { CLONE };
    let tree = open_tree(CWD, source, flags).map_err(|errno| fail("open_tree", errno))?;
    let stat = fstat(&tree).map_err(|errno| fail("stat", errno))?;
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if let Some(idmap) = &mount.idmap {
        let namespace = userns::namespace(&idmap.uids, &idmap.gids)?;
        let userns_fd = u64::from(namespace.as_raw_fd().cast_unsigned());
        let change = MountAttr { set: attr::IDMAP, userns_fd, ..MountAttr::default() };
        mount_setattr(&tree, c"", idmap.recursive, &change).map_err(|errno| fail("idmap", errno))?;
    }
    apply(&tree, mount).map_err(|errno| fail("mount_setattr", errno))?;
    Ok((tree, if directory { Make::Directory } else { Make::File }))
}

fn cgroup_trees(mount: &MountPlan, cgroups: Option<&MountSources>, spec: &Spec) -> Result<CgroupTrees> {
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
    match sources {
        MountSources::V1(all) => {
            let trees = all.iter().filter_map(|source| v1_tree(mount, source).transpose());
            trees.collect::<Result<_>>().map(CgroupTrees::V1)
        }
        MountSources::V2 { host } => cgroup_tree(mount, host).map(CgroupTrees::V2),
    }
}

/// A hierarchy in which the container has no group of its own is left out.
fn v1_tree(mount: &MountPlan, source: &MountSource) -> Result<Option<CgroupTree>> {
    let tree = match cgroup_tree(mount, &source.host) {
        Ok(tree) => tree,
        Err(error) if error.errno() == Errno::NOENT.raw_os_error() => return Ok(None),
        Err(error) => return Err(error),
    };
    let links = source.links.iter().map(|link| c_string(link.as_str())).collect::<Result<Vec<_>>>()?;
    Ok(Some(CgroupTree { name: c_string(source.name.as_str())?, tree, links }))
}

fn cgroup_tree(mount: &MountPlan, host: &Path) -> Result<OwnedFd> {
    let fail = |step, errno| Error::os(step, host.display(), errno);
    let tree = open_tree(CWD, host, CLONE).map_err(|errno| fail("open_tree", errno))?;
    let change = MountAttr { propagation: propagation::PRIVATE, ..mount.own };
    mount_setattr(&tree, c"", false, &change).map_err(|errno| fail("mount_setattr", errno))?;
    Ok(tree)
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

/// A detached mount of the host's `/dev/null`, and of nothing else that might be in its place.
fn null() -> Result<OwnedFd> {
    const NULL: (u32, u32) = (1, 3);
    let fail = |step, errno| Error::os(step, "/dev/null", errno);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let device = openat(CWD, c"/dev/null", flags, Mode::empty()).map_err(|errno| fail("open", errno))?;
    let stat = fstat(&device).map_err(|errno| fail("stat", errno))?;
    let right =
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == makedev(NULL.0, NULL.1);
    if !right {
        return Err(fail("open", Errno::NODEV));
    }
    clone_tree(device.as_fd(), OpenTreeFlags::empty()).map_err(|errno| fail("open_tree", errno))
}

/// The descriptor with a number of at least `floor`: those below are about to be overwritten in the child.
pub(crate) fn above(fd: OwnedFd, floor: RawFd) -> Result<OwnedFd> {
    if fd.as_raw_fd() >= floor {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, floor).map_err(|errno| Error::os("dup", fd.as_raw_fd(), errno))
}

/// The files of [`Task::cgroup`](crate::child::Task).
pub(crate) fn cgroup_files(place: &CgroupPlace<'_>) -> Result<Vec<OwnedFd>> {
    let CgroupPlace::Join(directories) = place else { return Ok(Vec::new()) };
    let file =
        |directory: &PathBuf, name| openat(CWD, directory.join(name), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    let open = |directory: &PathBuf| match file(directory, "tasks") {
        // Version 2.
        Err(Errno::NOENT) => file(directory, "cgroup.procs"),
        result => result,
    };
    let opened = directories
        .iter()
        .map(|directory| open(directory).map_err(|errno| Error::os("open cgroup", directory.display(), errno)));
    opened.collect()
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
