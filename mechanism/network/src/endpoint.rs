//! Endpoints: a container's interface and its port on a bridge.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tare_netlink::{Batch, Socket};
use tare_netlink::{address, address::Address, link, path};

use crate::bridge::{check_name, random_mac};
use crate::cidr::Cidr;
use crate::error::{Error, Result};
use crate::netns::{Inside, Netns};
use crate::network::Network;
use crate::sysctl;

/// How often a link is looked at until it passes packets, on kernels before 6.8, where looking does not make it so.
const SETTLE_ATTEMPTS: u32 = 50;
/// Time between two looks.
const SETTLE_INTERVAL: std::time::Duration = std::time::Duration::from_millis(1);

/// An interface as a container sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name (`eth0`).
    pub name: String,
    /// Hardware address; `None`: a random one.
    pub mac: Option<[u8; 6]>,
    /// IPv4 address with the subnet's prefix length.
    pub ipv4: Option<Cidr>,
    /// IPv6 address with the subnet's prefix length. Without one the interface has no IPv6 at all.
    pub ipv6: Option<Cidr>,
    /// More addresses.
    pub further: Vec<Cidr>,
    /// Default route; `None`: not through this interface.
    pub gateway_v4: Option<Ipv4Addr>,
    /// Default route; `None`: not through this interface.
    pub gateway_v6: Option<Ipv6Addr>,
}

/// An interface for a container on a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Names the host side, see [`host_ifname`].
    pub endpoint_id: String,
    /// The bridge to connect to; [`Network::ensure_bridge`] must have seen it.
    pub bridge: String,
    /// The container's side.
    pub interface: Interface,
    /// MTU in bytes; `None`: the bridge's.
    pub mtu: Option<u32>,
}

/// An interface that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointInfo {
    /// Name of the host's side.
    pub host_ifname: String,
    /// Hardware address inside.
    pub mac: [u8; 6],
    /// MTU in bytes.
    pub mtu: u32,
}

/// The name of an endpoint's host side: `veth` and the first 7 digits of its ID.
pub fn host_ifname(endpoint_id: &str) -> String {
    format!("veth{}", endpoint_id.get(..7).unwrap_or(endpoint_id))
}

impl Network {
    /// Connects a network namespace to a bridge. When this returns, packets pass in both directions. After a failure
    /// nothing is left.
    pub fn attach(&self, netns: &Netns, spec: &EndpointSpec) -> Result<EndpointInfo> {
        check_name(&spec.interface.name)?;
        let (bridge, bridge_mtu, isolated) = self.bridge(&spec.bridge)?;
        let host_ifname = host_ifname(&spec.endpoint_id);
        check_name(&host_ifname)?;
        let mac = spec.interface.mac.map_or_else(random_mac, Ok)?;
        let mtu = spec.mtu.unwrap_or(bridge_mtu);
        let veth = link::Veth {
            name: &host_ifname,
            bridge,
            mtu,
            peer_name: &spec.interface.name,
            peer_mac: mac,
            peer_netns: netns.fd(),
        };
        netns.inside(|inside| {
            inside.default_ipv6(spec.interface.ipv6.is_some())?;
            let made = self.create(&veth, isolated);
            // Interfaces that the container makes itself are its own affair.
            inside.default_ipv6(true)?;
            made?;
            self.connect(inside, spec, &veth).inspect_err(|_| {
                let _ = self.detach(&spec.endpoint_id);
            })
        })?;
        Ok(EndpointInfo { host_ifname, mac, mtu })
    }

    fn create(&self, veth: &link::Veth<'_>, isolated: bool) -> Result<()> {
        let mut batch = Batch::new();
        link::create_veth(&mut batch, veth);
        // The hairpin is for bridged packets that pass through netfilter: to oneself through a published port.
        link::set_port(&mut batch, &link::Port { name: veth.name, alias: &self.mark, hairpin: true, isolated });
        Ok(self.route().execute(batch)?)
    }

    fn connect(&self, inside: &mut Inside, spec: &EndpointSpec, veth: &link::Veth<'_>) -> Result<()> {
        let own = bring_up(inside, &spec.interface)?;
        {
            let mut host = self.route();
            settle(&mut host, veth.name)?;
            settle(&mut host, &spec.bridge)?;
        }
        // The host and other containers may still know another container by these addresses: setting the hardware
        // address announces them, now that the bridge certainly passes it on.
        let mut batch = Batch::new();
        link::set_mac(&mut batch, own.index, &spec.interface.name, veth.peer_mac);
        Ok(inside.route.execute(batch)?)
    }

