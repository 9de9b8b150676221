//! What the product does: use cases on containers, images, networks and volumes, the state machine of a container,
//! restarts, recovery, events. No HTTP, no system calls of its own beyond files and sockets.
//!
//! In reading order: [`config`] and [`options`] (what callers say), [`error`], [`events`], `container` (the heart),
//! `spec` (a container's record becomes its runtime specification), `shim` (the process beside each container),
//! `network`, `volume`, `image`, `build` (what a builder needs), `build_cache` and `cache_selector`, `recover` (after a restart of the daemon) with `claim`, `reload` (other settings), `system` (info, version, disk usage).
#![forbid(unsafe_code)]

pub mod config;
pub mod error;
pub mod events;
pub mod options;

mod build;
mod build_cache;
mod cache_selector;
mod claim;
mod container;
mod filter;
mod host;
mod image;
mod logging;
mod network;
mod recover;
mod reload;
mod shim;
mod spec;
mod system;
mod volume;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};

use tare_cgroup::{Cgroup, Hierarchies, Version};
use tare_images::ImageStore;
use tare_state::{Change, Kind, Store};

pub use build_cache::Bounds;
pub use cache_selector::CacheSelector;
pub use config::{DefaultBridge, EngineConfig, Reloadable, SeccompProfile};
pub use container::attach::AttachTicket;
pub use container::exec::ExecTicket;
pub use error::{Error, ErrorKind, Result};
pub use options::*;
pub use system::without_password;
pub use tare_network::{Cidr, Pools};

use container::Container;
use container::index::Index;
use container::record::Record;
use spec::security::Facts;

/// Longest wait for a spare shim to end.
const SPARE_END_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);

/// The engine. One per data root; see [`Engine::open`].
pub struct Engine {
    me: Weak<Engine>,
    config: EngineConfig,
    /// Part of the name of everything this engine makes on the host.
    instance: String,
    /// ID of this engine for `info`.
    id: String,
    facts: Facts,
    hierarchies: Hierarchies,
    store: Arc<Store>,
    events: events::Events,
    index: RwLock<Index>,
    execs: container::exec::Execs,
    spares: Arc<shim::Spares>,
    images: Arc<ImageStore>,
    current: reload::Current,
    networks: network::Networks,
    volumes: volume::Volumes,
    held: volume::held::Held,
    exit_hook: OnceLock<events::ExitHook>,
    /// The machine ends: nothing is started any more.
    ending: AtomicBool,
    /// Held for as long as the engine uses its data root.
    _lock: std::fs::File,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("instance", &self.instance).finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the data root, takes its lock, adopts what runs. What should run and does not is started by
    /// [`Engine::go_on`].
    pub async fn open(config: EngineConfig) -> Result<Arc<Self>> {
        let engine = blocking(move || Self::build(config)).await?;
        engine.recover().await?;
        Ok(engine)
    }

    fn build(mut config: EngineConfig) -> Result<Arc<Self>> {
        make_directory(&config.data_root, 0o710)?;
        make_directory(&config.exec_root, 0o711)?;
        config.data_root = config
            .data_root
            .canonicalize()
            .map_err(|error| Error::io("realpath", config.data_root.display(), error))?;
        let lock = host::lock(&config.data_root.join("engine.lock"))?;
        let instance = host::instance(&config.data_root);
        for name in ["containers", "volumes"] {
            make_directory(&config.data_root.join(name), 0o711)?;
        }
        make_directory(&config.exec_root.join("containers"), 0o711)?;
        make_directory(&config.exec_root.join("names"), 0o711)?;
        make_directory(&config.exec_root.join(volume::sources::PLACES), 0o711)?;
        let store = Arc::new(Store::open(&config.data_root.join("state.db"))?);
        let hierarchies = Hierarchies::detect().map_err(|error| Error::internal(error.to_string()))?;
        let facts = host::facts(&config, hierarchies.version() == Version::V2)?;
        let images = ImageStore::open(&config.data_root.join("images")).map_err(image::error)?;
        config.reloadable.registries()?;
        logging::config::check(&config.log_driver, &config.log_opts.clone().into_iter().collect())
            .map_err(|error| error.context("failed to set log opts: "))?;
        let (registry, limits) = image::transfer::settings(&config.reloadable);
        let distribution = tare_distribution::Distribution::new(images.clone(), registry, limits);
        let networks = network::Networks::open(&config, &instance, Arc::clone(&store))?;
        let volumes = volume::Volumes::open(config.data_root.join("volumes"), Arc::clone(&store))?;
        let held = volume::held::Held::new(config.exec_root.join(volume::sources::PLACES));
        let id = host::engine_id(&config.data_root, &store)?;
        let spares = shim::Spares::start(&config.shim, format!("/tare-{instance}"))
            .map_err(|error| Error::io("open", config.shim.display(), error))?;
        Ok(Arc::new_cyclic(|me| Self {
            me: me.clone(),
            id,
            facts,
            hierarchies,
            store,
            events: events::Events::new(),
            index: RwLock::default(),
            execs: container::exec::Execs::default(),
            spares,
            current: reload::Current::new(config.reloadable.clone(), distribution),
            images: Arc::new(images),
            networks,
            volumes,
            held,
            exit_hook: OnceLock::new(),
            ending: AtomicBool::new(false),
            instance,
            config,
            _lock: lock,
        }))
    }

