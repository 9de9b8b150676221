//! Pausing: the processes of a container stand still, and go on.

use std::sync::Arc;

use tare_shim_protocol::ShimState;

use super::state::Status;
use super::{Container, signal};
use crate::Engine;
use crate::error::{Error, Result};

impl Engine {
    /// Freezes a container.
    pub async fn pause(self: &Arc<Self>, name: &str) -> Result<()> {
        let container = self.find(name)?;
        let _operation = container.operation.lock().await;
        let status = container.read().state.status;
        match status {
            Status::Running => {}
            Status::Paused => return Err(Error::conflict(format!("container {} is already paused", container.id))),
            Status::Restarting => return Err(Error::restarting(&container.id)),
            _ => return Err(Error::not_running(&container.id)),
        }
        let failed = |error| Error::internal(format!("cannot pause container {}: {error}", container.id));
        let cgroup = self.cgroup(&container);
        cgroup.freeze().map_err(|error| failed(error.to_string()))?;
        let snapshot = container.set_status(Status::Paused);
        // Known before anybody is told: a daemon that comes back lets everything go on that it does not know to be paused.
        if let Err(error) = self.save_container(&snapshot).await {
            container.set_status(Status::Running);
            cgroup.thaw().map_err(|error| failed(error.to_string()))?;
            return Err(failed(error.to_string()));
        }
        self.container_event(&container, "pause");
        Ok(())
    }

    /// Lets a frozen container go on.
    pub async fn unpause(self: &Arc<Self>, name: &str) -> Result<()> {
        let container = self.find(name)?;
        let _operation = container.operation.lock().await;
        self.unpause_locked(&container)
    }

    pub(crate) fn unpause_locked(&self, container: &Arc<Container>) -> Result<()> {
        if container.read().state.status != Status::Paused {
            return Err(Error::internal(format!("Container {} is not paused", container.id)));
        }
        self.cgroup(container)
            .thaw()
            .map_err(|error| Error::internal(format!("cannot unpause container {}: {error}", container.id)))?;
        self.save_later(&container.set_status(Status::Running));
        self.container_event(container, "unpause");
        Ok(())
    }

    /// Whether a container that was found again stands still because it was paused. Otherwise it goes on: a daemon that
    /// ended in the middle of pausing has told nobody, and one that ended in the middle of a commit would have let it go
    /// on. So does a container that is killed already, which shows only then (v1).
    pub(crate) async fn stays_paused(&self, container: &Container, shim: &ShimState) -> bool {
        let recorded = container.read().state.status == Status::Paused;
        let (cgroup, pid) = (self.cgroup(container), shim.pid);
        let stays = crate::blocking(move || {
            // No freezer, so never paused; or it is just being removed.
            let Ok(frozen) = cgroup.frozen() else { return Ok(recorded) };
            let killed = tare_sys::procfs::is_pending(pid, signal::KILL).unwrap_or(false);
            let stays = frozen && recorded && !killed;
            if !stays && let Err(error) = cgroup.thaw() {
                tracing::warn!("letting {} go on: {error}", cgroup.path());
            }
            Ok(stays)
        });
        stays.await.unwrap_or(recorded)
    }
}

impl Container {
    /// Sets the status of a container that has not ended meanwhile; gives what is to be stored.
    fn set_status(&self, status: Status) -> super::record::Record {
        let mut inner = self.read();
        if inner.state.is_alive() {
            inner.state.status = status;
        }
        inner.snapshot()
    }
}
