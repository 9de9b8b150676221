//! The default bridge: made at the first start of the engine, and made what the settings say at each later one.

use std::net::IpAddr;

use tare_docker_api::network::{Ipam as IpamRecord, IpamConfig, Network as Record};
use tare_network::{Cidr, HostLock};

use super::{Networks, blank, has_ports, network_error, network_of, options, pool, user_bridge};
use crate::config::EngineConfig;
use crate::error::{Error, Result};

/// Its interface, where this is the only engine on a machine.
const DEFAULT_BRIDGE: &str = "tare0";

/// Bytes of a packet on the default bridge, unless the daemon is told.
const MTU_DEFAULT: u32 = 1500;

impl Networks {
    /// Makes it.
    pub(super) fn predefine_bridge(&self, config: &EngineConfig, instance: &str, lock: &HostLock) -> Result<()> {
        let bridge = self.choose_bridge(config, instance)?;
        let mut record = blank("bridge", "bridge");
        record.enable_ipv6 = config.default_bridge.ipv6;
        set_options(&mut record, config, &bridge);
        let ipam = self.default_ipam(config, &bridge, &[], lock)?;
        record.ipam = IpamRecord { driver: "default".into(), config: ipam.into(), ..IpamRecord::default() };
        self.ensure_bridge(&record)?;
        self.save(&record)?;
        self.insert(record)
    }

    /// The name of its interface.
    fn choose_bridge(&self, config: &EngineConfig, instance: &str) -> Result<String> {
        Ok(match &config.bridge {
            Some(name) => name.clone(),
            None if self.mechanism.bridge_is_free(DEFAULT_BRIDGE).map_err(network_error)? => DEFAULT_BRIDGE.to_owned(),
            None => format!("tare-{instance}"),
        })
    }

    /// A stored one as the settings want it now. It keeps its subnets while containers have addresses in them.
    pub(super) fn renewed(
        &self,
        stored: Record,
        config: &EngineConfig,
        instance: &str,
        lock: &HostLock,
    ) -> Result<Record> {
        let mut record = stored.clone();
        let mut bridge = record.options.get(options::BRIDGE_NAME).cloned().unwrap_or_default();
        let mut known = stored.ipam.config.as_slice();
        if let Some(named) = config.bridge.as_ref().filter(|named| **named != bridge && !has_ports(&bridge)) {
            self.mechanism.remove_bridge(&bridge).map_err(network_error)?;
            bridge.clone_from(named);
            known = &[];
        } else if config.bridge.as_ref() != Some(&bridge)
            && !self.mechanism.bridge_is_free(&bridge).map_err(network_error)?
        {
            // Another engine has taken the name while this one was away, and perhaps the subnets.
            bridge = self.choose_bridge(config, instance)?;
            known = &[];
        }
        set_options(&mut record, config, &bridge);
        let ipam = self.default_ipam(config, &bridge, known, lock)?;
        let changed = ipam != *stored.ipam.config || record.enable_ipv6 != config.default_bridge.ipv6;
        if changed && has_ports(&bridge) {
            tracing::warn!("the default bridge keeps its addresses, since containers run on it");
        } else {
            record.enable_ipv6 = config.default_bridge.ipv6;
            record.ipam.config = ipam.into();
        }
        if record != stored {
            self.save(&record)?;
        }
        Ok(record)
    }

    /// Its subnets: those that the settings name, or the addresses of a bridge of the user's, else those that it has, else
    /// free ones.
    fn default_ipam(
        &self,
        config: &EngineConfig,
        bridge: &str,
        known: &[IpamConfig],
        lock: &HostLock,
    ) -> Result<Vec<IpamConfig>> {
        let settings = &config.default_bridge;
        let users = self.mechanism.foreign_bridge(bridge).map_err(network_error)?;
        if users.is_some() && (config.bridge_address.is_some() || settings.address_v6.is_some()) {
            return Err(Error::invalid(
                "You specified -b & --bip, mutually exclusive options. Please specify only one.",
            ));
        }
        let families = [
            (
                false,
                config.bridge_address.map(|(address, prefix)| (IpAddr::from(address), prefix)),
                settings.range,
                settings.gateway.map(|address| (options::OTHER_GATEWAY_4, IpAddr::from(address))),
            ),
            (
                true,
                settings.address_v6.map(|(address, prefix)| (IpAddr::from(address), prefix)),
                settings.range_v6,
                settings.gateway_v6.map(|address| (options::OTHER_GATEWAY_6, IpAddr::from(address))),
            ),
        ];
        let mut configs = Vec::new();
        for (ipv6, address, range, other) in families {
            if ipv6 && !settings.ipv6 {
                continue;
            }
            let known = known.iter().find(|config| config.subnet.contains(':') == ipv6);
            let of_users = users.as_ref().map(|own| user_bridge::ipam(own, range, ipv6)).transpose()?.flatten();
            let mut ipam =
                IpamConfig { ip_range: range.map(|r| r.to_string()).unwrap_or_default(), ..Default::default() };
            match (address, range, known) {
                _ if of_users.is_some() => ipam = of_users.unwrap_or_default(),
                (Some((address, prefix)), ..) => {
                    ipam.subnet = network_of(address, prefix)?.to_string();
                    ipam.gateway = address.to_string();
                }
                (None, Some(range), _) => ipam.subnet = range.network().to_string(),
                (None, None, Some(known)) => {
                    ipam.subnet.clone_from(&known.subnet);
                    ipam.gateway.clone_from(&known.gateway);
                }
                (None, None, None) => {
                    let free = self.mechanism.choose_subnet(&self.pools, ipv6, None, &self.subnets(), lock);
                    ipam.subnet = free.map_err(network_error)?.to_string();
                }
            }
            if let Some((name, address)) = other {
                if !ipam.subnet.parse().is_ok_and(|subnet: Cidr| subnet.contains(address)) {
                    return Err(Error::invalid(format!("default gateway ip must be part of the network: {address}")));
                }
                ipam.aux_address.insert(name.to_owned(), address.to_string());
            }
            ipam.gateway = pool(&ipam)?.gateway().to_string();
            configs.push(ipam);
        }
        Ok(configs)
    }
}

fn set_options(record: &mut Record, config: &EngineConfig, bridge: &str) {
    let settings = &config.default_bridge;
    for (name, value) in [
        (options::DEFAULT_BRIDGE, "true"),
        (options::ICC, if settings.icc { "true" } else { "false" }),
        (options::MASQUERADE, if settings.masquerade { "true" } else { "false" }),
        (options::HOST_BINDING, "0.0.0.0"),
        (options::BRIDGE_NAME, bridge),
    ] {
        record.options.insert(name.to_owned(), value.to_owned());
    }
    let mtu = config.mtu.unwrap_or(MTU_DEFAULT);
    record.options.insert(options::MTU.to_owned(), mtu.to_string());
}
