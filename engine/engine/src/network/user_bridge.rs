//! The default bridge on a bridge of the user's own (`--bridge`): its addresses say what containers' are.

use tare_docker_api::network::IpamConfig;
use tare_network::Cidr;

use crate::error::{Error, Result};

/// The subnet, gateway and range of one family; `None`: neither the bridge nor the range says anything.
pub(super) fn ipam(addresses: &[Cidr], range: Option<Cidr>, ipv6: bool) -> Result<Option<IpamConfig>> {
    let own: Vec<Cidr> = addresses.iter().copied().filter(|own| own.is_ipv6() == ipv6).collect();
    let Some(address) = address(&own, range) else {
        return Ok(range.map(|range| IpamConfig {
            subnet: range.network().to_string(),
            ip_range: range.network().to_string(),
            ..IpamConfig::default()
        }));
    };
    let subnet = address.network();
    let inside = range.filter(|range| subnet.covers(range.network()));
    if let (Some(range), None) = (range, inside) {
        let what = "is outside any subnet implied by addresses on the user-managed default bridge";
        if ipv6 {
            return Err(Error::invalid(format!("fixed-cidr-v6={range} {what}")));
        }
        // Docker has always taken it.
        tracing::warn!(bridge_network = %subnet, "fixed-cidr={range} {what}: addresses are taken from all of it");
    }
    Ok(Some(IpamConfig {
        subnet: subnet.to_string(),
        gateway: address.address().to_string(),
        ip_range: inside.map(|range| range.network().to_string()).unwrap_or_default(),
        ..IpamConfig::default()
    }))
}

/// The bridge's address that counts: the first, or one whose network has the range, or one in the range.
fn address(own: &[Cidr], range: Option<Cidr>) -> Option<Cidr> {
    let first = own.first().copied()?;
    let Some(range) = range else { return Some(first) };
    let around = own.iter().find(|own| own.network().contains(range.address()));
    let within = || own.iter().find(|own| range.network().contains(own.address()));
    Some(around.or_else(within).copied().unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As moby's `TestDaemonDefaultBridgeIPAM_UserBr` has it.
    #[test]
    fn addresses_of_the_bridge_count() {
        let cidr = |text: &str| text.parse::<Cidr>().unwrap();
        let ipam = |addresses: &[&str], range: &str| {
            let addresses: Vec<Cidr> = addresses.iter().map(|text| cidr(text)).collect();
            let range = Some(range).filter(|range| !range.is_empty()).map(cidr);
            let ipv6 = addresses.first().copied().or(range).is_some_and(Cidr::is_ipv6);
            let found = super::ipam(&addresses, range, ipv6).map_err(|error| error.message)?;
            Ok::<_, String>(found.map(|c| [c.subnet, c.gateway, c.ip_range].join(" ")).unwrap_or_default())
        };
        let three = ["192.168.160.88/20", "192.168.176.88/20", "192.168.192.88/20"];
        for (addresses, range, wanted) in [
            (&[][..], "", ""),
            (&["192.168.176.88/20"], "", "192.168.176.0/20 192.168.176.88 "),
            (&[], "192.168.176.0/24", "192.168.176.0/24  192.168.176.0/24"),
            (&three, "192.168.176.0/24", "192.168.176.0/20 192.168.176.88 192.168.176.0/24"),
            (&three, "192.168.177.0/24", "192.168.176.0/20 192.168.176.88 192.168.177.0/24"),
            (&["192.168.176.88/24"], "192.168.176.0/20", "192.168.176.0/24 192.168.176.88 "),
            (&["192.168.160.88/20"], "192.168.176.0/24", "192.168.160.0/20 192.168.160.88 "),
            (&["192.168.177.1/24"], "192.168.176.0/20", "192.168.177.0/24 192.168.177.1 "),
            (&["fd00:1::8888/60"], "fd00:1::/64", "fd00:1::/60 fd00:1::8888 fd00:1::/64"),
        ] {
            assert_eq!(ipam(addresses, range).as_deref(), Ok(wanted), "{addresses:?} {range}");
        }
        for range in ["fd00:1::/60", "fd00:1:0:10::/64"] {
            assert!(ipam(&["fd00:1::8888/64"], range).unwrap_err().starts_with("fixed-cidr-v6="), "{range}");
        }
    }
}
