//! Joining a container's network namespace to a network, and leaving it.

use std::net::IpAddr;
use std::path::Path;

use tare_docker_api::network::{EndpointSettings, Network as Record};
use tare_network::Cidr;
use tare_network::{EndpointSpec, Interface, Ipam, IpamError, MacvlanSpec, Netns};

use super::options;
use super::sandbox::Endpoint;
use super::{Net, NetInner, Networks, network_error};
use crate::error::{Error, Result};
use crate::host::random;

/// Names an endpoint's interface.
const IFNAME: &str = "com.docker.network.endpoint.ifname";

/// Attempts at an endpoint ID whose interface's name is free: with ten thousand interfaces one in 26,000 is taken.
const ID_ATTEMPTS_MAX: u32 = 8;

/// Which of a container's default routes go through an interface.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DefaultRoutes {
    pub(crate) v4: bool,
    pub(crate) v6: bool,
}

impl Networks {
    /// Makes an interface `ifname` in `netns` that is connected to `net`.
    pub(crate) fn connect(
        &self,
        netns: &Netns,
        net: &Net,
        others: &[Endpoint],
        settings: &EndpointSettings,
        routes: DefaultRoutes,
    ) -> Result<Endpoint> {
        if net.read().record.config_only {
            return Err(Error::forbidden("cannot create endpoint on configuration-only network"));
        }
        let mac = mac(&settings.mac_address)?;
        let further = link_local(settings)?;
        let (internal, mtu, ifname) = {
            let inner = net.read();
            let prefix = options::interface_prefix(&inner.record.options);
            (inner.record.internal, options::mtu(&inner.record.options)?, ifname(prefix, settings, others))
        };
        let addresses = allocate(&mut net.read(), settings)?;
        let v4 = addresses.iter().find(|(address, _)| address.address().is_ipv4());
        let v6 = addresses.iter().find(|(address, _)| address.address().is_ipv6());
        let (gateway_v4, gateway_v6) = if internal {
            (None, None)
        } else {
            let record = &net.read().record;
            let gateway = |other, (_, own): &(Cidr, IpAddr)| other_gateway(record, other).unwrap_or(*own);
            (
                v4.and_then(|own| ipv4(gateway(options::OTHER_GATEWAY_4, own))),
                v6.and_then(|own| ipv6(gateway(options::OTHER_GATEWAY_6, own))),
            )
        };
        let endpoint_id = free_id(random::id, |ifname| Path::new("/sys/class/net").join(ifname).exists());
        if let Err(reason) = check_ifname(&ifname, others) {
            release(&mut net.read(), addresses.iter().map(|(address, _)| address.address()));
            let host = tare_network::host_ifname(&endpoint_id);
            return Err(Error::internal(format!(
                "failed to add interface {host} to sandbox: error renaming interface \"{host}\" to \"{ifname}\": {reason}"
            )));
        }
        let interface = Interface {
            name: ifname,
            mac,
            ipv4: v4.map(|(address, _)| *address),
            ipv6: v6.map(|(address, _)| *address),
            further,
            gateway_v4: gateway_v4.filter(|_| routes.v4),
            gateway_v6: gateway_v6.filter(|_| routes.v6),
        };
        let mac = self.attach(netns, net, &endpoint_id, &interface, mtu).inspect_err(|_| {
            release(&mut net.read(), addresses.iter().map(|(address, _)| address.address()));
        })?;
        let endpoint = Endpoint {
            network_id: net.id.clone(),
            network_name: net.name.clone(),
            endpoint_id,
            ifname: interface.name,
            mac: mac.map(|byte| format!("{byte:02x}")).join(":"),
            ipv4: interface.ipv4,
            ipv6: interface.ipv6,
            gateway_v4,
            gateway_v6,
            priority: settings.gw_priority,
        };
        if let Err(error) = self.tune(netns, &endpoint, settings) {
            self.disconnect(Some(netns), &endpoint)?;
            return Err(error);
        }
        Ok(endpoint)
    }

