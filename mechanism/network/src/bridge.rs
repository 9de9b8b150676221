//! Bridges: one per network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustix::rand::GetRandomFlags;
use tare_netlink::{Batch, Socket};
use tare_netlink::{address, address::Address, link};

use crate::cidr::Cidr;
use crate::error::{Error, Result};
use crate::firewall::{is_table_name, items};
use crate::network::Network;
use crate::sysctl;

/// A network's bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeSpec {
    /// Name of the interface, see [`bridge_name`].
    pub bridge: String,
    /// The bridge is somebody else's ([`Network::foreign_bridge`]): it is used as it is, and stays.
    pub foreign: bool,
    /// The network's subnets, at most one per family usually.
    pub subnets: Vec<BridgeSubnet>,
    /// MTU in bytes; `None`: of the host's default route.
    pub mtu: Option<u32>,
    /// Containers may talk to each other.
    pub icc: bool,
    /// Nothing goes out of or comes into the network.
    pub internal: bool,
    /// What goes out carries the host's address.
    pub masquerade: bool,
    /// Which address of the host; `None`: that of the interface it goes out by.
    pub source_v4: Option<Ipv4Addr>,
    /// Which IPv6 address.
    pub source_v6: Option<Ipv6Addr>,
    /// What knows a container's IPv4 address may talk to it, on whichever port.
    pub open_v4: bool,
    /// The same for IPv6.
    pub open_v6: bool,
    /// Containers are reached by their own IPv4 addresses, on published ports, and go out by them.
    pub routed_v4: bool,
    /// The same for IPv6.
    pub routed_v6: bool,
    /// Interfaces of the host from which containers are reached on whichever port.
    pub trusted: Vec<String>,
}

/// A subnet of a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BridgeSubnet {
    /// The network.
    pub subnet: Cidr,
    /// The bridge's own address in it; `None` leaves the bridge without one.
    pub gateway: Option<IpAddr>,
}

/// What [`Network::ensure_bridge`] found or did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BridgeInfo {
    /// Interface index.
    pub index: u32,
    /// MTU in bytes.
    pub mtu: u32,
    /// Forwarding was off on this host and has been turned on: worth telling the owner.
    pub forwarding_enabled: bool,
}

/// A bridge that exists.
#[derive(Debug, Clone)]
pub(crate) struct Bridge {
    pub(crate) spec: BridgeSpec,
    pub(crate) index: u32,
    pub(crate) mtu: u32,
}

/// The name of a user network's bridge: `br-` and the first 12 digits of the network's ID.
pub fn bridge_name(network_id: &str) -> String {
    format!("br-{}", network_id.get(..12).unwrap_or(network_id))
}

/// A random hardware address, locally administered and for one station.
pub fn random_mac() -> Result<[u8; 6]> {
    let mut mac = [0; 6];
    rustix::rand::getrandom(&mut mac, GetRandomFlags::empty())
        .map_err(|errno| Error::io("random bytes for", "hardware address", errno.into()))?;
    mac[0] = mac[0] & 0xfc | 0x02;
    Ok(mac)
}

impl Network {
    /// Makes a bridge what it should be: link, addresses, settings, firewall sets. What is right already stays.
    pub fn ensure_bridge(&self, spec: &BridgeSpec) -> Result<BridgeInfo> {
        check_name(&spec.bridge)?;
        let mtu = spec.mtu.map_or_else(|| self.default_route_mtu(), Ok)?;
        // The sets come first: from its first moment on the bridge is closed to the outside and to the host's loopback.
        let wanted = items::of_bridge(spec);
        let before =
            self.state().bridges.get(&spec.bridge).map(|bridge| items::of_bridge(&bridge.spec)).unwrap_or_default();
        self.delete(&before.difference(&wanted).cloned().collect())?;
        self.add(&wanted)?;
        let index = if spec.foreign { self.use_link(&spec.bridge)? } else { self.ensure_link(&spec.bridge, mtu)? };
        configure(spec)?;
        set_addresses(&mut self.route(), index, spec)?;
        let forwarding_enabled = !spec.internal && enable_forwarding(spec)?;
        let bridge = Bridge { spec: spec.clone(), index, mtu };
        self.state().bridges.insert(spec.bridge.clone(), bridge);
        self.open_passages(&spec.bridge);
        Ok(BridgeInfo { index, mtu, forwarding_enabled })
    }

