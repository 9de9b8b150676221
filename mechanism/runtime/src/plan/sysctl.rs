//! Kernel parameters: only those that belong to a namespace of the container.

use std::collections::BTreeMap;
use std::ffi::CString;

use tare_sys::process::namespace;

use super::mounts::c_string;
use super::namespaces::Namespaces;
use crate::error::{Error, Result};

/// A kernel parameter to set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sysctl {
    /// Below `/proc`.
    pub(crate) path: CString,
    pub(crate) value: Vec<u8>,
}

/// Those of the IPC namespace (`ipc_namespaces(7)`), besides `fs.mqueue.*`.
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

pub(crate) fn sysctls(wanted: &BTreeMap<String, String>, namespaces: &Namespaces) -> Result<Vec<Sysctl>> {
    wanted.iter().map(|(key, value)| plan(key, value, namespaces)).collect()
}

fn plan(key: &str, value: &str, namespaces: &Namespaces) -> Result<Sysctl> {
    let path = path(key);
    let (kind, name) = match path.split_once('/') {
        Some(("net", _)) => (namespace::NETWORK, "network"),
        _ if IPC.contains(&path.as_str()) || path.starts_with("fs/mqueue/") => (namespace::IPC, "ipc"),
        _ if path == "kernel/domainname" => (namespace::UTS, "uts"),
        _ => return Err(Error::invalid(format!("sysctl \"{key}\" is not in a separate kernel namespace"))),
    };
    if !namespaces.has(kind) {
        return Err(Error::invalid(format!("sysctl \"{key}\" is not allowed without a {name} namespace of its own")));
    }
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(Error::invalid(format!("sysctl \"{key}\": not a name")));
    }
    Ok(Sysctl { path: c_string(format!("sys/{path}"))?, value: value.as_bytes().to_vec() })
}

/// `sysctl(8)`'s rule: the separator that comes first separates, and the other one stands for itself turned around
/// (`net.ipv4.conf.eth0/1.forwarding` names the interface `eth0.1`).
fn path(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(first) if key.get(first..).is_some_and(|rest| rest.starts_with('.')) => key
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(key: &str) -> Result<String> {
        let namespaces = Namespaces { create: namespace::NETWORK | namespace::IPC, ..Namespaces::default() };
        plan(key, "1", &namespaces).map(|sysctl| sysctl.path.into_string().unwrap())
    }

    #[test]
    fn names() {
        assert_eq!(planned("net.ipv4.ip_forward").unwrap(), "sys/net/ipv4/ip_forward");
        assert_eq!(planned("net/ipv4/conf/eth0.1/forwarding").unwrap(), "sys/net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(planned("net.ipv4.conf.eth0/1.forwarding").unwrap(), "sys/net/ipv4/conf/eth0.1/forwarding");
        assert_eq!(planned("kernel.shmmax").unwrap(), "sys/kernel/shmmax");
        assert_eq!(planned("fs.mqueue.msg_max").unwrap(), "sys/fs/mqueue/msg_max");
    }

    #[test]
    fn what_is_not_the_containers_is_refused() {
        for bad in ["kernel.panic", "kernel.hostname", "vm.swappiness", "net", "net/../kernel/panic", "net..x", ""] {
            assert!(planned(bad).is_err(), "{bad}");
        }
        // No UTS namespace.
        assert!(planned("kernel.domainname").is_err());
    }
}
