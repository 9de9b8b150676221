//! `docker push`.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::json;
use tare_docker_api::stream::JsonMessage;
use tare_images::ImageRecord;
use tare_images::oci::{Descriptor, Platform, media};
use tare_reference::{Digest, Reference};
use tare_registry::{Access, Credentials, Repository, Upload};
use tokio::sync::{Semaphore, mpsc};

use crate::progress::{Pace, amount, layer_id, status, step};
use crate::{Distribution, Error, Progress, Result};

/// Bytes of a blob read and sent at once.
const CHUNK: usize = 256 << 10;
/// Chunks read ahead of the network.
const AHEAD: usize = 4;

/// What is to be pushed, children before parents.
struct Plan {
    target: Descriptor,
    /// Configurations and layers.
    blobs: Vec<Descriptor>,
    /// Manifests and indexes below the target.
    documents: Vec<Descriptor>,
    /// The index that was not pushed, because parts of it are not here.
    instead_of: Option<Descriptor>,
}

impl Distribution {
    /// Pushes an image under its own name; without tag, all tags of the repository.
    pub async fn push(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        credentials: Option<Credentials>,
        progress: &dyn Progress,
    ) -> Result<()> {
        progress(status("", format!("The push refers to repository [{}]", reference.name())));
        let records = self.store.records();
        if reference.tag().is_some() || reference.digest().is_some() {
            let record = records.iter().find(|r| r.name.as_ref() == Some(reference));
            let record =
                record.ok_or_else(|| Error::NotFound(format!("tag does not exist: {}", reference.familiar())))?;
            return self.push_one(reference, record, platform, credentials, progress).await;
        }
        let all = records.iter().filter_map(|r| r.name.as_ref().map(|name| (name, r)));
        let all: Vec<_> = all.filter(|(name, _)| name.name() == reference.name() && name.tag().is_some()).collect();
        if all.is_empty() {
            return Err(Error::NotFound(format!(
                "An image does not exist locally with the tag: {}",
                reference.familiar_name()
            )));
        }
        for (name, record) in all {
            self.push_one(name, record, platform, credentials.clone(), progress).await?;
        }
        Ok(())
    }

    async fn push_one(
        &self,
        name: &Reference,
        record: &ImageRecord,
        platform: Option<&Platform>,
        credentials: Option<Credentials>,
        progress: &dyn Progress,
    ) -> Result<()> {
        let _lease = self.store.lease();
        let plan = self.push_plan(name, &record.target, platform)?;
        let repository = self.registry.repository(name, credentials, Access::Push);
        let layers = plan.blobs.iter().filter(|b| media::is_layer(&b.media_type));
        layers.for_each(|layer| progress(step(&layer_id(&layer.digest), "Preparing")));
        self.push_blobs(&repository, &plan, name, progress).await?;
        for document in &plan.documents {
            self.push_document(&repository, document.digest.as_str(), document).await?;
        }
        let tag = name.tag().map_or_else(|| plan.target.digest.to_string(), str::to_owned);
        self.push_document(&repository, &tag, &plan.target).await?;
        if let Some(index) = &plan.instead_of {
            progress(aux(json!({
                "manifestPushedInsteadOfIndex": true,
                "originalIndex": index,
                "selectedManifest": plan.target,
            })));
        }
        let target = &plan.target;
        progress(status("", format!("{tag}: digest: {} size: {}", target.digest, target.size)));
        progress(aux(json!({ "Tag": tag, "Digest": target.digest, "Size": target.size })));
        Ok(())
    }

    /// The whole index if all of it is here, else the one manifest that is.
    fn push_plan(&self, name: &Reference, target: &Descriptor, platform: Option<&Platform>) -> Result<Plan> {
        let manifests = self.store.manifests(target)?;
        let whole = manifests.iter().all(|manifest| self.store.is_complete(manifest));
        let (target, chosen, instead_of) = if !media::is_index(&target.media_type) || whole && platform.is_none() {
            (target.clone(), manifests.iter().collect::<Vec<_>>(), None)
        } else {
            let image =
                self.store.resolve_platform(target.digest.as_str(), platform).map_err(|e| match (e, platform) {
                    (tare_images::Error::Platform { .. }, Some(platform)) => {
                        tare_images::Error::Platform { reference: name.familiar(), platform: platform.to_string() }
                    }
                    (other, _) => other,
                })?;
            let manifest = image.descriptor.clone();
            let chosen = manifests.iter().filter(|m| m.descriptor.digest == manifest.digest).collect();
            (manifest, chosen, platform.is_none().then(|| target.clone()))
        };
        let mut blobs: Vec<Descriptor> = Vec::new();
        let mut documents = Vec::new();
        for manifest in chosen {
            if !self.store.is_complete(manifest) {
                return Err(Error::NotFound(format!("{}: content of the image is missing", name.familiar())));
            }
            let Some(content) = &manifest.content else { continue };
            for blob in content.manifest.layers.iter().chain(std::iter::once(&content.manifest.config)) {
                if !blobs.iter().any(|b| b.digest == blob.digest) {
                    blobs.push(blob.clone());
                }
            }
            if manifest.descriptor.digest != target.digest {
                documents.push(manifest.descriptor.clone());
            }
        }
        Ok(Plan { target, blobs, documents, instead_of })
    }

