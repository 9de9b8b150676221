//! Images as the engine uses them: what a container needs of one ([`ContainerImage`]), lists and descriptions
//! ([`api`]) with their [`manifests`], moving them ([`transfer`]) and finding more ([`search`]).

pub(crate) mod api;
mod manifests;
mod search;
pub(crate) mod transfer;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tare_docker_api::container::Healthcheck;
use tare_docker_api::oci::Descriptor;
use tare_images::oci::{Config, Platform};
use tare_images::{Image, ImageContent, ImageStore};
use tare_reference::{Digest, Reference};

use crate::Engine;
use crate::container::merge::ImageDefaults;
use crate::container::record::Record;
use crate::error::{Error, Result};
use crate::host;

/// What a new container needs of its image.
#[derive(Debug, Clone)]
pub(crate) struct ContainerImage {
    pub(crate) id: String,
    /// The manifest of its platform.
    pub(crate) manifest: Descriptor,
    /// The same with its configuration.
    pub(crate) content: Arc<ImageContent>,
    pub(crate) diff_ids: Vec<Digest>,
    pub(crate) os: String,
    pub(crate) defaults: ImageDefaults,
}

/// The store's errors by kind.
pub(crate) fn error(error: tare_images::Error) -> Error {
    use tare_images::Error as Store;
    let message = error.to_string();
    match error {
        Store::NotFound(_) | Store::Ambiguous(_) | Store::Platform { .. } | Store::NoPath(_) => {
            Error::not_found(message)
        }
        Store::Reference(_) | Store::NotADirectory | Store::Overwrite { .. } => Error::invalid(message),
        _ => Error::internal(message),
    }
}

/// Parses `linux/arm64/v8`, `linux/arm64` or `arm64`.
pub(crate) fn platform(text: &str) -> Result<Platform> {
    Platform::parse(text).map_err(|error| Error::invalid(error.to_string()))
}

/// The manifest of an image for its platform.
pub(crate) fn manifest(image: &Image) -> Descriptor {
    Descriptor {
        media_type: image.descriptor.media_type.clone(),
        digest: image.descriptor.digest.to_string(),
        size: i64::try_from(image.descriptor.size).unwrap_or(i64::MAX),
        platform: Some(shown_platform(image.config.platform())),
        ..Descriptor::default()
    }
}

/// A platform as the API has it.
pub(crate) fn shown_platform(platform: Platform) -> tare_docker_api::oci::Platform {
    tare_docker_api::oci::Platform {
        architecture: platform.architecture,
        os: platform.os,
        os_version: platform.os_version,
        variant: platform.variant,
        ..tare_docker_api::oci::Platform::default()
    }
}

impl Engine {
    /// Finds the image of a new container.
    pub(crate) fn image_for_container(
        &self,
        name: &str,
        wanted: Option<&str>,
        warnings: &mut Vec<String>,
    ) -> Result<ContainerImage> {
        if name.is_empty() {
            return Err(Error::invalid("invalid reference format"));
        }
        let wanted = wanted.filter(|text| !text.is_empty()).map(platform).transpose()?;
        let image = self.images.resolve_platform(name, wanted.as_ref()).map_err(|problem| match problem {
            tare_images::Error::NotFound(_) => Error::not_found(format!("No such image: {}", with_tag(name))),
            other => error(other),
        })?;
        let own = image.config.platform();
        if wanted.is_none() && own.architecture != host::architecture() && !own.architecture.is_empty() {
            warnings.push(format!(
                "The requested image's platform ({own}) does not match the detected host platform (linux/{}) and no \
                 specific platform was requested",
                host::architecture()
            ));
        }
        Ok(ContainerImage {
            id: image.id.to_string(),
            manifest: manifest(&image),
            content: Arc::clone(image.content()),
            diff_ids: image.diff_ids().to_vec(),
            os: if image.config.os.is_empty() { "linux".to_owned() } else { image.config.os.clone() },
            defaults: defaults(&image.config.config),
        })
    }

    /// A container's image, of the container's platform; `None` when it is gone.
    pub(crate) fn image_of(&self, record: &Record) -> Option<Image> {
        let own = record.image_manifest.as_ref().and_then(|manifest| manifest.platform.clone());
        let own = own.map(|own| Platform {
            architecture: own.architecture,
            os: own.os,
            os_version: own.os_version,
            variant: own.variant,
        });
        self.images.resolve_platform(&record.image_id, own.as_ref()).ok()
    }

