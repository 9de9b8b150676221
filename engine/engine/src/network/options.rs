//! What a network's options mean. Those that nobody gives a meaning to are kept and shown, as in Docker; those that Docker
//! gives one and this engine does not are refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tare_docker_api::go::Map;
use tare_network::MacvlanMode;

use crate::error::{Error, Result};

/// Names a bridge network's interface.
pub(crate) const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
/// Marks the default bridge.
pub(crate) const DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";
/// Whether containers may talk to each other.
pub(crate) const ICC: &str = "com.docker.network.bridge.enable_icc";
/// Whether what goes out carries the host's address.
pub(crate) const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
/// Auxiliary addresses of a bridge network that are where containers send what goes out, by family.
pub(crate) const OTHER_GATEWAY_4: &str = "DefaultGatewayIPv4";
pub(crate) const OTHER_GATEWAY_6: &str = "DefaultGatewayIPv6";
/// The MTU in bytes.
pub(crate) const MTU: &str = "com.docker.network.driver.mtu";
/// Where ports are published that do not say.
pub(crate) const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
/// What containers' interfaces are called before their numbers.
const IFACE_PREFIX: &str = "com.docker.network.container_iface_prefix";
/// Leaves the bridge without an IPv4 address.
const INHIBIT_IPV4: &str = "com.docker.network.bridge.inhibit_ipv4";
/// How containers are reached, by family.
const GATEWAY_MODE_4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
const GATEWAY_MODE_6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
/// Older ways to say whether a network has a family.
const ENABLE_IPV4: &str = "com.docker.network.enable_ipv4";
const ENABLE_IPV6: &str = "com.docker.network.enable_ipv6";
/// The interface of the host that a macvlan network is on, and who reaches whom there.
pub(crate) const PARENT: &str = "parent";
const MACVLAN_MODE: &str = "macvlan_mode";
/// Kernel settings of an endpoint's interface.
pub(crate) const ENDPOINT_SYSCTLS: &str = "com.docker.network.endpoint.sysctls";
/// Stands for the interface's name in them.
pub(crate) const IFNAME_MARK: &str = "IFNAME";
/// The address of the host that what goes out carries, by family.
const HOST_IPV4: &str = "com.docker.network.host_ipv4";
const HOST_IPV6: &str = "com.docker.network.host_ipv6";
/// Interfaces of the host from which containers are reached by their addresses, with colons between them.
const TRUSTED: &str = "com.docker.network.bridge.trusted_host_interfaces";

/// How containers of a bridge network are reached from outside it, for one family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum GatewayMode {
    /// Through published ports.
    #[default]
    Nat,
    /// Directly, too.
    NatUnprotected,
    /// By their own addresses, on published ports, and by no address of the host's.
    Routed,
    /// Not at all, not even by the host.
    Isolated,
}

/// The options of a bridge network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BridgeOptions {
    pub(crate) name: Option<String>,
    pub(crate) icc: bool,
    pub(crate) masquerade: bool,
    pub(crate) source_v4: Option<Ipv4Addr>,
    pub(crate) source_v6: Option<Ipv6Addr>,
    pub(crate) mtu: Option<u32>,
    pub(crate) host_binding: Option<IpAddr>,
    pub(crate) inhibit_ipv4: bool,
    pub(crate) mode_v4: GatewayMode,
    pub(crate) mode_v6: GatewayMode,
    pub(crate) trusted: Vec<String>,
}

impl BridgeOptions {
    /// Reads them, with Docker's sentences about mistakes.
    pub(crate) fn read(options: &Map<String>, internal: bool) -> Result<Self> {
        let text = |name: &str| options.get(name).map(String::as_str).filter(|text| !text.is_empty());
        let flag = |name: &str, default| text(name).map_or(Ok(default), |text| boolean(name, text));
        let mode = |name: &str| {
            let mode = text(name).map_or(Ok(GatewayMode::Nat), |text| gateway_mode(name, text))?;
            if mode == GatewayMode::Isolated && !internal {
                return Err(Error::invalid("gateway mode 'isolated' can only be used for an internal network"));
            }
            Ok(mode)
        };
        Ok(Self {
            name: text(BRIDGE_NAME).map(str::to_owned),
            icc: flag(ICC, true)?,
            masquerade: flag(MASQUERADE, true)?,
            source_v4: text(HOST_IPV4)
                .map(|text| text.parse().map_err(|_| wrong(HOST_IPV4, text, "nil ip")))
                .transpose()?,
            source_v6: text(HOST_IPV6)
                .map(|text| text.parse().map_err(|_| wrong(HOST_IPV6, text, "nil ip")))
                .transpose()?,
            mtu: mtu(options)?,
            host_binding: text(HOST_BINDING)
                .map(|text| text.parse().map_err(|_| wrong(HOST_BINDING, text, "nil ip")))
                .transpose()?,
            inhibit_ipv4: flag(INHIBIT_IPV4, false)?,
            mode_v4: mode(GATEWAY_MODE_4)?,
            mode_v6: mode(GATEWAY_MODE_6)?,
            trusted: text(TRUSTED).map(|text| text.split(':').map(str::to_owned).collect()).unwrap_or_default(),
        })
    }

