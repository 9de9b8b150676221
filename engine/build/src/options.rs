//! What a caller says about a build.

use std::collections::{BTreeMap, HashSet};

use tare_docker_api::auth::AuthConfigs;
use tare_docker_api::container::{HostConfig, LogConfig, Resources};
use tare_engine::{Error, Result};
use tare_images::oci::Platform;
use tare_reference::Reference;

use crate::copy::is_url;
use crate::git::Repository;
use crate::named::Named;

/// The Dockerfile's name where none is given.
pub(crate) const DOCKERFILE: &str = "Dockerfile";

/// The parameters of `POST /build`.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Names of the image (`t`).
    pub tags: Vec<String>,
    /// The Dockerfile's path in the context; empty for `Dockerfile`.
    pub dockerfile: String,
    /// Where the context is, if it is not in the body (`remote`).
    pub remote: String,
    /// Say only the image's ID.
    pub quiet: bool,
    /// Follow every instruction again.
    pub no_cache: bool,
    /// Stages whose instructions are followed again.
    pub no_cache_stages: Vec<String>,
    /// Images whose steps need not be followed again; if there are any, no other steps are taken from the cache.
    pub cache_from: Vec<String>,
    /// The same, asked of their registries, and besides the steps that are known here.
    pub cache_imports: Vec<String>,
    /// When everything is said to be made, seconds of the Unix epoch; `None` for when it is.
    pub source_date: Option<i64>,
    /// Stands before the names of caches that commands share.
    pub cache_namespace: String,
    /// Whether commands may ask for the machine's own network.
    pub host_network: bool,
    /// What stands for names of images and stages, by [`crate::named::short_name`].
    pub contexts: BTreeMap<String, Named>,
    /// The Dockerfile is with the caller, wherever the rest is.
    pub dockerfile_of_caller: bool,
    /// Repositories are kept with what git knows of them.
    pub keep_git: bool,
    /// Which build checks are made (`skip=A,B;error=true`); empty for what the Dockerfile says.
    pub checks: String,
    /// What the caller is to be told at the beginning.
    pub warnings: Vec<String>,
    /// Ask the registry for newer images.
    pub pull: bool,
    /// Remove a step's container after success.
    pub remove: bool,
    /// Remove it in any case.
    pub force_remove: bool,
    /// The stage to build.
    pub target: String,
    /// Values of `ARG`s; `None` where the caller has named one without a value.
    pub arguments: BTreeMap<String, Option<String>>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// `os/architecture`.
    pub platform: String,
    /// Limits of `RUN`.
    pub resources: Resources,
    /// Bytes of `/dev/shm`.
    pub shm_size: i64,
    /// Network of `RUN`.
    pub network: String,
    /// `name:address`.
    pub extra_hosts: Vec<String>,
    /// Name of the machine that `RUN` sees; empty for one of its own.
    pub hostname: String,
    /// Credentials by registry.
    pub credentials: AuthConfigs,
}

/// The same, looked at.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) given: Options,
    pub(crate) names: Vec<Reference>,
    pub(crate) platform: Option<Platform>,
    /// When images are said to be made, if the caller decides it.
    pub(crate) created: Option<String>,
    pub(crate) quiet: bool,
}

impl Options {
    pub(crate) fn checked(mut self) -> Result<Checked> {
        let mut names = Vec::new();
        let mut seen = HashSet::new();
        for tag in self.tags.iter().filter(|tag| !tag.is_empty()) {
            let name = Reference::parse_normalized(tag).map_err(|error| Error::invalid(error.to_string()))?;
            if name.digest().is_some() {
                return Err(Error::invalid("build tag cannot contain a digest"));
            }
            let name = name.with_default_tag();
            if seen.insert(name.to_string()) {
                names.push(name);
            }
        }
        if self.dockerfile.is_empty() {
            DOCKERFILE.clone_into(&mut self.dockerfile);
        }
        if !self.remote.is_empty() && Repository::parse(&self.remote).is_none() && !is_url(&self.remote) {
            return Err(Error::invalid(format!("invalid remote context: {:?}", self.remote)));
        }
        let platform = match self.platform.as_str() {
            "" => None,
            text => Some(Platform::parse(text).map_err(|error| Error::invalid(error.to_string()))?),
        };
        let created = match self.source_date.map(jiff::Timestamp::from_second) {
            None => None,
            Some(Ok(time)) => Some(time.to_string()),
            Some(Err(error)) => return Err(Error::invalid(format!("invalid SOURCE_DATE_EPOCH: {error}"))),
        };
        Ok(Checked { names, platform, created, quiet: self.quiet, given: self })
    }

    /// How containers of `RUN` are made.
    pub(crate) fn host_config(&self) -> HostConfig {
        HostConfig {
            network_mode: self.network.clone(),
            extra_hosts: self.extra_hosts.clone().into(),
            shm_size: self.shm_size,
            resources: self.resources.clone(),
            log_config: LogConfig { kind: "none".to_owned(), ..LogConfig::default() },
            ..HostConfig::default()
        }
    }
}
