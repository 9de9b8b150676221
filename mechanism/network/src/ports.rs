//! Published ports: which are taken, the sockets that hold them, the firewall elements that lead to containers.
//!
//! A port is held by a bound socket, so that other programs get `EADDRINUSE`; the packets never reach that socket
//! (destinations are translated first), except where IPv6 leaves no other way: then they are relayed from it.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Mutex;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use serde::{Deserialize, Serialize};
use tare_nftables::conntrack::Connection;

use crate::error::Result;
use crate::firewall::items;
use crate::network::{Network, locked};
use crate::sysctl;

/// Connections that wait for the relay, which accepts them once the container runs.
const BACKLOG: i32 = 1024;
/// Ports that are tried when any will do; each try that fails costs a few system calls.
const ATTEMPTS: usize = 1024;
/// The range for "any port" where `ip_local_port_range` cannot be read (IANA's dynamic ports).
const DYNAMIC_PORTS: (u16, u16) = (49153, 65535);

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// `IPPROTO_*`.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// A published port. Where the two addresses are of different families it is relayed from the socket, otherwise packets
/// are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortMapping {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Address of the host; the unspecified one means all of the family.
    pub host_ip: IpAddr,
    /// Port of the host; 0: none, see [`Self::direct`].
    pub host_port: u16,
    /// Address of the container; the unspecified one while it has none that can be reached.
    pub container_ip: IpAddr,
    /// Port of the container.
    pub container_port: u16,
}

impl PortMapping {
    /// A port that is reached by the container's own address, and not by the host's.
    pub fn direct(protocol: Protocol, container_ip: IpAddr, container_port: u16) -> Self {
        let host_ip = match container_ip {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        Self { protocol, host_ip, host_port: 0, container_ip, container_port }
    }

    /// Whether it is such a port.
    pub fn is_direct(&self) -> bool {
        self.host_port == 0
    }
}

/// What is asked to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRequest {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Address of the host; `None`: all addresses of both families.
    pub host_ip: Option<IpAddr>,
    /// Port of the host.
    pub host_port: HostPort,
    /// Port of the container.
    pub container_port: u16,
}

/// Which port of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPort {
    /// Any free one.
    Any,
    /// The first free one of these, both ends included.
    Range(u16, u16),
}

/// The container that ports are published for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Target {
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
}

/// A port that is held.
#[derive(Debug)]
pub struct BoundPort {
    /// What to [`Network::publish`] (which skips what is only relayed).
    pub mapping: PortMapping,
    /// Holds the port; listening (TCP). `None` only for SCTP on a kernel without it.
    pub socket: Option<OwnedFd>,
    /// Whoever has the socket relays what arrives on it to this address. `None`: it only holds the port, nothing
    /// arrives.
    pub relay: Option<SocketAddr>,
}

/// A port that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// A container of this engine has it.
    #[error("bind {address}/{protocol}: port is already allocated")]
    Allocated {
        /// Transport protocol.
        protocol: Protocol,
        /// Address and port of the host.
        address: SocketAddr,
        /// Who has it.
        owner: String,
    },
    /// Another program has it.
    #[error("bind {address}/{protocol}: address already in use")]
    InUse {
        /// Transport protocol.
        protocol: Protocol,
        /// Address and port of the host.
        address: SocketAddr,
    },
    /// The host has no such address.
    #[error("bind {address}/{protocol}: cannot assign requested address")]
    NotAvailable {
        /// Transport protocol.
        protocol: Protocol,
        /// Address and port of the host.
        address: SocketAddr,
    },
    /// Binding failed for another reason.
    #[error("bind {address}/{protocol}: {}", tare_sys::errno::name(*errno))]
    Bind {
        /// Transport protocol.
        protocol: Protocol,
        /// Address and port of the host.
        address: SocketAddr,
        /// The error number.
        errno: i32,
    },
    /// The range of ports is empty.
    #[error("invalid range of host ports: {0}-{1}")]
    EmptyRange(u16, u16),
    /// Every port of the range for "any port" is reserved.
    #[error("no host port is free: all are reserved by ip_local_reserved_ports")]
    NoneFree,
    /// The container has no address that the port could lead to.
    #[error("the container has no address to publish a port for")]
    NoTarget,
}