    /// Removes a bridge and what the firewall knows of it. One that is not there is no failure; one that is someone
    /// else's is left alone.
    pub fn remove_bridge(&self, bridge: &str) -> Result<()> {
        let known = self.state().bridges.remove(bridge);
        self.close_passages_of(bridge);
        {
            let mut socket = self.teardown();
            if link::find(&mut socket, bridge)?.is_some_and(|link| link.alias == self.mark) {
                let mut batch = Batch::new();
                link::delete(&mut batch, bridge);
                socket.execute(batch)?;
            }
        }
        match known {
            Some(known) => self.delete(&items::of_bridge(&known.spec)),
            None => self.delete(&items::of_interface(&self.current()?, bridge)),
        }
    }

    /// True when a bridge of this name can be made: no such link exists, or it is this engine's own.
    pub fn bridge_is_free(&self, bridge: &str) -> Result<bool> {
        Ok(link::find(&mut self.route(), bridge)?.is_none_or(|link| link.alias == self.mark))
    }

    /// The addresses of a bridge that no engine has made, but for those that IPv6 gives by itself; `None` when there is no
    /// such bridge.
    pub fn foreign_bridge(&self, bridge: &str) -> Result<Option<Vec<Cidr>>> {
        let mut socket = self.route();
        let link = link::find(&mut socket, bridge)?;
        let Some(link) = link.filter(|link| link.kind == "bridge" && !is_table_name(&link.alias)) else {
            return Ok(None);
        };
        let own = address::list(&mut socket)?.into_iter().filter(|own| own.index == link.index && !is_link_local(own));
        Ok(Some(own.filter_map(|own| Cidr::new(own.address, own.prefix)).collect()))
    }

    /// Sees to it that somebody else's bridge is up.
    fn use_link(&self, name: &str) -> Result<u32> {
        let mut socket = self.route();
        let link = link::find(&mut socket, name)?.ok_or_else(|| Error::NoBridge(name.into()))?;
        if !link.up {
            let mut batch = Batch::new();
            link::set_up(&mut batch, name);
            socket.execute(batch)?;
        }
        Ok(link.index)
    }

    fn ensure_link(&self, name: &str, mtu: u32) -> Result<u32> {
        let mut socket = self.route();
        let mut batch = Batch::new();
        match link::find(&mut socket, name)? {
            Some(found) if found.kind != "bridge" || found.alias != self.mark => {
                return Err(Error::NotOurs(name.into()));
            }
            Some(found) => {
                if found.mtu != mtu {
                    link::set_mtu(&mut batch, name, mtu);
                }
                if !found.up {
                    link::set_up(&mut batch, name);
                }
            }
            None => {
                link::create_bridge(&mut batch, &link::Bridge { name, mac: random_mac()?, mtu });
                link::set_alias(&mut batch, name, &self.mark);
            }
        }
        socket.execute(batch)?;
        Ok(link::find(&mut socket, name)?.ok_or_else(|| Error::NoBridge(name.into()))?.index)
    }

    /// Interface index, MTU and whether containers are kept apart.
    pub(crate) fn bridge(&self, name: &str) -> Result<(u32, u32, bool)> {
        let state = self.state();
        let bridge = state.bridges.get(name).ok_or_else(|| Error::NoBridge(name.into()))?;
        Ok((bridge.index, bridge.mtu, !bridge.spec.icc))
    }
}

/// What the kernel takes for an interface name (`dev_valid_name`), and what is safe below `/proc/sys`.
pub(crate) fn check_name(name: &str) -> Result<()> {
    /// `IFNAMSIZ` with the terminating zero.
    const LONGEST: usize = 15;
    let bad = |c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace() || c.is_control();
    let special = ["", ".", "..", "all", "default", "lo"].contains(&name);
    if special || name.len() > LONGEST || name.contains(bad) { Err(Error::InvalidName(name.into())) } else { Ok(()) }
}

