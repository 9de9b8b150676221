//! Which cgroup hierarchies this machine has: cgroup v1 (one file system per controller or group of controllers, and
//! the named `systemd` hierarchy) or v2 (one file system for all).
//!
//! A hybrid machine (v1 controllers, and a v2 file system at `/sys/fs/cgroup/unified`) counts as v1; its v2 hierarchy is
//! left alone, or joined with the others where that is asked for. Source: `cgroups(7)`, `proc_pid_mountinfo(5)`.

use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, openat};
use tare_sys::mountinfo::{self, MOUNTINFO};

use crate::Error;

/// The two interfaces of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy per controller.
    V1,
    /// The unified hierarchy.
    V2,
}

/// The mounted hierarchies, held by descriptor. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Hierarchies(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    version: Version,
    all: Vec<Hierarchy>,
}

/// One mounted hierarchy.
#[derive(Debug)]
pub(crate) struct Hierarchy {
    pub(crate) mount: Mount,
    /// The mount point (`O_PATH`): every file is reached relative to it.
    pub(crate) root: OwnedFd,
}

/// What mountinfo says about one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where it is mounted, for messages and bind mounts.
    pub(crate) point: PathBuf,
    /// The controllers (v1), in the order the kernel names them; empty for a named hierarchy and for v2's.
    pub(crate) controllers: Vec<String>,
    /// The name of a named v1 hierarchy (`systemd`).
    pub(crate) name: Option<String>,
}

impl Mount {
    /// The name of the directory below `/sys/fs/cgroup`: `cpu,cpuacct`, `systemd`.
    pub(crate) fn directory(&self) -> String {
        match &self.name {
            Some(name) => name.clone(),
            None => self.controllers.join(","),
        }
    }

    /// Whether it is v2's, on a hybrid machine beside those of v1.
    pub(crate) fn is_unified(&self) -> bool {
        self.controllers.is_empty() && self.name.is_none()
    }

    pub(crate) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|own| own == controller)
    }
}

impl Hierarchies {
    /// Finds the hierarchies of this process's mount namespace and opens them.
    pub fn detect() -> Result<Self, Error> {
        Self::detect_with(Hybrid::V1)
    }

    /// The same, and on a hybrid machine v2's with them: it limits nothing, but a process can be found by its group
    /// there, which others expect to be the same as in the hierarchies of v1.
    pub fn detect_hybrid() -> Result<Self, Error> {
        Self::detect_with(Hybrid::Both)
    }

    fn detect_with(hybrid: Hybrid) -> Result<Self, Error> {
        let text = fs::read(MOUNTINFO).map_err(|error| Error::io("read", MOUNTINFO, &error))?;
        let (version, mounts) = parse(&text, hybrid)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut all = Vec::with_capacity(mounts.len());
        for mount in mounts {
            let root = openat(CWD, &mount.point, flags, Mode::empty())
                .map_err(|errno| Error::os("open", mount.point.display(), errno))?;
            all.push(Hierarchy { mount, root });
        }
        Ok(Self(Arc::new(Inner { version, all })))
    }

    /// The version in use.
    pub fn version(&self) -> Version {
        self.0.version
    }

    /// Whether a controller can be used (v1: its hierarchy is mounted; v2: the root of the hierarchy has it).
    pub fn has_controller(&self, controller: &str) -> bool {
        match self.version() {
            Version::V1 => self.controller(controller).is_some(),
            Version::V2 => self.all().first().is_some_and(|unified| {
                let mut buffer = [0; crate::files::VALUE_MAX];
                crate::files::read(&unified.root, "cgroup.controllers", &mut buffer)
                    .is_ok_and(|text| text.split_ascii_whitespace().any(|name| name == controller))
            }),
        }
    }

    pub(crate) fn all(&self) -> &[Hierarchy] {
        &self.0.all
    }

    /// The hierarchy a controller's files live in.
    pub(crate) fn controller(&self, controller: &str) -> Option<&Hierarchy> {
        match self.version() {
            Version::V1 => self.all().iter().find(|hierarchy| hierarchy.mount.has(controller)),
            Version::V2 => self.all().first(),
        }
    }

    /// A v2 hierarchy made of ordinary files: the root offers some controllers, the group `/g` has the files given.
    #[cfg(test)]
    pub(crate) fn fake_v2(root: &Path, controllers: &str, files: &[(&str, &str)]) -> Self {
        fs::create_dir(root.join("g")).unwrap();
        for directory in [root, &root.join("g")] {
            fs::write(directory.join("cgroup.controllers"), controllers).unwrap();
        }
        for (name, content) in files {
            fs::write(root.join("g").join(name), content).unwrap();
        }
        let mount = Mount { point: root.to_owned(), controllers: Vec::new(), name: None };
        Self::for_test(Version::V2, vec![mount])
    }

    /// Hierarchies below a directory of a test's own.
    #[cfg(test)]
    pub(crate) fn for_test(version: Version, mounts: Vec<Mount>) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let all = mounts
            .into_iter()
            .map(|mount| Hierarchy { root: openat(CWD, &mount.point, flags, Mode::empty()).unwrap(), mount })
            .collect();
        Self(Arc::new(Inner { version, all }))
    }
}

