//! The OCI runtime specification's `config.json` ([`Spec`]) and state ([`State`]), read leniently.
//!
//! Every field may be absent or `null`, unknown fields are ignored, and what is empty is left out when written. Values
//! are kept as they come: whether a name or number makes sense is for the user of it to say. Source: the OCI runtime
//! specification 1.2/1.3 (`config.md`, `config-linux.md`, `runtime.md`).
//!
//! Read in this order: this file (the process, its root and mounts), [`linux`], [`resources`], [`seccomp`], [`state`].
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

/// Declares objects whose fields may be absent or `null`, and are left out when they have their default value.
macro_rules! objects {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$attribute:meta])* pub $field:ident: $type:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $(
                $(#[$attribute])*
                #[serde(deserialize_with = "crate::null_is_default", skip_serializing_if = "crate::is_default")]
                pub $field: $type,
            )*
        }
    )*};
}

mod capabilities;
pub mod linux;
pub mod resources;
pub mod seccomp;
pub mod state;

pub use capabilities::CAPABILITIES;
pub use linux::{
    CompiledSeccomp, Device, IdMapping, IntelRdt, Linux, MemoryPolicy, Namespace, NamespaceKind, NetDevice,
    Personality, TimeOffset,
};
pub use resources::{
    BlockIo, Cpu, DeviceRule, HugepageLimit, InterfacePriority, Memory, Network, Pids, Rdma, Resources, ThrottleDevice,
    WeightDevice,
};
pub use seccomp::{Seccomp, SeccompArg, SeccompRule};
pub use state::{ContainerProcessState, SECCOMP_FD_NAME, State, Status};

/// Version of the specification that [`Spec::oci_version`] and [`State::oci_version`] announce.
pub const VERSION: &str = "1.2.1";

