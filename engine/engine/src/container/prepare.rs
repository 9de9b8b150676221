//! Everything a launch needs, made before the shim is asked: the root mount, the network, the bundle directory.

use std::path::PathBuf;
use std::sync::Arc;

use tare_docker_api::network::EndpointSettings;
use tare_images::overlay::Durability;
use tare_shim_protocol::{CONFIG_NAME, FdRole, SPEC_NAME, ShimConfig};

use super::Container;
use super::modes::Places;
use super::record::Record;
use super::start::Fds;
use crate::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::host::random;
use crate::network::Net;
use crate::network::endpoint::DefaultRoutes;
use crate::network::files::{self, Files};
use crate::network::sandbox::{Sandbox, default_routes};
use crate::spec::{self, Inputs};

/// A container about to be launched.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) bundle: PathBuf,
    pub(crate) fds: Fds,
    pub(crate) sandbox: Sandbox,
}

/// Name of the file in the bundle directory that carries the container's record: should the state database be lost,
/// what runs is still known.
pub(crate) const RECORD_NAME: &str = "record.json";
/// Name of the file in the bundle directory that carries the sandbox.
pub(crate) const SANDBOX_NAME: &str = "sandbox.json";

impl Engine {
    /// Prepares a launch, undoing what was done if a step fails.
    pub(crate) async fn prepare(self: &Arc<Self>, container: &Arc<Container>) -> Result<Prepared> {
        let record = container.read().record.clone();
        let links = self.running_links(&record)?;
        let places = self.places(&record)?;
        let engine = Arc::clone(self);
        let id = record.id.clone();
        // `--rm` and steps of builds: not even a crash leaves them, so nobody reads their files after one.
        let removed = record.host_config.auto_remove || record.for_build;
        let durability = if removed { Durability::Volatile } else { Durability::Durable };
        let root = tokio::task::spawn_blocking(move || engine.images.mount_rw_layer(&id, durability));
        let engine = Arc::clone(self);
        let rest = crate::blocking(move || {
            let mut sandbox = Sandbox { id: random::id(), ..Sandbox::default() };
            let prepared = engine.prepare_rest(&record, &places, &links, &mut sandbox);
            match prepared {
                Ok((bundle, fds)) => Ok(Prepared { bundle, fds, sandbox }),
                Err(error) => {
                    engine.drop_sandbox(&record.id, &sandbox);
                    engine.held.release(&record.id);
                    crate::remove_tree(&engine.bundle(&record.id));
                    Err(error)
                }
            }
        })
        .await;
        let root = root.await.map_err(|error| Error::internal(error.to_string()))?.map_err(crate::image::error);
        match (rest, root) {
            (Ok(mut prepared), Ok(root)) => {
                prepared.fds.push((FdRole::Root, root));
                Ok(prepared)
            }
            (Ok(prepared), Err(error)) => {
                self.drop_sandbox(&container.id, &prepared.sandbox);
                self.release_mounts(&container.id).await;
                crate::remove_tree(&prepared.bundle);
                Err(error)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn prepare_rest(
        &self,
        record: &Record,
        places: &Places,
        links: &super::links::Links,
        sandbox: &mut Sandbox,
    ) -> Result<(PathBuf, Fds)> {
        let mut fds = self.prepare_network(record, sandbox)?;
        let names = Files::in_directory(&self.container_directory(&record.id));
        let shared_files = self.prepare_files(record, &names, sandbox, links)?;
        fds.extend(self.shared_memory(record)?);
        self.check_mount_sources(record)?;
        let found = Record { mounts: self.hold_sources(record, &record.id)?, ..record.clone() };
        let spec = spec::build(&Inputs {
            record: &found,
            facts: &self.facts,
            pid: places.pid.clone(),
            ipc: places.ipc.clone(),
            uts: places.uts.clone(),
            network: places.network.clone(),
            hostname: record.config.hostname.clone(),
            files: shared_files,
            link_env: if self.config.legacy_link_env { links.env.clone() } else { Vec::new() },
            cgroup: self.cgroup_path(record),
            init: self.init_program(record)?,
            data_root: &self.config.data_root,
        })
        // Whatever the settings, the request to start is not what is wrong.
        .map_err(|error| match error.kind {
            ErrorKind::Invalid => Error { kind: ErrorKind::Internal, ..error },
            _ => error,
        })?;
        let bundle = self.bundle(&record.id);
        crate::make_directory(&bundle, 0o700)?;
        self.write_bundle(record, &bundle, &spec, sandbox)?;
        fds.shrink_to_fit();
        Ok((bundle, fds))
    }

    /// The network namespace with its endpoints, and the published ports.
    fn prepare_network(&self, record: &Record, sandbox: &mut Sandbox) -> Result<Fds> {
        let host = &record.host_config;
        let mut fds = Vec::new();
        if host.network_mode == "host" || host.network_mode.starts_with("container:") {
            return Ok(fds);
        }
        let netns = self.networks.mechanism.new_netns().map_err(crate::network::network_error)?;
        if record.config.network_disabled {
            fds.push((FdRole::NetNs, netns.into_fd()));
            return Ok(fds);
        }
        let failed = |error: Error| error.context("failed to set up container networking: ");
        let networks = self.ordered_networks(record).map_err(failed)?;
        let ways: Vec<_> = networks.iter().map(|(net, settings)| net.way(settings)).collect();
        let (v4, v6) = default_routes(&ways);
        for (index, (net, settings)) in networks.iter().enumerate() {
            let routes = DefaultRoutes { v4: v4 == Some(index), v6: v6 == Some(index) };
            let others = &sandbox.endpoints;
            let endpoint = self.networks.connect(&netns, net, others, settings, routes).map_err(failed)?;
            sandbox.endpoints.push(endpoint);
        }
        let default_ip = self.networks.default_binding(sandbox).or(self.config.default_bind_address);
        let requests = crate::network::ports::requests(&record.config, host, default_ip)?;
        let bound = self.networks.publish(&record.id, &record.name, sandbox, &requests)?;
        let (mappings, sockets) = crate::network::ports::held(bound);
        sandbox.mappings = mappings;
        fds.extend(sockets);
        sandbox.names = sandbox.needs_names();
        if sandbox.names {
            let sockets = tare_network::dns::DnsSockets::open(&netns).map_err(crate::network::network_error)?;
            fds.push((FdRole::DnsUdp, sockets.udp));
            fds.push((FdRole::DnsTcp, sockets.tcp));
        }
        fds.push((FdRole::NetNs, netns.into_fd()));
        Ok(fds)
    }

    /// The networks that a container gets an interface on, in the order of the interfaces: the default bridge, then by
    /// name.
    fn ordered_networks<'r>(&self, record: &'r Record) -> Result<Vec<(Arc<Net>, &'r EndpointSettings)>> {
        let mut networks = Vec::new();
        for (name, settings) in &record.networks {
            if self.networks.is_absent_bridge(name) {
                continue;
            }
            let net = self.networks.find(name)?;
            // That one cannot be connected to says so itself.
            if net.has_interfaces() || net.read().record.config_only {
                networks.push((net, settings));
            }
        }
        networks.sort_by(|(a, _), (b, _)| (a.name != "bridge", &a.name).cmp(&(b.name != "bridge", &b.name)));
        Ok(networks)
    }

    /// The container whose network one has with this network mode: its neighbour may be in a third one's.
    fn network_owner(&self, mode: &str) -> Result<String> {
        let (mut mode, mut passed) = (mode.to_owned(), Vec::new());
        loop {
            let other = mode.strip_prefix("container:").unwrap_or_default();
            let owner = self.find(other)?;
            let next = owner.read().record.host_config.network_mode.clone();
            if !next.starts_with("container:") {
                return Ok(owner.id.clone());
            }
            if passed.contains(&owner.id) {
                return Err(Error::conflict(format!("container {} is in its own network", owner.id)));
            }
            passed.push(owner.id.clone());
            mode = next;
        }
    }

    /// Writes hosts, resolv.conf and hostname; a container in another's network gets that one's.
    fn prepare_files(
        &self,
        record: &Record,
        names: &Files,
        sandbox: &mut Sandbox,
        links: &super::links::Links,
    ) -> Result<Vec<(PathBuf, &'static str)>> {
        let host = &record.host_config;
        if host.network_mode.starts_with("container:") {
            let owner = self.network_owner(&host.network_mode)?;
            return Ok(Files::in_directory(&self.container_directory(&owner)).mounts());
        }
        let extra = self.extra_hosts(record)?;
        files::write(&names.hostname, &format!("{}\n", record.config.hostname))?;
        let hosts = if host.network_mode == "host" && extra.is_empty() {
            files::host_hosts()
        } else {
            self.hosts_text(record, sandbox, &extra, links)
        };
        files::write(&names.hosts, &hosts)?;
        let resolv = self.resolv_conf(record, sandbox);
        files::write(&names.resolv_conf, &resolv.text)?;
        sandbox.resolv_conf = files::fingerprint(&resolv.text);
        if sandbox.names {
            self.write_names(record, sandbox, resolv.upstream)?;
        }
        Ok(names.mounts())
    }

    fn write_bundle(
        &self,
        record: &Record,
        bundle: &std::path::Path,
        spec: &tare_oci_runtime::Spec,
        sandbox: &Sandbox,
    ) -> Result<()> {
        let shim = ShimConfig {
            id: record.id.clone(),
            open_stdin: record.config.open_stdin,
            stdin_once: record.config.stdin_once,
            log: record.log.clone(),
            dns: sandbox.names.then(|| self.names_directory()),
            labels: std::collections::BTreeMap::new(),
        };
        write_json(&bundle.join(SPEC_NAME), spec)?;
        write_json(&bundle.join(CONFIG_NAME), &shim)?;
        write_json(&bundle.join(RECORD_NAME), record)?;
        write_json(&bundle.join(SANDBOX_NAME), sandbox)
    }
}

/// Writes a value as JSON, whole or not at all: the daemon may die, and the next one has to read it.
pub(crate) fn write_json(path: &std::path::Path, value: &impl serde::Serialize) -> Result<()> {
    let bytes = serde_json::to_vec(value).map_err(|error| Error::internal(error.to_string()))?;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    std::fs::write(&new, bytes).map_err(|error| Error::io("write", path.display(), error))?;
    std::fs::rename(&new, path).map_err(|error| Error::io("rename", path.display(), error))
}
