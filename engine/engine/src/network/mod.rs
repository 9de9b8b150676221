//! Networks as users see them: the predefined three, those they create, and containers' endpoints on them.
//!
//! [`default_bridge`] is the one that is always there, perhaps on a bridge of the user's ([`user_bridge`]), [`create`] makes and removes others, also from configurations ([`configuration`]), [`connect`] connects containers to them, [`endpoint`] is the part of that which is
//! an interface, [`ports`] publishes ports, [`late_ports`] those of containers that run, [`sandbox`] is what a running container has of all that, [`files`] and
//! [`names`] give it its names, [`options`] is what networks' options mean, [`firewalls`] is about those of others.

mod configuration;
pub(crate) mod connect;
pub(crate) mod create;
mod default_bridge;
pub(crate) mod endpoint;
pub(crate) mod files;
mod firewalls;
mod late_ports;
pub(crate) mod names;
pub(crate) mod options;
pub(crate) mod ports;
pub(crate) mod sandbox;
mod user_bridge;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tare_docker_api::network::{EndpointSettings, Ipam as IpamRecord, IpamConfig, Network as Record};
use tare_docker_api::time::Time;
use tare_network::Cidr;
use tare_network::{BridgeSpec, BridgeSubnet, Config, HostLock, Ipam, IpamError, Network as Mechanism, Pools, Ports};
use tare_state::{Change, Kind, Store};

use self::options::{BridgeOptions, GatewayMode};
use self::sandbox::Way;
use crate::config::{EngineConfig, NO_BRIDGE};
use crate::error::{Error, Result};
use crate::host::random;

/// A network.
#[derive(Debug)]
pub(crate) struct Net {
    /// Full ID.
    pub(crate) id: String,
    /// Name.
    pub(crate) name: String,
    inner: Mutex<NetInner>,
    /// Serialises writing the file of its names.
    names: Mutex<()>,
}

/// What a network's mutex protects.
#[derive(Debug)]
pub(crate) struct NetInner {
    /// What is stored and shown.
    pub(crate) record: Record,
    /// Addresses in use, one pool per subnet.
    pub(crate) pools: Vec<Ipam>,
}

impl Net {
    pub(crate) fn read(&self) -> MutexGuard<'_, NetInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn names(&self) -> MutexGuard<'_, ()> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Containers get an interface on it.
    pub(crate) fn has_interfaces(&self) -> bool {
        matches!(self.driver().as_str(), "bridge" | "macvlan")
    }

    /// `bridge`, `macvlan`, `host` or `null`.
    pub(crate) fn driver(&self) -> String {
        self.read().record.driver.clone()
    }

    /// One of the three every engine has.
    pub(crate) fn is_predefined(&self) -> bool {
        matches!(self.name.as_str(), "bridge" | "host" | "none")
    }

    /// What it can be for a container's default routes.
    pub(crate) fn way(&self, settings: &EndpointSettings) -> Way<'_> {
        let inner = self.read();
        let out = |ipv6| !inner.record.internal && inner.pools.iter().any(|pool| pool.subnet().is_ipv6() == ipv6);
        Way { priority: settings.gw_priority, v4: out(false), v6: out(true), network: &self.name }
    }

    /// The bridge's interface.
    pub(crate) fn bridge(&self) -> String {
        let inner = self.read();
        let name = inner.record.options.get(options::BRIDGE_NAME).filter(|name| !name.is_empty());
        name.cloned().unwrap_or_else(|| tare_network::bridge_name(&self.id))
    }
}

/// All networks.
#[derive(Debug)]
pub(crate) struct Networks {
    pub(crate) mechanism: Mechanism,
    pub(crate) ports: Ports,
    /// What subnets are chosen from.
    pools: Pools,
    /// Options of new networks that do not say otherwise, by driver.
    default_options: BTreeMap<String, BTreeMap<String, String>>,
    /// There is to be no default bridge.
    without_bridge: bool,
    by_id: RwLock<BTreeMap<String, Arc<Net>>>,
    /// Serialises creation and removal.
    changing: tokio::sync::Mutex<()>,
    store: Arc<Store>,
}

impl Networks {
    /// Loads the stored networks, makes the predefined ones, and brings every bridge up.
    pub(crate) fn open(config: &EngineConfig, instance: &str, store: Arc<Store>) -> Result<Self> {
        let mechanism = Mechanism::open(Config {
            instance: instance.to_owned(),
            passages: config.forward_accept,
            ready_namespaces: NETNS_READY,
        })
        .map_err(network_error)?;
        let mut records = Vec::new();
        for (id, body) in store.load(Kind::Network)? {
            match serde_json::from_str::<Record>(&body) {
                Ok(record) => records.push(record),
                Err(error) => tracing::error!("network {id} in the state database cannot be read: {error}"),
            }
        }
        // A subnet that the settings ask for is chosen among those that the others leave.
        records.sort_by_key(|record| record.name == "bridge");
        let networks = Self {
            mechanism,
            ports: Ports::new(),
            pools: config.address_pools.clone().unwrap_or_else(Pools::docker).with_unique_local(&host_seed(instance)),
            default_options: config.network_options.clone(),
            without_bridge: config.bridge.as_deref() == Some(NO_BRIDGE),
            by_id: RwLock::default(),
            changing: tokio::sync::Mutex::new(()),
            store,
        };
        let lock = HostLock::acquire().map_err(network_error)?;
        for record in records {
            let bridge = record.options.get(options::BRIDGE_NAME).cloned().unwrap_or_default();
            if record.name == "bridge" && networks.without_bridge && !has_ports(&bridge) {
                networks.mechanism.remove_bridge(&bridge).map_err(network_error)?;
                networks.store.write_sync(vec![Change::Delete(Kind::Network, record.id)])?;
                continue;
            }
            let record =
                if record.name == "bridge" { networks.renewed(record, config, instance, &lock)? } else { record };
            networks.restore(record)?;
        }
        networks.predefine(config, instance, &lock)?;
        Ok(networks)
    }