objects! {
    /// `config.json`.
    pub struct Spec {
        /// Version of the specification.
        pub oci_version: String,
        /// The container's process.
        pub process: Option<Process>,
        /// The root file system.
        pub root: Option<Root>,
        /// Name in the UTS namespace.
        pub hostname: String,
        /// NIS domain name in the UTS namespace.
        pub domainname: String,
        /// Mounts, in order.
        pub mounts: Vec<Mount>,
        /// Programs run at points of the container's life.
        pub hooks: Option<Hooks>,
        /// Free-form labels.
        pub annotations: BTreeMap<String, String>,
        /// What only Linux has.
        pub linux: Option<Linux>,
    }

    /// The container's process, or another one to run in it.
    pub struct Process {
        /// Give it a terminal.
        pub terminal: bool,
        /// Size of the terminal.
        pub console_size: Option<ConsoleSize>,
        /// Whom it runs as.
        pub user: User,
        /// The command and its arguments.
        pub args: Vec<String>,
        /// `NAME=value` strings.
        pub env: Vec<String>,
        /// Working directory, absolute.
        pub cwd: PathBuf,
        /// Capability sets; `None` leaves the caller's.
        pub capabilities: Option<Capabilities>,
        /// Resource limits (`setrlimit(2)`).
        pub rlimits: Vec<Rlimit>,
        /// Set `no_new_privs` (`prctl(2)`).
        pub no_new_privileges: bool,
        /// AppArmor profile.
        pub apparmor_profile: String,
        /// `/proc/PID/oom_score_adj`.
        pub oom_score_adj: Option<i32>,
        /// SELinux process label.
        pub selinux_label: String,
        /// `ioprio_set(2)`.
        pub io_priority: Option<IoPriority>,
        /// `sched_setattr(2)`.
        pub scheduler: Option<Scheduler>,
        /// CPUs that a process run in a container by `exec` may run on; a container's init takes no notice of it.
        #[serde(rename = "execCPUAffinity")]
        pub exec_cpu_affinity: Option<CpuAffinity>,
    }

    /// Size of a terminal in characters.
    pub struct ConsoleSize {
        /// Rows.
        pub height: u16,
        /// Columns.
        pub width: u16,
    }

    /// Whom a process runs as.
    pub struct User {
        /// User ID in the container.
        pub uid: u32,
        /// Group ID in the container.
        pub gid: u32,
        /// File mode creation mask; `None` means 0022.
        pub umask: Option<u32>,
        /// Supplementary groups.
        pub additional_gids: Vec<u32>,
        /// `name|uid[:group|gid]`, resolved in the container's own `/etc/passwd` and `/etc/group` when not empty; it
        /// then takes the place of `uid` and `gid`.
        pub username: String,
        /// Supplementary groups by name, resolved in the container's own `/etc/group`; this engine's extension.
        pub additional_groups: Vec<String>,
    }

    /// Capability sets by name (`CAP_CHOWN`).
    pub struct Capabilities {
        /// The bounding set.
        pub bounding: Vec<String>,
        /// The effective set.
        pub effective: Vec<String>,
        /// The inheritable set.
        pub inheritable: Vec<String>,
        /// The permitted set.
        pub permitted: Vec<String>,
        /// The ambient set.
        pub ambient: Vec<String>,
    }

    /// One resource limit.
    pub struct Rlimit {
        /// `RLIMIT_NOFILE`
        #[serde(rename = "type")]
        pub kind: String,
        /// Soft limit; `u64::MAX` is none.
        pub soft: u64,
        /// Hard limit; `u64::MAX` is none.
        pub hard: u64,
    }

    /// I/O priority.
    pub struct IoPriority {
        /// `IOPRIO_CLASS_RT`, `IOPRIO_CLASS_BE`, `IOPRIO_CLASS_IDLE`
        pub class: String,
        /// 0 (highest) to 7.
        pub priority: i32,
    }

    /// Scheduling policy.
    pub struct Scheduler {
        /// `SCHED_OTHER`, …
        pub policy: String,
        /// Nice value.
        pub nice: i32,
        /// Static priority.
        pub priority: i32,
        /// `SCHED_FLAG_RESET_ON_FORK`, …
        pub flags: Vec<String>,
        /// Nanoseconds.
        pub runtime: u64,
        /// Nanoseconds.
        pub deadline: u64,
        /// Nanoseconds.
        pub period: u64,
    }

    /// CPU lists (`0-3,7`).
    pub struct CpuAffinity {
        /// Until the process is in the container's cgroup.
        pub initial: String,
        /// From then on.
        #[serde(rename = "final")]
        pub last: String,
    }

    /// The root file system.
    pub struct Root {
        /// Its directory, relative to the bundle when not absolute.
        pub path: PathBuf,
        /// Make it read-only.
        pub readonly: bool,
    }

    /// One mount.
    pub struct Mount {
        /// Where in the container.
        pub destination: PathBuf,
        /// File system type; `bind` and `none` are bind mounts when an option says so.
        #[serde(rename = "type")]
        pub kind: String,
        /// Device, name, or the path of a bind mount (relative to the bundle when not absolute).
        pub source: PathBuf,
        /// Options, each by itself.
        pub options: Vec<String>,
        /// IDs of an idmapped mount.
        pub uid_mappings: Vec<IdMapping>,
        /// IDs of an idmapped mount.
        pub gid_mappings: Vec<IdMapping>,
    }

    /// Programs run at points of the container's life, in this order of fields.
    pub struct Hooks {
        /// Runtime namespace, after the namespaces are made (deprecated, but in use).
        pub prestart: Vec<Hook>,
        /// Runtime namespace, after the namespaces are made.
        pub create_runtime: Vec<Hook>,
        /// Container namespace, before the root is changed.
        pub create_container: Vec<Hook>,
        /// Container namespace, before the process is executed.
        pub start_container: Vec<Hook>,
        /// Runtime namespace, after the process was started.
        pub poststart: Vec<Hook>,
        /// Runtime namespace, after the container was deleted.
        pub poststop: Vec<Hook>,
    }

    /// One program.
    pub struct Hook {
        /// Absolute path.
        pub path: PathBuf,
        /// Arguments including the zeroth; empty means the path alone.
        pub args: Vec<String>,
        /// The whole environment.
        pub env: Vec<String>,
        /// Seconds after which it is killed and counts as failed.
        pub timeout: Option<i64>,
    }
}