impl PortError {
    /// True when another port may be free.
    fn is_taken(&self) -> bool {
        matches!(self, Self::Allocated { .. } | Self::InUse { .. })
    }
}

/// The ports of an engine's containers.
#[derive(Debug, Default)]
pub struct Ports {
    registry: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    /// Addresses and owners of each taken port.
    taken: HashMap<(Protocol, u16), Vec<(IpAddr, String)>>,
    /// Where to go on looking for any free port.
    next: HashMap<Protocol, u16>,
}

impl Ports {
    /// None taken yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Binds the host's side of each request for a container, all or none. Requests that differ in the address only get
    /// the same port.
    pub fn bind(
        &self,
        owner: &str,
        target: &Target,
        requests: &[PortRequest],
    ) -> std::result::Result<Vec<BoundPort>, PortError> {
        let mut registry = locked(&self.registry);
        let mut bound: Vec<BoundPort> = Vec::new();
        let mut groups: Vec<_> = groups(requests).collect();
        // Whoever can have another port leaves those that are asked for by number alone.
        groups.sort_by_key(|group| match group.first().map(|request| request.host_port) {
            Some(HostPort::Range(first, last)) if first == last => 0,
            Some(HostPort::Range(..)) => 1,
            _ => 2,
        });
        for group in groups {
            match registry.bind_group(owner, target, group) {
                Ok(ports) => bound.extend(ports),
                Err(error) => {
                    bound.iter().for_each(|port| registry.release_one(owner, &port.mapping));
                    return Err(error);
                }
            }
        }
        Ok(bound)
    }

    /// Notes the ports of a container that runs already; its shim has the sockets.
    pub fn reserve(&self, owner: &str, mappings: &[PortMapping]) {
        let mut registry = locked(&self.registry);
        for mapping in mappings.iter().filter(|mapping| !mapping.is_direct()) {
            registry.take(owner, mapping.protocol, mapping.host_ip, mapping.host_port);
        }
    }

    /// Frees all ports of a container, once their sockets are closed.
    pub fn release(&self, owner: &str) {
        locked(&self.registry).taken.retain(|_, holders| {
            holders.retain(|(_, holder)| holder != owner);
            !holders.is_empty()
        });
    }
}

/// Requests next to each other that differ in the address only.
fn groups(requests: &[PortRequest]) -> impl Iterator<Item = &[PortRequest]> {
    requests.chunk_by(|a, b| {
        let same = PortRequest { host_ip: b.host_ip, ..*a } == *b;
        same && a.host_ip.is_some() && b.host_ip.is_some() && a.host_ip != b.host_ip
    })
}

/// An address to bind, and whether it may be missing from the host.
type Wanted = (IpAddr, bool);

fn wanted(group: &[PortRequest]) -> Vec<Wanted> {
    let both = [(IpAddr::V4(Ipv4Addr::UNSPECIFIED), false), (IpAddr::V6(Ipv6Addr::UNSPECIFIED), true)];
    let addresses = group.iter().flat_map(|request| match request.host_ip {
        Some(address) => vec![(address, false)],
        None => both.to_vec(),
    });
    addresses.collect()
}

impl Registry {
    fn bind_group(
        &mut self,
        owner: &str,
        target: &Target,
        group: &[PortRequest],
    ) -> std::result::Result<Vec<BoundPort>, PortError> {
        let Some(request) = group.first() else { return Ok(Vec::new()) };
        let addresses = wanted(group);
        let mut failure = None;
        for port in self.candidates(request)? {
            match self.bind_port(owner, target, request, &addresses, port) {
                Ok(bound) => {
                    if request.host_port == HostPort::Any {
                        self.next.insert(request.protocol, port.wrapping_add(1));
                    }
                    return Ok(bound);
                }
                Err(error) if error.is_taken() => failure = Some(error),
                Err(error) => return Err(error),
            }
        }
        // Only a range whose every port is reserved leaves nothing to try.
        Err(failure.unwrap_or(PortError::NoneFree))
    }

