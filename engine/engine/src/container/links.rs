//! Legacy links on the default bridge: names in the hosts file and environment variables.

use std::net::IpAddr;

use tare_network::{Protocol, hosts, resolv};

use super::Container;
use super::record::Record;
use crate::Engine;
use crate::error::{Error, Result};
use crate::network::connect::own_lines;
use crate::network::files::{self, Files};
use crate::network::sandbox::Sandbox;

/// What a starting container knows of those it is linked to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Links {
    /// Lines of the hosts file: address, names.
    pub(crate) hosts: Vec<(IpAddr, String)>,
    /// Environment variables.
    pub(crate) env: Vec<String>,
}

impl Engine {
    /// Looks at the linked containers, all of which must run.
    pub(crate) fn running_links(&self, record: &Record) -> Result<Links> {
        let mut links = Links::default();
        for (id, alias) in &record.links {
            let own = &record.name;
            let child = self.find(id).map_err(|_| gone(record, id, alias))?;
            let inner = child.read();
            let child = &inner.record;
            if !inner.state.is_alive() {
                return Err(Error::internal(format!(
                    "Cannot link to a non running container: /{} AS /{own}/{alias}",
                    child.name
                )));
            }
            let address = inner.sandbox.endpoints.iter().find(|endpoint| endpoint.network_name == "bridge");
            let Some(address) = address.and_then(|endpoint| endpoint.ipv4).map(|cidr| cidr.address()) else {
                return Err(Error::internal(format!("container {id} not attached to default bridge network")));
            };
            let mut names = vec![alias.clone(), child.config.hostname.clone()];
            if child.name != *alias {
                names.push(child.name.clone());
            }
            links.hosts.push((address, names.join(" ")));
            links.env.extend(environment(own, alias, address, child));
        }
        Ok(links)
    }

    /// Points the hosts files of containers that link to this one to its new address.
    pub(crate) fn update_links_to(&self, container: &Container) {
        let address = {
            let inner = container.read();
            inner
                .sandbox
                .endpoints
                .iter()
                .find(|e| e.network_name == "bridge")
                .and_then(|e| e.ipv4)
                .map(|c| c.address())
        };
        let Some(address) = address else { return };
        for parent in self.all_containers() {
            let aliases: Vec<_> = {
                let inner = parent.read();
                let links = inner.record.links.iter().filter(|(id, _)| *id == container.id);
                if inner.state.is_alive() { links.map(|(_, alias)| alias.clone()).collect() } else { Vec::new() }
            };
            let hosts = Files::in_directory(&self.container_directory(&parent.id)).hosts;
            for alias in aliases {
                if let Err(error) = files::update_alias(&hosts, &alias, address) {
                    tracing::warn!("updating {}: {error}", hosts.display());
                }
            }
        }
    }

    /// Names given with `--add-host`; `host-gateway` is the default bridge's address.
    pub(crate) fn extra_hosts(&self, record: &Record) -> Result<Vec<(IpAddr, String)>> {
        let mut extra = Vec::new();
        for text in &record.host_config.extra_hosts {
            match extra_host(text)? {
                (name, Some(address)) => extra.push((address, name.to_owned())),
                (name, None) => {
                    extra.extend(self.host_gateways()?.into_iter().map(|address| (address, name.to_owned())));
                }
            }
        }
        Ok(extra)
    }

    /// The addresses by which containers reach the host.
    pub(crate) fn host_gateways(&self) -> Result<Vec<IpAddr>> {
        let mut gateways = self.config.host_gateways.clone();
        if gateways.is_empty() {
            let bridge = self.networks.find("bridge")?;
            gateways = bridge.read().pools.iter().map(tare_network::Ipam::gateway).collect();
        }
        if gateways.is_empty() {
            return Err(Error::internal("unable to derive the IP value for host-gateway"));
        }
        Ok(gateways)
    }

    /// The hosts file of a container with endpoints of its own.
    pub(crate) fn hosts_text(
        &self,
        record: &Record,
        sandbox: &Sandbox,
        extra: &[(IpAddr, String)],
        links: &Links,
    ) -> String {
        let ipv6 = files::has_ipv6(&record.host_config);
        let own = sandbox.endpoints.iter().flat_map(|endpoint| own_lines(record, endpoint)).collect();
        let extra = extra.iter().chain(&links.hosts).cloned().collect();
        hosts::render(&hosts::Hosts { ipv6, extra, own })
    }

