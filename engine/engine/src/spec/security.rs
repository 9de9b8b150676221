//! Security options: what the engine found on the host, and what a container gets of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tare_docker_api::container::{HostConfig, Ulimit};
use tare_oci_runtime::{CompiledSeccomp, Seccomp};

use crate::config::SeccompProfile;
use crate::error::{Error, Result};

/// Facts about the host and the engine's settings, gathered once.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Capabilities in the engine's own bounding set.
    pub(crate) capabilities: Vec<&'static str>,
    /// The engine's own `oom_score_adj`.
    pub(crate) oom_score_adj: i32,
    /// Default resource limits.
    pub(crate) ulimits: Vec<Ulimit>,
    /// Set no_new_privs unless a container says otherwise.
    pub(crate) no_new_privileges: bool,
    /// The filter of system calls where a container says none.
    pub(crate) seccomp: SeccompProfile,
    /// The kernel has AppArmor.
    pub(crate) apparmor: bool,
    /// The processor's system call interface.
    pub(crate) arch: tare_seccomp::Arch,
    /// Kernel version.
    pub(crate) kernel: tare_seccomp::KernelVersion,
    /// Processors online.
    pub(crate) cpus: usize,
    /// cgroup v2.
    pub(crate) unified_cgroups: bool,
    /// The built-in filter as compiled for each set of capabilities that was asked for.
    pub(crate) filters: Arc<Mutex<BTreeMap<Vec<String>, CompiledSeccomp>>>,
}

/// A container's security settings.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Options {
    pub(crate) no_new_privileges: bool,
    pub(crate) seccomp: Option<CompiledSeccomp>,
    pub(crate) apparmor: String,
}

/// Masked by default; `thermal_throttle` is added for each processor that has it.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Fills the lists of masked and read-only paths that a request left out.
pub(crate) fn default_paths(host: &mut HostConfig, cpus: usize) {
    if host.privileged {
        return;
    }
    if host.masked_paths.is_nil() {
        let throttles = (0..cpus).map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle"));
        let throttles = throttles.filter(|path| std::path::Path::new(path).exists());
        host.masked_paths = MASKED.iter().map(|path| (*path).to_owned()).chain(throttles).collect();
    }
    if host.readonly_paths.is_nil() {
        host.readonly_paths = READONLY.iter().map(|path| (*path).to_owned()).collect();
    }
}

/// Interprets `--security-opt` and `--privileged`.
pub(crate) fn options(host: &HostConfig, facts: &Facts) -> Result<Options> {
    let mut options = Options { no_new_privileges: facts.no_new_privileges, ..Options::default() };
    let mut profile = match &facts.seccomp {
        _ if host.privileged => Profile::Unconfined,
        SeccompProfile::Builtin => Profile::Builtin,
        SeccompProfile::Unconfined => Profile::Unconfined,
        SeccompProfile::File { json, .. } => Profile::Given(json.clone()),
    };
    for option in &host.security_opt {
        let (name, value) = split(option)?;
        match (name, value) {
            ("no-new-privileges", "" | "true") => options.no_new_privileges = true,
            ("no-new-privileges", "false") => options.no_new_privileges = false,
            ("seccomp", "unconfined") => profile = Profile::Unconfined,
            ("seccomp", "builtin") => profile = Profile::Builtin,
            ("seccomp", json) => profile = Profile::Given(json.to_owned()),
            ("apparmor", "unconfined") => options.apparmor.clear(),
            ("apparmor", profile) if facts.apparmor => profile.clone_into(&mut options.apparmor),
            // Without AppArmor, profiles are discarded as in Docker; whoever creates the container is told.
            ("apparmor", _) => {}
            // Labels mean something with SELinux only, which Docker, too, accepts without.
            ("label", _) => {}
            ("writable-cgroups", "" | "true" | "false") => {}
            _ => return Err(Error::invalid(format!("invalid --security-opt 2: {option:?}"))),
        }
    }
    let capabilities = super::capabilities::of(host, &facts.capabilities);
    options.seccomp = match profile {
        Profile::Unconfined => None,
        Profile::Builtin => Some(builtin(facts, capabilities)?),
        Profile::Given(json) => tare_seccomp::from_docker_json(&json, &capabilities, facts.arch, facts.kernel)
            .map_err(|error| Error::invalid(format!("decoding seccomp profile failed: {error}")))?
            .map(|profile| compiled(&profile))
            .transpose()?,
    };
    Ok(options)
}

/// Whether the container may write to its cgroup file system.
pub(crate) fn writable_cgroups(host: &HostConfig) -> bool {
    host.privileged
        || host.security_opt.iter().any(|option| matches!(split(option), Ok(("writable-cgroups", "" | "true"))))
}

/// The built-in filter. It depends on nothing but the capabilities, of which there are few sets in use.
fn builtin(facts: &Facts, capabilities: Vec<String>) -> Result<CompiledSeccomp> {
    /// Sets that are remembered: containers could be made with very many.
    const FILTERS_MAX: usize = 64;
    let mut filters = facts.filters.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(filter) = filters.get(&capabilities) {
        return Ok(filter.clone());
    }
    let filter = compiled(&tare_seccomp::default_profile(&capabilities, facts.arch, facts.kernel))?;
    if filters.len() < FILTERS_MAX {
        filters.insert(capabilities, filter.clone());
    }
    Ok(filter)
}

fn compiled(profile: &Seccomp) -> Result<CompiledSeccomp> {
    use std::fmt::Write as _;
    let program = tare_seccomp::compile(profile).map_err(|error| Error::invalid(format!("seccomp: {error}")))?;
    let mut instructions = String::with_capacity(program.filter.len() * 16);
    for own in &program.filter {
        // Writing to a String cannot fail.
        let _ = write!(instructions, "{:04x}{:02x}{:02x}{:08x}", own.code, own.jt, own.jf, own.k);
    }
    Ok(CompiledSeccomp {
        flags: program.flags,
        instructions,
        listener_path: profile.listener_path.clone(),
        listener_metadata: profile.listener_metadata.clone(),
    })
}

enum Profile {
    Unconfined,
    Builtin,
    Given(String),
}

/// `name=value`, `name:value` (old) or `name`.
fn split(option: &str) -> Result<(&str, &str)> {
    if option == "no-new-privileges" || option == "writable-cgroups" {
        return Ok((option, ""));
    }
    let separator = if option.contains('=') { '=' } else { ':' };
    option.split_once(separator).ok_or_else(|| Error::invalid(format!("invalid --security-opt 1: {option:?}")))
}
