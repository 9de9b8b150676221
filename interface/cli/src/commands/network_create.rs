//! `network create`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tare_docker_api::network::{ConfigReference, Ipam, IpamConfig, NetworkCreateRequest, NetworkCreateResponse};
use tare_docker_client::Query;

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};

/// `network create`
pub static COMMAND: Command = Command {
    names: &["network create"],
    usage: "[OPTIONS] NETWORK",
    about: "Create a network",
    common: 0,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[
        Flag::bool("attachable", "Enable manual container attachment"),
        Flag::list("aux-address", "Auxiliary IPv4 or IPv6 addresses used by Network driver")
            .type_name("map")
            .default("map[]")
            .check(check_pair),
        Flag::text("config-from", "The network from which to copy the configuration"),
        Flag::bool("config-only", "Create a configuration only network"),
        Flag::text("driver", "Driver to manage the Network").short('d').default("bridge"),
        Flag::commas("gateway", "IPv4 or IPv6 Gateway for the master subnet")
            .type_name("ipSlice")
            .check(check_addresses),
        Flag::bool("ingress", "Create swarm routing-mesh network")
            .hidden()
            .unsupported("there is no swarm on a single machine"),
        Flag::bool("internal", "Restrict external access to the network"),
        Flag::commas("ip-range", "Allocate container ip from a sub-range")
            .type_name("ipNetSlice")
            .check(check_prefixes),
        Flag::text("ipam-driver", "IP Address Management Driver").default("default"),
        Flag::list("ipam-opt", "Set IPAM driver specific options").type_name("map").default("map[]").check(check_pair),
        Flag::bool("ipv4", "Enable or disable IPv4 address assignment").default("true"),
        Flag::bool("ipv6", "Enable or disable IPv6 address assignment"),
        Flag::list("label", "Set metadata on a network"),
        Flag::list("opt", "Set driver specific options").short('o').type_name("map").default("map[]").check(check_pair),
        Flag::text("scope", "Control the network's scope"),
        Flag::commas("subnet", "Subnet in CIDR format that represents a network segment"),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let request = request(m)?;
    let answer: NetworkCreateResponse = cli.client()?.post_json("/networks/create", Query::new(), &request).await?;
    if !answer.warning.is_empty() {
        cli.warn(&answer.warning)?;
    }
    cli.out.println(answer.id)?;
    Ok(0)
}

fn request(m: &Matches) -> Result<NetworkCreateRequest, CliError> {
    let given = |name: &str| m.given(name).then(|| m.bool(name));
    let ipam = Ipam {
        driver: m.text("ipam-driver").to_owned(),
        options: map(m.list("ipam-opt")).into(),
        config: pools(m)?.into(),
    };
    let config_from = m.text("config-from");
    Ok(NetworkCreateRequest {
        name: m.arg(0).to_owned(),
        driver: m.text("driver").to_owned(),
        scope: m.text("scope").to_owned(),
        enable_ipv4: given("ipv4"),
        enable_ipv6: given("ipv6"),
        ipam: Some(ipam),
        internal: m.bool("internal"),
        attachable: m.bool("attachable"),
        ingress: false,
        config_only: m.bool("config-only"),
        config_from: (!config_from.is_empty()).then(|| ConfigReference { network: config_from.to_owned() }),
        options: map(m.list("opt")).into(),
        labels: map(m.list("label")).into(),
    })
}

/// `key=value` texts as a map.
pub fn map(pairs: &[String]) -> BTreeMap<String, String> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    pairs.iter().map(pair).collect()
}

/// Subnets with the ranges, gateways and auxiliary addresses that fall into each.
fn pools(m: &Matches) -> Result<Vec<IpamConfig>, CliError> {
    let (subnets, ranges, gateways) = (m.list("subnet"), m.list("ip-range"), m.list("gateway"));
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err(CliError::new("every ip-range or gateway must have a corresponding subnet"));
    }
    let mut pools: Vec<(Prefix, IpamConfig)> = Vec::new();
    for subnet in subnets {
        let unreadable = |why: String| match pools.as_slice() {
            // The first one is read by itself, the others are compared with it before.
            [] => unreadable_prefix(subnet),
            _ => format!("invalid subnet: {why}"),
        };
        let prefix = Prefix::parse(subnet).map_err(|why| CliError::new(unreadable(why)))?;
        if pools.iter().any(|(other, _)| other.contains(prefix.address) || prefix.contains(other.address)) {
            return Err(CliError::new("multiple overlapping subnet configuration is not supported"));
        }
        pools.push((prefix, IpamConfig { subnet: subnet.clone(), ..IpamConfig::default() }));
    }
    for range in ranges {
        let prefix = Prefix::parse(range).map_err(CliError::new)?;
        let config = pool(&mut pools, prefix.address, || format!("no matching subnet for range {range}"))?;
        if !config.ip_range.is_empty() {
            let text = format!(
                "cannot configure multiple ranges ({range}, {}) on the same subnet ({})",
                config.ip_range, config.subnet
            );
            return Err(CliError::new(text));
        }
        config.ip_range.clone_from(range);
    }
    for gateway in gateways {
        let address: IpAddr = gateway.parse().map_err(|_| CliError::new(format!("invalid IP address {gateway}")))?;
        let config = pool(&mut pools, address, || format!("no matching subnet for gateway {gateway}"))?;
        if !config.gateway.is_empty() {
            let text = format!(
                "cannot configure multiple gateways ({gateway}, {}) for the same subnet ({})",
                config.gateway, config.subnet
            );
            return Err(CliError::new(text));
        }
        config.gateway.clone_from(gateway);
    }
    for (name, text) in map(m.list("aux-address")).into_iter().filter(|(_, text)| !text.is_empty()) {
        let unreadable = || CliError::new(format!("ParseAddr({}): unable to parse IP", tare_gotemplate::quote(&text)));
        let address: IpAddr = text.parse().map_err(|_| unreadable())?;
        let config = pool(&mut pools, address, || format!("no matching subnet for aux-address {text}"))?;
        config.aux_address.insert(name, text.clone());
    }
    Ok(pools.into_iter().map(|(_, config)| config).collect())
}