/// Settings of the bridge's interface. `route_localnet` lets processes of the host reach published ports on 127.0.0.1;
/// the table drops packets that come from containers with such addresses. Router advertisements of containers do not
/// configure the host (CVE-2020-13401).
fn configure(spec: &BridgeSpec) -> Result<()> {
    let name = &spec.bridge;
    let ipv6 = spec.subnets.iter().any(|subnet| subnet.subnet.is_ipv6());
    sysctl::set(&format!("ipv4/conf/{name}/route_localnet"), if spec.internal { "0" } else { "1" })?;
    sysctl::set_if_present(&format!("ipv6/conf/{name}/accept_ra"), "0")?;
    sysctl::set_if_present(&format!("ipv6/conf/{name}/accept_redirects"), "0")?;
    if spec.foreign && !ipv6 {
        return Ok(());
    }
    sysctl::set_if_present(&format!("ipv6/conf/{name}/disable_ipv6"), if ipv6 { "0" } else { "1" })
}

/// Gives a bridge its addresses, and takes others from it if it is not somebody else's.
fn set_addresses(socket: &mut Socket, index: u32, spec: &BridgeSpec) -> Result<()> {
    let mut wanted: Vec<_> = spec
        .subnets
        .iter()
        .filter_map(|subnet| subnet.gateway.map(|address| Address { index, address, prefix: subnet.subnet.prefix() }))
        .collect();
    if !spec.foreign && spec.subnets.iter().any(|subnet| subnet.subnet.is_ipv6()) {
        wanted.push(Address { index, address: LINK_LOCAL.into(), prefix: 64 });
    }
    let mut batch = Batch::new();
    let present = address::list(socket)?;
    let present = || present.iter().filter(|present| present.index == index);
    for other in present().filter(|present| !spec.foreign && !is_link_local(present) && !wanted.contains(present)) {
        address::remove(&mut batch, other);
    }
    // Adding one again would give it to the engine alone: the owner's may have a label or a lifetime.
    for missing in wanted.iter().filter(|wanted| !spec.foreign || !present().any(|present| present == *wanted)) {
        address::add(&mut batch, missing);
    }
    Ok(socket.execute(batch)?)
}

/// The host asks for a container's link address from a link-local address when it forwards to it (RFC 4861 §7.2.2). The one
/// that the kernel gives is tentative for a second or two, in which clients from outside would find no route; this one is
/// usable from the first moment.
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// Addresses that IPv6 gives by itself.
fn is_link_local(address: &Address) -> bool {
    matches!(address.address, IpAddr::V6(v6) if v6.segments()[..4] == [0xfe80, 0, 0, 0])
}

/// Turns on forwarding for the families of the bridge; true when any was off.
fn enable_forwarding(spec: &BridgeSpec) -> Result<bool> {
    let mut changed = false;
    for (ipv6, key) in [(false, "ipv4/ip_forward"), (true, "ipv6/conf/all/forwarding")] {
        let needed = spec.subnets.iter().any(|subnet| subnet.subnet.is_ipv6() == ipv6);
        if needed && sysctl::get(key).is_some_and(|value| value == "0") {
            sysctl::set(key, "1")?;
            tracing::info!(sysctl = key, "forwarding was off on this host and has been turned on");
            changed = true;
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(bridge_name("0123456789abcdef0123"), "br-0123456789ab");
        assert_eq!(bridge_name("short"), "br-short");
        for good in ["tare0", "br-0123456789ab", "docker.1"] {
            check_name(good).unwrap();
        }
        for bad in ["", ".", "..", "a/b", "a b", "0123456789abcdef", "all", "default", "lo", "a:1", "a%d", "a\n"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn hardware_addresses_are_local_and_for_one_station() {
        for _ in 0..64 {
            assert_eq!(random_mac().unwrap()[0] & 3, 2);
        }
    }
}
