//! Connecting a container to a network, and disconnecting it, also while it runs: interface, default routes, and the
//! files and the name server that give it its names.

use std::collections::BTreeSet;
use std::sync::Arc;

use tare_docker_api::network::{EndpointSettings, NetworkConnectRequest, NetworkDisconnectRequest};
use tare_network::{Netns, hosts, in_place};
use tare_shim_protocol::{FdRole, Op, ServeNames, VERSION_NETWORKS};

use super::endpoint::DefaultRoutes;
use super::files::{self, Files};
use super::sandbox::{Endpoint, Sandbox};
use super::{Net, network_error};
use crate::Engine;
use crate::container::Container;
use crate::container::record::Record;
use crate::error::{Error, ErrorKind, Result};

impl Engine {
    /// Connects a container to a network, at once if it runs.
    pub async fn network_connect(self: &Arc<Self>, name: &str, request: NetworkConnectRequest) -> Result<()> {
        let container = self.find(&request.container)?;
        let net = self.networks.find(name)?;
        let _operation = container.operation.lock().await;
        let settings = request.endpoint_config.unwrap_or_default();
        let mode = container.read().record.host_config.network_mode.clone();
        if net.name == "host" && mode != "host" {
            return Err(Error::invalid(
                "cannot connect container to host network - container must be created in host network mode",
            ));
        }
        if net.name == "none" || mode == "none" {
            return Err(Error::invalid(
                "container cannot be connected to multiple networks with one of the networks in private (none) mode",
            ));
        }
        if mode.starts_with("container:") || mode == "host" {
            return Err(Error::invalid(
                "container sharing network namespace with another container or host cannot be connected to any other \
                 network",
            ));
        }
        if container.read().record.networks.contains_key(&net.name) {
            return Err(Error::forbidden(format!(
                "endpoint with name {} already exists in network {}",
                container.name(),
                net.name
            )));
        }
        super::endpoint::check_settings(&net, &settings)?;
        if container.read().state.is_alive() {
            self.connect_live(&container, &net, &settings).await?;
            if let Err(error) = self.publish_late(&container).await {
                self.take_back(&container, &net).await;
                return Err(error);
            }
        }
        let snapshot = {
            let mut inner = container.read();
            inner.record.networks.insert(net.name.clone(), settings);
            inner.snapshot()
        };
        self.turn_ports(&container).await?;
        self.renew_names(&container).await;
        self.save_container(&snapshot).await?;
        self.network_event("connect", &net.id, &net.name, &container.id);
        Ok(())
    }

    async fn connect_live(
        self: &Arc<Self>,
        container: &Arc<Container>,
        net: &Arc<Net>,
        settings: &EndpointSettings,
    ) -> Result<()> {
        let (pid, record, mut sandbox) = {
            let inner = container.read();
            (inner.state.pid, inner.record.clone(), inner.sandbox.clone())
        };
        let engine = Arc::clone(self);
        let (net, settings) = (Arc::clone(net), settings.clone());
        let (endpoint, sandbox) = crate::blocking(move || {
            let netns = namespace_of(pid)?;
            let none = DefaultRoutes::default();
            let endpoint = engine.networks.connect(&netns, &net, &sandbox.endpoints, &settings, none)?;
            let before = routes(&sandbox);
            sandbox.endpoints.push(endpoint.clone());
            if let Err(error) = engine.turn_routes(&netns, &before, &sandbox) {
                engine.networks.disconnect(Some(&netns), &endpoint)?;
                return Err(error);
            }
            Ok((endpoint, sandbox))
        })
        .await?;
        container.read().sandbox.endpoints.push(endpoint.clone());
        self.save_sandbox(container);
        self.change_hosts(&record, |text| hosts::add_lines(text, &own_lines(&record, &endpoint)));
        self.refresh_names(&sandbox);
        Ok(())
    }

    /// Undoes a connection that a container cannot have.
    async fn take_back(self: &Arc<Self>, container: &Arc<Container>, net: &Net) {
        let (endpoint, before) = {
            let mut inner = container.read();
            let before = routes(&inner.sandbox);
            let position = inner.sandbox.endpoints.iter().position(|endpoint| endpoint.network_id == net.id);
            (position.map(|position| inner.sandbox.endpoints.remove(position)), before)
        };
        if let Some(endpoint) = endpoint
            && let Err(error) = self.disconnect_live(container, endpoint, before).await
        {
            tracing::warn!("disconnecting container {} from network {}: {error}", container.id, net.name);
        }
    }

