//! Changing a container: its name, its limits, its restart policy.

use std::sync::PoisonError;

use tare_docker_api::container::{Resources, UpdateRequest, UpdateResponse};
use tare_docker_api::go::GoValue as _;

use super::{names, validate};
use crate::Engine;
use crate::error::{Error, Result};
use crate::spec;

impl Engine {
    /// Renames a container.
    pub async fn rename(&self, name: &str, new_name: &str) -> Result<()> {
        if name.is_empty() || new_name.is_empty() {
            return Err(Error::invalid("Neither old nor new names may be empty"));
        }
        let container = self.find(name)?;
        let _operation = container.operation.lock().await;
        let new = new_name.strip_prefix('/').unwrap_or(new_name);
        let old = container.name();
        if new == old {
            return Err(Error::invalid("Renaming a container with the same name as its current name"));
        }
        let allocate = |error: Error| error.context("Error when allocating new name: ");
        names::validate(&format!("/{new}")).map_err(allocate)?;
        {
            let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
            index.reserve_name(new, &container.id).map_err(allocate)?;
            for (child, alias) in &container.read().record.links {
                // Links are called after their parent.
                index.release_name(&format!("{old}/{alias}"), child);
                index.reserve_name(&format!("{new}/{alias}"), child)?;
            }
            index.release_name(&old, &container.id);
        }
        let snapshot = {
            let mut inner = container.read();
            new.clone_into(&mut inner.record.name);
            for link in &mut *inner.record.host_config.links {
                *link = link.replace(&format!(":/{old}/"), &format!(":/{new}/"));
            }
            inner.snapshot()
        };
        self.save_container(&snapshot).await?;
        let mut attributes = super::attributes(&snapshot);
        attributes.insert("oldName".to_owned(), format!("/{old}"));
        self.events.publish("container", "rename", &container.id, attributes);
        Ok(())
    }

    /// Changes limits and the restart policy of a container, running or not.
    pub async fn update(&self, name: &str, request: UpdateRequest) -> Result<UpdateResponse> {
        let container = self.find(name)?;
        let _operation = container.operation.lock().await;
        let failed = |error: Error| error.context(format!("Cannot update container {}: ", container.id));
        let mut asked = request.resources.clone();
        if asked.memory == 0 && asked.memory_swap > 0 {
            // Swap alone is changed beside the memory that there is.
            asked.memory = container.read().record.host_config.resources.memory;
        }
        validate::resources(&asked, self.facts.cpus)?;
        let policy = &request.restart_policy;
        validate::restart_policy(policy)?;
        let (mut resources, auto_remove) = {
            let inner = container.read();
            (inner.record.host_config.resources.clone(), inner.record.host_config.auto_remove)
        };
        if auto_remove && !matches!(policy.name.as_str(), "" | "no") {
            return Err(Error::conflict(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
        merge(&mut resources, &request.resources).map_err(failed)?;
        if container.read().state.is_alive() {
            let lifted = request.resources.pids_limit.is_some_and(|limit| limit <= 0);
            let mut applied = resources.clone();
            applied.pids_limit = if lifted { Some(-1) } else { applied.pids_limit };
            let limits = spec::resources::of(&applied, Vec::new())?;
            let cgroup = self.cgroup(&container);
            let version = self.hierarchies.version();
            crate::blocking(move || {
                let plan =
                    tare_cgroup::plan_update(&limits, version).map_err(|error| Error::internal(error.to_string()))?;
                cgroup.apply(&plan).map_err(|error| Error::internal(error.to_string()))
            })
            .await
            .map_err(failed)?;
        }
        let snapshot = {
            let mut inner = container.read();
            inner.record.host_config.resources = resources;
            if !policy.name.is_empty() {
                inner.record.host_config.restart_policy = policy.clone();
            }
            inner.snapshot()
        };
        self.save_container(&snapshot).await?;
        self.container_event(&container, "update");
        Ok(UpdateResponse::default())
    }
}

/// Takes over what a request sets; zero values leave things as they are.
fn merge(own: &mut Resources, new: &Resources) -> Result<()> {
    macro_rules! take {
        ($($field:ident),*) => {$(
            if !new.$field.is_empty() {
                own.$field.clone_from(&new.$field);
            }
        )*};
    }
    if new.nano_cpus != 0 && own.cpu_period > 0 {
        return Err(Error::conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
        ));
    }
    if new.nano_cpus != 0 && own.cpu_quota > 0 {
        return Err(Error::conflict(
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set",
        ));
    }
    for (given, name) in [(new.cpu_period, "CPU Period"), (new.cpu_quota, "CPU Quota")] {
        if given != 0 && own.nano_cpus > 0 {
            return Err(Error::conflict(format!(
                "Conflicting options: {name} cannot be updated as NanoCPUs has already been set"
            )));
        }
    }
    if new.memory > 0 && new.memory_swap == 0 && own.memory_swap > 0 && new.memory > own.memory_swap {
        return Err(Error::invalid(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        ));
    }
    take!(
        blkio_weight,
        blkio_weight_device,
        blkio_device_read_bps,
        blkio_device_write_bps,
        blkio_device_read_iops,
        blkio_device_write_iops,
        cpu_shares,
        nano_cpus,
        cpu_period,
        cpu_quota,
        cpuset_cpus,
        cpuset_mems,
        memory,
        memory_swap,
        memory_reservation,
        cpu_realtime_period,
        cpu_realtime_runtime
    );
    if let Some(limit) = new.pids_limit {
        own.pids_limit = Some(limit.max(0));
    }
    Ok(())
}
