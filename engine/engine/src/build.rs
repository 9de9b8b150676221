//! What a builder needs of the engine beyond the use cases: the images themselves, and containers that go with the build.

use std::path::PathBuf;
use std::sync::Arc;

use tare_distribution::Distribution;
use tare_docker_api::container::{CreateRequest, CreateResponse};
use tare_images::ImageStore;

use crate::Engine;
use crate::error::{Error, Result};
use crate::options::RemoveOptions;

impl Engine {
    /// The images.
    pub fn image_store(&self) -> &ImageStore {
        &self.images
    }

    /// What moves images.
    pub fn distribution(&self) -> &Distribution {
        &self.distribution
    }

    /// A directory for files of builds in progress; what is in it when the engine starts is removed.
    pub fn build_directory(&self) -> PathBuf {
        self.config.data_root.join("builds")
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

    /// Tells that an image got a name.
    pub fn tagged_by_build(&self, id: &str, name: &str) {
        self.image_event("tag", id, name);
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
        let directory = self.build_directory();
        let made = crate::blocking(move || {
            crate::remove_tree(&directory);
            std::fs::create_dir_all(&directory).map_err(|error| Error::io("mkdir", directory.display(), error))
        });
        if let Err(error) = made.await {
            tracing::warn!("{error}");
        }
    }
}
