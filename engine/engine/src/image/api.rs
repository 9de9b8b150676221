//! Listing and describing images, their names, and removing them.

use std::collections::{HashMap, HashSet};

use tare_docker_api::filters::Filters;
use tare_docker_api::go::Empty;
use tare_docker_api::image::{History, ImageConfig, ImageInspect, ImageSummary, Metadata, RootFs};
use tare_docker_api::oci::Descriptor;
use tare_docker_api::time::Time;
use tare_images::oci::Config;
use tare_images::{Image, ImageStore};
use tare_reference::{Digest, Reference};

use super::{error, healthcheck, platform, tagged};
use crate::Engine;
use crate::error::{Error, Result};
use crate::filter;
use crate::options::ImageDetails;

/// Filters that `GET /images/json` knows.
const FILTERS: &[&str] = &["dangling", "label", "label!", "before", "since", "reference", "until"];

impl Engine {
    /// Lists images, newest first.
    pub async fn images(&self, filters: Filters, details: ImageDetails) -> Result<Vec<ImageSummary>> {
        filters.validate(FILTERS)?;
        let dangling = if filters.contains("dangling") { Some(filters.bool_or("dangling", false)?) } else { None };
        let created_of = |name: &str| -> Result<Option<i64>> {
            let other = filters.get(name).next();
            other.map(|other| Ok(created(&self.images.resolve(other).map_err(error)?).unix_nanos())).transpose()
        };
        let (before, since) = (created_of("before")?, created_of("since")?);
        let until = filters.get("until").next().map(filter::time).transpose()?;
        let mut images: Vec<Image> = self
            .images
            .list()
            .into_iter()
            .filter(|image| {
                let at = created(image).unix_nanos();
                dangling.is_none_or(|dangling| image.names.is_empty() == dangling)
                    && filter::labels_match(&filters, &image.config.config.labels)
                    && before.is_none_or(|before| at < before)
                    && since.is_none_or(|since| at > since)
                    && until.is_none_or(|until| at < until)
            })
            .collect();
        if filters.contains("reference") {
            // Only the names that match are shown.
            for image in &mut images {
                image.names.retain(|name| filters.get("reference").any(|pattern| matches(pattern, name)));
            }
            images.retain(|image| !image.names.is_empty());
        }
        images.sort_by_key(|image| std::cmp::Reverse(created(image).unix_nanos()));
        let shared = details.shared_size.then(|| Shared::among(&self.images.list()));
        let sizes = |image: &Image| shared.as_ref().map_or(-1, |shared| shared.bytes(image, &self.images));
        let manifests = |image: &Image| {
            let all = details.manifests.then(|| self.manifest_summaries(image)).transpose();
            all.map(|all| all.unwrap_or_default().into())
        };
        let summary = |image| {
            let manifests = manifests(image)?;
            Ok(ImageSummary { shared_size: sizes(image), manifests, ..self.image_summary(image) })
        };
        images.iter().map(summary).collect()
    }

    fn image_summary(&self, image: &Image) -> ImageSummary {
        let id = image.id.to_string();
        let containers = self.all_containers().iter().filter(|c| c.read().record.image_id == id).count();
        ImageSummary {
            containers: i64::try_from(containers).unwrap_or(i64::MAX),
            created: created(image).seconds().max(0),
            id,
            labels: image.config.config.labels.clone().into(),
            descriptor: Some(descriptor(image)),
            repo_digests: image.repo_digests(),
            repo_tags: image.repo_tags(),
            size: i64::try_from(image.size()).unwrap_or(i64::MAX),
            ..ImageSummary::default()
        }
    }

    /// Every image for `system df`.
    pub(crate) async fn images_with_sizes(&self) -> Result<Vec<ImageSummary>> {
        self.images(Filters::default(), ImageDetails { shared_size: true, manifests: false }).await
    }

    pub(crate) fn layers_size(&self) -> i64 {
        super::layers_size(&self.images)
    }

