//! The use cases on networks.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use tare_docker_api::filters::Filters;
use tare_docker_api::network::{
    EndpointResource, Ipam as IpamRecord, IpamConfig, Network as Record, NetworkCreateRequest, NetworkCreateResponse,
    NetworkInspect, NetworkPruneReport,
};
use tare_network::Cidr;
use tare_network::HostLock;
use tare_state::{Change, Kind};

use super::options::{self, BridgeOptions};
use super::{Net, Networks, network_error, pool};
use crate::Engine;
use crate::error::{Error, Result};
use crate::filter;

impl Networks {
    /// Makes a bridge network. Blocking.
    fn create(&self, request: NetworkCreateRequest) -> Result<String> {
        let mut record = self.checked(request)?;
        if record.config_only {
            self.save(&record)?;
            let id = record.id.clone();
            self.insert(record)?;
            return Ok(id);
        }
        let is_bridge = record.driver == "bridge";
        let options = BridgeOptions::read(&record.options, record.internal)?;
        if !is_bridge {
            self.check_parent(&record)?;
        }
        let lock = HostLock::acquire().map_err(network_error)?;
        self.check_bridge_name(&record)?;
        let asked = record.ipam.config.to_vec();
        let mut configs = Vec::new();
        for (ipv6, enabled) in [(false, record.enable_ipv4), (true, record.enable_ipv6)] {
            let own: Vec<_> = asked.iter().filter(|config| is_ipv6(config) == Some(ipv6)).collect();
            match own.as_slice() {
                [] if enabled => {
                    let taken = [self.subnets(), subnets_of(&configs)].concat();
                    configs.push(self.chosen(ipv6, None, first_without_subnet(&asked), &taken, &lock)?);
                }
                [_, _, ..] if is_bridge => {
                    return Err(Error::forbidden("bridge driver doesn't support multiple subnets"));
                }
                all => {
                    for config in all {
                        let taken = [self.subnets(), subnets_of(&configs)].concat();
                        configs.push(self.taken(config, enabled, &taken, &lock)?);
                    }
                }
            }
        }
        for config in &mut configs {
            config.gateway = pool(config)?.gateway().to_string();
            if !options.has_gateway(config.subnet.contains(':')) {
                config.gateway = String::new();
            }
        }
        record.ipam.config = configs.into();
        if is_bridge {
            self.ensure_bridge(&record)?;
        }
        drop(lock);
        self.save(&record)?;
        let id = record.id.clone();
        self.insert(record)?;
        Ok(id)
    }

    /// A subnet that nobody has, of a given prefix length or of the pool's; the rest as it was asked for.
    fn chosen(
        &self,
        ipv6: bool,
        size: Option<u8>,
        asked: IpamConfig,
        taken: &[Cidr],
        lock: &HostLock,
    ) -> Result<IpamConfig> {
        let subnet = self.mechanism.choose_subnet(&self.pools, ipv6, size, taken, lock).map_err(|error| {
            Error::invalid(format!("all predefined address pools have been fully subnetted: {error}"))
        })?;
        Ok(IpamConfig { subnet: subnet.to_string(), ..asked })
    }

    /// The subnet that is asked for, where the network has the family; `0.0.0.0/24` is any of that size.
    fn taken(&self, asked: &IpamConfig, enabled: bool, taken: &[Cidr], lock: &HostLock) -> Result<IpamConfig> {
        let invalid = |what: String| Error::invalid(format!("invalid network config:\n{what}"));
        let subnet: Cidr = asked.subnet.parse().map_err(|_| super::bad_subnet(&asked.subnet))?;
        if subnet.network() != subnet {
            return Err(invalid(format!("invalid subnet {subnet}: it should be {}", subnet.network())));
        }
        if subnet.address().is_unspecified() && subnet.prefix() > 0 {
            return self.chosen(subnet.is_ipv6(), Some(subnet.prefix()), asked.clone(), taken, lock);
        }
        if enabled && taken.iter().any(|other| other.overlaps(subnet)) {
            return Err(Error::forbidden("invalid pool request: Pool overlaps with other one on this address space"));
        }
        Ok(asked.clone())
    }

    /// Interfaces of the host are the owner's to make.
    fn check_parent(&self, record: &Record) -> Result<()> {
        let (parent, _) = options::macvlan(&record.options)?;
        if self.mechanism.has_interface(&parent).map_err(network_error)? {
            return Ok(());
        }
        Err(if parent.contains('.') {
            Error::not_implemented(format!(
                "parent interface {parent} does not exist, and making VLAN interfaces is not supported yet"
            ))
        } else {
            Error::invalid(format!("invalid subinterface vlan name {parent}, example formatting is eth0.10"))
        })
    }

    fn check_bridge_name(&self, record: &Record) -> Result<()> {
        let Some(name) = record.options.get(options::BRIDGE_NAME).filter(|name| !name.is_empty()) else {
            return Ok(());
        };
        match self.all().iter().find(|net| net.driver() == "bridge" && net.bridge() == *name) {
            Some(other) => Err(Error::forbidden(format!(
                "cannot create network {} ({name}): conflicts with network {} ({name}): networks have same bridge name",
                record.id, other.id
            ))),
            None => Ok(()),
        }
    }

