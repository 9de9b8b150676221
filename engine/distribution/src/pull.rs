//! `docker pull`.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tare_docker_api::stream::JsonMessage;
use tare_images::oci::{Descriptor, ImageConfig, Manifest, Platform, media, parse_config, parse_index, parse_manifest};
use tare_reference::{Digest, Reference};
use tare_registry::{Access, Credentials, Document, Repository};
use tokio::sync::Semaphore;

use crate::progress::{layer_id, status, step};
use crate::transfer::{Stop, Wanted};
use crate::{Distribution, Error, Progress, Result, blocking, clear};

/// Indexes within indexes that are followed.
const MAX_DEPTH: usize = 4;
/// Most layers of an image: as many as overlayfs stacks. Docker stops at 125.
const MAX_LAYERS: usize = 500;

/// A pulled image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Its ID.
    pub id: Digest,
    /// Whether the name pointed elsewhere before.
    pub newer: bool,
}

/// What is to be fetched.
struct Plan {
    target: Descriptor,
    manifest: Manifest,
}

impl Distribution {
    /// Pulls an image by tag or digest and gives it the reference as a name.
    ///
    /// Dropping the future stops the transfers. What has arrived is kept for the next attempt, as it is when the registry
    /// or the way to it fails; the image does not exist until all of it is here. Any other failure leaves nothing.
    pub async fn pull(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        credentials: Option<Credentials>,
        progress: &dyn Progress,
    ) -> Result<Pulled> {
        let reference = reference.clone().with_default_tag();
        refuse_scratch(&reference)?;
        let lease = self.store.lease();
        let result = self.pull_leased(reference, platform, credentials, progress).await;
        if let Err(error) = &result
            && !error.is_remote()
        {
            let (store, full) = (self.store.clone(), error.is_no_space());
            let cleared = blocking(move || {
                clear(&store, lease, full);
                Ok(())
            });
            cleared.await?;
        }
        result
    }

    async fn pull_leased(
        &self,
        reference: Reference,
        platform: Option<&Platform>,
        credentials: Option<Credentials>,
        progress: &dyn Progress,
    ) -> Result<Pulled> {
        let before = self.named(&reference);
        let repository = self.registry.repository(&reference, credentials, Access::Pull);
        let tag = tag_of(&reference);
        let resolved = repository.resolve(&tag).await.map_err(|e| resolve_error(&reference, e))?;
        let target = Descriptor::new(resolved.media_type, resolved.digest, resolved.size);
        progress(status(&tag, format!("Pulling from {}", reference.path())));
        let plan = self.plan(&repository, target, platform, &reference).await?;
        let config = self.config(&repository, &plan, platform, &reference).await?;
        self.layers(&repository, &plan.manifest, &config, progress).await?;

        let (store, name, target) = (self.store.clone(), reference.clone(), plan.target.clone());
        blocking(move || Ok(store.publish(&target, &[name])?)).await?;
        let newer = before.as_ref() != Some(&plan.target.digest);
        let word = if newer { "Downloaded newer image" } else { "Image is up to date" };
        progress(status("", format!("Digest: {}", plan.target.digest)));
        progress(status("", format!("Status: {word} for {}", reference.familiar())));
        Ok(Pulled { id: plan.target.digest, newer })
    }

    /// Pulls every tag of a repository, one after the other.
    pub async fn pull_all_tags(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        credentials: Option<Credentials>,
        progress: &dyn Progress,
    ) -> Result<Vec<Pulled>> {
        let repository = self.registry.repository(reference, credentials.clone(), Access::Pull);
        let mut pulled = Vec::new();
        for tag in repository.tags().await? {
            let Ok(tagged) = reference.with_tag(&tag) else {
                tracing::warn!(tag, "invalid tag passed over");
                continue;
            };
            pulled.push(self.pull(&tagged, platform, credentials.clone(), progress).await?);
        }
        Ok(pulled)
    }

    /// The ID that a full reference names now.
    fn named(&self, reference: &Reference) -> Option<Digest> {
        let records = self.store.records();
        records.into_iter().find(|r| r.name.as_ref() == Some(reference)).map(|r| r.target.digest)
    }

    /// Fetches indexes down to the manifest for the platform.
    async fn plan(
        &self,
        repository: &Repository,
        target: Descriptor,
        platform: Option<&Platform>,
        reference: &Reference,
    ) -> Result<Plan> {
        let mut descriptor = target.clone();
        for _ in 0..MAX_DEPTH {
            let document = self.document(repository, &descriptor).await?;
            if !media::is_index(&document.media_type) {
                let manifest = parse_manifest(&document.bytes)?;
                if !media::is_config(&manifest.config.media_type) && !has_layers(&manifest) {
                    return Err(Error::Invalid(format!(
                        "unsupported media type {} of {}: not a container image",
                        manifest.config.media_type,
                        reference.familiar()
                    )));
                }
                if manifest.layers.len() > MAX_LAYERS {
                    return Err(Error::Invalid("max depth exceeded".to_owned()));
                }
                return Ok(Plan { target, manifest });
            }
            let index = parse_index(&document.bytes)?;
            let wanted = platform.cloned().unwrap_or_else(Platform::host);
            let chosen = wanted.select(&index.manifests);
            descriptor = chosen.cloned().ok_or_else(|| Error::NoManifest { platform: wanted.to_string() })?;
        }
        Err(Error::Invalid(format!("{}: indexes nested too deep", reference.familiar())))
    }