    /// Whether the host is a router of the network, for a family.
    pub(crate) fn has_gateway(&self, ipv6: bool) -> bool {
        let mode = if ipv6 { self.mode_v6 } else { self.mode_v4 };
        mode != GatewayMode::Isolated
    }

    /// Whether containers are reached by their own addresses alone, for a family.
    pub(crate) fn is_routed(&self, ipv6: bool) -> bool {
        let mode = if ipv6 { self.mode_v6 } else { self.mode_v4 };
        mode == GatewayMode::Routed
    }

    /// Where ports are published that do not say; nowhere in particular if that is everywhere.
    pub(crate) fn default_binding(&self) -> Option<IpAddr> {
        self.host_binding.filter(|address| *address != IpAddr::V4(Ipv4Addr::UNSPECIFIED))
    }
}

/// The parent and the mode of a macvlan network.
pub(crate) fn macvlan(options: &Map<String>) -> Result<(String, MacvlanMode)> {
    let mode = match options.get(MACVLAN_MODE).map_or("", String::as_str) {
        "" | "bridge" => MacvlanMode::Bridge,
        "vepa" => MacvlanMode::Vepa,
        "private" => MacvlanMode::Private,
        "passthru" => MacvlanMode::Passthru,
        other => {
            return Err(Error::invalid(format!(
                "requested macvlan mode '{other}' is not valid, 'bridge' mode is the macvlan driver default"
            )));
        }
    };
    match options.get(PARENT).map_or("", String::as_str) {
        "" => Err(Error::not_implemented("macvlan networks without a parent interface are not supported yet")),
        "lo" => Err(Error::invalid("loopback interface is not a valid macvlan parent link")),
        parent => Ok((parent.to_owned(), mode)),
    }
}

/// The MTU that a network asks for; zero asks for none.
pub(crate) fn mtu(options: &Map<String>) -> Result<Option<u32>> {
    let Some(text) = options.get(MTU).filter(|text| !text.is_empty()) else { return Ok(None) };
    let reason = || format!("strconv.Atoi: parsing {text:?}: invalid syntax");
    let number: i64 = text.parse().map_err(|_| wrong(MTU, text, &reason()))?;
    let mtu = u32::try_from(number).map_err(|_| Error::invalid(format!("invalid MTU number: {number}")))?;
    Ok(Some(mtu).filter(|mtu| *mtu > 0))
}

/// What containers' interfaces on a network are called before their numbers.
pub(crate) fn interface_prefix(options: &Map<String>) -> &str {
    options.get(IFACE_PREFIX).map(String::as_str).filter(|prefix| !prefix.is_empty()).unwrap_or("eth")
}

/// Whether a network has a family, where only its options say so.
pub(crate) fn family(options: &Map<String>, ipv6: bool) -> Result<Option<bool>> {
    let name = if ipv6 { ENABLE_IPV6 } else { ENABLE_IPV4 };
    options.get(name).map(|text| boolean(name, text)).transpose()
}

/// The kernel settings that an endpoint's interface is to have: paths below `/proc/sys/net` with a mark in place of the
/// interface's name, and values.
pub(crate) fn interface_settings(options: &Map<String>) -> Result<Vec<(String, String)>> {
    let Some(text) = options.get(ENDPOINT_SYSCTLS).filter(|text| !text.is_empty()) else { return Ok(Vec::new()) };
    let read = |setting: &str| {
        let (key, value) = setting.split_once('=')?;
        let parts: Vec<&str> = key.splitn(5, '.').collect();
        let ["net", family @ ("ipv4" | "ipv6" | "mpls"), group, "IFNAME" | "ifname", name] = parts[..] else {
            return None;
        };
        let is_good = |part: &str| !part.is_empty() && !part.contains('/') && !part.split('.').any(str::is_empty);
        let path = || format!("{family}/{group}/{IFNAME_MARK}/{}", name.replace('.', "/"));
        (is_good(group) && is_good(name)).then(|| (path(), value.to_owned()))
    };
    let settings = text.split(',').map(|setting| {
        read(setting).ok_or_else(|| {
            Error::invalid(format!(
                "unrecognised network interface sysctl '{setting}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', \
                 'X' must be 'ipv4', 'ipv6' or 'mpls'"
            ))
        })
    });
    settings.collect()
}