    fn checked(&self, mut request: NetworkCreateRequest) -> Result<Record> {
        let name = request.name.trim();
        if name.is_empty() {
            return Err(Error::invalid("invalid name: name is empty"));
        }
        if matches!(name, "bridge" | "host" | "none") {
            return Err(Error::forbidden(format!("operation is not permitted on predefined {name} network ")));
        }
        if self.by_name(name).is_some() {
            return Err(Error::conflict(format!("network with name {name} already exists")));
        }
        if request.config_only {
            let name = name.to_owned();
            return self.configuration(&name, request);
        }
        check_driver(&request.driver)?;
        let driver = if request.driver.is_empty() { "bridge".to_owned() } else { request.driver.clone() };
        if request.scope == "swarm" {
            return Err(Error::forbidden("cannot create a swarm scoped network when swarm is not active"));
        }
        if request.ingress {
            return Err(Error::forbidden("Ingress network can only be global scope network"));
        }
        let name = name.to_owned();
        let config_from = self.configure(&mut request)?;
        let ipam = request.ipam.unwrap_or_default();
        match ipam.driver.as_str() {
            "" | "default" => {}
            "null" => return Err(Error::invalid("ipv4 pool is empty")),
            other => return Err(Error::not_found(format!("plugin {other:?} not found"))),
        }
        for (name, value) in self.default_options.get(&driver).into_iter().flatten() {
            request.options.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let enabled = |asked: Option<bool>, ipv6, default| -> Result<bool> {
            Ok(asked
                .map_or_else(|| options::family(&request.options, ipv6), |asked| Ok(Some(asked)))?
                .unwrap_or(default))
        };
        let (enable_ipv4, enable_ipv6) =
            (enabled(request.enable_ipv4, false, true)?, enabled(request.enable_ipv6, true, false)?);
        if !enable_ipv4 && !enable_ipv6 {
            return Err(Error::invalid("IPv4 or IPv6 must be enabled"));
        }
        let blank = super::blank(&name, &driver);
        Ok(Record {
            enable_ipv4,
            enable_ipv6,
            ipam: IpamRecord { driver: "default".to_owned(), options: ipam.options, config: ipam.config },
            config_from,
            internal: request.internal,
            attachable: request.attachable,
            options: request.options.into_inner().into(),
            labels: request.labels.into_inner().into(),
            scope: if request.scope.is_empty() { blank.scope.clone() } else { request.scope },
            ..blank
        })
    }

    fn remove(&self, net: &Net) -> Result<()> {
        self.store.write_sync(vec![Change::Delete(Kind::Network, net.id.clone())])?;
        self.by_id.write().unwrap_or_else(PoisonError::into_inner).remove(&net.id);
        if net.driver() == "bridge" {
            self.mechanism.remove_bridge(&net.bridge()).map_err(network_error)
        } else {
            Ok(())
        }
    }
}

fn check_driver(driver: &str) -> Result<()> {
    match driver {
        "" | "bridge" | "macvlan" => Ok(()),
        "host" | "null" => Err(Error::forbidden(format!("only one instance of \"{driver}\" network is allowed"))),
        "overlay" => Err(Error::unavailable(
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to \
             swarm and try again.",
        )),
        "ipvlan" => Err(Error::not_implemented(format!("network driver {driver:?} is not supported yet"))),
        other => Err(Error::not_found(format!("plugin {other:?} not found"))),
    }
}

/// The family of a configuration's subnet, if it has one.
fn is_ipv6(config: &IpamConfig) -> Option<bool> {
    (!config.subnet.is_empty()).then(|| config.subnet.contains(':'))
}

/// What is asked for beside a subnet, where none is.
fn first_without_subnet(configs: &[IpamConfig]) -> IpamConfig {
    configs.iter().find(|config| config.subnet.is_empty()).cloned().unwrap_or_default()
}

fn subnets_of(configs: &[IpamConfig]) -> Vec<Cidr> {
    configs.iter().filter_map(|config| config.subnet.parse().ok()).collect()
}

impl Engine {
    /// Lists networks.
    pub async fn networks(&self, filters: Filters) -> Result<Vec<Record>> {
        filters.validate(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
        let dangling = if filters.contains("dangling") { Some(filters.bool_or("dangling", false)?) } else { None };
        for kind in filters.get("type") {
            if !matches!(kind, "builtin" | "custom") {
                return Err(Error::invalid(format!("invalid filter: 'type'='{kind}'")));
            }
        }
        let records = self.networks.all().into_iter().filter(|net| {
            let inner = net.read();
            let kind = if net.is_predefined() { "builtin" } else { "custom" };
            filters.exact("driver", &inner.record.driver)
                && filters.prefix("id", &net.id)
                && filters.matches("name", &net.name)
                && filters.exact("scope", &inner.record.scope)
                && filters.exact("type", kind)
                && filter::labels_match(&filters, &inner.record.labels)
                && dangling
                    .is_none_or(|dangling| (!net.is_predefined() && self.members(&net.name).is_empty()) == dangling)
        });
        Ok(records.map(|net| net.read().record.clone()).collect())
    }

    /// Describes a network with the containers on it.
    pub async fn network_inspect(&self, name: &str) -> Result<NetworkInspect> {
        let net = self.networks.find(name)?;
        let mut containers = BTreeMap::new();
        for container in self.all_containers() {
            let inner = container.read();
            if let Some(endpoint) = inner.sandbox.on(&net.id) {
                let address = |cidr: Option<Cidr>| cidr.map(|cidr| cidr.to_string()).unwrap_or_default();
                containers.insert(
                    container.id.clone(),
                    EndpointResource {
                        name: inner.record.name.clone(),
                        endpoint_id: endpoint.endpoint_id.clone(),
                        mac_address: endpoint.mac.clone(),
                        ipv4_address: address(endpoint.ipv4),
                        ipv6_address: address(endpoint.ipv6),
                    },
                );
            }
        }
        let network = net.read().record.clone();
        Ok(NetworkInspect { network, containers, status: None })
    }

    /// Makes a network.
    pub async fn network_create(self: &Arc<Self>, request: NetworkCreateRequest) -> Result<NetworkCreateResponse> {
        let _changing = self.networks.changing.lock().await;
        let name = request.name.clone();
        let engine = Arc::clone(self);
        let id = crate::blocking(move || engine.networks.create(request)).await?;
        self.network_event("create", &id, &name, "");
        Ok(NetworkCreateResponse { id, warning: String::new() })
    }

    /// Removes a network nobody is on.
    pub async fn network_remove(self: &Arc<Self>, name: &str) -> Result<()> {
        let _changing = self.networks.changing.lock().await;
        let net = self.networks.find(name)?;
        if net.is_predefined() {
            return Err(Error::forbidden(format!("{} is a pre-defined network and cannot be removed", net.name)));
        }
        if self.networks.is_configuration_in_use(&net.name) {
            return Err(Error::forbidden(format!(
                "error while removing network: configuration network {:?} is in use",
                net.name
            )));
        }
        let active: Vec<_> = self
            .all_containers()
            .iter()
            .filter_map(|container| {
                let inner = container.read();
                let endpoint = inner.sandbox.on(&net.id)?;
                Some(format!(
                    "name:\"{}\" id:\"{}\"",
                    inner.record.name,
                    endpoint.endpoint_id.get(..12).unwrap_or_default()
                ))
            })
            .collect();
        if !active.is_empty() {
            return Err(Error::forbidden(format!(
                "error while removing network: network {} has active endpoints ({})",
                net.name,
                active.join(", ")
            )));
        }
        let engine = Arc::clone(self);
        let removed = Arc::clone(&net);
        let remove = move || {
            let result = engine.networks.remove(&removed);
            engine.forget_network_names(&removed);
            result
        };
        crate::blocking(remove).await?;
        self.network_event("destroy", &net.id, &net.name, "");
        Ok(())
    }

    /// Removes every user-defined network that no container is on.
    pub async fn networks_prune(self: &Arc<Self>, filters: Filters) -> Result<NetworkPruneReport> {
        let until = filter::prune_until(&filters, &["label", "label!", "until"])?;
        let mut report = NetworkPruneReport::default();
        for net in self.networks.all() {
            let wanted = {
                let inner = net.read();
                !net.is_predefined()
                    && !inner.record.config_only
                    && filter::labels_match(&filters, &inner.record.labels)
                    && until.is_none_or(|until| inner.record.created.unix_nanos() < until)
                    && self.members(&net.name).is_empty()
            };
            if wanted && self.network_remove(&net.id).await.is_ok() {
                report.networks_deleted.push(net.name.clone());
            }
        }
        self.events.publish("network", "prune", "", BTreeMap::from([("reclaimed".to_owned(), "0".to_owned())]));
        Ok(report)
    }

    /// Containers, running or not, that are on a network.
    fn members(&self, name: &str) -> Vec<String> {
        let containers = self.all_containers();
        containers.iter().filter(|c| c.read().record.networks.contains_key(name)).map(|c| c.id.clone()).collect()
    }

    /// Publishes an event about a network; `container` may be empty.
    pub(crate) fn network_event(&self, action: &str, id: &str, name: &str, container: &str) {
        let driver = self.networks.find(id).map_or_else(|_| "bridge".to_owned(), |net| net.driver());
        let mut attributes = BTreeMap::from([("name".to_owned(), name.to_owned()), ("type".to_owned(), driver)]);
        if !container.is_empty() {
            attributes.insert("container".to_owned(), container.to_owned());
        }
        self.events.publish("network", action, id, attributes);
    }

    /// Takes a container's ports and addresses back when it has ended.
    pub(crate) fn drop_sandbox(&self, id: &str, sandbox: &super::sandbox::Sandbox) {
        self.networks.unpublish(id, &sandbox.mappings);
        for endpoint in &sandbox.endpoints {
            self.networks.forget(endpoint);
        }
    }
}
