//! Names on user-defined networks: the files that containers' embedded name servers answer from. The servers run in the
//! shims and read the files; a daemon that is gone is not missed.

use std::path::PathBuf;

use tare_network::dns::zone;
use tare_network::resolv::Upstream;

use super::Net;
use super::sandbox::Sandbox;
use crate::Engine;
use crate::container::record::Record;
use crate::error::{Error, Result};

/// Characters of the ID that name a container.
const SHORT_ID_LEN: usize = 12;

impl Engine {
    /// Where the files are.
    pub(crate) fn names_directory(&self) -> PathBuf {
        self.config.exec_root.join("names")
    }

    /// Writes what one container's server needs: its networks, its links, and whom to ask for the rest. The networks'
    /// own files are written with it in them, so that it finds itself from the start.
    pub(crate) fn write_names(&self, record: &Record, sandbox: &Sandbox, mut upstream: Vec<Upstream>) -> Result<()> {
        if !has_way_out(sandbox) {
            // Names are a way out, too: what the container asks, a server of the outside would hear (CVE-2024-29018).
            // One inside is still asked, if there is one.
            upstream.retain(|server| !server.from_host);
        }
        let user: Vec<_> = sandbox.endpoints.iter().filter(|endpoint| endpoint.network_name != "bridge").collect();
        let links = user.iter().flat_map(|endpoint| {
            let links = record.networks.get(&endpoint.network_name).map(|settings| settings.links.to_vec());
            links.unwrap_or_default().into_iter().map(|link| {
                let (name, alias) = link.split_once(':').unwrap_or((&link, &link));
                zone::Link {
                    alias: alias.to_owned(),
                    target: name.trim_start_matches('/').to_owned(),
                    network: Some(endpoint.network_id.clone()),
                }
            })
        });
        let container = zone::Container {
            networks: user.iter().map(|endpoint| endpoint.network_id.clone()).collect(),
            links: links.collect(),
            upstream,
        };
        let directory = self.names_directory();
        zone::write_container(&directory, &record.id, &container)
            .map_err(|error| Error::io("write", directory.display(), error))?;
        for endpoint in user {
            self.write_network_names(&endpoint.network_id, Some((record, sandbox)))?;
        }
        Ok(())
    }

    /// Writes the file of each user-defined network in `sandbox` anew.
    pub(crate) fn refresh_names(&self, sandbox: &Sandbox) {
        for endpoint in sandbox.endpoints.iter().filter(|endpoint| endpoint.network_name != "bridge") {
            if let Err(error) = self.write_network_names(&endpoint.network_id, None) {
                tracing::error!("writing the names of network {}: {error}", endpoint.network_name);
            }
        }
    }

    /// Removes a container's file.
    pub(crate) fn forget_names(&self, id: &str) {
        if let Err(error) = zone::remove_container(&self.names_directory(), id) {
            tracing::warn!("removing the names of container {id}: {error}");
        }
    }

    /// Removes a network's file, once the network is gone.
    pub(crate) fn forget_network_names(&self, net: &Net) {
        let _names = net.names();
        if let Err(error) = zone::remove_network(&self.names_directory(), &net.id) {
            tracing::warn!("removing the names of network {}: {error}", net.name);
        }
    }

    /// Removes the files of networks and containers that do not exist. Blocking.
    pub(crate) fn sweep_names(&self) {
        let directory = self.names_directory();
        for kind in ["networks", "containers"] {
            let half =
                crate::recover::names_in(&directory.join(kind)).into_iter().filter(|name| name.ends_with(".new"));
            // A daemon died before it gave the file its name.
            half.for_each(|name| drop(std::fs::remove_file(directory.join(kind).join(name))));
        }
        let networks = self.networks.all();
        for id in crate::recover::names_in(&directory.join("networks")) {
            if !networks.iter().any(|net| net.id == id)
                && let Err(error) = zone::remove_network(&directory, &id)
            {
                tracing::warn!("removing the names of network {id}, which does not exist: {error}");
            }
        }
        let containers = self.all_containers();
        for id in crate::recover::names_in(&directory.join("containers")) {
            if !containers.iter().any(|container| container.id == id) {
                self.forget_names(&id);
            }
        }
    }

    fn write_network_names(&self, network_id: &str, starting: Option<(&Record, &Sandbox)>) -> Result<()> {
        let Ok(net) = self.networks.find(network_id) else { return Ok(()) };
        // Held while the file is made, or an older list could replace a newer one.
        let _names = net.names();
        if self.networks.find(network_id).is_err() {
            // Removed meanwhile, with its file.
            return Ok(());
        }
        let mut records = Vec::new();
        for container in self.all_containers() {
            let inner = container.read();
            if starting.is_none_or(|(record, _)| record.id != container.id) {
                records.extend(own_records(network_id, &inner.record, &inner.sandbox));
            }
        }
        if let Some((record, sandbox)) = starting {
            records.extend(own_records(network_id, record, sandbox));
        }
        let directory = self.names_directory();
        zone::write_network(
            &directory,
            network_id,
            &zone::Network { id: network_id.to_owned(), name: net.name.clone(), records },
        )
        .map_err(|error| Error::io("write", directory.display(), error))
    }
}

/// A container's addresses on a network with all its names there.
fn own_records(network_id: &str, record: &Record, sandbox: &Sandbox) -> Vec<(std::net::IpAddr, Vec<String>)> {
    let Some(endpoint) = sandbox.on(network_id) else { return Vec::new() };
    let names = names(record, &endpoint.network_name);
    endpoint.addresses().map(|address| (address, names.clone())).collect()
}

/// The names of a container on a network: its own, its aliases, its short ID, its hostname.
pub(crate) fn names(record: &Record, network: &str) -> Vec<String> {
    let mut names = vec![record.name.clone()];
    let aliases = record.networks.get(network).map(|settings| settings.aliases.to_vec()).unwrap_or_default();
    let short: String = record.id.chars().take(SHORT_ID_LEN).collect();
    for name in aliases.into_iter().chain([short, record.config.hostname.clone()]) {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Whether a container is on a network that is not internal.
fn has_way_out(sandbox: &Sandbox) -> bool {
    sandbox.endpoints.iter().any(|endpoint| endpoint.gateway_v4.is_some() || endpoint.gateway_v6.is_some())
}
