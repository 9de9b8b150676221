//! The host's network interfaces that move into a container (OCI runtime specification, "Network Devices"): down, over
//! there under their new name, their own addresses given back to them, up.
//!
//! They belong to the network namespace then: what becomes of them with its end is for the kernel to say, which brings
//! hardware back and deletes what is virtual.
//!
//! A network namespace of the container's own begins with its loopback interface up, as other runtimes have it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd as _;

use tare_netlink::address::{self, Address, Assigned};
use tare_netlink::link::{self, Link};
use tare_netlink::{Batch, Protocol, Socket, netns};
use tare_oci_runtime::{Linux, NetDevice};
use tare_sys::process::namespace;

use crate::error::{Error, Result};
use crate::plan::Namespaces;

/// Refuses what cannot be: names the kernel does not take, and a container in the host's own network namespace.
pub(crate) fn check(linux: &Linux, namespaces: &Namespaces) -> Result<()> {
    if !linux.net_devices.is_empty() && !namespaces.has(namespace::NETWORK) {
        return Err(Error::invalid("linux.netDevices: only with a network namespace of its own"));
    }
    for (name, device) in &linux.net_devices {
        for name in [name, &device.name] {
            if !(name.is_empty() && *name == device.name || is_name(name)) {
                return Err(Error::invalid(format!("linux.netDevices: invalid network device name {name:?}")));
            }
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    /// `IFNAMSIZ` without the NUL.
    const BYTES_MAX: usize = 15;
    let allowed = |byte: u8| byte != b'/' && byte != b':' && byte != 0 && !byte.is_ascii_whitespace();
    (1..=BYTES_MAX).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(allowed)
}

/// Brings the loopback interface of a process's network namespace up. One that has ended meanwhile has said why, which is
/// the error to report.
pub(crate) fn set_up_loopback(pid: i32) -> Result<()> {
    let netns = match File::open(network_path(pid)) {
        Ok(netns) => netns,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("open", network_path(pid), &error)),
    };
    let set_up = || {
        let mut batch = Batch::new();
        link::set_up(&mut batch, "lo");
        Socket::open(Protocol::Route)?.execute(batch)
    };
    let done = netns::run_in(netns.as_fd(), set_up).and_then(|result| result);
    done.map_err(|error| Error::invalid(format!("network device `lo`: {error}")))
}

fn network_path(pid: i32) -> String {
    format!("/proc/{pid}/ns/net")
}

/// Moves them into the network namespace of a process.
pub(crate) fn move_all(pid: i32, devices: &BTreeMap<String, NetDevice>) -> Result<()> {
    if devices.is_empty() {
        return Ok(());
    }
    let path = network_path(pid);
    let netns = File::open(&path).map_err(|error| Error::io("open", path, &error))?;
    for (name, device) in devices {
        let new_name = if device.name.is_empty() { name } else { &device.name };
        let failed = |error: tare_netlink::Error| Error::invalid(format!("network device `{name}`: {error}"));
        let addresses = send(name, &netns, new_name).map_err(failed)?;
        let Some(addresses) = addresses else {
            return Err(Error::invalid(format!("network device `{name}`: not found on the host")));
        };
        netns::run_in(netns.as_fd(), || receive(new_name, &addresses)).and_then(|result| result).map_err(failed)?;
    }
    Ok(())
}

/// Returns the addresses that it shall keep; `None` if it is not there.
fn send(name: &str, netns: &File, new_name: &str) -> tare_netlink::Result<Option<Vec<Address>>> {
    let mut socket = Socket::open(Protocol::Route)?;
    let Some(link) = link::find(&mut socket, name)? else { return Ok(None) };
    let mut down = Batch::new();
    link::set_down(&mut down, &link);
    socket.execute(down)?;
    // One that expires or reaches nobody but this host means nothing over there.
    let keep = |own: &Assigned| own.address.index == link.index && own.permanent && own.global;
    let addresses = address::assigned(&mut socket)?.into_iter().filter(keep).map(|own| own.address).collect();
    let mut batch = Batch::new();
    link::move_to(&mut batch, &link, netns.as_fd(), new_name);
    socket.execute(batch)?;
    Ok(Some(addresses))
}

fn receive(name: &str, addresses: &[Address]) -> tare_netlink::Result<()> {
    let mut socket = Socket::open(Protocol::Route)?;
    let mut batch = Batch::new();
    // It may have another index here.
    if let Some(Link { index, .. }) = link::find(&mut socket, name)? {
        addresses.iter().for_each(|own| address::add(&mut batch, &Address { index, ..*own }));
    }
    link::set_up(&mut batch, name);
    socket.execute(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for fine in ["eth0", "a", "ctr_dummy0", "123456789012345", "ä"] {
            assert!(is_name(fine), "{fine}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a:b", "1234567890123456"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
