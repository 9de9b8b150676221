//! Which namespaces are made, and which are joined when.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use tare_oci_runtime::{Linux, NamespaceKind, TimeOffset};
use tare_sys::process::namespace;

use crate::error::{Error, Result};

/// Namespaces of a container.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Namespaces {
    /// Flags for clone3.
    pub(crate) create: u32,
    /// Flags for unshare in the child: a cgroup namespace has its root where the process is when it is made, and a time
    /// namespace is entered with execve, after its offsets were set.
    pub(crate) unshare: u32,
    /// Joined in order.
    pub(crate) join: Vec<Join>,
    /// What goes to `/proc/self/timens_offsets`.
    pub(crate) time_offsets: String,
}

/// A namespace to join.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Join {
    pub(crate) flag: u32,
    /// `None`: the descriptor that the launch carries.
    pub(crate) path: Option<PathBuf>,
    /// By the parent's thread around the clone, not by the child.
    pub(crate) before: bool,
}

pub(crate) fn flag(kind: NamespaceKind) -> Option<u32> {
    match kind {
        NamespaceKind::None => None,
        NamespaceKind::Pid => Some(namespace::PID),
        NamespaceKind::Network => Some(namespace::NETWORK),
        NamespaceKind::Mount => Some(namespace::MOUNT),
        NamespaceKind::Ipc => Some(namespace::IPC),
        NamespaceKind::Uts => Some(namespace::UTS),
        NamespaceKind::User => Some(namespace::USER),
        NamespaceKind::Cgroup => Some(namespace::CGROUP),
        NamespaceKind::Time => Some(namespace::TIME),
    }
}

impl Namespaces {
    pub(crate) fn new(linux: &Linux, network_by_fd: bool) -> Result<Self> {
        let mut all = Self::default();
        let mut seen = 0;
        for namespace in &linux.namespaces {
            let flag = flag(namespace.kind).ok_or_else(|| Error::invalid("linux.namespaces: no type"))?;
            if seen & flag != 0 {
                return Err(Error::invalid(format!("{} namespace: given twice", namespace.kind.file_name())));
            }
            seen |= flag;
            if flag == namespace::NETWORK && network_by_fd {
                continue;
            }
            if !namespace.path.as_os_str().is_empty() {
                all.join.push(Join { flag, path: Some(namespace.path.clone()), before: false });
            } else if flag & (namespace::CGROUP | namespace::TIME) != 0 {
                all.unshare |= flag;
            } else {
                all.create |= flag;
            }
        }
        if network_by_fd {
            all.join.push(Join { flag: namespace::NETWORK, path: None, before: false });
        }
        if all.has(namespace::USER) && !all.has(namespace::MOUNT) {
            return Err(Error::invalid("mount namespace: needed with a user namespace"));
        }
        all.order(linux)?;
        all.time_offsets = time_offsets(&linux.time_offsets, all.unshare)?;
        Ok(all)
    }

    /// A process namespace is entered by cloning. With a user namespace the child has no right over what is not owned
    /// by that, so the others are joined before as well. An existing user namespace is joined last, by a process of its
    /// own (see [`joins_user`](Self::joins_user)).
    fn order(&mut self, linux: &Linux) -> Result<()> {
        let user = self.create & namespace::USER != 0;
        let joined = self.joins_user();
        for join in &mut self.join {
            join.before = join.flag == namespace::PID || joined || user && join.flag != namespace::TIME;
        }
        self.join.sort_by_key(|join| join.flag == namespace::USER);
        if user && linux.uid_mappings.is_empty() | linux.gid_mappings.is_empty() {
            return Err(Error::invalid("user namespace: uidMappings and gidMappings are needed"));
        }
        let unmapped = linux.uid_mappings.is_empty() && linux.gid_mappings.is_empty();
        if !user && !unmapped {
            return Err(Error::invalid("uidMappings and gidMappings: only with a new user namespace"));
        }
        Ok(())
    }

    /// Whether the container is in an existing user namespace. Nobody comes back from one, so a process in between joins
    /// it and clones the child.
    pub(crate) fn joins_user(&self) -> bool {
        self.joins(namespace::USER)
    }

    /// Whether the container is in an existing namespace of this kind.
    pub(crate) fn joins(&self, flag: u32) -> bool {
        self.join.iter().any(|join| join.flag == flag)
    }