    /// resolv.conf of a container, and the servers behind its embedded one.
    pub(crate) fn resolv_conf(&self, record: &Record, sandbox: &Sandbox) -> resolv::Rendered {
        let host = &record.host_config;
        let config = &self.config;
        let pick = |own: &[String], engine: &[String]| if own.is_empty() { engine.to_vec() } else { own.to_vec() };
        let answers = match sandbox.names {
            true => resolv::Answers::Embedded,
            false if host.network_mode == "host" => resolv::Answers::AsHost,
            false => resolv::Answers::Servers,
        };
        let wanted = resolv::Wanted {
            answers,
            ipv6: sandbox.endpoints.iter().any(|endpoint| endpoint.ipv6.is_some()),
            nameservers: pick(&host.dns, &config.dns),
            search: pick(&host.dns_search, &config.dns_search),
            options: pick(&host.dns_options, &config.dns_options),
        };
        files::resolv_conf(&wanted)
    }
}

/// The two parts of an `--add-host`; no address stands for the host's own (`host-gateway`).
pub(crate) fn extra_host(text: &str) -> Result<(&str, Option<IpAddr>)> {
    let (name, address) = text
        .split_once(':')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| Error::invalid(format!("bad format for add-host: {text:?}")))?;
    if address == "host-gateway" {
        return Ok((name, None));
    }
    let parsed = address.trim_matches(['[', ']']).parse();
    let parsed = parsed.map_err(|_| Error::invalid(format!("invalid IP address in add-host: {address:?}")))?;
    Ok((name, Some(parsed)))
}

/// The error about a linked container that was removed; its name at the time of linking is in the shown links.
fn gone(record: &Record, id: &str, alias: &str) -> Error {
    let end = format!(":/{}/{alias}", record.name);
    let name = record.host_config.links.iter().find_map(|link| link.strip_suffix(&end)).unwrap_or(id);
    Error::internal(format!("Cannot link to a non running container: {name} AS /{}/{alias}", record.name))
}

/// Docker's variables for one link.
fn environment(parent: &str, alias: &str, address: IpAddr, child: &Record) -> Vec<String> {
    let prefix = alias.to_uppercase().replace('-', "_");
    let mut env = vec![format!("{prefix}_NAME=/{parent}/{alias}")];
    let mut ports: Vec<(u16, Protocol)> =
        child.config.exposed_ports.keys().filter_map(|port| crate::network::ports::parse(port).ok()).collect();
    ports.sort_by_key(|(number, protocol)| (protocol_order(*protocol), *number));
    if let Some((number, protocol)) = ports.first() {
        let protocol = crate::network::ports::word(*protocol);
        env.push(format!("{prefix}_PORT={protocol}://{address}:{number}"));
    }
    for range in ranges(&ports) {
        if let [first, .., last] = range {
            env.extend(range_variables(&prefix, address, *first, *last));
        }
        for (number, protocol) in range {
            let word = crate::network::ports::word(*protocol);
            let name = format!("{prefix}_PORT_{number}_{}", word.to_uppercase());
            env.push(format!("{name}={word}://{address}:{number}"));
            env.push(format!("{name}_ADDR={address}"));
            env.push(format!("{name}_PORT={number}"));
            env.push(format!("{name}_PROTO={word}"));
        }
    }
    for variable in &child.config.env {
        let Some((name, value)) = variable.split_once('=') else { continue };
        if !matches!(name, "HOME" | "PATH") {
            env.push(format!("{prefix}_ENV_{name}={value}"));
        }
    }
    env
}

fn range_variables(prefix: &str, address: IpAddr, first: (u16, Protocol), last: (u16, Protocol)) -> Vec<String> {
    let word = crate::network::ports::word(first.1);
    let name = format!("{prefix}_PORT_{}_{}", first.0, word.to_uppercase());
    vec![
        format!("{name}_START={word}://{address}:{}", first.0),
        format!("{name}_PORT_START={}", first.0),
        format!("{name}_END={word}://{address}:{}", last.0),
        format!("{name}_PORT_END={}", last.0),
    ]
}

/// Runs of consecutive ports of one protocol.
fn ranges(ports: &[(u16, Protocol)]) -> impl Iterator<Item = &[(u16, Protocol)]> {
    ports.chunk_by(|a, b| a.1 == b.1 && a.0.checked_add(1) == Some(b.0))
}

fn protocol_order(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 0,
        Protocol::Udp => 1,
        Protocol::Sctp => 2,
    }
}