    /// Makes the default routes of a running container what its endpoints say, where they have been others.
    fn turn_routes(&self, netns: &Netns, before: &[Option<String>; 2], sandbox: &Sandbox) -> Result<()> {
        if *before == routes(sandbox) {
            return Ok(());
        }
        let (v4, v6) = sandbox.default_routes();
        let v4 = v4.and_then(|endpoint| Some((endpoint.ifname.as_str(), endpoint.gateway_v4?)));
        let v6 = v6.and_then(|endpoint| Some((endpoint.ifname.as_str(), endpoint.gateway_v6?)));
        self.networks.mechanism.set_gateways(netns, v4, v6).map_err(network_error)
    }

    /// Leads a running container's published ports to where its default routes are now.
    async fn turn_ports(self: &Arc<Self>, container: &Container) -> Result<()> {
        let (sandbox, shim, alive) = {
            let inner = container.read();
            (inner.sandbox.clone(), inner.shim.clone(), inner.state.is_alive())
        };
        let mappings = self.networks.led(&sandbox);
        if !alive || mappings == sandbox.mappings {
            return Ok(());
        }
        let changes: Vec<_> =
            sandbox.mappings.into_iter().zip(mappings.iter().copied()).filter(|(old, new)| old != new).collect();
        let addresses: BTreeSet<_> = changes.iter().map(|(old, new)| (old.container_ip, new.container_ip)).collect();
        let (old, new): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
        let engine = Arc::clone(self);
        crate::blocking(move || engine.networks.lead(&old, &new)).await?;
        if let Some(shim) = shim.filter(|shim| shim.version >= VERSION_NETWORKS) {
            for (from, to) in addresses {
                let told = shim.call(Op::Retarget { from, to }, Vec::new()).await;
                told.map_err(|error| Error::internal(error.to_string()))?;
            }
        }
        container.read().sandbox.mappings = mappings;
        self.save_sandbox(container);
        Ok(())
    }

    /// Disconnects a container from a network.
    pub async fn network_disconnect(self: &Arc<Self>, name: &str, request: NetworkDisconnectRequest) -> Result<()> {
        let net = self.networks.find(name)?;
        let container = match self.find(&request.container) {
            Err(error) if request.force && error.kind == ErrorKind::NotFound => {
                return Err(Error::not_found(format!("endpoint {} not found", request.container)));
            }
            found => found?,
        };
        let _operation = container.operation.lock().await;
        if container.read().record.host_config.network_mode == "host" {
            return Err(Error::forbidden(
                "container cannot be disconnected from host network or connected to host network",
            ));
        }
        let (endpoint, before) = {
            let mut inner = container.read();
            let alive = inner.state.is_alive();
            if inner.record.networks.remove(&net.name).is_none() {
                return Err(Error::internal(format!(
                    "container {} is not connected to {}network {}",
                    container.id,
                    if alive { "" } else { "the " },
                    net.name
                )));
            }
            let before = routes(&inner.sandbox);
            let position = inner.sandbox.endpoints.iter().position(|endpoint| endpoint.network_id == net.id);
            (position.map(|position| inner.sandbox.endpoints.remove(position)), before)
        };
        if let Some(endpoint) = endpoint {
            self.disconnect_live(&container, endpoint, before).await?;
        }
        self.turn_ports(&container).await?;
        self.renew_names(&container).await;
        let snapshot = container.read().snapshot();
        self.save_container(&snapshot).await?;
        self.network_event("disconnect", &net.id, &net.name, &container.id);
        Ok(())
    }

    async fn disconnect_live(
        self: &Arc<Self>,
        container: &Arc<Container>,
        endpoint: Endpoint,
        before: [Option<String>; 2],
    ) -> Result<()> {
        let (pid, record, sandbox) = {
            let inner = container.read();
            (inner.state.pid, inner.record.clone(), inner.sandbox.clone())
        };
        let engine = Arc::clone(self);
        let gone = endpoint.clone();
        let alive = container.read().state.is_alive();
        let result = crate::blocking(move || {
            let netns = if alive { Some(namespace_of(pid)?) } else { None };
            let detached = engine.networks.disconnect(netns.as_ref(), &gone);
            engine.refresh_names(&Sandbox { endpoints: vec![gone], ..Sandbox::default() });
            if let Some(netns) = netns {
                engine.turn_routes(&netns, &before, &sandbox)?;
            }
            detached
        })
        .await;
        self.save_sandbox(container);
        self.change_hosts(&record, |text| hosts::remove_lines(text, &own_lines(&record, &endpoint)));
        result
    }

