//! Published ports: from a request's port bindings to bound sockets.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tare_docker_api::container::{Config, HostConfig, PortBinding};
use tare_docker_api::go::{Empty, List, Map};
use tare_network::{BoundPort, HostPort, PortError, PortMapping, PortRequest, Protocol, Target};

use tare_shim_protocol::{FdRole, HeldSocket};

use super::options::BridgeOptions;
use super::sandbox::{Endpoint, Sandbox};
use super::{Networks, network_error};
use crate::container::start::Fds;
use crate::error::{Error, Result};

/// Parses `80`, `80/tcp`, `53/udp`.
pub(crate) fn parse(port: &str) -> Result<(u16, Protocol)> {
    let invalid = || Error::invalid(format!("invalid JSON: invalid port '{port}': invalid syntax"));
    let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(invalid()),
    };
    let number: u16 = number.parse().map_err(|_| invalid())?;
    if number == 0 { Err(invalid()) } else { Ok((number, protocol)) }
}

/// Ranges among exposed ports (`8000-8010/udp`) become their ports: Compose files and images have them, and Docker took
/// them before version 29. What is no port stays as it is.
pub(crate) fn spread(ports: &mut Map<Empty>) {
    if ports.keys().any(|port| port.contains('-')) {
        let all = std::mem::take(ports).into_inner();
        let each = |port: String| range(&port).unwrap_or_else(|| vec![port]);
        *ports = all.into_keys().flat_map(each).map(|port| (port, Empty {})).collect();
    }
}

fn range(ports: &str) -> Option<Vec<String>> {
    let (numbers, protocol) = ports.split_once('/').unwrap_or((ports, "tcp"));
    let (first, last) = numbers.split_once('-')?;
    let whole = |number: &str| parse(&format!("{number}/{protocol}")).ok().map(|(number, _)| number);
    let (first, last) = (whole(first)?, whole(last)?);
    (first <= last).then(|| (first..=last).map(|number| format!("{number}/{protocol}")).collect())
}

/// Docker's word for a protocol.
pub(crate) fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// Everything a container asks to be published, in order of container ports.
pub(crate) fn requests(config: &Config, host: &HostConfig, default_ip: Option<IpAddr>) -> Result<Vec<PortRequest>> {
    let mut requests = Vec::new();
    let mut bindings: BTreeMap<String, List<PortBinding>> = host.port_bindings.clone().into_inner();
    if host.publish_all_ports {
        for (port, _) in &config.exposed_ports {
            bindings.entry(port.clone()).or_default();
        }
    }
    for (port, addresses) in &bindings {
        let (container_port, protocol) = parse(port)?;
        let any = [PortBinding::default()];
        let addresses = if addresses.is_empty() { &any[..] } else { addresses.as_slice() };
        for address in addresses {
            let host_ip = match address.host_ip.as_str() {
                "" => default_ip,
                text => Some(
                    text.trim_matches(['[', ']'])
                        .parse()
                        .map_err(|_| Error::invalid(format!("invalid IP address in port binding: {text}")))?,
                ),
            };
            requests.push(PortRequest { protocol, host_ip, host_port: host_port(&address.host_port)?, container_port });
        }
    }
    Ok(requests)
}

fn host_port(text: &str) -> Result<HostPort> {
    let invalid = || Error::invalid(format!("invalid port specification: {text:?}"));
    if text.is_empty() || text == "0" {
        return Ok(HostPort::Any);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().map_err(|_| invalid())?, last.parse().map_err(|_| invalid())?);
    if first == 0 || first > last { Err(invalid()) } else { Ok(HostPort::Range(first, last)) }
}