    /// Sets kernel settings (paths below `/proc/sys/net`, values) of a network namespace.
    pub fn tune(&self, netns: &Netns, settings: &[(String, String)]) -> Result<()> {
        if settings.is_empty() {
            return Ok(());
        }
        tare_netlink::netns::run_in(netns.fd(), || {
            settings.iter().try_for_each(|(key, value)| sysctl::set_known(key, value))
        })?
    }

    /// Removes an endpoint's interface, both sides. One that is not there (because its namespace ended) is no failure.
    /// The kernel takes about 16 ms for this: keep it off the start path.
    pub fn detach(&self, endpoint_id: &str) -> Result<()> {
        let name = host_ifname(endpoint_id);
        let mut socket = self.teardown();
        if link::find(&mut socket, &name)?.is_none_or(|link| link.alias != self.mark) {
            return Ok(());
        }
        let mut batch = Batch::new();
        link::delete(&mut batch, &name);
        Ok(socket.execute(batch)?)
    }

    /// Makes the default routes of a namespace go through these gateways (`None`: leaves that family without one), each
    /// with the interface that it is reached by, for when another network decides after one was connected or
    /// disconnected.
    pub fn set_gateways(
        &self,
        netns: &Netns,
        gateway_v4: Option<(&str, Ipv4Addr)>,
        gateway_v6: Option<(&str, Ipv6Addr)>,
    ) -> Result<()> {
        netns.inside(|inside| {
            let mut index =
                |name: &str| Ok::<_, Error>(link::find(&mut inside.route, name)?.ok_or_else(|| vanished(name))?.index);
            let v4 = gateway_v4.map(|(name, gateway)| Ok::<_, Error>((index(name)?, gateway))).transpose()?;
            let v6 = gateway_v6.map(|(name, gateway)| Ok::<_, Error>((index(name)?, gateway))).transpose()?;
            let mut batch = Batch::new();
            path::remove_default(&mut batch, false);
            path::remove_default(&mut batch, true);
            if let Some((index, gateway)) = v4 {
                path::set_default(&mut batch, index, gateway.into());
            }
            if let Some((index, gateway)) = v6 {
                path::set_default(&mut batch, index, gateway.into());
            }
            Ok(inside.route.execute(batch)?)
        })
    }
}

/// Gives an interface inside its addresses and routes, and sets it up.
pub(crate) fn bring_up(inside: &mut Inside, interface: &Interface) -> Result<link::Link> {
    let own = link::find(&mut inside.route, &interface.name)?.ok_or_else(|| vanished(&interface.name))?;
    let mut batch = Batch::new();
    for cidr in interface.ipv4.iter().chain(&interface.ipv6).chain(&interface.further) {
        let own = Address { index: own.index, address: cidr.address(), prefix: cidr.prefix() };
        address::add(&mut batch, &own);
    }
    link::set_up(&mut batch, &interface.name);
    add_gateways(&mut batch, own.index, interface.gateway_v4, interface.gateway_v6);
    inside.route.execute(batch)?;
    Ok(own)
}

fn add_gateways(batch: &mut Batch, index: u32, gateway_v4: Option<Ipv4Addr>, gateway_v6: Option<Ipv6Addr>) {
    for gateway in gateway_v4.map(IpAddr::V4).into_iter().chain(gateway_v6.map(IpAddr::V6)) {
        path::set_default(batch, index, gateway);
    }
}

/// Returns when a link passes packets (or has had its time). Looking it up is what makes it so, see [`link::find`].
fn settle(socket: &mut Socket, name: &str) -> Result<()> {
    for _ in 0..SETTLE_ATTEMPTS {
        if link::find(socket, name)?.ok_or_else(|| vanished(name))?.operational {
            return Ok(());
        }
        std::thread::sleep(SETTLE_INTERVAL);
    }
    Ok(())
}

pub(crate) fn vanished(name: &str) -> Error {
    Error::io("look up interface", name, rustix::io::Errno::NODEV.into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn names() {
        assert_eq!(super::host_ifname("0123456789ab"), "veth0123456");
        assert_eq!(super::host_ifname("01"), "veth01");
    }
}