    /// Tells a running container's name server which networks and links the container has now. One that did not need a
    /// name server until now gets one.
    async fn renew_names(self: &Arc<Self>, container: &Container) {
        let (record, sandbox, alive) = {
            let inner = container.read();
            (inner.record.clone(), inner.sandbox.clone(), inner.state.is_alive())
        };
        if !alive || !(sandbox.names || sandbox.needs_names()) {
            return;
        }
        let rendered = self.resolv_conf(&record, &Sandbox { names: true, ..sandbox.clone() });
        if let Err(error) = self.write_names(&record, &sandbox, rendered.upstream) {
            tracing::error!("writing the names of container {}: {error}", container.id);
        }
        if !sandbox.names
            && let Err(error) = self.begin_names(container, &record, &rendered.text).await
        {
            tracing::error!("starting a name server for container {}: {error}", container.id);
        }
    }

    /// Goes on where the daemon before this one died while it was connecting a container to a network.
    pub(crate) async fn finish_connecting(self: &Arc<Self>, container: &Container) {
        let is_missing = {
            let inner = container.read();
            inner.sandbox.needs_names() && !inner.sandbox.names
        };
        if is_missing {
            self.renew_names(container).await;
        }
        if let Err(error) = self.turn_ports(container).await {
            tracing::error!("leading the ports of container {} to it: {error}", container.id);
        }
    }

    /// Starts the name server of a container that runs without one, and leads the container to it. If the daemon dies on
    /// the way, the next one does it again.
    async fn begin_names(self: &Arc<Self>, container: &Container, record: &Record, resolv_conf: &str) -> Result<()> {
        let (shim, pid) = {
            let inner = container.read();
            (inner.shim.clone(), inner.state.pid)
        };
        let Some(shim) = shim else { return Err(Error::internal("its shim is lost")) };
        if shim.version < VERSION_NETWORKS {
            return Err(Error::internal("it was started by an older engine: it gets one when it is started again"));
        }
        let fds = crate::blocking(move || {
            let netns = namespace_of(pid)?;
            let sockets = tare_network::dns::DnsSockets::open(&netns).map_err(network_error)?;
            Ok(vec![(FdRole::DnsUdp, sockets.udp), (FdRole::DnsTcp, sockets.tcp), (FdRole::NetNs, netns.into_fd())])
        })
        .await?;
        let serve = Op::ServeNames(ServeNames { directory: self.names_directory() });
        shim.call(serve, fds).await.map_err(|error| Error::internal(error.to_string()))?;
        let path = Files::in_directory(&self.container_directory(&record.id)).resolv_conf;
        let known = container.read().sandbox.resolv_conf;
        // What the user has changed is the user's, as the file itself says.
        in_place::change(&path, |text| (files::fingerprint(text) == known).then(|| resolv_conf.to_owned()))
            .map_err(|error| Error::io("write", path.display(), error))?;
        {
            let mut inner = container.read();
            inner.sandbox.names = true;
            inner.sandbox.resolv_conf = files::fingerprint(resolv_conf);
        }
        self.save_sandbox(container);
        Ok(())
    }

    fn change_hosts(&self, record: &Record, change: impl FnOnce(&str) -> String) {
        let path = Files::in_directory(&self.container_directory(&record.id)).hosts;
        if let Err(error) = in_place::change(&path, |text| Some(change(text))) {
            tracing::warn!("updating {}: {error}", path.display());
        }
    }

    /// Writes a running container's sandbox for a daemon that comes back.
    pub(super) fn save_sandbox(&self, container: &Container) {
        let sandbox = container.read().sandbox.clone();
        let path = self.bundle(&container.id).join(crate::container::prepare::SANDBOX_NAME);
        if let Err(error) = crate::container::prepare::write_json(&path, &sandbox) {
            tracing::error!("storing the networks of container {}: {error}", container.id);
        }
    }
}

/// The interfaces that the default routes go through.
fn routes(sandbox: &Sandbox) -> [Option<String>; 2] {
    let (v4, v6) = sandbox.default_routes();
    [v4, v6].map(|endpoint| endpoint.map(|endpoint| endpoint.endpoint_id.clone()))
}

/// The lines about an endpoint in the container's hosts file.
pub(crate) fn own_lines(record: &Record, endpoint: &Endpoint) -> Vec<(std::net::IpAddr, String)> {
    let names = hosts::own_names(&record.config.hostname, &record.config.domainname);
    let ipv6 = files::has_ipv6(&record.host_config);
    endpoint.addresses().filter(|address| ipv6 || address.is_ipv4()).map(|address| (address, names.clone())).collect()
}

/// The network namespace of a running container.
pub(crate) fn namespace_of(pid: i32) -> Result<Netns> {
    let path = crate::container::start::namespace_path(pid, "net");
    let file = std::fs::File::open(&path).map_err(|error| Error::io("open", path.display(), error))?;
    Ok(Netns::adopt(file.into()))
}