impl Spec {
    /// Reads `config.json`.
    pub fn from_slice(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    /// The first namespace of a kind, if the container has one.
    pub fn namespace(&self, kind: NamespaceKind) -> Option<&Namespace> {
        self.linux.as_ref()?.namespaces.iter().find(|namespace| namespace.kind == kind)
    }
}

fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(input: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(input).map(Option::unwrap_or_default)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_absent_and_unknown_are_all_fine() {
        let json = br#"{"ociVersion":"1.0.2","process":{"args":null,"user":{"uid":5},"capabilities":null,"new":[1]},
            "hooks":{"poststop":[{"path":"/x","timeout":3}]},"mounts":null,"x":{}}"#;
        let spec = Spec::from_slice(json).unwrap();
        let process = spec.process.unwrap();
        assert_eq!(process.user.uid, 5);
        assert!(process.args.is_empty() && process.capabilities.is_none() && spec.mounts.is_empty());
        assert_eq!(spec.hooks.unwrap().poststop.first().unwrap().timeout, Some(3));
    }

    #[test]
    fn empty_values_are_not_written() {
        let spec = Spec {
            oci_version: VERSION.to_owned(),
            root: Some(Root { path: "rootfs".into(), readonly: true }),
            linux: Some(Linux {
                namespaces: vec![Namespace::new(NamespaceKind::Pid)],
                uid_mappings: vec![IdMapping { container_id: 0, host_id: 1000, size: 1 }],
                resources: Some(Resources {
                    pids: Some(Pids { limit: Some(0) }),
                    devices: vec![DeviceRule { allow: false, access: "rwm".to_owned(), ..DeviceRule::default() }],
                    ..Resources::default()
                }),
                ..Linux::default()
            }),
            ..Spec::default()
        };
        let json = String::from_utf8(serde_json::to_vec(&spec).unwrap()).unwrap();
        insta::assert_snapshot!(json, @r#"{"ociVersion":"1.2.1","root":{"path":"rootfs","readonly":true},"linux":{"namespaces":[{"type":"pid"}],"uidMappings":[{"containerID":0,"hostID":1000,"size":1}],"resources":{"devices":[{"access":"rwm"}],"pids":{"limit":0}}}}"#);
        assert_eq!(Spec::from_slice(json.as_bytes()).unwrap(), spec);
    }

    #[test]
    fn names_that_are_not_plain_camel_case() {
        let json = br#"{"linux":{"resources":{"memory":{"disableOOMKiller":true,"kernelTCP":7},"blockIO":{"weight":10,
            "throttleReadIOPSDevice":[{"major":8,"minor":1,"rate":5}]},"network":{"classID":9}},
            "seccomp":{"defaultErrnoRet":38,"syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW",
            "args":[{"index":0,"value":1,"valueTwo":2,"op":"SCMP_CMP_MASKED_EQ"}]}]},
            "timeOffsets":{"boottime":{"secs":-5,"nanosecs":1}}}}"#;
        let linux = Spec::from_slice(json).unwrap().linux.unwrap();
        let resources = linux.resources.unwrap();
        let memory = resources.memory.unwrap();
        assert_eq!((memory.disable_oom_killer, memory.kernel_tcp), (Some(true), Some(7)));
        let io = resources.block_io.unwrap();
        assert_eq!((io.weight, io.throttle_read_iops_device.first().unwrap().rate), (Some(10), 5));
        assert_eq!(resources.network.unwrap().class_id, Some(9));
        let seccomp = linux.seccomp.unwrap();
        assert_eq!(seccomp.default_errno_ret, Some(38));
        assert_eq!(seccomp.syscalls.first().unwrap().args.first().unwrap().value_two, 2);
        assert_eq!(linux.time_offsets.get("boottime"), Some(&TimeOffset { secs: -5, nanosecs: 1 }));
    }
}
