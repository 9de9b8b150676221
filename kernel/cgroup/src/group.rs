//! A cgroup: the same path in every hierarchy.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::fs::{Access, AtFlags, Mode, OFlags, accessat, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::hierarchy::{Hierarchies, Hierarchy, Version};
use crate::{Error, files, tree};

/// The controllers a container's group gets on v2, when the parent has them.
const CONTROLLERS_V2: [&str; 7] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb", "rdma"];

/// A group, which may or may not exist; nothing is held open for it.
#[derive(Debug, Clone)]
pub struct Cgroup {
    pub(crate) hierarchies: Hierarchies,
    /// Begins with a slash, has no empty, `.` or `..` components: `/tare-ab12cd/<id>`.
    path: String,
}

impl Cgroup {
    /// Names a group; no system calls. `path` is taken from the mount points down, whatever group the caller is in;
    /// `.`, `..` and repeated slashes are resolved without leaving the root.
    pub fn open(hierarchies: &Hierarchies, path: &str) -> Self {
        Self { hierarchies: hierarchies.clone(), path: clean(path) }
    }

    /// Makes the directory in every hierarchy, and its parents; an existing one is fine. On v1 an empty cpuset is
    /// filled from its parent's, without which no process can join; on v2 the parents pass on the controllers they have.
    /// Beside v1, v2's hierarchy is left out where it cannot be written.
    pub fn create(hierarchies: &Hierarchies, path: &str) -> Result<Self, Error> {
        let group = Self::open(hierarchies, path);
        for hierarchy in hierarchies.all() {
            match group.make(hierarchy) {
                Err(_) if group.is_spare(hierarchy) => {}
                made => made?,
            }
        }
        Ok(group)
    }

    /// The path below every mount point, with a leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Which version the group belongs to.
    pub fn version(&self) -> Version {
        self.hierarchies.version()
    }

    /// Whether the directory exists in any hierarchy.
    pub fn exists(&self) -> bool {
        self.hierarchies.all().iter().any(|hierarchy| self.exists_in(hierarchy))
    }

    fn exists_in(&self, hierarchy: &Hierarchy) -> bool {
        accessat(&hierarchy.root, self.relative(), Access::EXISTS, AtFlags::empty()).is_ok()
    }

    /// Moves a process with all its threads into the group, in every hierarchy. On an idle v1 machine the first of
    /// these waits about 10 ms for the kernel.
    pub fn add_process(&self, pid: i32) -> Result<(), Error> {
        self.join("cgroup.procs", &pid.to_string())
    }

    /// v1: moves the calling thread alone; what it clones is born in the group.
    pub fn add_current_thread(&self) -> Result<(), Error> {
        match self.version() {
            // Zero stands for the writing thread.
            Version::V1 => self.join("tasks", "0"),
            Version::V2 => Err(Error::Invalid("cgroup v2 does not move single threads between domains".to_owned())),
        }
    }

    /// v1: moves the calling thread alone from the group to its parent, in the hierarchy of one controller, which does not
    /// count it as the group's any more. What it has cloned stays.
    pub fn take_out_current_thread(&self, controller: &str) -> Result<(), Error> {
        let Some(hierarchy) = self.hierarchies.controller(controller).filter(|_| self.version() == Version::V1) else {
            return Ok(());
        };
        let parent = Self { path: clean(&format!("{}/..", self.path)), ..self.clone() };
        files::write(&hierarchy.root, &format!("{}/tasks", parent.relative()), "0")
            .map_err(|errno| Error::os("join", parent.display(hierarchy, "tasks"), errno))
    }

    /// The group's directories on the host, each with its hierarchy's name as in [`MountSource::name`]; v2's has none.
    /// Beside v1, that one is there only if it exists.
    ///
    /// [`MountSource::name`]: crate::MountSource::name
    pub fn directories(&self) -> Vec<(String, PathBuf)> {
        let there = |hierarchy: &&Hierarchy| !self.is_spare(hierarchy) || self.exists_in(hierarchy);
        let directory = |hierarchy: &Hierarchy| (hierarchy.mount.directory(), self.directory(hierarchy));
        self.hierarchies.all().iter().filter(there).map(directory).collect()
    }

    /// On the host.
    pub(crate) fn directory(&self, hierarchy: &Hierarchy) -> PathBuf {
        hierarchy.mount.point.join(self.path.trim_start_matches('/'))
    }

    /// Whether it is v2's hierarchy beside those of v1, which nothing depends on.
    fn is_spare(&self, hierarchy: &Hierarchy) -> bool {
        self.version() == Version::V1 && hierarchy.mount.is_unified()
    }

