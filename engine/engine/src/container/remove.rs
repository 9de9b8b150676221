//! Removing containers.

use std::sync::{Arc, PoisonError};

use tare_docker_api::container::PruneReport;
use tare_docker_api::filters::Filters;
use tare_docker_api::go::List;
use tare_state::{Change, Kind};

use super::Container;
use super::record::{MountKind, Record};
use super::state::Status;
use crate::Engine;
use crate::error::{Error, Result};
use crate::options::RemoveOptions;
use crate::volume::sources::image_layer;

impl Engine {
    /// Removes a container, or with `link` only a link's name.
    pub async fn remove(self: &Arc<Self>, name: &str, options: RemoveOptions) -> Result<()> {
        if options.link {
            return self.remove_link(name).await;
        }
        let container = self.find(name)?;
        if container.read().state.status == Status::Removing {
            return Err(Error::conflict(format!("removal of container {name} is already in progress")));
        }
        let _operation = container.operation.lock().await;
        let status = container.read().state.status;
        let refuse = |why: &str| Err(Error::conflict(format!("cannot remove container {name:?}: {why}")));
        match status {
            Status::Paused if !options.force => return refuse("container is paused and must be unpaused first"),
            Status::Running | Status::Restarting if !options.force => {
                return refuse(&format!(
                    "container is {}: stop the container before removing or force remove",
                    status.word()
                ));
            }
            // Its own removal at its end was faster.
            Status::Removing => return Err(Error::no_such_container(name)),
            _ => {}
        }
        // `--rm`: it is this removal that takes it at its end.
        let volumes = {
            let mut inner = container.read();
            inner.kept = true;
            options.volumes || (inner.state.is_alive() && inner.record.host_config.auto_remove)
        };
        let removed = match self.end_for_removal(&container).await {
            Ok(()) => self.remove_container(&container, volumes).await,
            failed => failed,
        };
        container.read().kept = false;
        removed
    }

    async fn end_for_removal(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        if container.read().state.status == Status::Restarting {
            self.stop_locked(container, &crate::options::StopOptions::default()).await?;
        }
        if container.read().state.is_alive() {
            self.force_kill(container).await.map_err(|error| {
                error.context(format!("cannot remove container {:?}: could not kill container: ", container.name()))
            })?;
        }
        Ok(())
    }

    /// Removes a container that does not run. Answers when its record is gone; what the kernel takes longer for goes on
    /// behind it.
    pub(crate) async fn remove_container(self: &Arc<Self>, container: &Arc<Container>, volumes: bool) -> Result<()> {
        self.finish_forwarding(container).await;
        let before = {
            let mut inner = container.read();
            if inner.state.status == Status::Removing {
                return Err(Error::no_such_container(&container.id));
            }
            inner.tasks.drain(..).for_each(|task| task.abort());
            std::mem::replace(&mut inner.state.status, Status::Removing)
        };
        let record = container.read().record.clone();
        if let Err(error) = self.delete_record(&record, volumes).await {
            // It stays, and can be tried again.
            container.read().state.status = before;
            return Err(error);
        }
        container.read().waiting_clients.clear();
        self.index.write().unwrap_or_else(PoisonError::into_inner).remove(&container.id);
        self.execs.container_removed(&container.id);
        self.events.publish("container", "destroy", &container.id, super::attributes(&record));
        container.announce(|progress| {
            progress.running = false;
            progress.removed = true;
        });
        let engine = Arc::clone(self);
        tokio::task::spawn_blocking(move || engine.remove_traces(&record));
        Ok(())
    }

    /// Deletes a container's record, with its anonymous volumes or without, all in one commit.
    async fn delete_record(&self, record: &Record, volumes: bool) -> Result<()> {
        let release = self.release_volumes(record, volumes);
        let mut changes = release.changes()?;
        changes.push(Change::Delete(Kind::Container, record.id.clone()));
        if record.host_config.auto_remove {
            // Should the deletion be lost, the next start of the engine makes up for it.
            self.write_later(changes, &record.id);
        } else {
            self.write(changes).await?;
        }
        for name in release.finish() {
            self.volume_event("destroy", &name, &[]);
        }
        Ok(())
    }

    /// Removes what a container has on disk. Failures are logged: the next start of the engine tries again.
    pub(crate) fn remove_traces(&self, record: &super::record::Record) {
        let id = record.id.as_str();
        for mount in record.mounts.iter().filter(|mount| mount.kind == MountKind::Image) {
            let layer = image_layer(id, &mount.destination);
            if let Err(error) = self.images.remove_rw_layer(&layer) {
                tracing::warn!("removing what container {id} changed in an image: {error}");
            }
        }
        if let Err(error) = self.images.remove_rw_layer(id) {
            tracing::warn!("removing the file system of container {id}: {error}");
        }
        crate::remove_tree(&self.bundle(id));
        self.forget_names(id);
        crate::remove_tree(&self.container_directory(id));
    }

    /// A container with `--rm` whose start failed must not stay.
    pub(crate) async fn remove_failed(self: &Arc<Self>, container: &Arc<Container>) {
        if let Err(error) = self.remove_container(container, true).await {
            tracing::warn!("removing container {} after its start failed: {error}", container.id);
        }
    }

    async fn remove_link(&self, name: &str) -> Result<()> {
        let path = name.strip_prefix('/').unwrap_or(name);
        let Some((parent, alias)) = path.split_once('/') else {
            self.find(name)?;
            return Err(Error::internal("Conflict, cannot remove the default link name of the container"));
        };
        let child = self.find(path)?;
        let parent = self.find(parent)?;
        let snapshot = {
            let mut inner = parent.read();
            inner.record.links.retain(|(id, own)| *id != child.id || own != alias);
            let suffix = format!(":/{path}");
            inner.record.host_config.links.retain(|link| !link.ends_with(&suffix));
            if inner.record.host_config.links.is_empty() {
                // As in a container that never had any.
                inner.record.host_config.links = List::default();
            }
            inner.snapshot()
        };
        self.index.write().unwrap_or_else(PoisonError::into_inner).release_name(path, &child.id);
        self.save_container(&snapshot).await
    }

    /// Removes every container that does not run and that the filters let through.
    pub async fn prune_containers(self: &Arc<Self>, filters: Filters) -> Result<PruneReport> {
        let until = crate::filter::prune_until(&filters, &["label", "label!", "until"])?;
        let mut report = PruneReport::default();
        for container in self.all_containers() {
            let record = {
                let inner = container.read();
                let idle = matches!(inner.state.status, Status::Created | Status::Exited | Status::Dead);
                if !idle || until.is_some_and(|until| inner.record.created_at >= until) {
                    continue;
                }
                inner.record.clone()
            };
            if !crate::filter::labels_match(&filters, &record.config.labels) {
                continue;
            }
            let _operation = container.operation.lock().await;
            if container.read().state.counts_as_running() {
                continue;
            }
            let size = self.snapshot_size(&container.id);
            if self.remove_container(&container, false).await.is_ok() {
                report.containers_deleted.push(container.id.clone());
                report.space_reclaimed += size;
            }
        }
        let mut attributes = std::collections::BTreeMap::new();
        attributes.insert("reclaimed".to_owned(), report.space_reclaimed.to_string());
        self.events.publish("container", "prune", "", attributes);
        Ok(report)
    }
}
