//! Moving images: pull, push, load, save, import, commit, and removing them.

use std::sync::Arc;

use tare_docker_api::auth::{AuthConfig, AuthResponse};
use tare_docker_api::container::{Config, IdResponse};
use tare_docker_api::filters::Filters;
use tare_docker_api::image::{DeleteItem, DistributionInspect, ImagePruneReport, SearchResult};

use crate::Engine;
use crate::error::{Error, Result};
use crate::options::{ByteSource, ByteStream, Credentials, ProgressStream};

impl Engine {
    /// Pulls an image. The stream's first item tells whether anything was found at all.
    pub async fn pull(
        self: &Arc<Self>,
        name: &str,
        tag: &str,
        platform: Option<&str>,
        credentials: Option<Credentials>,
    ) -> Result<ProgressStream> {
        let _ = (name, tag, platform, credentials);
        Err(Error::not_implemented("pull is not there yet"))
    }

    /// Pushes an image.
    pub async fn push(
        self: &Arc<Self>,
        name: &str,
        tag: &str,
        platform: Option<&str>,
        credentials: Option<Credentials>,
    ) -> Result<ProgressStream> {
        let _ = (name, tag, platform, credentials);
        Err(Error::not_implemented("push is not there yet"))
    }

    /// Makes an image of a root file system's archive.
    pub async fn import(
        self: &Arc<Self>,
        repository: &str,
        tag: &str,
        message: &str,
        changes: Vec<String>,
        platform: Option<&str>,
        source: ByteSource,
    ) -> Result<ProgressStream> {
        let _ = (repository, tag, message, changes, platform, source);
        Err(Error::not_implemented("import is not there yet"))
    }

    /// Loads images from an archive that `save` made.
    pub async fn load(self: &Arc<Self>, quiet: bool, source: ByteSource) -> Result<ProgressStream> {
        let _ = (quiet, source);
        Err(Error::not_implemented("load is not there yet"))
    }

    /// Writes images as one archive.
    pub async fn save(self: &Arc<Self>, names: Vec<String>, platform: Option<&str>) -> Result<ByteStream> {
        let _ = (names, platform);
        Err(Error::not_implemented("save is not there yet"))
    }

    /// Makes an image of a container.
    #[expect(clippy::too_many_arguments, reason = "the parameters of one request")]
    pub async fn commit(
        self: &Arc<Self>,
        container: &str,
        repository: &str,
        tag: &str,
        comment: &str,
        author: &str,
        pause: bool,
        changes: Vec<String>,
        config: Option<Config>,
    ) -> Result<IdResponse> {
        let _ = (container, repository, tag, comment, author, pause, changes, config);
        Err(Error::not_implemented("commit is not there yet"))
    }

    /// Removes an image or one of its names.
    pub async fn image_remove(self: &Arc<Self>, name: &str, force: bool, no_prune: bool) -> Result<Vec<DeleteItem>> {
        let _ = (name, force, no_prune);
        Err(Error::not_implemented("removing images is not there yet"))
    }

    /// Removes images nobody uses.
    pub async fn images_prune(self: &Arc<Self>, filters: Filters) -> Result<ImagePruneReport> {
        let _ = filters;
        Err(Error::not_implemented("pruning images is not there yet"))
    }

    /// Searches the registry.
    pub async fn search(
        &self,
        term: &str,
        limit: usize,
        filters: Filters,
        credentials: Option<Credentials>,
    ) -> Result<Vec<SearchResult>> {
        let _ = (term, limit, filters, credentials);
        Err(Error::not_implemented("search is not there yet"))
    }

    /// Looks at an image in its registry.
    pub async fn distribution_inspect(
        &self,
        name: &str,
        credentials: Option<Credentials>,
    ) -> Result<DistributionInspect> {
        let _ = (name, credentials);
        Err(Error::not_implemented("inspecting images in their registry is not there yet"))
    }

    /// Checks credentials with their registry.
    pub async fn auth(&self, config: AuthConfig) -> Result<AuthResponse> {
        let _ = config;
        Err(Error::not_implemented("login is not there yet"))
    }
}
