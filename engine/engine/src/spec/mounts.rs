//! The mounts of a container, in the order they are made.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tare_oci_runtime::Mount;

use super::{INIT_PATH, Inputs, Place, security};
use crate::container::record::{self, MountKind};
use crate::error::Result;

/// Where shared memory is.
pub(crate) const SHM: &str = "/dev/shm";

/// Docker's default mounts, then the engine's files and the user's mounts by depth of their destination.
pub(crate) fn all(inputs: &Inputs<'_>) -> Result<Vec<Mount>> {
    let record = inputs.record;
    let user = &record.mounts;
    let covered = |destination: &str| user.iter().any(|mount| mount.destination == destination);
    let mut mounts: Vec<Mount> = defaults(inputs)
        .into_iter()
        .filter(|mount| !covered(&mount.destination.to_string_lossy()) || mount.destination == Path::new("/dev"))
        .collect();
    if let Some(init) = &inputs.init {
        mounts.push(file(init, INIT_PATH, false));
    }
    let own = inputs.files.iter().filter(|(_, destination)| !covered(destination));
    let own = own.map(|(source, destination)| file(source, destination, !record.host_config.readonly_rootfs));
    // A volume for /etc does not hide what is mounted in there.
    let mut deeper: Vec<Mount> = own.chain(user.iter().map(of)).collect();
    deeper.sort_by_key(|mount| mount.destination.as_os_str().as_bytes().iter().filter(|byte| **byte == b'/').count());
    mounts.extend(deeper);
    Ok(mounts)
}

fn file(source: &Path, destination: &str, writable: bool) -> Mount {
    let access = if writable { "rw" } else { "ro" };
    Mount {
        destination: destination.into(),
        kind: "bind".to_owned(),
        source: source.to_owned(),
        options: ["rbind", "rprivate", access].map(str::to_owned).into(),
        ..Mount::default()
    }
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        kind: kind.to_owned(),
        source: source.into(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        ..Mount::default()
    }
}

fn defaults(inputs: &Inputs<'_>) -> Vec<Mount> {
    let host = &inputs.record.host_config;
    let access = |writable| if writable { "rw" } else { "ro" };
    let sys = access(host.privileged);
    let cgroup = access(security::writable_cgroups(host));
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
    ];
    // Never the host's own, which has debugfs and others in it, all of them writable.
    mounts.push(mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", sys]));
    mounts.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", &[cgroup, "nosuid", "noexec", "nodev"]));
    // The queues of the IPC namespace, whosever it is.
    mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    mounts.extend(shm(inputs));
    mounts
}

/// Shared memory belongs to the IPC namespace, as far as the kernel has that in files.
fn shm(inputs: &Inputs<'_>) -> Option<Mount> {
    let host = &inputs.record.host_config;
    Some(match inputs.ipc {
        _ if host.ipc_mode == "none" => return None,
        Place::Host => mount(SHM, "bind", SHM, &["rbind"]),
        // The other's comes with the launch.
        Place::Join(_) => mount(SHM, "bind", SHM, &["bind"]),
        Place::Own => {
            let size = format!("size={}", host.shm_size);
            mount(SHM, "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &size])
        }
    })
}

fn of(own: &record::Mount) -> Mount {
    match own.kind {
        MountKind::Tmpfs => {
            Mount { options: own.tmpfs_options.clone(), ..mount(&own.destination, "tmpfs", "tmpfs", &[]) }
        }
        MountKind::Bind | MountKind::Volume | MountKind::Image => {
            let source = PathBuf::from(&own.source);
            let bind = if own.non_recursive { "bind" } else { "rbind" };
            let propagation = if own.propagation.is_empty() { "rprivate" } else { &own.propagation };
            let mut options = vec![bind, propagation];
            match (own.writable, own.read_only_non_recursive) {
                // Not `rw`: what the host has mounted read-only stays so.
                (true, _) => {}
                (false, true) => options.push("ro"),
                (false, false) => options.extend(["ro", "rro"]),
            }
            Mount { source, ..mount(&own.destination, "bind", "", &options) }
        }
    }
}