    /// Sets the kernel's settings of an interface as the user asks for.
    fn tune(&self, netns: &Netns, endpoint: &Endpoint, settings: &EndpointSettings) -> Result<()> {
        let tuning = options::interface_settings(&settings.driver_opts)?;
        let own = tuning.into_iter().map(|(key, value)| (key.replace(options::IFNAME_MARK, &endpoint.ifname), value));
        self.mechanism.tune(netns, &own.collect::<Vec<_>>()).map_err(|error| {
            let host = tare_network::host_ifname(&endpoint.endpoint_id);
            Error::internal(format!("failed to add interface {host} to sandbox: {error}"))
        })
    }

    /// Makes an interface as the network's driver has it; returns its hardware address.
    fn attach(
        &self,
        netns: &Netns,
        net: &Net,
        endpoint_id: &str,
        interface: &Interface,
        mtu: Option<u32>,
    ) -> Result<[u8; 6]> {
        let interface = interface.clone();
        if net.driver() == "bridge" {
            let spec = EndpointSpec { endpoint_id: endpoint_id.to_owned(), bridge: net.bridge(), interface, mtu };
            return Ok(self.mechanism.attach(netns, &spec).map_err(network_error)?.mac);
        }
        let (parent, mode) = options::macvlan(&net.read().record.options)?;
        let spec = MacvlanSpec { parent, mode, interface };
        let attached = self.mechanism.attach_macvlan(netns, &spec);
        attached.map_err(|error| Error::internal(format!("failed to create the macvlan port: {error}")))
    }

    /// Removes an endpoint's interface, if the container still runs, and gives its addresses back.
    pub(crate) fn disconnect(&self, netns: Option<&Netns>, endpoint: &Endpoint) -> Result<()> {
        let driver = self.find(&endpoint.network_id).map(|net| net.driver());
        let detached = match (driver.as_deref(), netns) {
            (Ok("macvlan"), Some(netns)) => self.mechanism.detach_macvlan(netns, &endpoint.ifname),
            (Ok("macvlan"), None) => Ok(()),
            _ => self.mechanism.detach(&endpoint.endpoint_id),
        };
        self.forget(endpoint);
        detached.map_err(network_error)
    }

    /// Gives an endpoint's addresses back. The interface itself goes with the network namespace, or by `detach`.
    pub(crate) fn forget(&self, endpoint: &Endpoint) {
        if let Ok(net) = self.find(&endpoint.network_id) {
            release(&mut net.read(), endpoint.addresses());
        }
    }

    /// Marks an adopted endpoint's addresses as used.
    pub(crate) fn remember(&self, endpoint: &Endpoint) {
        let Ok(net) = self.find(&endpoint.network_id) else { return };
        let mut inner = net.read();
        for address in endpoint.addresses() {
            for pool in &mut inner.pools {
                // Fails in the pools of other families and subnets, and where it is known already.
                let _ = pool.allocate_exact(address);
            }
        }
    }
}

/// A name for a container's next interface: the one that is asked for, or a prefix with a number.
fn ifname(prefix: &str, settings: &EndpointSettings, others: &[Endpoint]) -> String {
    if let Some(asked) = settings.driver_opts.get(IFNAME).filter(|name| !name.is_empty()) {
        return asked.clone();
    }
    let taken = |name: &String| others.iter().any(|endpoint| endpoint.ifname == *name);
    (0..).map(|n| format!("{prefix}{n}")).find(|name| !taken(name)).unwrap_or_default()
}

/// Whether an interface can have a name, in the kernel's words.
fn check_ifname(name: &str, others: &[Endpoint]) -> std::result::Result<(), &'static str> {
    /// `IFNAMSIZ` without the terminating zero.
    const LONGEST: usize = 15;
    if name == "lo" || others.iter().any(|endpoint| endpoint.ifname == name) {
        return Err("file exists");
    }
    if name.len() > LONGEST {
        return Err("numerical result out of range");
    }
    let bad = |c: char| c == '/' || c == ':' || c == '%' || c.is_whitespace() || c.is_control();
    if matches!(name, "." | ".." | "all" | "default") || name.contains(bad) { Err("invalid argument") } else { Ok(()) }
}