fn pool(
    pools: &mut [(Prefix, IpamConfig)],
    address: IpAddr,
    missing: impl Fn() -> String,
) -> Result<&mut IpamConfig, CliError> {
    let found = pools.iter_mut().find(|(prefix, _)| prefix.contains(address));
    found.map(|(_, config)| config).ok_or_else(|| CliError::new(missing()))
}

/// An address with the number of bits that name its network.
#[derive(Debug, Clone, Copy)]
struct Prefix {
    address: IpAddr,
    bits: u32,
}

impl Prefix {
    fn parse(text: &str) -> Result<Prefix, String> {
        let invalid = || format!("invalid CIDR address: {text}");
        let (address, bits) = text.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let plain = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
        let bits = bits.parse().ok().filter(|b| plain && *b <= width).ok_or_else(invalid)?;
        Ok(Prefix { address, bits })
    }

    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= self.bits,
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros() >= self.bits,
            _ => false,
        }
    }
}

/// Why a text is no prefix, as Go says it.
fn unreadable_prefix(text: &str) -> String {
    let quote = tare_gotemplate::quote;
    let why = match text.rsplit_once('/') {
        None => "no '/'".to_owned(),
        Some((address, _)) if address.parse::<IpAddr>().is_err() => {
            format!("ParseAddr({}): unable to parse IP", quote(address))
        }
        Some((_, bits)) if bits.parse::<u8>().is_err() => format!("bad bits after slash: {}", quote(bits)),
        Some(_) => "prefix length out of range".to_owned(),
    };
    format!("netip.ParsePrefix({}): {why}", quote(text))
}

fn check_pair(text: &str) -> Result<(), String> {
    // As docker's map options: a lone key has an empty value.
    if text.is_empty() { Err("invalid option: empty".to_owned()) } else { Ok(()) }
}

pub(super) fn check_addresses(text: &str) -> Result<(), String> {
    let bad = text.split(',').find(|part| part.trim().parse::<IpAddr>().is_err());
    bad.map_or(Ok(()), |part| Err(format!("invalid string being converted to IP address: {part}")))
}

fn check_prefixes(text: &str) -> Result<(), String> {
    let bad = text.split(',').find(|part| Prefix::parse(part.trim()).is_err());
    bad.map_or(Ok(()), |part| Err(format!("invalid string being converted to CIDR: {part}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(line: &str) -> String {
        let args = line.split_whitespace().map(str::to_owned).collect();
        let matches = match Matches::parse(&COMMAND, "network create".to_owned(), args) {
            Ok(matches) => matches,
            Err(error) => return format!("{error:?}"),
        };
        match request(&matches) {
            Ok(request) => serde_json::to_string(&request.ipam.unwrap_or_default()).unwrap(),
            Err(error) => error.message,
        }
    }

    #[test]
    fn pools_are_put_together() {
        insta::assert_snapshot!(body("n --subnet 10.1.0.0/16 --ip-range 10.1.2.0/24 --gateway 10.1.2.254 --aux-address a=10.1.0.9 --ipam-opt k=v"), @r#"{"Driver":"default","Options":{"k":"v"},"Config":[{"Subnet":"10.1.0.0/16","IPRange":"10.1.2.0/24","Gateway":"10.1.2.254","AuxiliaryAddresses":{"a":"10.1.0.9"}}]}"#);
        insta::assert_snapshot!(body("n --subnet 10.1.0.0/16,fd00::/64 --gateway fd00::1"), @r#"{"Driver":"default","Options":{},"Config":[{"Subnet":"10.1.0.0/16"},{"Subnet":"fd00::/64","Gateway":"fd00::1"}]}"#);
    }

    #[test]
    fn mistakes() {
        assert_eq!(body("n --gateway 10.1.0.1"), "every ip-range or gateway must have a corresponding subnet");
        assert_eq!(
            body("n --subnet 10.1.0.0/16 --subnet 10.1.2.0/24"),
            "multiple overlapping subnet configuration is not supported"
        );
        assert_eq!(body("n --subnet 10.1.0.0/16 --gateway 10.2.0.1"), "no matching subnet for gateway 10.2.0.1");
        assert_eq!(
            body("n --subnet 10.1.0.0/16 --aux-address a=10.2.0.1"),
            "no matching subnet for aux-address 10.2.0.1"
        );
        assert_eq!(body("n --subnet 10.1.0.0"), "netip.ParsePrefix(\"10.1.0.0\"): no '/'");
        assert_eq!(body("n --subnet 10.1.0.0/33"), "netip.ParsePrefix(\"10.1.0.0/33\"): prefix length out of range");
        assert_eq!(body("n --subnet 10.1.0.0/x"), "netip.ParsePrefix(\"10.1.0.0/x\"): bad bits after slash: \"x\"");
        assert_eq!(body("n --subnet 10.1.0.0/16 --subnet 10.2.0.0"), "invalid subnet: invalid CIDR address: 10.2.0.0");
        insta::assert_snapshot!(body("n --gateway x"), @r#"Bad("invalid argument \"x\" for \"--gateway\" flag: invalid string being converted to IP address: x")"#);
        insta::assert_snapshot!(body("n --ingress"), @r#"Unsupported("\"--ingress\" is not supported: there is no swarm on a single machine")"#);
    }
}
