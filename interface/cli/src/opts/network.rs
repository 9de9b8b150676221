//! Networks: `--network NAME`, its long form, and the endpoints that it and the older flags (`--ip`, `--network-alias`,
//! `--link`, `--mac-address`…) make.

use std::net::IpAddr;

use tare_docker_api::container::{EndpointIpamConfig, EndpointSettings};
use tare_docker_api::{List, Map};

use super::{Parsed, csv, invalid, number};
use crate::values::quote;

/// One `--network`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Name, ID or mode.
    pub target: String,
    /// Names in the network.
    pub aliases: Vec<String>,
    /// Options for the driver.
    pub driver_opts: Vec<(String, String)>,
    /// `container:alias`; only from `--link`.
    pub links: Vec<String>,
    /// Address asked for.
    pub ipv4: Option<IpAddr>,
    /// Address asked for.
    pub ipv6: Option<IpAddr>,
    /// Further addresses.
    pub link_local: Vec<IpAddr>,
    /// Hardware address, as given.
    pub mac: String,
    /// The highest one gives the default gateway.
    pub gw_priority: i64,
}

/// The flags that describe the endpoint on the first network.
#[derive(Clone, Debug, Default)]
pub struct EndpointFlags<'a> {
    /// `--network-alias`
    pub aliases: Vec<String>,
    /// `--link`
    pub links: &'a [String],
    /// `--ip`
    pub ipv4: Option<IpAddr>,
    /// `--ip6`
    pub ipv6: Option<IpAddr>,
    /// `--link-local-ip`
    pub link_local: Vec<IpAddr>,
    /// `--mac-address`
    pub mac: &'a str,
}

/// Reads one `--network`.
pub fn parse(spec: &str) -> Parsed<Attachment> {
    let mut out = Attachment::default();
    if !is_long_form(spec) {
        out.target = spec.to_owned();
        return Ok(out);
    }
    for field in csv::record(spec)? {
        let lower = field.to_lowercase();
        let Some((key, value)) = lower.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return invalid(format_args!("invalid field {field}"));
        };
        let (key, value) = (key.trim(), value.trim());
        match key {
            "name" => out.target = value.to_owned(),
            "alias" => out.aliases.push(value.to_owned()),
            "ip" => out.ipv4 = Some(address(value)?),
            "ip6" => out.ipv6 = Some(address(value)?),
            "mac-address" => out.mac = value.to_owned(),
            "link-local-ip" => out.link_local.push(address(value)?),
            "driver-opt" => match value.split_once('=').filter(|(name, _)| !name.is_empty()) {
                Some((name, value)) => out.driver_opts.push((name.trim().to_owned(), value.trim().to_owned())),
                None => return invalid("invalid key value pair format in driver options"),
            },
            "gw-priority" => match number::signed(value) {
                Ok(priority) => out.gw_priority = priority,
                Err(fault) => return invalid(format_args!("invalid gw-priority ({value}): {}", fault.as_str())),
            },
            _ => return invalid(format_args!("invalid field key {key}")),
        }
    }
    if out.target.is_empty() {
        return invalid("network name/id is not specified");
    }
    Ok(out)
}

/// Whether there is a `word=word` anywhere.
fn is_long_form(spec: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    spec.as_bytes().windows(3).any(|w| matches!(w, [a, b'=', c] if word(*a) && word(*c)))
}

fn address(text: &str) -> Parsed<IpAddr> {
    text.parse().or_else(|_| invalid(format_args!("ParseAddr({}): unable to parse IP", quote(text))))
}

/// Whether a network is one that a user made: not a mode and not a predefined one.
pub fn is_user_defined(target: &str) -> bool {
    !matches!(target, "default" | "bridge" | "host" | "none")
        && target != "container"
        && !target.starts_with("container:")
}

/// The endpoints of a container, by network, and the mode of its network stack.
pub fn endpoints(networks: &[Attachment], flags: &EndpointFlags<'_>) -> Parsed<(String, Map<EndpointSettings>)> {
    let mut out = Map::empty();
    let implied = [Attachment { target: "default".into(), ..Attachment::default() }];
    let given = if networks.is_empty() { &implied[..] } else { networks };
    let (mut user_defined, mut predefined) = (false, false);
    for (at, network) in given.iter().enumerate() {
        if is_user_defined(&network.target) {
            user_defined = true;
        } else {
            predefined = true;
        }
        let endpoint = if at == 0 { endpoint(&merge(network, flags)?)? } else { endpoint(network)? };
        if out.contains_key(&network.target) {
            return invalid(format_args!("network {} is specified multiple times", quote(&network.target)));
        }
        // A single network without anything special is named by the mode alone.
        if networks.len() == 1 && endpoint == EndpointSettings::default() {
            continue;
        }
        out.insert(network.target.clone(), endpoint);
    }
    if user_defined && predefined {
        return invalid("conflicting options: cannot attach both user-defined and non-user-defined network-modes");
    }
    Ok((given.first().map_or_else(String::new, |n| n.target.clone()), out))
}