/// The address that a bridge network has for a gateway beside its own, by the name of the auxiliary address.
fn other_gateway(record: &Record, name: &str) -> Option<IpAddr> {
    let addresses = || record.ipam.config.iter().filter_map(|config| config.aux_address.get(name)?.parse().ok());
    if record.driver == "bridge" { addresses().next() } else { None }
}

/// Prefix lengths of the networks of link-local addresses.
const LINK_LOCAL_4: u8 = 16;
const LINK_LOCAL_6: u8 = 64;

/// The link-local addresses that a user asks for.
fn link_local(settings: &EndpointSettings) -> Result<Vec<Cidr>> {
    let asked = settings.ipam_config.as_ref().map(|ipam| ipam.link_local_ips.as_slice()).unwrap_or_default();
    let read = |text: &String| {
        let invalid = || Error::invalid(format!("invalid link local IP address: {text}"));
        let address: IpAddr = text.parse().map_err(|_| invalid())?;
        let (is_link_local, prefix) = match address {
            IpAddr::V4(v4) => (v4.is_link_local(), LINK_LOCAL_4),
            IpAddr::V6(v6) => (v6.is_unicast_link_local(), LINK_LOCAL_6),
        };
        Cidr::new(address, prefix).filter(|_| is_link_local).ok_or_else(invalid)
    };
    asked.iter().map(read).collect()
}

/// Checks what a user asks for, as far as it can be without taking it.
pub(crate) fn check_settings(net: &Net, settings: &EndpointSettings) -> Result<()> {
    let asked = settings.ipam_config.clone().unwrap_or_default();
    if net.is_predefined() && !settings.aliases.is_empty() {
        return Err(Error::invalid(format!(
            "invalid config for network {}: invalid endpoint settings:\nnetwork-scoped aliases are only supported for \
             user-defined networks",
            net.name
        )));
    }
    let inner = net.read();
    for text in [&asked.ipv4_address, &asked.ipv6_address] {
        if text.is_empty() {
            continue;
        }
        let invalid = |what: String| {
            Error::invalid(format!("invalid config for network {}: invalid endpoint settings:\n{what}", net.name))
        };
        let address: IpAddr = text.parse().map_err(|_| invalid(format!("invalid IP address: {text}")))?;
        if net.is_predefined() {
            return Err(invalid("user-specified IP address is supported on user-defined networks only".into()));
        }
        let inside = inner
            .record
            .ipam
            .config
            .iter()
            .filter_map(|config| config.subnet.parse::<Cidr>().ok())
            .any(|subnet| subnet.contains(address));
        if !inside {
            return Err(invalid(format!("no configured subnet contains IP address {text}")));
        }
    }
    for text in &asked.link_local_ips {
        if text.parse::<IpAddr>().map_or(true, |address| address.is_unspecified()) {
            return Err(Error::invalid(format!(
                "invalid config for network {}: invalid endpoint settings:\ninvalid link-local IP address: {text}",
                net.name
            )));
        }
    }
    options::interface_settings(&settings.driver_opts).map_err(|error| {
        Error::invalid(format!(
            "invalid config for network {}: invalid endpoint settings:\n{}",
            net.name, error.message
        ))
    })?;
    mac(&settings.mac_address).map(|_| ())
}