    async fn push_blobs(
        &self,
        repository: &Repository,
        plan: &Plan,
        name: &Reference,
        progress: &dyn Progress,
    ) -> Result<()> {
        let turns = Semaphore::new(self.settings.uploads.max(1));
        let turns = &turns;
        let mut running: FuturesUnordered<_> = plan
            .blobs
            .iter()
            .map(|blob| async move {
                let _turn = turns.acquire().await;
                self.push_blob(repository, blob, name, progress).await
            })
            .collect();
        while let Some(result) = running.next().await {
            result?;
        }
        Ok(())
    }

    async fn push_blob(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        name: &Reference,
        progress: &dyn Progress,
    ) -> Result<()> {
        let shown = media::is_layer(&blob.media_type);
        let say = |message: JsonMessage| {
            if shown {
                progress(message);
            }
        };
        let mut attempts = repository.attempts();
        while let Err(error) = self.push_blob_once(repository, blob, name, &say).await {
            match error {
                Error::Registry(error) => attempts.pause_after(error).await?,
                other => return Err(other),
            }
        }
        Ok(())
    }

    async fn push_blob_once(
        &self,
        repository: &Repository,
        blob: &Descriptor,
        name: &Reference,
        say: &(dyn Fn(JsonMessage) + Sync),
    ) -> Result<()> {
        let id = layer_id(&blob.digest);
        let source = self.elsewhere(&blob.digest, name);
        let place = match repository.begin_upload(&blob.digest, source.as_ref()).await? {
            Upload::Exists => {
                say(step(&id, "Layer already exists"));
                return Ok(());
            }
            Upload::Mounted => {
                let from = source.map(|s| s.path().to_owned()).unwrap_or_default();
                say(step(&id, &format!("Mounted from {from}")));
                return Ok(());
            }
            Upload::Wanted(place) => place,
        };
        let sent = Arc::new(AtomicU64::new(0));
        let content = self.read_blob(&blob.digest, sent.clone());
        let mut uploading = std::pin::pin!(repository.upload(place, &blob.digest, blob.size, content));
        let pace = Pace::default();
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(100));
        loop {
            tokio::select! {
                result = &mut uploading => {
                    result?;
                    say(step(&id, "Pushed"));
                    return Ok(());
                }
                _ = ticks.tick() => {
                    if pace.due() {
                        say(amount(&id, "Pushing", sent.load(Ordering::Relaxed), blob.size));
                    }
                }
            }
        }
    }

    /// The blob's bytes, counted as they go.
    fn read_blob(
        &self,
        digest: &Digest,
        sent: Arc<AtomicU64>,
    ) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> + Send + 'static {
        let (sender, chunks) = mpsc::channel::<std::io::Result<Bytes>>(AHEAD);
        let (store, digest) = (self.store.clone(), digest.clone());
        tokio::task::spawn_blocking(move || {
            let mut file = match store.open_blob(&digest) {
                Ok(file) => file,
                Err(e) => return drop(sender.blocking_send(Err(std::io::Error::other(e)))),
            };
            loop {
                let mut chunk = vec![0; CHUNK];
                let message = match file.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(read) => {
                        chunk.truncate(read);
                        Ok(Bytes::from(chunk))
                    }
                    Err(e) => Err(e),
                };
                let failed = message.is_err();
                if sender.blocking_send(message).is_err() || failed {
                    return;
                }
            }
        });
        futures_util::stream::unfold(chunks, move |mut chunks| {
            let sent = sent.clone();
            async move {
                let chunk = chunks.recv().await?;
                if let Ok(bytes) = &chunk {
                    sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                }
                Some((chunk, chunks))
            }
        })
    }

    /// Another repository of the same registry that should have the blob: an image named there consists of it.
    fn elsewhere(&self, blob: &Digest, name: &Reference) -> Option<Reference> {
        let records = self.store.records();
        let others = records.iter().filter_map(|r| r.name.as_ref().map(|n| (n, r)));
        let mut same_registry = others.filter(|(n, _)| n.domain() == name.domain() && n.path() != name.path());
        same_registry
            .find(|(_, record)| {
                let manifests = self.store.manifests(&record.target).unwrap_or_default();
                manifests.iter().filter_map(|m| m.content.as_ref()).any(|content| {
                    content.manifest.config.digest == *blob || content.manifest.layers.iter().any(|l| l.digest == *blob)
                })
            })
            .map(|(n, _)| n.name_only())
    }

    async fn push_document(&self, repository: &Repository, tag: &str, descriptor: &Descriptor) -> Result<()> {
        let bytes = self.store.read_blob(&descriptor.digest)?;
        let media_type = match descriptor.media_type.as_str() {
            "" => media::OCI_MANIFEST,
            other => other,
        };
        let bytes = Bytes::from(bytes);
        let mut attempts = repository.attempts();
        while let Err(error) = repository.put_manifest(tag, media_type, bytes.clone()).await {
            attempts.pause_after(error).await?;
        }
        Ok(())
    }
}

fn aux(value: serde_json::Value) -> JsonMessage {
    JsonMessage { aux: Some(value), ..JsonMessage::default() }
}
