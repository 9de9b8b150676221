//! Images between this machine and everywhere else: what `docker pull`, `push`, `load`, `save`, `import`, `commit`,
//! `rmi` and `image prune` do, over the image store and the registry client.
//!
//! In reading order:
//! * here: [`Distribution`]
//! * [`pull`], over [`transfer`]: a layer from socket to unpacked files in one go
//! * [`push`]
//! * [`load`], [`save`]: archives of images
//! * [`create`]: images from a file tree or a container's changes, with [`changes`] to their configuration
//! * [`steps`]: the images of a build's steps
//! * [`remove`]: images and what keeps them; [`inspect`]: what a registry has
//! * [`progress`], [`error`]
//!
//! What users read is Docker's: [`tare_docker_api::stream::JsonMessage`] and the texts of [`Error`].
#![forbid(unsafe_code)]

pub mod changes;
pub mod create;
pub mod error;
pub mod inspect;
pub mod load;
mod locks;
pub mod progress;
pub mod pull;
pub mod push;
pub mod remove;
mod remove_platforms;
pub mod save;
pub mod steps;
mod transfer;

use std::sync::Arc;

use tare_docker_api::stream::JsonMessage;
use tare_images::{ImageStore, Lease};
use tare_registry::Registry;
use tokio::sync::Semaphore;

pub use create::{Commit, Import};
pub use error::{Error, Kind, Result};
pub use inspect::Inspected;
pub use load::Loaded;
pub use pull::Pulled;
pub use remove::{Pruned, Removal, Use};
pub use steps::{BuildHold, Taken};
pub use transfer::BodyReader;

/// Takes progress messages. Called from several threads, never for long.
pub trait Progress: Fn(JsonMessage) + Send + Sync {}
impl<T: Fn(JsonMessage) + Send + Sync> Progress for T {}

/// Limits.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `max-concurrent-downloads`: layers of one pull fetched at once.
    pub downloads: usize,
    /// `max-concurrent-uploads`: layers of one push sent at once.
    pub uploads: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { downloads: 3, uploads: 5 }
    }
}

/// The use cases. Clones share limits and locks.
#[derive(Clone)]
pub struct Distribution {
    pub(crate) store: ImageStore,
    pub(crate) registry: Registry,
    pub(crate) settings: Settings,
    pub(crate) locks: Arc<locks::Locks>,
    /// What builds in progress need.
    pub(crate) building: Arc<steps::Building>,
    /// Threads that unpack: more than processors would only fight for them.
    pub(crate) unpackers: Arc<Semaphore>,
}

impl Distribution {
    /// Over a store and a client.
    pub fn new(store: ImageStore, registry: Registry, settings: Settings) -> Distribution {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Distribution {
            store,
            registry,
            settings,
            locks: Arc::default(),
            building: Arc::default(),
            unpackers: Arc::new(Semaphore::new(processors.max(2))),
        }
    }

    /// The same with another client and other limits. What has begun goes on with the old ones.
    #[must_use]
    pub fn with(&self, registry: Registry, settings: Settings) -> Distribution {
        Distribution { registry, settings, ..self.clone() }
    }

    /// The store.
    pub fn store(&self) -> &ImageStore {
        &self.store
    }

    /// The client.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}

/// After a failure: what was made on the way is of no use and goes, and from a full disk what was interrupted before, too.
/// Blocking.
pub(crate) fn clear(store: &ImageStore, lease: Lease, full: bool) {
    if full {
        store.drop_interrupted(std::time::Duration::ZERO);
    }
    lease.give_up();
}

/// Runs work that makes something in the store; what fails leaves nothing. Blocking.
pub(crate) fn making<T>(store: &ImageStore, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let lease = store.lease();
    let result = work();
    if let Err(error) = &result {
        clear(store, lease, error.is_no_space());
    }
    result
}

/// Runs blocking work of the store on a thread for it.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(Error::Internal(format!("image worker: {e}"))),
    }
}