/// One address of each pool, with the pool's gateway.
fn allocate(inner: &mut NetInner, settings: &EndpointSettings) -> Result<Vec<(Cidr, IpAddr)>> {
    let asked = settings.ipam_config.clone().unwrap_or_default();
    let asked: Vec<IpAddr> =
        [&asked.ipv4_address, &asked.ipv6_address].into_iter().filter_map(|text| text.parse().ok()).collect();
    let mut addresses: Vec<(Cidr, IpAddr)> = Vec::new();
    let mut families = [false; 2];
    for pool in &mut inner.pools {
        let family = usize::from(pool.gateway().is_ipv6());
        if families.get(family).copied().unwrap_or(true) {
            continue;
        }
        let wanted = asked.iter().find(|address| address.is_ipv6() == pool.gateway().is_ipv6());
        match take(pool, wanted.copied()) {
            Ok(Some(address)) => {
                if let Some(done) = families.get_mut(family) {
                    *done = true;
                }
                addresses.extend(Cidr::new(address, pool.subnet().prefix()).map(|cidr| (cidr, pool.gateway())));
            }
            Ok(None) => {}
            Err(error) => {
                let taken: Vec<_> = addresses.iter().map(|(address, _)| address.address()).collect();
                release(inner, taken.into_iter());
                return Err(error);
            }
        }
    }
    if let Some(lost) = asked.iter().find(|wanted| !addresses.iter().any(|(got, _)| got.address() == **wanted)) {
        // The network may have been made anew, with other subnets, since the container was created.
        release(inner, addresses.iter().map(|(address, _)| address.address()));
        return Err(Error::invalid(format!(
            "invalid config for network {}: invalid endpoint settings:\nno configured subnet contains IP address {lost}",
            inner.record.name
        )));
    }
    Ok(addresses)
}

fn take(pool: &mut Ipam, wanted: Option<IpAddr>) -> Result<Option<IpAddr>> {
    let result = match wanted {
        Some(address) => pool.allocate_exact(address).map(|()| address),
        None => pool.allocate(),
    };
    match result {
        Ok(address) => Ok(Some(address)),
        Err(IpamError::OutOfSubnet(..)) => Ok(None),
        Err(IpamError::InUse(_)) => Err(Error::forbidden("Address already in use")),
        Err(IpamError::Exhausted(_)) => {
            let family = if pool.subnet().is_ipv6() { "IPv6" } else { "IPv4" };
            Err(Error::forbidden(format!("no available {family} addresses on this network's address pools")))
        }
        Err(error) => Err(network_error(error)),
    }
}

fn release(inner: &mut NetInner, addresses: impl Iterator<Item = IpAddr>) {
    for address in addresses {
        for pool in &mut inner.pools {
            pool.release(address);
        }
    }
}

fn ipv4(address: IpAddr) -> Option<std::net::Ipv4Addr> {
    if let IpAddr::V4(address) = address { Some(address) } else { None }
}

fn ipv6(address: IpAddr) -> Option<std::net::Ipv6Addr> {
    if let IpAddr::V6(address) = address { Some(address) } else { None }
}

/// An endpoint's ID. The interface's name has room for the beginning of it alone, so that two may want the same one.
fn free_id(draw: impl Fn() -> String, taken: impl Fn(&str) -> bool) -> String {
    let mut id = draw();
    for _ in 0..ID_ATTEMPTS_MAX {
        if !taken(&tare_network::host_ifname(&id)) {
            break;
        }
        id = draw();
    }
    id
}

/// Parses `02:42:ac:11:00:02`; empty is none.
pub(crate) fn mac(text: &str) -> Result<Option<[u8; 6]>> {
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = || Error::invalid(format!("invalid MAC address: {text}"));
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2).ok_or_else(invalid)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
    }
    if parts.next().is_some() { Err(invalid()) } else { Ok(Some(mac)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_whose_interface_is_there_is_not_taken() {
        let ids = ["0000000a", "0000000b", "1"].map(str::to_owned);
        let drawn = std::cell::Cell::new(0);
        let draw = || ids.get(drawn.replace(drawn.get() + 1)).cloned().unwrap();
        assert_eq!(free_id(draw, |ifname| ifname == "veth0000000"), "1");
    }

    #[test]
    fn mac_addresses() {
        assert_eq!(mac("02:42:aC:11:00:02").unwrap(), Some([2, 0x42, 0xac, 0x11, 0, 2]));
        assert_eq!(mac("").unwrap(), None);
        for bad in ["02:42", "02:42:ac:11:00:02:03", "zz:42:ac:11:00:02", "2:42:ac:11:00:02"] {
            assert_eq!(mac(bad).unwrap_err().message, format!("invalid MAC address: {bad}"));
        }
    }
}
