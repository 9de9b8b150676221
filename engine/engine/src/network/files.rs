//! The files that give a container its names: hosts, resolv.conf, hostname.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tare_docker_api::container::HostConfig;
use tare_network::{hosts, resolv};

use crate::error::{Error, Result};

/// The three files of a container, in its directory below the data root.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) hosts: PathBuf,
    pub(crate) resolv_conf: PathBuf,
    pub(crate) hostname: PathBuf,
}

impl Files {
    pub(crate) fn in_directory(directory: &Path) -> Self {
        Self {
            hosts: directory.join("hosts"),
            resolv_conf: directory.join("resolv.conf"),
            hostname: directory.join("hostname"),
        }
    }

    /// What is mounted where.
    pub(crate) fn mounts(&self) -> Vec<(PathBuf, &'static str)> {
        vec![
            (self.resolv_conf.clone(), "/etc/resolv.conf"),
            (self.hostname.clone(), "/etc/hostname"),
            (self.hosts.clone(), "/etc/hosts"),
        ]
    }
}

/// Writes a file in place, keeping its inode (it may be mounted in a container); mode 0644. One that is right already is
/// left alone: a full disk may not have room for it a second time.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    fs::write(path, text).map_err(|error| Error::io("write", path.display(), error))
}

/// Tells a text from every other.
pub(crate) fn fingerprint(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest.first_chunk().copied().map_or(0, u64::from_be_bytes)
}

/// resolv.conf of a container.
pub(crate) fn resolv_conf(wanted: &resolv::Wanted) -> resolv::Rendered {
    let (path, text) = resolv::host_file(wanted.answers);
    resolv::render(&path, &text, wanted)
}

/// The host's own hosts file, for containers in its network.
pub(crate) fn host_hosts() -> String {
    fs::read_to_string("/etc/hosts").unwrap_or_default()
}

/// Whether a container has IPv6, at least on its loopback: the kernel has it, and the container's settings do not say
/// otherwise.
pub(crate) fn has_ipv6(host: &HostConfig) -> bool {
    let off = |key: &str| host.sysctls.get(key).is_some_and(|value| value == "1");
    let kernel = Path::new("/proc/sys/net/ipv6").exists();
    kernel && !off("net.ipv6.conf.all.disable_ipv6") && !off("net.ipv6.conf.lo.disable_ipv6")
}

/// Points a link's line in a hosts file to a new address.
pub(crate) fn update_alias(path: &Path, alias: &str, address: IpAddr) -> io::Result<bool> {
    hosts::update_alias_in_place(path, alias, address)
}
