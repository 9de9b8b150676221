//! From a container's record to its OCI runtime specification: pure functions over data gathered before.
//!
//! [`capabilities`], [`devices`], [`environment`], [`mounts`], [`propagation`], [`resources`] and [`security`] each make one part.

pub(crate) mod capabilities;
pub(crate) mod devices;
pub(crate) mod environment;
pub(crate) mod mounts;
pub(crate) mod propagation;
pub(crate) mod resources;
pub(crate) mod security;

use std::path::{Path, PathBuf};

use tare_oci_runtime::{Capabilities, ConsoleSize, Linux, Namespace, NamespaceKind, Process, Rlimit, Root, Spec, User};

use crate::container::record::Record;
use crate::error::Result;
use security::Facts;

/// A namespace of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A new one.
    Own,
    /// The engine's.
    Host,
    /// An existing one, by path.
    Join(PathBuf),
}

/// What the specification is made of, beside the record.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) record: &'a Record,
    pub(crate) facts: &'a Facts,
    pub(crate) pid: Place,
    pub(crate) ipc: Place,
    pub(crate) uts: Place,
    pub(crate) network: Place,
    /// Hostname inside (not with the host's UTS namespace).
    pub(crate) hostname: String,
    /// The files mounted over `/etc/resolv.conf`, `/etc/hostname` and `/etc/hosts`.
    pub(crate) files: Vec<(PathBuf, &'static str)>,
    /// Variables of legacy links.
    pub(crate) link_env: Vec<String>,
    /// Path of the cgroup below each hierarchy's root.
    pub(crate) cgroup: String,
    /// The init to run as PID 1, on the host.
    pub(crate) init: Option<PathBuf>,
    /// The engine's data root.
    pub(crate) data_root: &'a Path,
}

/// Where `--init`'s program is mounted in the container, as in Docker.
const INIT_PATH: &str = "/sbin/docker-init";

/// Builds the specification.
pub(crate) fn build(inputs: &Inputs<'_>) -> Result<Spec> {
    let record = inputs.record;
    let host = &record.host_config;
    let security = security::options(host, inputs.facts)?;
    let (devices, mut device_rules) = devices::of(host)?;
    device_rules.splice(0..0, devices::base_rules(host.privileged));
    Ok(Spec {
        oci_version: tare_oci_runtime::VERSION.to_owned(),
        process: Some(process(inputs, &security)),
        root: Some(Root { path: "rootfs".into(), readonly: host.readonly_rootfs }),
        hostname: if inputs.uts == Place::Own { inputs.hostname.clone() } else { String::new() },
        domainname: if inputs.uts == Place::Own { record.config.domainname.clone() } else { String::new() },
        mounts: mounts::all(inputs)?,
        hooks: None,
        annotations: host.annotations.clone().into_inner(),
        linux: Some(Linux {
            namespaces: namespaces(inputs),
            devices,
            cgroups_path: inputs.cgroup.clone(),
            resources: Some(resources::of(&host.resources, device_rules)?),
            rootfs_propagation: propagation::of_root(record, inputs.data_root)?.to_owned(),
            compiled_seccomp: security.seccomp,
            sysctl: host.sysctls.clone().into_inner(),
            masked_paths: if host.privileged { Vec::new() } else { host.masked_paths.to_vec() },
            readonly_paths: if host.privileged { Vec::new() } else { host.readonly_paths.to_vec() },
            ..Linux::default()
        }),
    })
}

fn process(inputs: &Inputs<'_>, security: &security::Options) -> Process {
    let record = inputs.record;
    let (config, host) = (&record.config, &record.host_config);
    let mut args = Vec::with_capacity(record.args.len() + 3);
    if inputs.init.is_some() {
        args.extend([INIT_PATH.to_owned(), "--".to_owned()]);
    }
    args.push(record.path.clone());
    args.extend(record.args.iter().cloned());
    let [height, width] = host.console_size.map(|cells| u16::try_from(cells).unwrap_or(u16::MAX));
    Process {
        terminal: config.tty,
        console_size: (config.tty && height > 0 && width > 0).then_some(ConsoleSize { height, width }),
        user: user(&config.user, &host.group_add),
        args,
        env: environment::of(config, &inputs.hostname, &inputs.link_env),
        cwd: if config.working_dir.is_empty() { "/".into() } else { config.working_dir.clone().into() },
        capabilities: Some(capability_sets(capabilities::of(host, &inputs.facts.capabilities), &config.user)),
        rlimits: rlimits(record, inputs.facts),
        no_new_privileges: security.no_new_privileges,
        apparmor_profile: security.apparmor.clone(),
        oom_score_adj: oom_score_adj(host.oom_score_adj, inputs.facts.oom_score_adj),
        ..Process::default()
    }
}

/// Groups of `--group-add` follow the user after a comma each; the runtime resolves names in the container.
pub(crate) fn user(user: &str, groups: &[String]) -> User {
    let username = if user.is_empty() { "0" } else { user }.to_owned();
    User { username, additional_groups: groups.to_vec(), ..User::default() }
}

/// A user other than root keeps nothing beyond the bounding set.
pub(crate) fn capability_sets(names: Vec<String>, user: &str) -> Capabilities {
    let name = user.split(':').next().unwrap_or_default();
    let root = matches!(name, "" | "0" | "root");
    let held = if root { names.clone() } else { Vec::new() };
    Capabilities {
        bounding: names,
        effective: held.clone(),
        permitted: held,
        inheritable: Vec::new(),
        ambient: Vec::new(),
    }
}

/// What is written to `/proc/self/oom_score_adj`, if anything.
pub(crate) fn oom_score_adj(asked: i64, own: i32) -> Option<i32> {
    let asked = i32::try_from(asked).unwrap_or_default();
    // Writing the value it has anyway could still be refused.
    (asked != own).then_some(asked)
}

/// The limits asked for, and the daemon's defaults for the others.
pub(crate) fn rlimits(record: &Record, facts: &Facts) -> Vec<Rlimit> {
    let asked = &record.host_config.resources.ulimits;
    let defaults = facts.ulimits.iter().filter(|limit| asked.iter().all(|own| own.name != limit.name));
    asked
        .iter()
        .chain(defaults)
        .map(|limit| Rlimit {
            kind: format!("RLIMIT_{}", limit.name.to_ascii_uppercase()),
            soft: u64::try_from(limit.soft).unwrap_or(u64::MAX),
            hard: u64::try_from(limit.hard).unwrap_or(u64::MAX),
        })
        .collect()
}

fn namespaces(inputs: &Inputs<'_>) -> Vec<Namespace> {
    let mut namespaces = vec![Namespace::new(NamespaceKind::Mount)];
    for (kind, place) in [
        (NamespaceKind::Network, &inputs.network),
        (NamespaceKind::Uts, &inputs.uts),
        (NamespaceKind::Pid, &inputs.pid),
        (NamespaceKind::Ipc, &inputs.ipc),
    ] {
        match place {
            Place::Own => namespaces.push(Namespace::new(kind)),
            Place::Host => {}
            Place::Join(path) => namespaces.push(Namespace { kind, path: path.clone() }),
        }
    }
    if inputs.record.host_config.cgroupns_mode == "private" {
        namespaces.push(Namespace::new(NamespaceKind::Cgroup));
    }
    namespaces
}