    /// The name lists show for a container's image: what was asked for, or the ID once the name means another image.
    pub(crate) fn shown_image(&self, record: &Record) -> String {
        let asked = &record.config.image;
        match self.images.resolve_record(asked) {
            Ok(found) if found.target.digest.to_string() == record.image_id => asked.clone(),
            _ if asked.starts_with("sha256:") => asked.clone(),
            _ => record.image_id.clone(),
        }
    }

    /// The ID of an image by any of its names.
    pub(crate) fn image_id(&self, name: &str) -> Option<String> {
        self.images.resolve_record(name).ok().map(|record| record.target.digest.to_string())
    }

    /// The IDs of the images with these names, and of those that were made from them.
    pub(crate) fn descendants<'n>(&self, names: impl Iterator<Item = &'n str>) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for name in names {
            let Ok(ancestor) = self.images.resolve(name) else { continue };
            let made_from = self.images.list().into_iter().filter(|image| image.descends_from(&ancestor));
            found.extend(made_from.map(|image| image.id.to_string()));
            found.insert(ancestor.id.to_string());
        }
        found
    }

    /// Bytes of an image's unpacked layers; 0 when it is gone.
    pub(crate) fn image_size(&self, id: &str) -> i64 {
        let image: Option<Image> = self.images.resolve(id).ok();
        image.map_or(0, |image| i64::try_from(self.images.unpacked_size(image.diff_ids())).unwrap_or(i64::MAX))
    }

    /// Bytes in a container's own layer.
    pub(crate) fn snapshot_size(&self, id: &str) -> u64 {
        crate::volume::api::tree_size(&self.images.rw_layer(id).upper)
    }

    /// Copies the directory that the image has at a path into an empty volume; false when the image has something else
    /// there.
    pub(crate) fn copy_up(&self, image: &ContainerImage, path: &str, volume: &Path) -> Result<bool> {
        let empty = std::fs::read_dir(volume).map_err(|e| Error::io("opendir", volume.display(), e))?.next().is_none();
        if !empty {
            return Ok(true);
        }
        self.images.copy_up(&image.diff_ids, Path::new(path), volume).map_err(error)
    }
}

/// A name with `:latest` where it says nothing, as Docker shows names it did not find.
fn with_tag(name: &str) -> String {
    match Reference::parse_normalized(name) {
        Ok(reference) => reference.with_default_tag().familiar(),
        Err(_) => name.to_owned(),
    }
}

fn defaults(config: &Config) -> ImageDefaults {
    ImageDefaults {
        user: config.user.clone(),
        exposed_ports: config.exposed_ports.keys().cloned().collect(),
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        volumes: config.volumes.keys().cloned().collect(),
        working_dir: config.working_dir.clone(),
        labels: config.labels.clone(),
        stop_signal: config.stop_signal.clone(),
        healthcheck: config.healthcheck.as_ref().map(healthcheck),
        shell: config.shell.clone().unwrap_or_default(),
        on_build: config.on_build.clone().unwrap_or_default(),
    }
}

/// The image store's size in total.
pub(crate) fn layers_size(store: &ImageStore) -> i64 {
    i64::try_from(store.total_size()).unwrap_or(i64::MAX)
}

/// An image's health check in the API's form.
fn healthcheck(check: &tare_images::oci::Healthcheck) -> Healthcheck {
    Healthcheck {
        test: check.test.clone().into(),
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries,
    }
}

fn reference(text: &str) -> Result<Reference> {
    Reference::parse_normalized(text).map_err(|error| Error::invalid(error.to_string()))
}

/// `name` with `tag`, which may be a tag, a digest, or empty, and takes the place of the name's own.
fn pulled(name: &str, tag: &str) -> Result<Reference> {
    let name = reference(name)?;
    match tag.parse::<Digest>() {
        _ if tag.is_empty() => Ok(name),
        Ok(digest) => Ok(name.name_only().with_digest(digest)),
        Err(_) => name.with_tag(tag).map_err(|error| Error::invalid(error.to_string())),
    }
}

/// `name` with `tag`, which may be empty, and takes the place of the name's own.
fn tagged(name: &str, tag: &str) -> Result<Reference> {
    let name = reference(name)?;
    if tag.is_empty() {
        return Ok(name);
    }
    if name.digest().is_some() {
        return Err(Error::invalid("cannot import digest reference"));
    }
    name.with_tag(tag).map_err(|error| Error::invalid(error.to_string()))
}
