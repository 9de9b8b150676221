//! What the runtime mounts at a container's `/sys/fs/cgroup`.

use std::path::PathBuf;

use crate::group::Cgroup;
use crate::hierarchy::{Hierarchy, Version};

/// The container's own groups, as directories of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSources {
    /// A tmpfs with one bind mount per hierarchy.
    V1(Vec<MountSource>),
    /// One bind mount, or a new `cgroup2` mount inside the container's cgroup namespace.
    V2 {
        /// The group's directory on the host.
        host: PathBuf,
    },
}

/// One hierarchy of v1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountSource {
    /// The directory below `/sys/fs/cgroup`: `cpu,cpuacct`, `systemd`.
    pub name: String,
    /// The group's directory on the host.
    pub host: PathBuf,
    /// Symbolic links to `name`, one per controller of a co-mounted hierarchy: `cpu`, `cpuacct`.
    pub links: Vec<String>,
    /// The mount option that selects the hierarchy in a cgroup namespace: `cpu,cpuacct`, `name=systemd`.
    pub options: String,
}

impl Cgroup {
    /// Where this group is on the host, by hierarchy; no system calls. Beside v1, v2's is not mounted: whoever finds it
    /// takes the machine for one of v2.
    pub fn mount_sources(&self) -> MountSources {
        let version = self.version();
        let shown = |hierarchy: &&Hierarchy| version == Version::V2 || !hierarchy.mount.is_unified();
        let mut sources = self.hierarchies.all().iter().filter(shown).map(|hierarchy| {
            let mount = &hierarchy.mount;
            MountSource {
                name: mount.directory(),
                host: self.directory(hierarchy),
                links: if mount.controllers.len() > 1 { mount.controllers.clone() } else { Vec::new() },
                options: mount.name.as_ref().map_or_else(|| mount.directory(), |name| format!("none,name={name}")),
            }
        });
        match version {
            Version::V1 => MountSources::V1(sources.collect()),
            Version::V2 => MountSources::V2 { host: sources.next().map(|source| source.host).unwrap_or_default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hierarchy::{Hierarchies, Mount};

    #[test]
    fn names_links_and_paths() {
        let directory = tempfile::tempdir().unwrap();
        let mount = |controllers: &[&str], name: Option<&str>| Mount {
            point: directory.path().to_owned(),
            controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
            name: name.map(str::to_owned),
        };
        let mounts = vec![
            mount(&["cpu", "cpuacct"], None),
            mount(&["pids"], None),
            mount(&[], Some("systemd")),
            mount(&[], None),
        ];
        let group = Cgroup::open(&Hierarchies::for_test(Version::V1, mounts), "/tare/x");
        let MountSources::V1(sources) = group.mount_sources() else { panic!("v1 expected") };
        assert!(sources.iter().all(|source| source.host == directory.path().join("tare/x")));
        let lines: Vec<String> = sources.iter().map(|s| format!("{} {:?} {}", s.name, s.links, s.options)).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        cpu,cpuacct ["cpu", "cpuacct"] cpu,cpuacct
        pids [] pids
        systemd [] none,name=systemd
        "#);
        let group = Cgroup::open(&Hierarchies::for_test(Version::V2, vec![mount(&[], None)]), "/tare/x");
        assert_eq!(group.mount_sources(), MountSources::V2 { host: directory.path().join("tare/x") });
    }
}
