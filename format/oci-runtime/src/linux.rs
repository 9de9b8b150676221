//! What only Linux has: namespaces, devices, paths to hide, ID mappings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Resources, Seccomp};

objects! {
    /// `linux` of `config.json`.
    pub struct Linux {
        /// Namespaces to make or join.
        pub namespaces: Vec<Namespace>,
        /// Users of a new user namespace.
        pub uid_mappings: Vec<IdMapping>,
        /// Groups of a new user namespace.
        pub gid_mappings: Vec<IdMapping>,
        /// Offsets of a new time namespace by clock (`monotonic`, `boottime`).
        pub time_offsets: BTreeMap<String, TimeOffset>,
        /// Device nodes to make, besides the default ones.
        pub devices: Vec<Device>,
        /// Network interfaces to move into the container, by name on the host.
        pub net_devices: BTreeMap<String, NetDevice>,
        /// Where the container's cgroup is, relative to each hierarchy (or `slice:prefix:name` for systemd).
        pub cgroups_path: String,
        /// Limits.
        pub resources: Option<Resources>,
        /// `shared`, `slave`, `private`, `unbindable`, or one of these with an `r` before.
        pub rootfs_propagation: String,
        /// System call filter.
        pub seccomp: Option<Seccomp>,
        /// The same, compiled; it wins over `seccomp`. Not part of the specification: an engine that starts many
        /// containers with one profile compiles it once.
        pub compiled_seccomp: Option<CompiledSeccomp>,
        /// `net.ipv4.ip_forward` to value.
        pub sysctl: BTreeMap<String, String>,
        /// Paths that shall appear empty.
        pub masked_paths: Vec<String>,
        /// Paths that shall be read-only.
        pub readonly_paths: Vec<String>,
        /// SELinux label of mounts.
        pub mount_label: String,
        /// `personality(2)`.
        pub personality: Option<Personality>,
        /// Cache and memory bandwidth allocation.
        pub intel_rdt: Option<IntelRdt>,
        /// NUMA policy of the processes (`set_mempolicy(2)`).
        pub memory_policy: Option<MemoryPolicy>,
    }

    /// NUMA memory policy.
    pub struct MemoryPolicy {
        /// `MPOL_BIND`, …
        pub mode: String,
        /// Nodes that it is about (`0-3,7`).
        pub nodes: String,
        /// `MPOL_F_STATIC_NODES`, …
        pub flags: Vec<String>,
    }

    /// A compiled system call filter.
    pub struct CompiledSeccomp {
        /// `SECCOMP_FILTER_FLAG_*`
        pub flags: u32,
        /// Classic BPF instructions, 16 hexadecimal digits each: `code` (4), `jt` (2), `jf` (2), `k` (8).
        pub instructions: String,
        /// Unix socket that gets the notification descriptor, if the flags ask for one.
        pub listener_path: String,
        /// Sent along with it.
        pub listener_metadata: String,
    }

    /// A namespace to make, or to join by path.
    pub struct Namespace {
        /// Which.
        #[serde(rename = "type")]
        pub kind: NamespaceKind,
        /// `/proc/PID/ns/…` to join; empty makes a new one.
        pub path: PathBuf,
    }

    /// Offset of a clock.
    pub struct TimeOffset {
        /// Seconds.
        pub secs: i64,
        /// Nanoseconds.
        pub nanosecs: u32,
    }

    /// A device node.
    pub struct Device {
        /// Where in the container.
        pub path: PathBuf,
        /// `c` or `u` (character), `b` (block), `p` (FIFO).
        #[serde(rename = "type")]
        pub kind: String,
        /// Major number.
        pub major: i64,
        /// Minor number.
        pub minor: i64,
        /// Permissions; `None` means 0666.
        pub file_mode: Option<u32>,
        /// Owner.
        pub uid: Option<u32>,
        /// Group.
        pub gid: Option<u32>,
    }

    /// A network interface that moves into the container.
    pub struct NetDevice {
        /// Its new name; empty keeps the old one.
        pub name: String,
    }

    /// Execution domain.
    pub struct Personality {
        /// `LINUX` or `LINUX32`
        pub domain: String,
        /// None is supported by the specification.
        pub flags: Vec<String>,
    }

    /// Intel Resource Director Technology.
    pub struct IntelRdt {
        /// Class of service.
        #[serde(rename = "closID")]
        pub clos_id: String,
    }
}

/// One range of IDs. All of its members are always written: 0 is a meaningful ID.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdMapping {
    /// First ID in the container.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// First ID on the host.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// Kinds of namespaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// No kind at all: what a missing `type` reads as; an error to use.
    #[default]
    None,
    /// Processes.
    Pid,
    /// Network.
    Network,
    /// Mounts.
    Mount,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// Users.
    User,
    /// cgroups.
    Cgroup,
    /// Clocks.
    Time,
}

impl NamespaceKind {
    /// Its name in `/proc/PID/ns` (`namespaces(7)`).
    pub fn file_name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pid => "pid",
            Self::Network => "net",
            Self::Mount => "mnt",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}

impl Namespace {
    /// A new namespace.
    pub fn new(kind: NamespaceKind) -> Self {
        Self { kind, path: PathBuf::new() }
    }

    /// An existing one.
    pub fn join(kind: NamespaceKind, path: impl Into<PathBuf>) -> Self {
        Self { kind, path: path.into() }
    }
}