    fn join(&self, file: &str, id: &str) -> Result<(), Error> {
        for hierarchy in self.hierarchies.all() {
            let path = format!("{}/{file}", self.relative());
            files::write(&hierarchy.root, &path, id)
                .map_err(|errno| Error::os("join", self.display(hierarchy, file), errno))?;
        }
        Ok(())
    }

    /// v1: gives the group another name in the same parent, with the processes in it. Either all hierarchies are
    /// renamed or none.
    pub fn rename(&mut self, new_name: &str) -> Result<(), Error> {
        if self.version() == Version::V2 {
            return Err(Error::Invalid("cgroup v2 cannot rename a group".to_owned()));
        }
        if new_name.is_empty() || new_name.contains('/') || new_name == "." || new_name == ".." {
            return Err(Error::Invalid(format!("`{new_name}` is no name for a cgroup")));
        }
        let parent = self.path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let renamed = Self { hierarchies: self.hierarchies.clone(), path: format!("{parent}/{new_name}") };
        let (old, new) = (self.relative(), renamed.relative());
        for (done, hierarchy) in self.hierarchies.all().iter().enumerate() {
            if let Err(errno) = renameat(&hierarchy.root, old, &hierarchy.root, new) {
                for undone in self.hierarchies.all().iter().take(done) {
                    // The error that matters is the first; a half that stays behind is found by the next clean-up.
                    let _ = renameat(&undone.root, new, &undone.root, old);
                }
                return Err(Error::os("rename", self.display(hierarchy, ""), errno));
            }
        }
        *self = renamed;
        Ok(())
    }

    /// v2: the directory, for `CLONE_INTO_CGROUP`.
    pub fn fd_v2(&self) -> Result<OwnedFd, Error> {
        match (self.version(), self.hierarchies.all().first()) {
            (Version::V2, Some(unified)) => self.open_in(unified),
            _ => Err(Error::Invalid("cgroup v1 has no single directory to clone into".to_owned())),
        }
    }

    /// Removes the group and all groups below it, in every hierarchy. Absent is fine. Processes that are just ending
    /// are waited for, up to about a second.
    pub fn remove(&self) -> Result<(), Error> {
        /// A group stays busy until its last process has left the kernel, usually well below a millisecond after its
        /// parent has seen it end. The waits double from 1 ms: 1 + 2 + … + 512 ms, about a second in all.
        const ATTEMPTS: u32 = 10;
        let mut errors = Vec::new();
        let mut remaining: Vec<&Hierarchy> = self.hierarchies.all().iter().collect();
        let mut wait = Duration::from_millis(1);
        for attempt in 0..=ATTEMPTS {
            remaining.retain(|hierarchy| match remove_once(hierarchy, self.relative()) {
                Ok(()) => false,
                Err(Errno::BUSY) if attempt < ATTEMPTS => true,
                Err(errno) => {
                    errors.push(Error::os("rmdir", self.display(hierarchy, ""), errno));
                    false
                }
            });
            if remaining.is_empty() {
                break;
            }
            thread::sleep(wait);
            wait *= 2;
        }
        Error::collect(errors)
    }

    /// The path relative to a mount point.
    pub(crate) fn relative(&self) -> &str {
        match self.path.trim_start_matches('/') {
            "" => ".",
            path => path,
        }
    }

    /// The group's directory in one hierarchy, readable (for listing, `bpf` and `clone3`).
    pub(crate) fn open_in(&self, hierarchy: &Hierarchy) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&hierarchy.root, self.relative(), flags, Mode::empty())
            .map_err(|errno| Error::os("open", self.display(hierarchy, ""), errno))
    }

    /// The whole path of a file, for messages.
    pub(crate) fn display(&self, hierarchy: &Hierarchy, file: &str) -> String {
        let path = format!("{}{}/{file}", hierarchy.mount.point.display(), self.path.trim_end_matches('/'));
        path.trim_end_matches('/').to_owned()
    }

    fn make(&self, hierarchy: &Hierarchy) -> Result<(), Error> {
        let relative = self.relative();
        let mode = Mode::from_raw_mode(0o755);
        let failed = |errno| Error::os("mkdir", self.display(hierarchy, ""), errno);
        match mkdirat(&hierarchy.root, relative, mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(Errno::NOENT) => {
                for (end, _) in relative.match_indices('/') {
                    let ancestor = relative.get(..end).unwrap_or_default();
                    match mkdirat(&hierarchy.root, ancestor, mode) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(errno) => return Err(failed(errno)),
                    }
                }
                match mkdirat(&hierarchy.root, relative, mode) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(failed(errno)),
                }
            }
            Err(errno) => return Err(failed(errno)),
        }
        let prepared = match self.version() {
            Version::V1 if hierarchy.mount.has("cpuset") => inherit_cpuset(hierarchy, relative),
            Version::V1 => Ok(()),
            Version::V2 => pass_on_controllers(hierarchy, relative),
        };
        prepared.map_err(|errno| Error::os("prepare", self.display(hierarchy, ""), errno))
    }
}

