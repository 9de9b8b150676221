//! Everything that is known before the clone, as data: what the child then does is a walk over it.

mod bind;
pub(crate) mod capabilities;
pub(crate) mod devices;
pub(crate) mod mounts;
pub(crate) mod namespaces;
pub(crate) mod options;
pub(crate) mod process;
pub(crate) mod scheduling;
mod sysctl;

use std::path::Path;

use rustix::thread::CapabilitySet;
use tare_oci_runtime::{Linux, Spec};
use tare_sys::process::namespace;

pub(crate) use devices::DevicePlan;
pub(crate) use mounts::{MountKind, MountPlan, RootPath};
pub(crate) use namespaces::Namespaces;
pub(crate) use process::{Lookup, ProcessPlan};
pub(crate) use sysctl::Sysctl;

use crate::error::{Error, Result};

/// What the host and the caller set bounds to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Capabilities that can be passed on.
    pub(crate) held_capabilities: CapabilitySet,
    /// Do not make a session keyring.
    pub(crate) keep_keyring: bool,
    /// The process is a container's init.
    pub(crate) init: bool,
}

/// What a launch brings that decides on the plan.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Given<'a> {
    /// The host's directory that becomes the root, if it is one.
    pub(crate) root: Option<&'a Path>,
    /// A network namespace.
    pub(crate) network: bool,
    /// Bind mounts have the attributes of their options alone.
    pub(crate) binds_as_asked: bool,
}

/// The world that a container's process is put in.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) namespaces: Namespaces,
    pub(crate) mounts: Vec<MountPlan>,
    pub(crate) devices: Vec<DevicePlan>,
    /// Fill `/dev`: not when the host's is used.
    pub(crate) populate_dev: bool,
    pub(crate) masked: Vec<RootPath>,
    pub(crate) readonly: Vec<RootPath>,
    pub(crate) sysctls: Vec<Sysctl>,
    pub(crate) hostname: Vec<u8>,
    pub(crate) domainname: Vec<u8>,
    pub(crate) root_readonly: bool,
    /// Propagation type of the root in the end.
    pub(crate) root_propagation: Option<(u64, bool)>,
    /// Working directory, made if it is missing.
    pub(crate) cwd: RootPath,
    /// The parent has something to do when the mounts are there: network devices, hooks.
    pub(crate) parent_acts: bool,
}