    /// A manifest or index, from here or from the registry.
    async fn document(&self, repository: &Repository, descriptor: &Descriptor) -> Result<Document> {
        if self.store.has_blob(&descriptor.digest) {
            let bytes = self.store.read_blob(&descriptor.digest)?.into();
            check_size(descriptor, &bytes)?;
            let (digest, media_type) = (descriptor.digest.clone(), descriptor.media_type.clone());
            return Ok(Document { digest, media_type, bytes });
        }
        let fetched = repository.manifest(descriptor.digest.as_str()).await;
        let mut document = fetched.map_err(|e| match e {
            tare_registry::Error::Digest { expected, actual, .. } => {
                Error::unexpected(descriptor, "digest", actual, expected)
            }
            other => other.into(),
        })?;
        check_size(descriptor, &document.bytes)?;
        if !descriptor.media_type.is_empty() {
            document.media_type.clone_from(&descriptor.media_type);
        }
        let (store, bytes, media_type) = (self.store.clone(), document.bytes.clone(), document.media_type.clone());
        blocking(move || Ok(store.write_blob(&media_type, &bytes)?)).await?;
        Ok(document)
    }

    /// The configuration; it must be for the platform that was asked for, and count as many layers as the manifest.
    async fn config(
        &self,
        repository: &Repository,
        plan: &Plan,
        platform: Option<&Platform>,
        reference: &Reference,
    ) -> Result<ImageConfig> {
        let descriptor = &plan.manifest.config;
        if descriptor.size > tare_images::blobs::MAX_DOCUMENT {
            return Err(tare_images::Error::TooLarge {
                what: "image configuration",
                limit: tare_images::blobs::MAX_DOCUMENT,
            }
            .into());
        }
        let quiet = |_: JsonMessage| {};
        let wanted = Wanted { descriptor: descriptor.clone(), diff_id: None };
        self.layer(repository, wanted, &Stop::default(), &quiet).await?;
        let config = parse_config(&self.store.read_blob(&descriptor.digest)?)?;
        if let Some(platform) = platform
            && !config.architecture.is_empty()
            && !platform.accepts(&config.platform())
        {
            return Err(tare_images::Error::Platform {
                reference: reference.familiar(),
                platform: platform.to_string(),
            }
            .into());
        }
        if config.rootfs.diff_ids.len() != plan.manifest.layers.len() {
            return Err(Error::Invalid(format!(
                "{}: manifest has {} layers, configuration {}",
                reference.familiar(),
                plan.manifest.layers.len(),
                config.rootfs.diff_ids.len()
            )));
        }
        Ok(config)
    }

    /// All layers at once, as many downloads as the settings allow.
    async fn layers(
        &self,
        repository: &Repository,
        manifest: &Manifest,
        config: &ImageConfig,
        progress: &dyn Progress,
    ) -> Result<()> {
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut seen = HashSet::new();
        for (descriptor, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            if seen.insert(&descriptor.digest) {
                wanted.push(Wanted { descriptor: descriptor.clone(), diff_id: Some(diff_id.clone()) });
            }
        }
        let missing = |w: &Wanted| {
            !self.store.has_blob(&w.descriptor.digest) || w.diff_id.as_ref().is_some_and(|d| !self.store.has_layer(d))
        };
        if !wanted.iter().any(missing) {
            return Ok(());
        }
        for layer in &wanted {
            progress(step(&layer_id(&layer.descriptor.digest), "Pulling fs layer"));
        }
        let turns = Semaphore::new(self.settings.downloads.max(1));
        let stop = Stop::default();
        // Pushed one by one: behind a closure the compiler could not tell that the whole may change threads.
        let mut running = FuturesUnordered::new();
        for layer in wanted {
            running.push(self.layer_in_turn(&turns, repository, layer, &stop, progress));
        }
        let mut failed = None;
        while let Some(result) = running.next().await {
            if let Err(error) = result
                && failed.is_none()
            {
                // The others are waited for: then nothing of this is at work any more.
                stop.all(error.is_remote());
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn layer_in_turn(
        &self,
        turns: &Semaphore,
        repository: &Repository,
        layer: Wanted,
        stop: &Stop,
        progress: &dyn Progress,
    ) -> Result<()> {
        let turn = match turns.try_acquire() {
            Ok(turn) => Ok(turn),
            Err(_) => {
                progress(step(&layer_id(&layer.descriptor.digest), "Waiting"));
                turns.acquire().await
            }
        };
        let result = self.layer(repository, layer, stop, progress).await;
        drop(turn);
        result
    }
}

fn check_size(descriptor: &Descriptor, bytes: &Bytes) -> Result<()> {
    if bytes.len() as u64 == descriptor.size {
        return Ok(());
    }
    Err(Error::unexpected(descriptor, "size", bytes.len(), descriptor.size))
}

/// Old images have configurations of a generic type; their layers tell.
fn has_layers(manifest: &Manifest) -> bool {
    !manifest.layers.is_empty() && manifest.layers.iter().all(|layer| media::is_layer(&layer.media_type))
}

/// What the registry is asked for: the digest if there is one.
fn tag_of(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or(tare_reference::DEFAULT_TAG).to_owned(),
    }
}

pub(crate) fn refuse_scratch(reference: &Reference) -> Result<()> {
    if reference.familiar_name() == "scratch" {
        return Err(Error::Forbidden("'scratch' is a reserved name".to_owned()));
    }
    Ok(())
}

/// Refusals say all by themselves; the rest gets the reference in front.
fn resolve_error(reference: &Reference, error: tare_registry::Error) -> Error {
    use tare_registry::Error as E;
    match error {
        E::PullDenied(_) | E::Schema1(_) | E::TooManyRequests { .. } => error.into(),
        source => Error::Resolve { reference: reference.to_string(), source: Box::new(source) },
    }
}
