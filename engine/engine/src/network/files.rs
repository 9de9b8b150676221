//! The files that give a container its names: hosts, resolv.conf, hostname.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

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

/// Writes a file in place, keeping its inode (it may be mounted in a container); mode 0644.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| Error::io("write", path.display(), error))
}

/// resolv.conf of a container.
pub(crate) fn resolv_conf(wanted: &resolv::Wanted) -> resolv::Rendered {
    let (path, text) = resolv::host_file(wanted.embedded);
    resolv::render(&path, &text, wanted)
}

/// The host's own resolv.conf, for containers in its network.
pub(crate) fn host_resolv_conf() -> String {
    fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
}

/// hosts of a container in the host's network: the host's own and the extra names.
pub(crate) fn host_hosts(extra: &[(IpAddr, String)]) -> String {
    let mut text = fs::read_to_string("/etc/hosts").unwrap_or_default();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for (address, name) in extra {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

/// Points a link's line in a hosts file to a new address.
pub(crate) fn update_alias(path: &Path, alias: &str, address: IpAddr) -> io::Result<bool> {
    hosts::update_alias_in_place(path, alias, address)
}