/// What is used of a hybrid machine.
#[derive(Clone, Copy, PartialEq)]
enum Hybrid {
    V1,
    Both,
}

/// Where v2 is on a hybrid machine.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// Reads mountinfo: the hierarchies of v1 if any controller is mounted there, otherwise the v2 one.
fn parse(text: &[u8], hybrid: Hybrid) -> Result<(Version, Vec<Mount>), Error> {
    let mut v1: Vec<Mount> = Vec::new();
    let mut v2: Option<Mount> = None;
    for mounted in mountinfo::mounts(text) {
        let point = PathBuf::from(OsString::from_vec(mounted.point));
        match mounted.kind {
            b"cgroup" => {
                let mount = v1_mount(point, mounted.options);
                // The same hierarchy mounted again elsewhere: the first one stands.
                if !v1.iter().any(|known| known.controllers == mount.controllers && known.name == mount.name) {
                    v1.push(mount);
                }
            }
            b"cgroup2" if v2.is_none() || point == Path::new("/sys/fs/cgroup") => {
                v2 = Some(Mount { point, controllers: Vec::new(), name: None });
            }
            _ => {}
        }
    }
    if v1.iter().any(|mount| !mount.controllers.is_empty()) {
        v1.extend(v2.filter(|mount| hybrid == Hybrid::Both && mount.point == Path::new(UNIFIED)));
        return Ok((Version::V1, v1));
    }
    v2.map(|mount| (Version::V2, vec![mount])).ok_or(Error::NotMounted)
}

/// A v1 hierarchy says what it is in the options of its super block; those that are no controller are known.
fn v1_mount(point: PathBuf, options: &[u8]) -> Mount {
    const NOT_CONTROLLERS: [&str; 8] =
        ["rw", "ro", "none", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "favordynmods"];
    let options = String::from_utf8_lossy(options);
    let mut mount = Mount { point, controllers: Vec::new(), name: None };
    for option in options.split(',') {
        match option.split_once('=') {
            Some(("name", name)) => mount.name = Some(name.to_owned()),
            Some(_) => {}
            None if NOT_CONTROLLERS.contains(&option) => {}
            None => mount.controllers.push(option.to_owned()),
        }
    }
    mount
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str) -> String {
        show_with(text, Hybrid::V1)
    }

    fn show_with(text: &str, hybrid: Hybrid) -> String {
        match parse(text.as_bytes(), hybrid) {
            Ok((version, mounts)) => {
                let lines = mounts.iter().map(|mount| {
                    format!("{} [{}] {:?}\n", mount.point.display(), mount.controllers.join(" "), mount.name)
                });
                format!("{version:?}\n{}", lines.collect::<String>())
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn v1_with_co_mounted_controllers() {
        insta::assert_snapshot!(show(
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             33 31 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup ro,memory,release_agent=/x\n\
             34 31 0:31 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n\
             35 31 0:31 / /elsewhere rw,relatime - cgroup cgroup rw,xattr,name=systemd\n\
             36 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
        ), @r#"
        V1
        /sys/fs/cgroup/cpu,cpuacct [cpu cpuacct] None
        /sys/fs/cgroup/memory [memory] None
        /sys/fs/cgroup/systemd [] Some("systemd")
        "#);
    }

    #[test]
    fn v2() {
        insta::assert_snapshot!(show(
            "1 0 0:2 / / rw - ext4 /dev/vda rw\n\
             35 31 0:5 / /run/x\\040y rw - cgroup2 cgroup2 rw\n\
             36 31 0:5 / /sys/fs/cgroup rw,nosuid shared:4 master:2 - cgroup2 cgroup2 rw,nsdelegate\n"
        ), @r"
        V2
        /sys/fs/cgroup [] None
        ");
        insta::assert_snapshot!(show("36 31 0:5 / /run/x\\040y rw - cgroup2 cgroup2 rw\n"), @r"
        V2
        /run/x y [] None
        ");
    }

    #[test]
    fn both_of_a_hybrid_machine() {
        let v1 = "33 31 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";
        let unified = "36 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let elsewhere = "36 31 0:38 / /mnt rw,relatime - cgroup2 cgroup2 rw\n";
        insta::assert_snapshot!(show_with(&format!("{unified}{v1}"), Hybrid::Both), @r"
        V1
        /sys/fs/cgroup/memory [memory] None
        /sys/fs/cgroup/unified [] None
        ");
        for text in [v1.to_owned(), format!("{v1}{elsewhere}"), unified.to_owned()] {
            assert_eq!(show_with(&text, Hybrid::Both), show(&text));
        }
    }

    #[test]
    fn v2_with_only_the_named_v1_hierarchy() {
        insta::assert_snapshot!(show(
            "34 31 0:31 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd\n\
             36 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
        ), @r"
        V2
        /sys/fs/cgroup/unified [] None
        ");
    }

    #[test]
    fn nothing_mounted_or_nonsense() {
        insta::assert_snapshot!(show(""), @"no cgroup hierarchy is mounted");
        insta::assert_snapshot!(show("a b c\n - \n1 2 3 4 5 - cgroup\n"), @"no cgroup hierarchy is mounted");
    }
}