    /// The ports to try, in order.
    fn candidates(&self, request: &PortRequest) -> std::result::Result<Vec<u16>, PortError> {
        match request.host_port {
            HostPort::Range(first, last) if first > last || first == 0 => Err(PortError::EmptyRange(first, last)),
            HostPort::Range(first, last) => Ok((first..=last).collect()),
            HostPort::Any => {
                let range = sysctl::get("ipv4/ip_local_port_range").and_then(|text| parse_range(&text));
                let (first, last) = range.unwrap_or(DYNAMIC_PORTS);
                let reserved = sysctl::get("ipv4/ip_local_reserved_ports").unwrap_or_default();
                let next = self.next.get(&request.protocol).copied().filter(|port| (first..=last).contains(port));
                let next = next.unwrap_or(first);
                let ports = (next..=last).chain(first..next).filter(|port| !is_reserved(&reserved, *port));
                Ok(ports.take(ATTEMPTS).collect())
            }
        }
    }

    /// Binds one port on all addresses, or none.
    fn bind_port(
        &mut self,
        owner: &str,
        target: &Target,
        request: &PortRequest,
        addresses: &[Wanted],
        port: u16,
    ) -> std::result::Result<Vec<BoundPort>, PortError> {
        let protocol = request.protocol;
        let mut bound = Vec::with_capacity(addresses.len());
        for (address, optional) in addresses {
            let here = SocketAddr::new(*address, port);
            if let Some(owner) = self.owner(protocol, *address, port) {
                return Err(PortError::Allocated { protocol, address: here, owner: owner.to_owned() });
            }
            let (container, relayed) = target.reach(*address).ok_or(PortError::NoTarget)?;
            let mapping = PortMapping {
                protocol,
                host_ip: *address,
                host_port: port,
                container_ip: container,
                container_port: request.container_port,
            };
            let relay = relayed.then(|| SocketAddr::new(container, request.container_port));
            match open(protocol, here, relay.is_some()) {
                Ok(socket) => bound.push(BoundPort { mapping, socket, relay }),
                Err(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL) if *optional => {}
                Err(Errno::ADDRINUSE) => return Err(PortError::InUse { protocol, address: here }),
                Err(Errno::ADDRNOTAVAIL) => return Err(PortError::NotAvailable { protocol, address: here }),
                Err(errno) => return Err(PortError::Bind { protocol, address: here, errno: errno.raw_os_error() }),
            }
        }
        for port in &bound {
            self.take(owner, protocol, port.mapping.host_ip, port.mapping.host_port);
        }
        Ok(bound)
    }

    /// Who has a port on an address, or on all, or (when asked for all) on any.
    fn owner(&self, protocol: Protocol, address: IpAddr, port: u16) -> Option<&str> {
        let conflicts = |other: &IpAddr| {
            other.is_ipv6() == address.is_ipv6()
                && (*other == address || other.is_unspecified() || address.is_unspecified())
        };
        let holders = self.taken.get(&(protocol, port))?;
        holders.iter().find(|(other, _)| conflicts(other)).map(|(_, owner)| owner.as_str())
    }

    fn take(&mut self, owner: &str, protocol: Protocol, address: IpAddr, port: u16) {
        self.taken.entry((protocol, port)).or_default().push((address, owner.to_owned()));
    }

    fn release_one(&mut self, owner: &str, mapping: &PortMapping) {
        let key = (mapping.protocol, mapping.host_port);
        let Some(holders) = self.taken.get_mut(&key) else { return };
        holders.retain(|(address, holder)| *address != mapping.host_ip || holder != owner);
        if holders.is_empty() {
            self.taken.remove(&key);
        }
    }
}

impl Target {
    /// Where packets to an address of the host go, and whether they must be relayed from the socket. IPv6 has no way to
    /// route `::1`, which the unspecified address includes.
    fn reach(&self, host: IpAddr) -> Option<(IpAddr, bool)> {
        let (v4, v6) = (self.ipv4.map(IpAddr::V4), self.ipv6.map(IpAddr::V6));
        match host {
            IpAddr::V4(_) => v4.map(|address| (address, false)).or(v6.map(|address| (address, true))),
            IpAddr::V6(own) => {
                let loopback = own.is_unspecified() || own.is_loopback();
                v6.map(|address| (address, loopback)).or(v4.map(|address| (address, true)))
            }
        }
    }
}