    /// Whether the container has a namespace of this kind that is not the runtime's.
    pub(crate) fn has(&self, flag: u32) -> bool {
        (self.create | self.unshare) & flag != 0 || self.joins(flag)
    }
}

fn time_offsets(offsets: &BTreeMap<String, TimeOffset>, unshare: u32) -> Result<String> {
    let mut text = String::new();
    if !offsets.is_empty() && unshare & namespace::TIME == 0 {
        return Err(Error::invalid("timeOffsets: only with a new time namespace"));
    }
    for (clock, offset) in offsets {
        if clock != "monotonic" && clock != "boottime" {
            return Err(Error::invalid(format!("timeOffsets `{clock}`: unknown clock")));
        }
        let _ = writeln!(text, "{clock} {} {}", offset.secs, offset.nanosecs);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tare_oci_runtime::{IdMapping, Namespace};

    fn linux(kinds: &[NamespaceKind]) -> Linux {
        Linux { namespaces: kinds.iter().map(|kind| Namespace::new(*kind)).collect(), ..Linux::default() }
    }

    #[test]
    fn new_ones_are_cloned_or_unshared() {
        let linux = linux(&[NamespaceKind::Mount, NamespaceKind::Pid, NamespaceKind::Cgroup, NamespaceKind::Time]);
        let plan = Namespaces::new(&linux, false).unwrap();
        assert_eq!(plan.create, namespace::MOUNT | namespace::PID);
        assert_eq!(plan.unshare, namespace::CGROUP | namespace::TIME);
        assert!(plan.join.is_empty());
    }

    #[test]
    fn a_given_network_takes_the_place_of_the_specified_one() {
        let plan = Namespaces::new(&linux(&[NamespaceKind::Mount, NamespaceKind::Network]), true).unwrap();
        assert_eq!(plan.create, namespace::MOUNT);
        assert_eq!(plan.join, [Join { flag: namespace::NETWORK, path: None, before: false }]);
    }

    #[test]
    fn with_a_user_namespace_others_are_joined_before() {
        let mut linux = linux(&[NamespaceKind::Mount, NamespaceKind::User]);
        linux.namespaces.push(Namespace::join(NamespaceKind::Ipc, "/proc/1/ns/ipc"));
        assert!(Namespaces::new(&linux, false).is_err());
        linux.uid_mappings = vec![IdMapping { container_id: 0, host_id: 1000, size: 1 }];
        linux.gid_mappings = linux.uid_mappings.clone();
        let plan = Namespaces::new(&linux, true).unwrap();
        assert!(plan.join.iter().all(|join| join.before) && plan.join.len() == 2);
    }

    #[test]
    fn a_user_namespace_is_joined_last() {
        let mut linux = linux(&[NamespaceKind::Mount]);
        for kind in [NamespaceKind::User, NamespaceKind::Time, NamespaceKind::Network] {
            linux.namespaces.push(Namespace::join(kind, "/x"));
        }
        let plan = Namespaces::new(&linux, false).unwrap();
        assert_eq!(
            plan.join.iter().map(|join| join.flag).collect::<Vec<_>>(),
            [namespace::TIME, namespace::NETWORK, namespace::USER]
        );
        assert!(plan.joins_user() && plan.join.iter().all(|join| join.before));
        linux.uid_mappings = vec![IdMapping { container_id: 0, host_id: 1000, size: 1 }];
        assert!(Namespaces::new(&linux, false).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        for (kinds, message) in [
            (&[NamespaceKind::User][..], "mount namespace: needed with a user namespace"),
            (&[NamespaceKind::Mount, NamespaceKind::Mount], "mnt namespace: given twice"),
            (&[NamespaceKind::None], "linux.namespaces: no type"),
        ] {
            assert_eq!(Namespaces::new(&linux(kinds), false).unwrap_err().to_string(), message);
        }
        let mut linux = linux(&[NamespaceKind::Mount]);
        linux.time_offsets.insert("monotonic".to_owned(), TimeOffset { secs: 1, nanosecs: 0 });
        assert!(Namespaces::new(&linux, false).is_err());
        linux.namespaces.push(Namespace::new(NamespaceKind::Time));
        assert_eq!(Namespaces::new(&linux, false).unwrap().time_offsets, "monotonic 1 0\n");
    }
}