impl Plan {
    pub(crate) fn new(spec: &Spec, bundle: &Path, given: &Given<'_>) -> Result<Self> {
        let none = Linux::default();
        let linux = spec.linux.as_ref().unwrap_or(&none);
        if linux.intel_rdt.is_some() {
            return Err(Error::invalid("linux.intelRdt: not supported"));
        }
        let namespaces = Namespaces::new(linux, given.network)?;
        crate::netdevices::check(linux, &namespaces)?;
        let named = !spec.hostname.is_empty() || !spec.domainname.is_empty();
        if named && !namespaces.has(namespace::UTS) {
            return Err(Error::invalid("hostname and domainname: only with a uts namespace of its own"));
        }
        let mounts = spec.mounts.iter().map(|mount| MountPlan::new(mount, linux, bundle, given));
        let mounts = mounts.collect::<Result<Vec<_>>>()?;
        let host_dev =
            |mount: &MountPlan| mount.target.as_c_str() == c"dev" && matches!(mount.kind, MountKind::Bind { .. });
        let populate_dev = !mounts.iter().any(host_dev);
        let paths = |all: &[String]| -> Result<Vec<RootPath>> {
            let mut paths = Vec::with_capacity(all.len());
            for path in all {
                let path = RootPath::new(Path::new(path))?;
                // Twice would be one mount on the other.
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
            Ok(paths)
        };
        let hooks = spec.hooks.as_ref();
        let cwd = spec.process.as_ref().map_or(Path::new("/"), |process| process.cwd.as_path());
        Ok(Self {
            sysctls: sysctl::sysctls(&linux.sysctl, &namespaces)?,
            namespaces,
            mounts,
            devices: if populate_dev { devices::devices(&linux.devices)? } else { Vec::new() },
            populate_dev,
            masked: paths(&linux.masked_paths)?,
            readonly: paths(&linux.readonly_paths)?,
            hostname: spec.hostname.clone().into_bytes(),
            domainname: spec.domainname.clone().into_bytes(),
            root_readonly: spec.root.as_ref().is_some_and(|root| root.readonly),
            root_propagation: root_propagation(&linux.rootfs_propagation)?,
            cwd: RootPath::new(cwd)?,
            parent_acts: !linux.net_devices.is_empty()
                || hooks.is_some_and(|hooks| {
                    !(hooks.prestart.is_empty() && hooks.create_runtime.is_empty() && hooks.create_container.is_empty())
                }),
        })
    }
}

fn root_propagation(name: &str) -> Result<Option<(u64, bool)>> {
    if name.is_empty() {
        return Ok(None);
    }
    let known = options::propagation_type(name);
    known.map(Some).ok_or_else(|| Error::invalid(format!("rootfsPropagation `{name}`: unknown")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: &str = r#"{"process":{"args":["x"],"cwd":"/app"},"root":{"path":"rootfs","readonly":true},
        "hostname":"h","mounts":[
        {"destination":"/proc","type":"proc","source":"proc","options":["nosuid","noexec","nodev"]},
        {"destination":"/dev","type":"tmpfs","source":"tmpfs",
         "options":["nosuid","strictatime","mode=755","size=65536k"]},
        {"destination":"/dev/pts","type":"devpts","source":"devpts",
         "options":["nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5"]},
        {"destination":"/sys","type":"sysfs","source":"sysfs","options":["nosuid","noexec","nodev","ro"]},
        {"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":["ro","nosuid","noexec","nodev"]},
        {"destination":"/data/../etc/hosts","type":"bind","source":"/h/hosts","options":["rbind","rprivate"]},
        {"destination":"relative","type":"bind","source":"in-bundle","options":["bind","ro"]},
        {"destination":"/shared","type":"bind","source":"/s","options":["rbind","shared","rro"]},
        {"destination":"/t","type":"tmpfs","source":"tmpfs","options":["tmpcopyup","noswap"]},
        {"destination":"/shared","type":"none","options":["rslave"]},
        {"destination":"/bundle/rootfs/again","type":"bind","source":"rootfs/shared","options":["rbind","rprivate"]},
        {"destination":"/run","type":"tmpfs","source":"tmpfs","options":["ro","mode=700"]}],
        "linux":{"namespaces":[{"type":"mount"},{"type":"uts"}],"maskedPaths":["/proc/kcore","/proc/kcore"],
        "rootfsPropagation":"rslave"}}"#;

    #[test]
    fn mounts_of_a_container() {
        let spec = Spec::from_slice(DOCKER.as_bytes()).unwrap();
        let given = Given { root: Some(Path::new("/bundle/rootfs")), ..Given::default() };
        let plan = Plan::new(&spec, Path::new("/bundle"), &given).unwrap();
        let lines: Vec<String> = plan.mounts.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        /proc new proc source=proc nosuid nodev noexec
        /dev new tmpfs source=tmpfs mode=755 size=65536k nosuid strictatime
        /dev/pts new devpts source=devpts newinstance ptmxmode=0666 mode=0620 gid=5 nosuid noexec
        /sys new sysfs source=sysfs ro nosuid nodev noexec
        /sys/fs/cgroup cgroup ro nosuid nodev noexec
        /etc/hosts rbind /h/hosts rprivate
        /relative bind /bundle/in-bundle ro rslave
        /shared rbind /s rro shared
        /t new tmpfs source=tmpfs noswap copy-up takes-mode
        /shared change rslave
        /again rbind /bundle/rootfs/shared in-root rprivate
        /run new tmpfs source=tmpfs mode=700 ro-last
        ");
        assert!(plan.populate_dev && plan.root_readonly && !plan.parent_acts);
        assert_eq!(plan.masked.len(), 1);
        assert_eq!(plan.cwd.to_string(), "/app");
    }

    #[test]
    fn nonsense_is_refused() {
        let spec = Spec::from_slice(DOCKER.as_bytes()).unwrap();
        let refused = |change: &dyn Fn(&mut Spec)| {
            let mut spec = spec.clone();
            change(&mut spec);
            Plan::new(&spec, Path::new("/bundle"), &Given::default()).unwrap_err().to_string()
        };
        let mount = |spec: &mut Spec| spec.mounts.first_mut().map(std::mem::take).map(|_| ()).unwrap();
        assert_eq!(refused(&mount), "mount destination ``: not allowed");
        assert!(refused(&|spec| spec.linux.as_mut().unwrap().rootfs_propagation = "x".into()).contains("unknown"));
        assert!(refused(&|spec| spec.linux.as_mut().unwrap().masked_paths = vec!["\0".into()]).contains("NUL"));
        assert!(refused(&|spec| drop(spec.linux.as_mut().unwrap().namespaces.pop())).contains("uts"));
    }
}