/// A socket that holds a port. TCP listens, because otherwise another program that sets `SO_REUSEADDR` could take the
/// port; UDP does not set the option, for the same reason. What is not relayed receives nothing: a client that comes
/// before the translation tries again instead of being accepted by nobody.
fn open(protocol: Protocol, address: SocketAddr, relayed: bool) -> std::result::Result<Option<OwnedFd>, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = match rustix::net::socket_with(family, kind, flags, Some(number)) {
        Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT) if protocol == Protocol::Sctp => return Ok(None),
        socket => socket?,
    };
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol != Protocol::Udp {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    if !relayed {
        tare_sys::network::drop_everything_received(&socket)
            .map_err(|error| Errno::from_raw_os_error(error.raw_os_error().unwrap_or_default()))?;
    }
    rustix::net::bind(&socket, &address)?;
    if protocol != Protocol::Udp {
        rustix::net::listen(&socket, BACKLOG)?;
    }
    Ok(Some(socket))
}

/// `32768\t60999`.
fn parse_range(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    let (first, last) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (0 < first && first <= last).then_some((first, last))
}

/// `8080,9000-9010`.
fn is_reserved(list: &str, port: u16) -> bool {
    let number = |text: &str| text.trim().parse::<u16>().ok();
    list.split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        number(first).zip(number(last)).is_some_and(|(first, last)| (first..=last).contains(&port))
    })
}

impl Network {
    /// Leads published ports to their containers, in one transaction. What is only relayed is skipped.
    pub fn publish(&self, mappings: &[PortMapping]) -> Result<()> {
        let items: std::collections::BTreeSet<_> = mappings.iter().filter_map(items::of_port).collect();
        if items.is_empty() {
            return Ok(());
        }
        let keyed = items.iter().map(|item| ((item.set, item.element.key.clone()), item.clone()));
        self.state().ports.extend(keyed);
        self.add(&items)?;
        self.forget(mappings, |mapping, connection| connection.target != (mapping.container_ip, mapping.container_port))
    }

    /// Stops leading ports to containers, then forgets the UDP flows that went there (they would go on). Those that are
    /// not published are no failure. Close the sockets afterwards.
    pub fn unpublish(&self, mappings: &[PortMapping]) -> Result<()> {
        let items: std::collections::BTreeSet<_> = mappings.iter().filter_map(items::of_port).collect();
        if items.is_empty() {
            return Ok(());
        }
        {
            let mut state = self.state();
            for item in &items {
                state.ports.remove(&(item.set, item.element.key.clone()));
            }
        }
        self.delete(&items)?;
        self.forget(mappings, |mapping, connection| connection.target == (mapping.container_ip, mapping.container_port))
    }

    /// Forgets UDP flows to the host's ports in `mappings` for which `stale` holds. The kernel tracks a UDP flow while
    /// its packets keep coming, and translates them as it did the first.
    fn forget(&self, mappings: &[PortMapping], stale: impl Fn(&PortMapping, &Connection) -> bool) -> Result<()> {
        let through_host = |mapping: &&PortMapping| mapping.protocol == Protocol::Udp && !mapping.is_direct();
        let udp: Vec<_> = mappings.iter().filter(through_host).collect();
        if udp.is_empty() {
            return Ok(());
        }
        let own: Vec<IpAddr> = tare_netlink::address::list(&mut self.route())?.iter().map(|own| own.address).collect();
        let to_host = |address: IpAddr| own.contains(&address) || address.is_loopback();
        let through = |mapping: &PortMapping, connection: &Connection| {
            let (address, port) = connection.destination;
            port == mapping.host_port
                && address.is_ipv6() == mapping.host_ip.is_ipv6()
                && (mapping.host_ip == address || (mapping.host_ip.is_unspecified() && to_host(address)))
        };
        for ipv6 in [false, true] {
            if udp.iter().any(|mapping| mapping.host_ip.is_ipv6() == ipv6) {
                self.conntrack().forget_connections(ipv6, Protocol::Udp.number(), |connection| {
                    udp.iter().any(|mapping| through(mapping, connection) && stale(mapping, connection))
                })?;
            }
        }
        Ok(())
    }
}
