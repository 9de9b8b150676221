//! What a builder needs of the engine beyond the use cases: the images themselves, and containers that go with the build.

use std::collections::HashSet;
use std::fs::File;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use tare_docker_api::container::{CreateRequest, CreateResponse};
use tare_images::ImageStore;
use tare_reference::Reference;
use tare_registry::Download;

use crate::Engine;
use crate::error::{Error, Result};
use crate::options::RemoveOptions;

impl Engine {
    /// The images.
    pub fn image_store(&self) -> &ImageStore {
        &self.images
    }

    /// A directory for files of builds in progress; what is in it when the engine starts is removed.
    pub fn build_directory(&self) -> PathBuf {
        self.config.data_root.join("builds")
    }

    /// Records of builds, the newest ones; they need not be there.
    pub fn build_history_directory(&self) -> PathBuf {
        self.config.data_root.join("build-history")
    }

    /// Directories that commands of builds share from one build to the next (`RUN --mount=type=cache`), locked (flock(2))
    /// while one uses them.
    pub fn build_cache_directory(&self) -> PathBuf {
        self.config.data_root.join("build-cache")
    }

    /// A directory, in memory where the system's run directory is, for what callers grant to single commands of builds.
    pub fn build_secrets_directory(&self) -> PathBuf {
        self.config.exec_root.join("builds")
    }

    /// Begins to fetch a file by HTTP.
    pub async fn download(&self, url: &str) -> Result<Download> {
        let answer = self.distribution().registry().download(url).await;
        answer.map_err(|error| Error::internal(error.to_string()))
    }

    /// What `host-gateway` stands for, if it stands for anything.
    pub fn host_gateway(&self) -> Option<IpAddr> {
        self.host_gateways().ok()?.first().copied()
    }

    /// Sixty-four random digits.
    pub fn random_id() -> String {
        crate::host::random::id()
    }

    /// Creates a container for one step of a build: should the engine die meanwhile, its next start removes it.
    pub async fn create_for_build(self: &Arc<Self>, request: CreateRequest) -> Result<CreateResponse> {
        self.create_as(None, None, request, true).await
    }

    /// Makes a build's container one like any other.
    pub async fn keep_after_build(&self, id: &str) -> Result<()> {
        let container = self.find(id)?;
        let record = {
            let mut inner = container.read();
            inner.record.for_build = false;
            inner.snapshot()
        };
        self.save_container(&record).await
    }

    /// Whether a text names a signal.
    pub fn check_signal(text: &str) -> Result<()> {
        crate::container::signal::parse(text).map(|_| ())
    }

    /// Tells of the image of a step.
    pub fn made_by_build(&self, id: &str) {
        self.image_event("create", id, id);
    }

    /// Tells that an image got a name.
    pub fn tagged_by_build(&self, id: &str, name: &str) {
        self.image_event("tag", id, name);
    }

    /// Tells that an image was sent to its registry.
    pub fn pushed_by_build(&self, name: &Reference) {
        self.image_event("push", &name.familiar(), &name.familiar_name());
    }

    /// Removes what builds left that an earlier process did not finish.
    pub(crate) async fn remove_unfinished_builds(self: &Arc<Self>) {
        for container in self.all_containers() {
            if !container.read().record.for_build {
                continue;
            }
            let options = RemoveOptions { force: true, volumes: true, ..RemoveOptions::default() };
            if let Err(error) = self.remove(&container.id, options).await {
                tracing::warn!("removing container {} of an unfinished build: {error}", container.id);
            }
        }
        let (directory, secrets) = (self.build_directory(), self.build_secrets_directory());
        let made = crate::blocking(move || {
            crate::remove_tree(&secrets);
            crate::remove_tree(&directory);
            crate::make_directory(&secrets, 0o700)?;
            std::fs::create_dir_all(&directory).map_err(|error| Error::io("mkdir", directory.display(), error))
        });
        if let Err(error) = made.await {
            tracing::warn!("{error}");
        }
    }
}

/// Removes the caches of commands that are `taken` and that no build uses. Gives their names and the bytes they had.
pub(crate) fn prune_caches(directory: &Path, taken: &HashSet<String>) -> (Vec<String>, u64) {
    let (mut names, mut freed) = (Vec::new(), 0);
    for name in crate::recover::names_in(directory) {
        let path = directory.join(&name);
        let Ok(cache) = File::open(&path) else { continue };
        if !taken.contains(&name) || flock(&cache, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        freed += crate::volume::api::tree_size(&path);
        crate::remove_tree(&path);
        names.push(name);
    }
    (names, freed)
}