/// The first network with what the older flags say about it.
fn merge(network: &Attachment, flags: &EndpointFlags<'_>) -> Parsed<Attachment> {
    let clashes = [
        (!network.aliases.is_empty() && !flags.aliases.is_empty(), "--network-alias", "alias"),
        (!network.links.is_empty() && !flags.links.is_empty(), "--link", "links"),
        (network.ipv4.is_some() && flags.ipv4.is_some(), "--ip", "IPv4 address"),
        (network.ipv6.is_some() && flags.ipv6.is_some(), "--ip6", "IPv6 address"),
        (!network.mac.is_empty() && !flags.mac.is_empty(), "--mac-address", "MAC address"),
        (!network.link_local.is_empty() && !flags.link_local.is_empty(), "--link-local-ip", "link-local IP addresses"),
    ];
    if let Some((_, flag, what)) = clashes.into_iter().find(|(clash, ..)| *clash) {
        return invalid(format_args!("conflicting options: cannot specify both {flag} and per-network {what}"));
    }
    let mut out = network.clone();
    if !flags.aliases.is_empty() {
        out.aliases.clone_from(&flags.aliases);
    }
    // On a user's network a link is an alias of the endpoint; on the default bridge it belongs to the container.
    if is_user_defined(&network.target) && !flags.links.is_empty() {
        out.links = flags.links.to_vec();
    }
    out.ipv4 = flags.ipv4.or(out.ipv4);
    out.ipv6 = flags.ipv6.or(out.ipv6);
    if !flags.mac.is_empty() {
        flags.mac.clone_into(&mut out.mac);
    }
    if !flags.link_local.is_empty() {
        out.link_local.clone_from(&flags.link_local);
    }
    Ok(out)
}

fn endpoint(network: &Attachment) -> Parsed<EndpointSettings> {
    if network.target.trim().is_empty() {
        return invalid("no name set for network");
    }
    if !is_user_defined(&network.target) {
        if !network.aliases.is_empty() {
            return invalid("network-scoped aliases are only supported for user-defined networks");
        }
        if !network.links.is_empty() {
            return invalid("links are only supported for user-defined networks");
        }
    }
    let mut out = EndpointSettings { gw_priority: network.gw_priority, ..EndpointSettings::default() };
    if !network.aliases.is_empty() {
        out.aliases = network.aliases.clone().into();
    }
    if !network.links.is_empty() {
        out.links = network.links.clone().into();
    }
    if !network.driver_opts.is_empty() {
        out.driver_opts = network.driver_opts.iter().cloned().collect();
    }
    let show = |ip: Option<IpAddr>| ip.map_or_else(String::new, |ip| ip.to_string());
    if network.ipv4.is_some() || network.ipv6.is_some() || !network.link_local.is_empty() {
        let link_local_ips: List<String> = network.link_local.iter().map(ToString::to_string).collect();
        let (ipv4_address, ipv6_address) = (show(network.ipv4), show(network.ipv6));
        out.ipam_config = Some(EndpointIpamConfig { ipv4_address, ipv6_address, link_local_ips });
    }
    if !network.mac.is_empty() {
        out.mac_address = mac_address(&network.mac)?;
    }
    Ok(out)
}

/// Bytes of a hardware address: Ethernet, EUI-64 and IP over InfiniBand.
const MAC_LENGTHS: [usize; 3] = [6, 8, 20];

