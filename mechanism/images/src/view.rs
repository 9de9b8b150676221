//! A container's files as others see them: for `cp` and `export` its root file system without what the kernel and the
//! container mounted over it, and for `cp` with its volumes in their places; its shared memory for those it shares it with.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, move_mount, open_tree};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tare_archive::path::{clean, join};
use tare_sys::process::namespace;

use crate::rootdir::RootDir;
use crate::{Error, Result};

/// Where POSIX shared memory is.
const SHARED_MEMORY: &str = "/dev/shm";

/// Something that lies over a place of the root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covering {
    /// What, on the host. Trusted.
    pub source: PathBuf,
    /// Where, in the container.
    pub destination: String,
}

/// The root file system of a process, detached, without anything that is mounted in it.
pub fn root_of_process(pid: i32) -> Result<OwnedFd> {
    in_mounts_of(pid, |path| {
        // Joining made the namespace's root this thread's.
        open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
            .map_err(Error::io("open_tree", path))
    })
}

/// The shared memory of a process, which is what is mounted on its `/dev/shm`, detached: files in it are seen on both
/// sides, and it lasts as long as either has it.
pub fn shared_memory_of_process(pid: i32) -> Result<OwnedFd> {
    in_mounts_of(pid, |path| {
        // The process may have put anything in its place; links would be followed as that wants.
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = tare_sys::scoped::open(CWD, SHARED_MEMORY, flags, ResolveFlags::NO_SYMLINKS)
            .map_err(Error::io("open", Path::new(SHARED_MEMORY)))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        open_tree(directory, "", flags).map_err(Error::io("open_tree", path))
    })
}

/// Runs `work` with the mounts of a process, on a thread of its own.
fn in_mounts_of<T: Send>(pid: i32, work: impl FnOnce(&Path) -> Result<T> + Send) -> Result<T> {
    let path = PathBuf::from(format!("/proc/{pid}/ns/mnt"));
    let mounts = File::open(&path).map_err(Error::io("open", &path))?;
    on_thread(|| {
        // A mount namespace cannot be joined while root and working directory are shared with other threads; a new one
        // gives this thread its own.
        tare_sys::thread::unshare(namespace::MOUNT).map_err(Error::io("unshare", "mount namespace"))?;
        move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount)).map_err(Error::io("setns", &path))?;
        work(&path)
    })
}

/// A detached root file system with something over it, in a mount namespace that lasts as long as the result. `place` is
/// any directory of the host. Directories get a place in the root file system where they have none; files without a place
/// are left out.
pub fn cover(root: OwnedFd, coverings: &[Covering], place: &Path) -> Result<RootDir> {
    if coverings.is_empty() {
        return Ok(RootDir::from_fd(root));
    }
    let mut coverings: Vec<_> = coverings.iter().collect();
    coverings.sort_by_key(|covering| covering.destination.len());
    on_thread(|| {
        tare_sys::thread::unshare(namespace::MOUNT).map_err(Error::io("unshare", "mount namespace"))?;
        mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
            .map_err(Error::io("make private", "/"))?;
        // Before the root hides any of them.
        let trees = coverings.iter().map(|covering| tree(&covering.source)).collect::<Result<Vec<_>>>()?;
        move_mount(&root, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(Error::io("move_mount", place))?;
        let namespace = File::open("/proc/thread-self/ns/mnt").map_err(Error::io("open", "mount namespace"))?;
        let view = RootDir::in_namespace(root, namespace.into());
        for (covering, tree) in coverings.iter().zip(trees) {
            let Ok(destination) = clean(covering.destination.as_bytes()) else { continue };
            let Some(at) = place_of(&view, &destination, &covering.source) else { continue };
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(&tree, "", &at, "", flags).map_err(Error::io("move_mount", &covering.source))?;
        }
        Ok(view)
    })
}

/// Opens the place of something; a directory that is not there yet is made, as it will be when the container starts.
fn place_of(view: &RootDir, destination: &[u8], source: &Path) -> Option<OwnedFd> {
    if let Ok(place) = view.open_at(destination, OFlags::PATH) {
        return Some(place);
    }
    if !source.is_dir() {
        return None;
    }
    let mut parent = Vec::new();
    for name in destination.split(|&byte| byte == b'/') {
        let above = view.open_dir(&parent).ok()?;
        match mkdirat(above, OsStr::from_bytes(name), Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) | Ok(()) => parent = join(&parent, name),
            // A read-only view, for example.
            Err(_) => return None,
        }
    }
    view.open_dir(&parent).ok()
}

fn tree(source: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, source, flags).map_err(Error::io("open_tree", source))
}

/// A thread that ends with the work: what it does to its namespaces ends with it.
fn on_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let thread = std::thread::Builder::new().name("view".to_owned());
    std::thread::scope(|scope| {
        let working = thread.spawn_scoped(scope, work).map_err(Error::io("spawn thread", "view"))?;
        working.join().unwrap_or_else(|_| {
            Err(Error::Io { step: "view", path: String::new(), source: std::io::Error::other("thread died") })
        })
    })
}
