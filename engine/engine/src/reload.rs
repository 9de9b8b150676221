//! Settings that change while the engine runs.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use tare_distribution::Distribution;
use tare_docker_api::go::{List, Map};
use tare_docker_api::system::{IndexInfo, RegistryConfig};
use tare_registry::settings::{insecure, mirrors};

use crate::config::Reloadable;
use crate::error::{Error, Result};
use crate::{Engine, host, image};

/// Docker Hub's name.
const HUB: &str = "docker.io";

/// The settings that hold now, and what was made with them.
pub(crate) struct Current(RwLock<(Arc<Reloadable>, Distribution)>);

impl Current {
    pub(crate) fn new(settings: Reloadable, distribution: Distribution) -> Self {
        Self(RwLock::new((Arc::new(settings), distribution)))
    }
}

impl Reloadable {
    /// What they say about registries, as Docker shows it. Errors: what cannot be a mirror, or a registry.
    pub fn registries(&self) -> Result<RegistryConfig> {
        let mirrors = mirrors(&self.registry_mirrors).map_err(Error::invalid)?;
        let insecure = insecure(&self.insecure_registries).map_err(Error::invalid)?;
        let index = |name: String| (name.clone(), IndexInfo { name, mirrors: List::empty(), ..IndexInfo::default() });
        let mut indexes: BTreeMap<String, IndexInfo> = insecure.hosts.into_iter().map(index).collect();
        let hub = IndexInfo { name: HUB.to_owned(), mirrors: mirrors.clone().into(), secure: true, official: true };
        indexes.insert(HUB.to_owned(), hub);
        Ok(RegistryConfig {
            insecure_registry_cidrs: insecure.networks.into(),
            index_configs: Map::from(indexes),
            mirrors: mirrors.into(),
        })
    }
}

impl Engine {
    /// The settings as they are now.
    pub fn settings(&self) -> Arc<Reloadable> {
        Arc::clone(&self.current.0.read().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// What moves images, with the settings as they are now.
    pub fn distribution(&self) -> Distribution {
        self.current.0.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Changes settings, and tells those who follow events. Errors: [`Reloadable::registries`]'s; nothing has changed then.
    pub fn reload(&self, settings: Reloadable) -> Result<()> {
        settings.registries()?;
        let attributes = attributes(&settings, self.facts.unified_cgroups);
        {
            let mut current = self.current.0.write().unwrap_or_else(PoisonError::into_inner);
            let (registry, limits) = image::transfer::settings(&settings);
            let distribution = current.1.with(registry, limits);
            *current = (Arc::new(settings), distribution);
        }
        self.events.publish("daemon", "reload", &self.id, attributes);
        Ok(())
    }
}

/// What dockerd says of a reload, in its forms.
fn attributes(settings: &Reloadable, unified_cgroups: bool) -> BTreeMap<String, String> {
    let list = |values: &[String]| serde_json::Value::from(values).to_string();
    let cgroupns = if unified_cgroups { "private" } else { "host" };
    let attributes = [
        ("name", host::hostname()),
        ("debug", settings.debug.to_string()),
        ("max-concurrent-downloads", settings.max_concurrent_downloads.to_string()),
        ("max-concurrent-uploads", settings.max_concurrent_uploads.to_string()),
        ("max-download-attempts", settings.max_download_attempts.to_string()),
        ("shutdown-timeout", settings.shutdown_timeout_s.to_string()),
        ("labels", list(&settings.labels)),
        ("insecure-registries", list(&settings.insecure_registries)),
        ("registry-mirrors", list(&settings.registry_mirrors)),
        ("default-shm-size", settings.shm_size.to_string()),
        ("default-ipc-mode", settings.ipc_mode.clone()),
        ("default-cgroupns-mode", settings.cgroupns_mode.clone().unwrap_or_else(|| cgroupns.to_owned())),
        // What is never otherwise here.
        ("live-restore", "true".to_owned()),
        ("features", "map[]".to_owned()),
        ("runtimes", String::new()),
        ("default-runtime", "tare".to_owned()),
    ];
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