    fn restore(&self, record: Record) -> Result<()> {
        if record.driver == "bridge" {
            self.ensure_bridge(&record)?;
        }
        self.insert(record)
    }

    /// Makes a network's bridge what it should be.
    fn ensure_bridge(&self, record: &Record) -> Result<()> {
        let spec = bridge_spec(record)?;
        let foreign = self.mechanism.foreign_bridge(&spec.bridge).map_err(network_error)?.is_some();
        self.mechanism.ensure_bridge(&BridgeSpec { foreign, ..spec }).map_err(network_error)?;
        Ok(())
    }

    /// Adds a network whose bridge exists.
    fn insert(&self, record: Record) -> Result<()> {
        let pools = match record.config_only {
            true => Vec::new(),
            false => in_use(&record).map(pool).collect::<Result<Vec<_>>>()?,
        };
        let net = Net {
            id: record.id.clone(),
            name: record.name.clone(),
            inner: Mutex::new(NetInner { record, pools }),
            names: Mutex::new(()),
        };
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).insert(net.id.clone(), Arc::new(net));
        Ok(())
    }

    fn predefine(&self, config: &EngineConfig, instance: &str, lock: &HostLock) -> Result<()> {
        for (name, driver) in [("none", "null"), ("host", "host")] {
            if self.by_name(name).is_none() {
                let record = Record {
                    ipam: IpamRecord { driver: "default".into(), ..IpamRecord::default() },
                    ..blank(name, driver)
                };
                self.save(&record)?;
                self.insert(record)?;
            }
        }
        if !self.without_bridge && self.by_name("bridge").is_none() {
            self.predefine_bridge(config, instance, lock)?;
        }
        Ok(())
    }

    /// Removes bridges and firewall rules; the records stay, and the next start makes everything again. Blocking.
    pub(crate) fn take_down(&self) -> Result<()> {
        for net in self.all() {
            if net.driver() == "bridge" {
                self.mechanism.remove_bridge(&net.bridge()).map_err(network_error)?;
            }
        }
        self.mechanism.remove_rules().map_err(network_error)
    }

    fn save(&self, record: &Record) -> Result<()> {
        let body = serde_json::to_string(record).map_err(|error| Error::internal(error.to_string()))?;
        Ok(self.store.write_sync(vec![Change::Put(Kind::Network, record.id.clone(), body)])?)
    }

    /// Every subnet in use by a network.
    pub(crate) fn subnets(&self) -> Vec<Cidr> {
        self.all()
            .iter()
            .filter(|net| !net.read().record.config_only)
            .flat_map(|net| {
                net.read().record.ipam.config.iter().filter_map(|c| c.subnet.parse().ok()).collect::<Vec<_>>()
            })
            .collect()
    }

    /// All networks, by ID.
    pub(crate) fn all(&self) -> Vec<Arc<Net>> {
        self.by_id.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Whether this calls the default bridge, and the engine is set up to have none: containers are on it in name only.
    pub(crate) fn is_absent_bridge(&self, name: &str) -> bool {
        self.without_bridge && name == "bridge" && self.by_name(name).is_none()
    }

    fn by_name(&self, name: &str) -> Option<Arc<Net>> {
        self.all().into_iter().find(|net| net.name == name)
    }

    /// The name of a network that is called by name or ID; what it is called, when there is none.
    pub(crate) fn name_of(&self, reference: &str) -> String {
        self.find(reference).map_or_else(|_| reference.to_owned(), |net| net.name.clone())
    }

    /// By full ID, name, or unique ID prefix.
    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Net>> {
        let missing = || Error::not_found(format!("network {reference} not found"));
        if reference.is_empty() {
            return Err(missing());
        }
        let all = self.all();
        if let Some(net) =
            all.iter().find(|net| net.id == reference).or_else(|| all.iter().find(|net| net.name == reference))
        {
            return Ok(Arc::clone(net));
        }
        let mut matches = all.iter().filter(|net| net.id.starts_with(reference));
        match (matches.next(), matches.next()) {
            (Some(net), None) => Ok(Arc::clone(net)),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "network {reference} is ambiguous ({} matches found on ID prefix)",
                all.iter().filter(|net| net.id.starts_with(reference)).count()
            ))),
            _ => Err(missing()),
        }
    }
}

