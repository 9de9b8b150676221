//! Ports of a container that runs on networks without a way in: they are published when it is connected to one that has
//! one.

use std::net::SocketAddr;
use std::sync::Arc;

use tare_network::{PortMapping, Protocol};
use tare_shim_protocol::{Op, VERSION_PUBLISH};

use super::ports;
use crate::Engine;
use crate::container::Container;
use crate::error::{Error, Result};

/// Who has the daemon's own ports.
const DAEMON: &str = "daemon";
/// What a start says before the words about ports, and a connection does not.
const OF_A_START: &str = "failed to set up container networking: ";

impl Engine {
    /// Notes TCP ports that the daemon itself listens on: containers are told that they are taken.
    pub fn reserve_ports(&self, addresses: &[SocketAddr]) {
        let mapping = |address: &SocketAddr| PortMapping {
            protocol: Protocol::Tcp,
            host_ip: address.ip(),
            host_port: address.port(),
            container_ip: address.ip(),
            container_port: address.port(),
        };
        self.networks.ports.reserve(DAEMON, &addresses.iter().map(mapping).collect::<Vec<_>>());
    }

    /// Publishes what a running container asks for, if nothing of it is published yet and it can be reached now.
    pub(super) async fn publish_late(self: &Arc<Self>, container: &Container) -> Result<()> {
        let (record, sandbox, shim) = {
            let inner = container.read();
            (inner.record.clone(), inner.sandbox.clone(), inner.shim.clone())
        };
        // One that an older engine started gets them when it is started again.
        let Some(shim) = shim.filter(|shim| shim.version >= VERSION_PUBLISH && sandbox.mappings.is_empty()) else {
            return Ok(());
        };
        let default_ip = self.networks.default_binding(&sandbox).or(self.config.default_bind_address);
        let requests = ports::requests(&record.config, &record.host_config, default_ip)?;
        let engine = Arc::clone(self);
        let (id, name) = (record.id, record.name);
        let bound = crate::blocking(move || engine.networks.publish(&id, &name, &sandbox, &requests)).await;
        let bound = bound.map_err(|error| {
            let words = error.message.strip_prefix(OF_A_START).unwrap_or(&error.message).to_owned();
            Error { message: words, ..error }
        })?;
        let (mappings, sockets) = ports::held(bound);
        if mappings.is_empty() {
            return Ok(());
        }
        // Should the daemon die now, the next one finds a port that leads to the container and is held by nobody, rather
        // than one that is taken and leads nowhere.
        container.read().sandbox.mappings.clone_from(&mappings);
        self.save_sandbox(container);
        let Err(error) = shim.call(Op::Publish, sockets).await else { return Ok(()) };
        self.networks.unpublish(&container.id, &mappings);
        container.read().sandbox.mappings.clear();
        self.save_sandbox(container);
        Err(Error::internal(error.to_string()))
    }
}