impl Networks {
    /// Binds host ports for a container and makes the kernel forward them to the endpoints that give its default routes. A
    /// container without any has nothing published.
    pub(crate) fn publish(
        &self,
        owner: &str,
        name: &str,
        sandbox: &Sandbox,
        requests: &[PortRequest],
    ) -> Result<Vec<BoundPort>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let (v4, v6) = self.ways_in(sandbox);
        let Some(endpoint) = v4.or(v6) else { return Ok(Vec::new()) };
        let target = target((v4, v6));
        let failed = |what: String| {
            Error::internal(format!(
                "failed to set up container networking: driver failed programming external connectivity on endpoint \
                 {name} ({}): {what}",
                endpoint.endpoint_id
            ))
        };
        let routed = (v4.is_some_and(|v4| self.is_routed(v4, false)), v6.is_some_and(|v6| self.is_routed(v6, true)));
        let (through_host, direct) = split(requests, &target, routed);
        let bound = self.ports.bind(owner, &target, &through_host).map_err(|error| failed(sentence(&error)))?;
        let unheld = |mapping| BoundPort { mapping, socket: None, relay: None };
        let bound: Vec<BoundPort> = bound.into_iter().chain(direct.into_iter().map(unheld)).collect();
        let mappings: Vec<PortMapping> = bound.iter().map(|port| port.mapping).collect();
        self.mechanism.publish(&mappings).map_err(|error| {
            self.ports.release(owner);
            failed(error.to_string())
        })?;
        Ok(bound)
    }

    /// Whether an endpoint's network is one whose containers are reached by their own addresses.
    fn is_routed(&self, endpoint: &Endpoint, ipv6: bool) -> bool {
        let Ok(net) = self.find(&endpoint.network_id) else { return false };
        let record = &net.read().record;
        BridgeOptions::read(&record.options, record.internal).is_ok_and(|options| options.is_routed(ipv6))
    }

    /// The endpoints that published ports lead to, by family.
    fn ways_in<'s>(&self, sandbox: &'s Sandbox) -> (Option<&'s Endpoint>, Option<&'s Endpoint>) {
        // Other networks' containers are reached by their own addresses. One that is not known any more stays as it is.
        let is_bridge =
            |endpoint: &&Endpoint| self.find(&endpoint.network_id).map_or(true, |net| net.driver() == "bridge");
        let (v4, v6) = sandbox.default_routes();
        (v4.filter(is_bridge), v6.filter(is_bridge))
    }

    /// A container's published ports as they should be now.
    pub(crate) fn led(&self, sandbox: &Sandbox) -> Vec<PortMapping> {
        let target = target(self.ways_in(sandbox));
        let led = |mapping: &PortMapping| {
            let container_ip = match mapping.container_ip {
                IpAddr::V4(_) => target.ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED).into(),
                IpAddr::V6(_) => target.ipv6.unwrap_or(Ipv6Addr::UNSPECIFIED).into(),
            };
            PortMapping { container_ip, ..*mapping }
        };
        sandbox.mappings.iter().map(led).collect()
    }

    /// Leads some published ports elsewhere. Blocking.
    pub(crate) fn lead(&self, old: &[PortMapping], new: &[PortMapping]) -> Result<()> {
        self.mechanism.unpublish(old).map_err(network_error)?;
        self.mechanism.publish(new).map_err(network_error)
    }

    /// The address that ports are published on which do not say one, as the network decides that they are published for.
    pub(crate) fn default_binding(&self, sandbox: &Sandbox) -> Option<IpAddr> {
        let (endpoint, _) = sandbox.default_routes();
        let net = self.find(&endpoint?.network_id).ok()?;
        let inner = net.read();
        BridgeOptions::read(&inner.record.options, inner.record.internal).ok()?.default_binding()
    }

    /// Takes published ports back. The sockets are the shim's to close, afterwards.
    pub(crate) fn unpublish(&self, owner: &str, mappings: &[PortMapping]) {
        if mappings.is_empty() {
            return;
        }
        if let Err(error) = self.mechanism.unpublish(mappings) {
            tracing::warn!("unpublishing the ports of {owner}: {error}");
        }
        self.ports.release(owner);
    }
}

/// Requests of which the host's addresses are bound, and what is reached by the container's own instead, by family.
fn split(
    requests: &[PortRequest],
    target: &Target,
    (routed_v4, routed_v6): (bool, bool),
) -> (Vec<PortRequest>, Vec<PortMapping>) {
    if !routed_v4 && !routed_v6 {
        return (requests.to_vec(), Vec::new());
    }
    let (mut bound, mut direct) = (Vec::new(), Vec::new());
    let families = [
        (routed_v4, IpAddr::from(Ipv4Addr::UNSPECIFIED), target.ipv4.map(IpAddr::from)),
        (routed_v6, IpAddr::from(Ipv6Addr::UNSPECIFIED), target.ipv6.map(IpAddr::from)),
    ];
    for request in requests {
        let asked =
            families.iter().filter(|(_, any, _)| request.host_ip.is_none_or(|ip| ip.is_ipv6() == any.is_ipv6()));
        for (routed, any, address) in asked {
            match address {
                Some(address) if *routed => {
                    direct.push(PortMapping::direct(request.protocol, *address, request.container_port));
                }
                Some(_) => bound.push(PortRequest { host_ip: request.host_ip.or(Some(*any)), ..*request }),
                None => {}
            }
        }
    }
    (bound, direct)
}

