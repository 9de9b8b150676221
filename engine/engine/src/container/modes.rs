//! Namespaces that a container has from others: another container's, the host's.

use std::os::fd::OwnedFd;

use tare_docker_api::container::HostConfig;
use tare_shim_protocol::FdRole;

use super::record::Record;
use super::start::namespace_path;
use crate::Engine;
use crate::error::{Error, Result};
use crate::spec::Place;
use crate::spec::mounts::SHM;
use crate::spec::security;

/// Namespaces by who has them.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) pid: Place,
    pub(crate) ipc: Place,
    pub(crate) uts: Place,
    pub(crate) network: Place,
}

impl Engine {
    /// Modes name another container by its ID from now on, so that it can be renamed.
    pub(super) fn name_modes_by_id(&self, host: &mut HostConfig) {
        for mode in [&mut host.network_mode, &mut host.pid_mode, &mut host.ipc_mode] {
            if let Some(other) = mode.strip_prefix("container:").and_then(|other| self.find(other).ok()) {
                *mode = format!("container:{}", other.id);
            }
        }
    }

    /// Modes that name other containers are checked early; whether those run matters at start.
    pub(super) fn check_modes(&self, host: &HostConfig) -> Result<()> {
        for (mode, what) in [
            (&host.network_mode, "network namespace"),
            (&host.pid_mode, "PID namespace"),
            (&host.ipc_mode, "IPC namespace"),
        ] {
            let Some(other) = mode.strip_prefix("container:").filter(|_| what != "network namespace") else { continue };
            // Not 404, which clients take for a missing image.
            self.find(other).map_err(|error| Error::invalid(error.message))?;
        }
        security::options(host, &self.facts).map(|_| ())
    }

    /// Which namespaces are shared with whom.
    pub(crate) fn places(&self, record: &Record) -> Result<Places> {
        let host = &record.host_config;
        let place = |mode: &str, namespace: &str| -> Result<Place> {
            match mode {
                "host" => Ok(Place::Host),
                mode => match mode.strip_prefix("container:") {
                    None => Ok(Place::Own),
                    Some(other) => {
                        Ok(Place::Join(namespace_path(self.namespace_owner(&record.id, other, namespace)?, namespace)))
                    }
                },
            }
        };
        let joined = host.network_mode.strip_prefix("container:").is_some();
        let uts = match host.uts_mode.as_str() {
            // A container in another's network shares its hostname, as the names in it do.
            "" if joined => place(&host.network_mode, "uts")?,
            mode => place(mode, "uts")?,
        };
        Ok(Places {
            pid: place(&host.pid_mode, "pid")?,
            ipc: place(&host.ipc_mode, "ipc")?,
            uts,
            network: place(&host.network_mode, "net")?,
        })
    }

    /// The init of a running container whose namespace the container `own` is to join.
    fn namespace_owner(&self, own: &str, reference: &str, namespace: &str) -> Result<i32> {
        let words = match namespace {
            "net" | "uts" => "network",
            "pid" => "PID",
            _ => "IPC",
        };
        let other = self.find(reference).map_err(|error| {
            if words == "network" {
                return Error::internal(format!("joining network namespace of container: {error}"));
            }
            Error::internal(format!("failed to join {words} namespace: {error}"))
        })?;
        if words == "network" && other.id == own {
            return Err(Error::internal("cannot join own network namespace"));
        }
        let inner = other.read();
        if !inner.state.is_alive() {
            if words != "network" {
                let error = Error::not_running(&other.id).message;
                return Err(Error::internal(format!("failed to join {words} namespace: {error}")));
            }
            return Err(Error::conflict(format!(
                "cannot join {words} namespace of a non running container: container {reference} is {}",
                inner.state.status.word()
            )));
        }
        if words == "IPC" && matches!(inner.record.host_config.ipc_mode.as_str(), "private" | "none") {
            return Err(Error::invalid(format!(
                "failed to join IPC namespace: container {}: non-shareable IPC (hint: use IpcMode:shareable for the \
                 donor container)",
                other.id
            )));
        }
        Ok(inner.state.pid)
    }

    /// The shared memory of the container whose IPC namespace is joined, unless something else is to be in its place.
    pub(crate) fn shared_memory(&self, record: &Record) -> Result<Option<(FdRole, OwnedFd)>> {
        let Some(other) = record.host_config.ipc_mode.strip_prefix("container:") else { return Ok(None) };
        if record.mounts.iter().any(|mount| mount.destination == SHM) {
            return Ok(None);
        }
        let pid = self.namespace_owner(&record.id, other, "ipc")?;
        let tree = tare_images::view::shared_memory_of_process(pid).map_err(crate::image::error)?;
        Ok(Some((FdRole::Mount { destination: SHM.into() }, tree)))
    }
}