/// Resolves a path without looking at the file system.
fn clean(path: &str) -> String {
    let mut components = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()),
            name => components.push(name),
        }
    }
    format!("/{}", components.join("/"))
}

/// Fills empty `cpuset.cpus` and `cpuset.mems` from the parent's, from the top down.
fn inherit_cpuset(hierarchy: &Hierarchy, relative: &str) -> Result<(), Errno> {
    let leaf = files::directory(&hierarchy.root, relative)?;
    if !cpuset_is_empty(&leaf)? {
        return Ok(());
    }
    let mut parent = files::directory(&hierarchy.root, ".")?;
    for name in relative.split('/') {
        let child = files::directory(&parent, name)?;
        if cpuset_is_empty(&child)? {
            let mut buffer = [0; files::VALUE_MAX];
            for file in ["cpuset.cpus", "cpuset.mems"] {
                files::write(&child, file, files::read(&parent, file, &mut buffer)?)?;
            }
            // The groups made in it then inherit by themselves. It is only a saving, so a refusal does not matter.
            let _ = files::write(&child, "cgroup.clone_children", "1");
        }
        parent = child;
    }
    Ok(())
}

fn cpuset_is_empty(directory: &OwnedFd) -> Result<bool, Errno> {
    let mut buffer = [0; files::VALUE_MAX];
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if files::read(directory, file, &mut buffer)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Enables the controllers in `cgroup.subtree_control` of every ancestor, unless the group has them already. One that
/// cannot be enabled is left out: it is an error only when a value for it is written.
fn pass_on_controllers(unified: &Hierarchy, relative: &str) -> Result<(), Errno> {
    let mut root_buffer = [0; files::VALUE_MAX];
    let mut buffer = [0; files::VALUE_MAX];
    let offered = files::read(&unified.root, "cgroup.controllers", &mut root_buffer)?;
    let wanted: Vec<&str> = offered.split(' ').filter(|name| CONTROLLERS_V2.contains(name)).collect();
    let leaf = files::directory(&unified.root, relative)?;
    if missing(&wanted, files::read(&leaf, "cgroup.controllers", &mut buffer)?).is_empty() {
        return Ok(());
    }
    let mut parent = files::directory(&unified.root, ".")?;
    for name in relative.split('/') {
        let enabled = files::read(&parent, "cgroup.subtree_control", &mut buffer)?;
        let absent = missing(&wanted, enabled);
        let all: String = absent.iter().map(|name| format!("+{name} ")).collect();
        if !absent.is_empty() && files::write(&parent, "cgroup.subtree_control", all.trim_end()).is_err() {
            for name in absent {
                let _ = files::write(&parent, "cgroup.subtree_control", &format!("+{name}"));
            }
        }
        parent = files::directory(&parent, name)?;
    }
    Ok(())
}

fn missing<'a>(wanted: &[&'a str], present: &str) -> Vec<&'a str> {
    wanted.iter().copied().filter(|name| !present.split(' ').any(|own| own == *name)).collect()
}

fn remove_once(hierarchy: &Hierarchy, relative: &str) -> Result<(), Errno> {
    match unlinkat(&hierarchy.root, relative, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::BUSY) => {}
        Err(errno) => return Err(errno),
    }
    let directory = match files::directory(&hierarchy.root, relative) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    match tree::remove_children(&directory) {
        Ok(()) => {}
        // Somebody else is removing it too.
        Err(Errno::NOENT | Errno::NODEV) => return Err(Errno::BUSY),
        Err(errno) => return Err(errno),
    }
    match unlinkat(hierarchy.root.as_fd(), relative, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn paths_cannot_leave_the_root() {
        assert_eq!(clean("/tare/id"), "/tare/id");
        assert_eq!(clean("tare//./id/"), "/tare/id");
        assert_eq!(clean("../../etc"), "/etc");
        assert_eq!(clean("/a/b/../../../c"), "/c");
        assert_eq!(clean(""), "/");
    }
}