    /// Describes an image; with what its index names, if that is wanted.
    pub async fn image_inspect(&self, name: &str, wanted: Option<&str>, manifests: bool) -> Result<ImageInspect> {
        let image = self.find_image(name, wanted)?;
        let manifests = if manifests { self.manifest_summaries(&image)? } else { Vec::new() };
        // Who asks for a platform is told of its manifest.
        let descriptor = if wanted.is_some() { super::manifest(&image) } else { descriptor(&image) };
        let config = &image.config;
        let last = config.history.last();
        Ok(ImageInspect {
            id: descriptor.digest.clone(),
            repo_tags: image.repo_tags(),
            repo_digests: image.repo_digests(),
            parent: self.parent(&image).map(|parent| parent.to_string()).unwrap_or_default(),
            comment: last.map(|step| step.comment.clone()).unwrap_or_default(),
            created: created(&image),
            author: config.author.clone(),
            config: image_config(&config.config),
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
            os: config.os.clone(),
            os_version: config.os_version.clone(),
            size: i64::try_from(image.size()).unwrap_or(i64::MAX),
            root_fs: RootFs {
                kind: "layers".to_owned(),
                layers: image.diff_ids().iter().map(ToString::to_string).collect(),
            },
            metadata: Metadata { last_tag_time: image.updated.parse().unwrap_or_default() },
            descriptor: Some(descriptor),
            manifests: manifests.into(),
            ..ImageInspect::default()
        })
    }

    /// The image that another one was committed or built on. A step knows the manifest of its base; the image may be an index.
    fn parent(&self, image: &Image) -> Option<Digest> {
        if let Some(parent) = self.images.committed_on(&image.id) {
            return Some(parent);
        }
        let parent = self.images.parent(&image.id)?;
        let is_base = |image: &Image| image.content().descriptor.digest == parent;
        let base = || self.images.list().into_iter().find(is_base);
        Some(if self.images.image(&parent).is_ok() { parent.clone() } else { base()?.id })
    }

    /// How an image was made, newest step first.
    pub async fn image_history(&self, name: &str, wanted: Option<&str>) -> Result<Vec<History>> {
        let image = self.find_image(name, wanted)?;
        let mut steps: Vec<History> = self
            .images
            .history(&image)
            .into_iter()
            .map(|step| History {
                comment: step.comment,
                created: step.created.parse::<Time>().unwrap_or_default().seconds().max(0),
                created_by: step.created_by,
                id: "<missing>".to_owned(),
                size: i64::try_from(step.size).unwrap_or(i64::MAX),
                ..History::default()
            })
            .collect();
        if let Some(first) = steps.first_mut() {
            first.id = image.id.to_string();
            first.tags = image.repo_tags().into();
        }
        Ok(steps)
    }

    /// Gives an image a further name.
    pub async fn tag(&self, name: &str, repository: &str, tag: &str) -> Result<()> {
        let image = self.find_image(name, None)?;
        let reference = tagged(repository, tag)?;
        if reference.digest().is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        if reference.familiar_name() == "sha256" {
            return Err(Error::invalid("refusing to create an ambiguous tag using digest algorithm as name"));
        }
        let reference = reference.with_default_tag();
        self.images.tag(&image.id, &reference).map_err(error)?;
        self.image_event("tag", &image.id.to_string(), &reference.familiar());
        Ok(())
    }

    pub(crate) fn find_image(&self, name: &str, wanted: Option<&str>) -> Result<Image> {
        let wanted = wanted.filter(|text| !text.is_empty()).map(platform).transpose()?;
        self.images.resolve_platform(name, wanted.as_ref()).map_err(|problem| match problem {
            tare_images::Error::NotFound(_) => Error::not_found(format!("No such image: {}", super::with_tag(name))),
            other => error(other),
        })
    }