/// A hardware address (`aa:bb:…`, `aa-bb-…`, `aabb.ccdd.…`) in the usual notation.
pub fn mac_address(text: &str) -> Parsed<String> {
    let bytes = mac_bytes(text.trim()).filter(|bytes| MAC_LENGTHS.contains(&bytes.len()));
    match bytes {
        Some(bytes) => Ok(bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")),
        None => invalid(format_args!("{text} is not a valid mac address")),
    }
}

fn mac_bytes(text: &str) -> Option<Vec<u8>> {
    let hex = |part: &str| {
        let plain = part.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| u8::from_str_radix(part, 16).ok()).flatten()
    };
    let separator = text.chars().find(|c| matches!(c, ':' | '-' | '.'))?;
    let digits = if separator == '.' { 4 } else { 2 };
    let mut out = Vec::new();
    for part in text.split(separator) {
        if part.len() != digits || !part.is_ascii() {
            return None;
        }
        for pair in part.as_bytes().chunks(2) {
            out.push(hex(std::str::from_utf8(pair).ok()?)?);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(networks: &[&str], flags: &EndpointFlags<'_>) -> String {
        let all: Parsed<Vec<_>> = networks.iter().map(|spec| parse(spec)).collect();
        match all.and_then(|all| endpoints(&all, flags)) {
            Err(error) => format!("! {error}"),
            Ok((mode, endpoints)) => {
                let mut text = format!("mode {mode}");
                for (name, endpoint) in &endpoints {
                    let json = serde_json::to_value(endpoint).unwrap();
                    let set: serde_json::Map<_, _> = json
                        .as_object()
                        .unwrap()
                        .clone()
                        .into_iter()
                        .filter(|(_, v)| !matches!(v, serde_json::Value::Null) && v != "" && v != 0)
                        .collect();
                    text.push_str(&format!("\n{name}: {}", serde_json::Value::Object(set)));
                }
                text
            }
        }
    }

    fn none() -> EndpointFlags<'static> {
        EndpointFlags::default()
    }

    #[test]
    fn attachments() {
        insta::assert_snapshot!(show(&[], &none()), @r"
        mode default
        default: {}
        ");
        insta::assert_snapshot!(show(&["net"], &none()), @"mode net");
        insta::assert_snapshot!(show(&["container:web"], &none()), @"mode container:web");
        insta::assert_snapshot!(show(&["a", "b"], &none()), @r"
        mode a
        a: {}
        b: {}
        ");
        insta::assert_snapshot!(
            show(&["name=A,alias=x,alias=Y,driver-opt=k=v,ip=10.0.0.2,ip6=fd00::2,link-local-ip=169.254.1.1,mac-address=02-42-ac-11-00-02,gw-priority=-3"], &none()),
            @r#"
        mode a
        a: {"Aliases":["x","y"],"DriverOpts":{"k":"v"},"GwPriority":-3,"IPAMConfig":{"IPv4Address":"10.0.0.2","IPv6Address":"fd00::2","LinkLocalIPs":["169.254.1.1"]},"MacAddress":"02:42:ac:11:00:02"}
        "#);
        let links = ["db:sql".to_owned()];
        let flags = EndpointFlags { links: &links, aliases: vec!["w".into()], ipv4: "10.0.0.3".parse().ok(), ..none() };
        insta::assert_snapshot!(show(&["net"], &flags), @r#"
        mode net
        net: {"Aliases":["w"],"IPAMConfig":{"IPv4Address":"10.0.0.3"},"Links":["db:sql"]}
        "#);
    }

    #[test]
    fn mistakes() {
        insta::assert_snapshot!(show(&["name=a,foo=b"], &none()), @"! invalid field key foo");
        insta::assert_snapshot!(show(&["name=a,x"], &none()), @"! invalid field x");
        insta::assert_snapshot!(show(&["alias=a"], &none()), @"! network name/id is not specified");
        insta::assert_snapshot!(show(&["name=a,ip=x"], &none()), @r#"! ParseAddr("x"): unable to parse IP"#);
        insta::assert_snapshot!(show(&["name=a,gw-priority=x"], &none()), @"! invalid gw-priority (x): invalid syntax");
        insta::assert_snapshot!(show(&["name=a,driver-opt=x"], &none()), @"! invalid key value pair format in driver options");
        insta::assert_snapshot!(show(&["a", "a"], &none()), @r#"! network "a" is specified multiple times"#);
        insta::assert_snapshot!(show(&["a", "bridge"], &none()), @"! conflicting options: cannot attach both user-defined and non-user-defined network-modes");
        insta::assert_snapshot!(show(&[""], &none()), @"! no name set for network");
        insta::assert_snapshot!(show(&["name=a,mac-address=zz"], &none()), @"! zz is not a valid mac address");
        let alias = EndpointFlags { aliases: vec!["x".into()], ..none() };
        insta::assert_snapshot!(show(&[], &alias), @"! network-scoped aliases are only supported for user-defined networks");
        insta::assert_snapshot!(show(&["name=a,alias=y"], &alias), @"! conflicting options: cannot specify both --network-alias and per-network alias");
        let ip = EndpointFlags { ipv4: "1.2.3.4".parse().ok(), ..none() };
        insta::assert_snapshot!(show(&["name=a,ip=1.2.3.5"], &ip), @"! conflicting options: cannot specify both --ip and per-network IPv4 address");
    }

    #[test]
    fn hardware_addresses() {
        assert_eq!(mac_address("0242.AC11.0002").unwrap(), "02:42:ac:11:00:02");
        assert_eq!(mac_address(" 92:d0:c6:0a:29:33 ").unwrap(), "92:d0:c6:0a:29:33");
        for bad in ["", "zz", "92:d0:c6:0a:29", "92:d0:c6:0a:29:3", "92:d0-c6:0a:29:33", "+2:d0:c6:0a:29:33"] {
            assert!(mac_address(bad).is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(spec in "(name|ip|mac-address|=|,|\"|[a-zé0-9:. -]){0,12}") {
            let _ = (show(&[&spec], &none()), mac_address(&spec));
        }
    }
}