/// As Go reads them.
fn boolean(name: &str, text: &str) -> Result<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(wrong(name, text, &format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))),
    }
}

fn gateway_mode(name: &str, text: &str) -> Result<GatewayMode> {
    match text {
        "nat" => Ok(GatewayMode::Nat),
        "nat-unprotected" => Ok(GatewayMode::NatUnprotected),
        "isolated" => Ok(GatewayMode::Isolated),
        "routed" => Ok(GatewayMode::Routed),
        _ => Err(wrong(name, text, &format!("unknown gateway mode {text}"))),
    }
}

fn wrong(name: &str, text: &str, reason: &str) -> Error {
    Error::invalid(format!("failed to parse {name} value: {text} ({reason})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(internal: bool, options: &[(&str, &str)]) -> std::result::Result<BridgeOptions, String> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        BridgeOptions::read(&options, internal).map_err(|error| error.message)
    }

    #[test]
    fn mistakes_have_dockers_words() {
        for (name, value, words) in [
            (ICC, "maybe", "(strconv.ParseBool: parsing \"maybe\": invalid syntax)"),
            (INHIBIT_IPV4, "x", "(strconv.ParseBool: parsing \"x\": invalid syntax)"),
            (HOST_BINDING, "x", "(nil ip)"),
            (MTU, "x", "(strconv.Atoi: parsing \"x\": invalid syntax)"),
            (GATEWAY_MODE_6, "bogus", "(unknown gateway mode bogus)"),
        ] {
            assert_eq!(read(false, &[(name, value)]), Err(format!("failed to parse {name} value: {value} {words}")));
        }
        assert_eq!(read(false, &[(MTU, "-1")]), Err("invalid MTU number: -1".to_owned()));
        let isolated = [(GATEWAY_MODE_4, "isolated")];
        assert!(read(false, &isolated).is_err() && !read(true, &isolated).unwrap().has_gateway(false));
    }

    #[test]
    fn settings_of_interfaces() {
        let read = |text: &str| {
            let options = [(ENDPOINT_SYSCTLS.to_owned(), text.to_owned())].into_iter().collect();
            interface_settings(&options).map_err(|error| error.message)
        };
        let good = read("net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.neigh.ifname.base_reachable_time=5").unwrap();
        let setting = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            good,
            [setting("ipv4/conf/IFNAME/log_martians", "1"), setting("ipv6/neigh/IFNAME/base_reachable_time", "5")]
        );
        for bad in [
            "net.ipv4.conf.eth0.log_martians=1",
            "kernel.IFNAME=1",
            "net.ipv4.conf.IFNAME.x",
            "net.ipv4.conf.IFNAME.../../x=1",
            "net.ipv4.a/b.IFNAME.x=1",
            "net.ipv4.conf.IFNAME.=1",
        ] {
            assert!(read(bad).unwrap_err().starts_with("unrecognised network interface sysctl '"), "{bad}");
        }
    }

    #[test]
    fn parents_and_modes() {
        let read = |options: &[(&str, &str)]| {
            let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            macvlan(&options).map_err(|error| error.message)
        };
        assert_eq!(read(&[(PARENT, "eth0")]), Ok(("eth0".to_owned(), MacvlanMode::Bridge)));
        assert_eq!(read(&[(PARENT, "eth0"), (MACVLAN_MODE, "vepa")]), Ok(("eth0".to_owned(), MacvlanMode::Vepa)));
        assert!(read(&[]).is_err() && read(&[(PARENT, "lo")]).is_err());
        assert!(read(&[(PARENT, "eth0"), (MACVLAN_MODE, "l2")]).unwrap_err().contains("mode 'l2' is not valid"));
    }

    #[test]
    fn what_says_nothing_changes_nothing() {
        let plain = read(false, &[]).unwrap();
        assert!(plain.icc && plain.masquerade && plain.has_gateway(true) && plain.mtu.is_none());
        assert_eq!(read(false, &[(MTU, "0"), (BRIDGE_NAME, ""), ("unknown", "1"), (ICC, "")]), Ok(plain));
        assert_eq!(read(false, &[(HOST_BINDING, "0.0.0.0")]).unwrap().default_binding(), None);
    }
}