/// Whether a bridge has interfaces, those of containers that run on since the last daemon.
fn has_ports(bridge: &str) -> bool {
    std::fs::read_dir(Path::new("/sys/class/net").join(bridge).join("brif"))
        .is_ok_and(|mut ports| ports.next().is_some())
}

/// What stays the same on this machine and differs from others'.
fn host_seed(instance: &str) -> Vec<u8> {
    std::fs::read("/etc/machine-id").ok().filter(|id| !id.is_empty()).unwrap_or_else(|| instance.into())
}

/// Network namespaces kept ready: one start's worth.
const NETNS_READY: usize = 2;

fn blank(name: &str, driver: &str) -> Record {
    Record {
        name: name.to_owned(),
        id: random::id(),
        created: Time::now(),
        scope: "local".to_owned(),
        driver: driver.to_owned(),
        enable_ipv4: true,
        options: tare_docker_api::go::Map::empty(),
        labels: tare_docker_api::go::Map::empty(),
        ..Record::default()
    }
}

fn network_of(address: IpAddr, prefix: u8) -> Result<Cidr> {
    let cidr = Cidr::new(address, prefix).ok_or_else(|| Error::invalid(format!("invalid prefix length: {prefix}")))?;
    Ok(cidr.network())
}

fn bad_subnet(text: &str) -> Error {
    Error::invalid(format!("invalid network config:\ninvalid subnet {text}: invalid CIDR block notation"))
}

/// The pool of one subnet.
fn pool(config: &IpamConfig) -> Result<Ipam> {
    let subnet: Cidr = config.subnet.parse().map_err(|_| bad_subnet(&config.subnet))?;
    let range = match config.ip_range.as_str() {
        "" => None,
        text => {
            Some(text.parse().map_err(|_| Error::invalid(format!("invalid ip-range {text}: invalid CIDR address")))?)
        }
    };
    let address =
        |text: &str| text.parse::<IpAddr>().map_err(|_| Error::invalid(format!("invalid gateway address: {text}")));
    let gateway = if config.gateway.is_empty() { None } else { Some(address(&config.gateway)?) };
    let aux = config.aux_address.values().map(|text| address(text)).collect::<Result<Vec<_>>>()?;
    Ipam::new(subnet, range, gateway, &aux).map_err(|error| {
        let invalid = |what: String| Error::invalid(format!("invalid network config:\n{what}"));
        match error {
            IpamError::RangeOutOfSubnet(range, subnet) => {
                invalid(format!("invalid ip-range {range}: parent subnet {subnet} doesn't contain ip-range"))
            }
            IpamError::OutOfSubnet(address, subnet) => {
                let aux = config.aux_address.iter().find(|(_, text)| text.parse() == Ok(address));
                let what = aux.filter(|_| gateway != Some(address));
                let what = what.map_or_else(|| "gateway".to_owned(), |(name, _)| format!("auxiliary address {name}"));
                let shown = if what == "gateway" { format!(" {address}") } else { String::new() };
                invalid(format!("invalid {what}{shown}: parent subnet {subnet} doesn't contain this address"))
            }
            IpamError::InUse(_) | IpamError::Exhausted(_) => Error::invalid(error.to_string()),
        }
    })
}

/// The bridge a network record describes.
fn bridge_spec(record: &Record) -> Result<BridgeSpec> {
    let options = BridgeOptions::read(&record.options, record.internal)?;
    let mut subnets = Vec::new();
    for config in in_use(record) {
        let pool = pool(config)?;
        let subnet: Cidr = config.subnet.parse().map_err(|_| bad_subnet(&config.subnet))?;
        let has_address = options.has_gateway(subnet.is_ipv6()) && (subnet.is_ipv6() || !options.inhibit_ipv4);
        subnets.push(BridgeSubnet { subnet, gateway: Some(pool.gateway()).filter(|_| has_address) });
    }
    Ok(BridgeSpec {
        bridge: options.name.unwrap_or_else(|| tare_network::bridge_name(&record.id)),
        foreign: false,
        subnets,
        mtu: options.mtu,
        icc: options.icc,
        internal: record.internal,
        masquerade: options.masquerade,
        source_v4: options.source_v4,
        source_v6: options.source_v6,
        open_v4: options.mode_v4 == GatewayMode::NatUnprotected,
        open_v6: options.mode_v6 == GatewayMode::NatUnprotected,
        routed_v4: options.mode_v4 == GatewayMode::Routed,
        routed_v6: options.mode_v6 == GatewayMode::Routed,
        trusted: options.trusted,
    })
}

/// The subnets of the families that a network has.
fn in_use(record: &Record) -> impl Iterator<Item = &IpamConfig> {
    let enabled =
        |config: &&IpamConfig| if config.subnet.contains(':') { record.enable_ipv6 } else { record.enable_ipv4 };
    record.ipam.config.iter().filter(enabled)
}

/// Errors of the mechanism are the machine's, not the user's.
pub(crate) fn network_error(error: impl std::fmt::Display) -> Error {
    Error::internal(error.to_string())
}