    /// Ends the engine's own helpers. Containers go on running; without any, nothing of the engine stays on the machine.
    pub async fn shut_down(self: &Arc<Self>) {
        for spare in self.spares.drain().await {
            drop(spare.socket);
            // Out of patience, the next start of the engine removes what it left.
            let _ = tokio::time::timeout(SPARE_END_TIMEOUT, shim::spawn::ended(spare.pid)).await;
        }
        if self.all_containers().iter().any(|container| container.read().state.is_alive()) {
            return;
        }
        let engine = Arc::clone(self);
        let removed = blocking(move || {
            engine.networks.take_down()?;
            let cgroup = Cgroup::open(&engine.hierarchies, &format!("/tare-{}", engine.instance));
            cgroup.remove().map_err(|error| Error::internal(error.to_string()))
        });
        if let Err(error) = removed.await {
            tracing::warn!("leaving the machine clean: {error}");
        }
    }

    pub(crate) fn find(&self, reference: &str) -> Result<Arc<Container>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).find(reference)
    }

    pub(crate) fn all_containers(&self) -> Vec<Arc<Container>> {
        self.index.read().unwrap_or_else(PoisonError::into_inner).all()
    }

    /// A container's names as lists show them: its own first, then those that links gave it.
    pub(crate) fn names_of(&self, id: &str, name: &str) -> Vec<String> {
        let all = self.index.read().unwrap_or_else(PoisonError::into_inner).names_of(id);
        let others = all.into_iter().filter(|other| other != name);
        std::iter::once(name.to_owned()).chain(others).map(|name| format!("/{name}")).collect()
    }

    /// Where a container's files are.
    pub(crate) fn container_directory(&self, id: &str) -> PathBuf {
        self.config.data_root.join("containers").join(id)
    }

    /// Where a running container's bundle is.
    pub(crate) fn bundle(&self, id: &str) -> PathBuf {
        self.config.exec_root.join("containers").join(id)
    }

    /// A container's cgroup below the root of each hierarchy.
    pub(crate) fn cgroup_path(&self, record: &Record) -> String {
        let own = record.host_config.resources.cgroup_parent.as_str();
        let parent = if own.is_empty() { self.config.cgroup_parent.as_deref().unwrap_or_default() } else { own };
        if parent.is_empty() {
            format!("/tare-{}/{}", self.instance, record.id)
        } else {
            format!("/{}/{}", parent.trim_matches('/'), record.id)
        }
    }

    pub(crate) fn cgroup(&self, container: &Container) -> Cgroup {
        Cgroup::open(&self.hierarchies, &self.cgroup_path(&container.read().record))
    }

    /// Publishes an event about a container.
    pub(crate) fn container_event(&self, container: &Container, action: &str) {
        let attributes = container::attributes(&container.read().record);
        self.events.publish("container", action, &container.id, attributes);
    }

    /// Commits changes to the state database.
    pub(crate) async fn write(&self, changes: Vec<Change>) -> Result<()> {
        let (sender, done) = tokio::sync::oneshot::channel();
        self.store.write(
            changes,
            Box::new(move |result| {
                // A caller that was cancelled does not want the answer.
                let _ = sender.send(result);
            }),
        );
        done.await.map_err(|_| Error::from(tare_state::Error::Closed))?.map_err(Error::from)
    }

    /// Stores a container's record, durably.
    pub(crate) async fn save_container(&self, record: &Record) -> Result<()> {
        self.write(vec![put(record)?]).await
    }

    /// Stores a container's record without waiting for the disk: for what can be found out again.
    pub(crate) fn save_later(&self, record: &Record) {
        match put(record) {
            Ok(change) => self.write_later(vec![change], &record.id),
            Err(error) => tracing::error!("storing container {}: {error}", record.id),
        }
    }

    /// Commits changes about a container without waiting.
    pub(crate) fn write_later(&self, changes: Vec<Change>, id: &str) {
        let id = id.to_owned();
        self.store.write(
            changes,
            Box::new(move |result| {
                if let Err(error) = result {
                    tracing::error!("storing container {id}: {error}");
                }
            }),
        );
    }
}

fn put(record: &Record) -> Result<Change> {
    let body = serde_json::to_string(record).map_err(|error| Error::internal(error.to_string()))?;
    Ok(Change::Put(Kind::Container, record.id.clone(), body))
}

/// Runs work that blocks on a thread of its own.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal(error.to_string()))?
}

/// Removes a directory and everything in it; absent is fine, other failures are logged.
pub(crate) fn remove_tree(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!("removing {}: {error}", path.display());
    }
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let failed = |error| Error::io("mkdir", path.display(), error);
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)
}