    /// Tells of an image, with its labels as long as it is there.
    pub(crate) fn image_event(&self, action: &str, id: &str, name: &str) {
        let image = self.images.resolve(id).ok();
        let mut attributes = image.map(|image| image.config.config.labels.clone()).unwrap_or_default();
        attributes.insert("name".to_owned(), name.to_owned());
        self.events.publish("image", action, id, attributes);
    }
}

/// How many images have each layer, in the form it is transferred in and unpacked.
struct Shared {
    blobs: HashMap<Digest, usize>,
    layers: HashMap<Digest, usize>,
}

impl Shared {
    fn among(images: &[Image]) -> Self {
        let mut shared = Self { blobs: HashMap::new(), layers: HashMap::new() };
        for image in images {
            // An image may have the same layer twice.
            let blobs: HashSet<_> = image.content().manifest.layers.iter().map(|layer| &layer.digest).collect();
            let layers: HashSet<_> = image.diff_ids().iter().collect();
            blobs.into_iter().for_each(|digest| *shared.blobs.entry(digest.clone()).or_default() += 1);
            layers.into_iter().for_each(|digest| *shared.layers.entry(digest.clone()).or_default() += 1);
        }
        shared
    }

    /// Bytes of an image that others have, too.
    fn bytes(&self, image: &Image, store: &ImageStore) -> i64 {
        let many =
            |counts: &HashMap<Digest, usize>, digest: &Digest| counts.get(digest).is_some_and(|count| *count > 1);
        let blobs: HashMap<_, _> =
            image.content().manifest.layers.iter().map(|layer| (&layer.digest, layer.size)).collect();
        let blobs =
            blobs.into_iter().filter(|(digest, _)| many(&self.blobs, digest)).map(|(_, size)| size).sum::<u64>();
        let layers: Vec<Digest> =
            image.diff_ids().iter().filter(|digest| many(&self.layers, digest)).cloned().collect();
        i64::try_from(blobs + store.unpacked_size(&layers)).unwrap_or(i64::MAX)
    }
}

/// When an image was made.
pub(super) fn created(image: &Image) -> Time {
    image.config.created.parse().unwrap_or_default()
}

fn descriptor(image: &Image) -> Descriptor {
    Descriptor {
        media_type: image.target.media_type.clone(),
        digest: image.target.digest.to_string(),
        size: i64::try_from(image.target.size).unwrap_or(i64::MAX),
        ..Descriptor::default()
    }
}

fn image_config(config: &Config) -> ImageConfig {
    let set = |keys: std::collections::btree_map::Keys<'_, String, serde_json::Value>| {
        keys.map(|key| (key.clone(), Empty {})).collect()
    };
    ImageConfig {
        user: config.user.clone(),
        exposed_ports: set(config.exposed_ports.keys()),
        env: config.env.clone().into(),
        // No words say nothing, as in the image specification's own form.
        entrypoint: config.entrypoint.clone().filter(|words| !words.is_empty()),
        cmd: config.cmd.clone().filter(|words| !words.is_empty()),
        volumes: set(config.volumes.keys()),
        working_dir: config.working_dir.clone(),
        labels: config.labels.clone().into(),
        stop_signal: config.stop_signal.clone(),
        args_escaped: config.args_escaped,
        healthcheck: config.healthcheck.as_ref().map(healthcheck),
        on_build: config.on_build.clone().unwrap_or_default().into(),
        shell: config.shell.clone().unwrap_or_default().into(),
    }
}

/// The `reference` filter: a shell pattern for the familiar name, with or without the tag.
fn matches(pattern: &str, name: &Reference) -> bool {
    name.matches(pattern).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_patterns() {
        let name = Reference::parse_normalized("busybox:1.29").unwrap();
        for pattern in
            ["busybox", "busy*", "busybox:1.*", "b?sybox:1.29", "docker.io/library/busybox", "docker.io/library/*:1.29"]
        {
            assert!(matches(pattern, &name), "{pattern}");
        }
        for pattern in ["busy", "busybox:2*", "*/busybox"] {
            assert!(!matches(pattern, &name), "{pattern}");
        }
    }
}