/// What leads to bound ports, and their sockets for whoever holds them.
pub(crate) fn held(bound: Vec<BoundPort>) -> (Vec<PortMapping>, Fds) {
    let mappings = bound.iter().map(|port| port.mapping).collect();
    let role = |port: &BoundPort| {
        let protocol = match port.mapping.protocol {
            Protocol::Tcp => tare_shim_protocol::Protocol::Tcp,
            Protocol::Udp => tare_shim_protocol::Protocol::Udp,
            Protocol::Sctp => tare_shim_protocol::Protocol::Sctp,
        };
        FdRole::Held(HeldSocket { protocol, relay: port.relay })
    };
    (mappings, bound.into_iter().filter_map(|port| Some((role(&port), port.socket?))).collect())
}

/// The addresses that published ports lead to.
fn target((v4, v6): (Option<&Endpoint>, Option<&Endpoint>)) -> Target {
    Target {
        ipv4: v4.and_then(|v4| if let IpAddr::V4(ip) = v4.ipv4?.address() { Some(ip) } else { None }),
        ipv6: v6.and_then(|v6| if let IpAddr::V6(ip) = v6.ipv6?.address() { Some(ip) } else { None }),
    }
}

fn sentence(error: &PortError) -> String {
    match error {
        PortError::Allocated { address, .. } => {
            // Docker writes the IPv6 wildcard without brackets here.
            let (ip, port) = (address.ip(), address.port());
            format!("Bind for {ip}:{port} failed: port is already allocated")
        }
        PortError::InUse { address, protocol } => {
            format!("failed to bind host port {address}/{}: address already in use", word(*protocol))
        }
        PortError::NotAvailable { address, protocol } => {
            format!("failed to bind host port {address}/{}: cannot assign requested address", word(*protocol))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_routed_networks_are_not_bound() {
        let request = |host_ip: Option<&str>| PortRequest {
            protocol: Protocol::Tcp,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
            host_port: HostPort::Any,
            container_port: 80,
        };
        let target = Target { ipv4: Some(Ipv4Addr::new(10, 0, 0, 2)), ipv6: Some("fd00::2".parse().unwrap()) };
        let shown = |host_ip: Option<&str>, target: &Target, routed| {
            let (bound, direct) = split(&[request(host_ip)], target, routed);
            let bound: Vec<_> = bound.iter().map(|b| b.host_ip.map_or("any".into(), |ip| ip.to_string())).collect();
            let direct: Vec<_> = direct.iter().map(|d| d.container_ip.to_string()).collect();
            format!("{} / {}", bound.join(" "), direct.join(" "))
        };
        assert_eq!(shown(None, &target, (false, false)), "any / ");
        assert_eq!(shown(None, &target, (true, true)), " / 10.0.0.2 fd00::2");
        assert_eq!(shown(None, &target, (false, true)), "0.0.0.0 / fd00::2");
        assert_eq!(shown(Some("127.0.0.1"), &target, (false, true)), "127.0.0.1 / ");
        assert_eq!(shown(Some("::1"), &target, (false, true)), " / fd00::2");
        assert_eq!(shown(None, &Target { ipv6: None, ..target }, (true, false)), " / 10.0.0.2");
    }

    #[test]
    fn ranges_of_exposed_ports() {
        let spread_of = |ports: &[&str]| {
            let mut map: Map<Empty> = ports.iter().map(|port| ((*port).to_owned(), Empty {})).collect();
            spread(&mut map);
            map.into_inner().into_keys().collect::<Vec<_>>()
        };
        assert_eq!(spread_of(&["80", "90-91", "53-53/udp"]), ["53/udp", "80", "90/tcp", "91/tcp"]);
        for wrong in ["91-90", "0-1", "1-65536", "a-b", "1-2/icmp", "-", "5432:5432"] {
            assert_eq!(spread_of(&[wrong]), [wrong]);
        }
    }
}
