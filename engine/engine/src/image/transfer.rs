//! Moving images: pull, push, load, save, import, commit, and removing them. The work is the distribution crate's;
//! here it meets containers, events and clients.

use std::future::Future;
use std::sync::Arc;

use tare_distribution::{Commit, Import, Kind, Settings, Use};
use tare_docker_api::auth::{AuthConfig, AuthResponse};
use tare_docker_api::container::{Config, IdResponse};
use tare_docker_api::filters::Filters;
use tare_docker_api::go::List;
use tare_docker_api::image::{BuildPruneReport, DeleteItem, DistributionInspect, ImagePruneReport};
use tare_docker_api::oci::Descriptor;
use tare_docker_api::stream::JsonMessage;
use tare_images::oci::{Config as ImageConfig, Healthcheck};
use tare_images::{Image, Step};
use tare_reference::Digest;
use tare_registry::{Proxies, Registry};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use super::{defaults, platform, pulled, reference, tagged};
use crate::Engine;
use crate::build_cache::{self, Bounds};
use crate::cache_selector::CacheSelector;
use crate::config::Reloadable;
use crate::container::merge;
use crate::container::record::{MountKind, Record};
use crate::container::state::Status;
use crate::error::{Error, ErrorKind, Result};
use crate::filter;
use crate::host::{self, stream};
use crate::options::{ByteSource, ByteStream, Credentials, ImportSource, ProgressStream};

type Sender = mpsc::UnboundedSender<Result<JsonMessage>>;

/// What the settings mean for the distribution use cases.
pub(crate) fn settings(settings: &Reloadable) -> (Registry, Settings) {
    let registry = Registry::new(tare_registry::Config {
        mirrors: settings.registry_mirrors.clone(),
        insecure: settings.insecure_registries.clone(),
        proxies: Proxies {
            http: host::proxy("http_proxy"),
            https: host::proxy("https_proxy"),
            none: host::proxy("no_proxy"),
        },
        attempts: settings.max_download_attempts,
        ..tare_registry::Config::default()
    });
    let limits = Settings { downloads: settings.max_concurrent_downloads, uploads: settings.max_concurrent_uploads };
    (registry, limits)
}

/// Errors of the distribution use cases by kind.
pub(crate) fn failed(error: tare_distribution::Error) -> Error {
    let kind = match error.kind() {
        Kind::NotFound => ErrorKind::NotFound,
        Kind::Conflict => ErrorKind::Conflict,
        Kind::Invalid => ErrorKind::Invalid,
        Kind::Forbidden => ErrorKind::Forbidden,
        Kind::Unauthorized => ErrorKind::Unauthorized,
        Kind::Internal => ErrorKind::Internal,
    };
    Error { kind, message: error.to_string() }
}

pub(super) fn credentials(given: Option<Credentials>) -> Option<tare_registry::Credentials> {
    given.map(|given| tare_registry::Credentials {
        username: given.username,
        password: given.password,
        identity_token: given.identity_token,
        registry_token: given.registry_token,
    })
}

/// Messages a slow client may be behind before they are queued in memory.
const MESSAGES_MAX: usize = 64;

/// Runs work that reports progress until it ends or nobody listens any more.
fn report<F>(work: impl FnOnce(Sender) -> F) -> ProgressStream
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    // Reports come from threads that must not wait for a client, so their queue has no bound; but they are paced, some
    // ten a second for each layer.
    let (sender, mut queue) = mpsc::unbounded_channel();
    let (out, receiver) = mpsc::channel(MESSAGES_MAX);
    let failures = sender.clone();
    let work = work(sender);
    let work = tokio::spawn(async move {
        if let Err(error) = work.await {
            // The client may have gone; then nobody wants to know.
            let _ = failures.send(Err(error));
        }
    });
    tokio::spawn(async move {
        loop {
            let message = tokio::select! {
                // A client may go while there is nothing to tell it: the registry says nothing.
                () = out.closed() => break,
                message = queue.recv() => message,
            };
            let Some(message) = message else { break };
            if out.send(message).await.is_err() {
                break;
            }
        }
        // Without a listener the work is given up; what it has so far is kept for the next attempt.
        work.abort();
    });
    receiver
}

fn progress(sender: Sender) -> Box<dyn Fn(JsonMessage) + Send + Sync> {
    Box::new(move |message| {
        // As above.
        let _ = sender.send(Ok(message));
    })
}

impl Engine {
    /// Pulls an image. The stream's first item tells whether anything was found at all.
    pub async fn pull(
        self: &Arc<Self>,
        name: &str,
        tag: &str,
        wanted: Option<&str>,
        given: Option<Credentials>,
    ) -> Result<ProgressStream> {
        if name == "scratch" {
            return Err(Error::forbidden("'scratch' is a reserved name"));
        }
        let reference = pulled(name, tag)?;
        let all_tags = tag.is_empty() && reference.tag().is_none() && reference.digest().is_none();
        let wanted = wanted.filter(|text| !text.is_empty()).map(platform).transpose()?;
        let engine = Arc::clone(self);
        Ok(report(|sender| async move {
            let progress = progress(sender);
            let credentials = credentials(given);
            let distribution = engine.distribution();
            let result = if all_tags {
                distribution.pull_all_tags(&reference, wanted.as_ref(), credentials, &progress).await.map(|_| ())
            } else {
                distribution.pull(&reference, wanted.as_ref(), credentials, &progress).await.map(|_| ())
            };
            result.map_err(failed)?;
            let name = reference.familiar_name();
            engine.image_event("pull", &reference.with_default_tag().familiar(), &name);
            Ok(())
        }))
    }

    /// Pushes an image.
    pub async fn push(
        self: &Arc<Self>,
        name: &str,
        tag: &str,
        wanted: Option<&str>,
        given: Option<Credentials>,
    ) -> Result<ProgressStream> {
        let reference = tagged(name, tag)?;
        let wanted = wanted.filter(|text| !text.is_empty()).map(platform).transpose()?;
        let engine = Arc::clone(self);
        Ok(report(|sender| async move {
            let progress = progress(sender);
            engine
                .distribution()
                .push(&reference, wanted.as_ref(), credentials(given), &progress)
                .await
                .map_err(failed)?;
            engine.image_event("push", &reference.familiar(), &reference.familiar_name());
            Ok(())
        }))
    }

    /// Makes an image of a root file system's archive.
    pub async fn import(
        self: &Arc<Self>,
        repository: &str,
        tag: &str,
        message: &str,
        changes: Vec<String>,
        wanted: Option<&str>,
        source: ImportSource,
    ) -> Result<ProgressStream> {
        let name = if repository.is_empty() { None } else { Some(tagged(repository, tag)?.with_default_tag()) };
        let import = Import {
            platform: wanted.filter(|text| !text.is_empty()).map(platform).transpose()?,
            message: message.to_owned(),
            changes,
            name,
        };
        let engine = Arc::clone(self);
        Ok(report(|sender| async move {
            let source = match source {
                ImportSource::Sent(source) => source,
                ImportSource::Url(url) => {
                    let url = if url.contains("://") { url } else { format!("http://{url}") };
                    let download = engine.download(&url).await?;
                    let _ = sender.send(Ok(JsonMessage::status("", format!("Downloading from {url}"))));
                    Box::pin(StreamReader::new(Box::pin(download.stream())))
                }
            };
            let archive = stream::blocking_reader(source);
            let id = engine.distribution().import(archive, import).await.map_err(failed)?.to_string();
            let _ = sender.send(Ok(JsonMessage::status("", id.clone())));
            engine.image_event("import", &id, &id);
            Ok(())
        }))
    }

    /// Loads images from an archive that `save` made, for some platforms or for this machine's.
    pub async fn load(self: &Arc<Self>, quiet: bool, wanted: &[String], source: ByteSource) -> Result<ProgressStream> {
        let wanted = wanted.iter().map(|text| platform(text)).collect::<Result<Vec<_>>>()?;
        let archive = stream::blocking_reader(source);
        let engine = Arc::clone(self);
        Ok(report(|sender| async move {
            let report = progress(sender);
            // Quiet means without the bars; what was loaded is said in any case.
            let progress = move |message: JsonMessage| {
                if !quiet || message.progress_detail.is_none() {
                    report(message);
                }
            };
            let loaded = engine.distribution().load(archive, wanted, Arc::new(progress)).await.map_err(failed)?;
            for image in loaded {
                let id = image.id.to_string();
                engine.image_event("load", &id, &id);
            }
            Ok(())
        }))
    }

    /// Writes images as one archive, for some platforms or for all that are here.
    pub async fn save(self: &Arc<Self>, names: Vec<String>, wanted: &[String]) -> Result<ByteStream> {
        let wanted = wanted.iter().map(|text| platform(text)).collect::<Result<Vec<_>>>()?;
        let stream = self.distribution().save(&names, &wanted).await.map_err(failed)?;
        for name in &names {
            if let Some(id) = self.image_id(name) {
                self.image_event("save", &id, &id);
            }
        }
        Ok(stream)
    }

    /// Makes an image of a container, which stands still meanwhile if `pause` is set.
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
        let container = self.find(container)?;
        let name = if repository.is_empty() { None } else { Some(tagged(repository, tag)?.with_default_tag()) };
        let _operation = container.operation.lock().await;
        let (record, status) = {
            let inner = container.read();
            (inner.record.clone(), inner.state.status)
        };
        if matches!(status, Status::Removing | Status::Dead) {
            return Err(Error::conflict(format!(
                "You cannot commit container {} which is being removed",
                container.id
            )));
        }
        let mut merged = config.unwrap_or_default();
        merge::merge(&mut merged, &defaults(&image_config(&record.config)));
        let (parent, parent_id) = self.image_of(&record).map(|image| (Arc::clone(image.content()), image.id)).unzip();
        let commit = Commit {
            upper: Some(self.images.rw_layer(&container.id).upper),
            parent,
            parent_id,
            config: image_config(&merged),
            changes,
            created_by: [std::slice::from_ref(&record.path), record.args.as_slice()].concat().join(" "),
            author: author.to_owned(),
            comment: comment.to_owned(),
            name: name.clone(),
            created: None,
        };
        let freeze = pause && status == Status::Running;
        let told = |action: &str| {
            self.events.publish("container", action, &container.id, crate::container::attributes(&record));
        };
        if freeze {
            match self.cgroup(&container).freeze() {
                // One whose cgroup is gone has ended meanwhile, and stands still by itself.
                Err(error) if !error.is_gone() => return Err(Error::internal(error.to_string())),
                _ => told("pause"),
            }
        }
        let result = self.distribution().commit(commit).await.map_err(failed);
        if freeze {
            match self.cgroup(&container).thaw() {
                Err(error) if !error.is_gone() => {
                    tracing::error!("thawing container {} after a commit: {error}", container.id);
                }
                _ => told("unpause"),
            }
        }
        let id = result?.to_string();
        self.image_event("create", &id, &id);
        if let Some(name) = &name {
            self.image_event("tag", &id, &name.familiar());
        }
        let mut attributes = crate::container::attributes(&record);
        attributes.insert("comment".to_owned(), comment.to_owned());
        attributes.insert("imageID".to_owned(), id.clone());
        attributes.insert("imageRef".to_owned(), name.map(|name| name.familiar()).unwrap_or_default());
        self.events.publish("container", "commit", &container.id, attributes);
        Ok(IdResponse { id })
    }

    /// Removes an image or one of its names, and unless `no_prune` what its build made on the way.
    pub async fn image_remove(
        self: &Arc<Self>,
        name: &str,
        force: bool,
        no_prune: bool,
        platforms: &[String],
    ) -> Result<Vec<DeleteItem>> {
        if !platforms.is_empty() && !force {
            return Err(Error::invalid(
                "Content will be removed from all images referencing this variant. Use \u{2014}-force to force delete.",
            ));
        }
        let platforms = platforms.iter().map(|text| platform(text)).collect::<Result<Vec<_>>>()?;
        let engine = Arc::clone(self);
        let uses = move |id: &Digest| engine.image_uses(id);
        let id = self.image_id(name).unwrap_or_default();
        let distribution = self.distribution();
        let removal = if platforms.is_empty() {
            distribution.remove(name, force, !no_prune, &uses).await
        } else {
            distribution.remove_platforms(name, &platforms, !no_prune, &uses).await
        };
        let removal = removal.map_err(failed)?;
        self.removal_events(&removal.items, &id);
        Ok(removal.items)
    }

    /// Tells of names taken away, which come before the image that had them, if it is gone as well; `kept` is the image
    /// of the others.
    fn removal_events(&self, items: &[DeleteItem], kept: &str) {
        for (index, item) in items.iter().enumerate() {
            if !item.untagged.is_empty() {
                let deleted = items.iter().skip(index).find(|item| !item.deleted.is_empty());
                let id = deleted.map_or(kept, |item| item.deleted.as_str());
                self.image_event("untag", id, &item.untagged);
            }
            if !item.deleted.is_empty() {
                self.image_event("delete", &item.deleted, &item.deleted);
            }
        }
    }

    /// Removes images that no container uses: dangling ones, or with `dangling=false` all.
    pub async fn images_prune(self: &Arc<Self>, filters: Filters) -> Result<ImagePruneReport> {
        let until = filter::prune_until(&filters, &["dangling", "label", "label!", "until"])?;
        let all = !filters.bool_or("dangling", true)?;
        let wanted = move |image: &Image| {
            filter::labels_match(&filters, &image.config.config.labels)
                && until.is_none_or(|until| super::api::created(image).unix_nanos() < until)
        };
        let engine = Arc::clone(self);
        let uses = move |id: &Digest| engine.image_uses(id);
        let pruned = self.distribution().prune(all, &wanted, &uses).await.map_err(failed)?;
        self.removal_events(&pruned.items, "");
        let mut items = pruned.items;
        for (id, item) in pruned.spare {
            self.image_event("untag", &id.to_string(), &item.untagged);
            items.push(item);
        }
        let attributes = std::collections::BTreeMap::from([("reclaimed".to_owned(), pruned.reclaimed.to_string())]);
        self.events.publish("image", "prune", "", attributes);
        let images_deleted = if items.is_empty() { List::default() } else { items.into() };
        Ok(ImagePruneReport { images_deleted, space_reclaimed: pruned.reclaimed })
    }

    /// Drops the cache of builds.
    pub async fn build_prune(
        self: &Arc<Self>,
        filters: Filters,
        selector: CacheSelector,
        bounds: Bounds,
    ) -> Result<BuildPruneReport> {
        let until = filter::prune_until(&filters, build_cache::FILTERS)?;
        let engine = Arc::clone(self);
        let taken = Arc::new(crate::blocking(move || engine.taken(&filters, until, &selector, bounds)).await?);
        let steps = Arc::clone(&taken);
        let wanted = move |step: &Step| steps.contains(step.target.digest.as_str());
        let engine = Arc::clone(self);
        let uses = move |id: &Digest| engine.image_uses(id);
        let mut pruned = self.distribution().prune_steps(&wanted, &uses).await.map_err(failed)?;
        let directory = self.build_cache_directory();
        let (names, freed) = crate::blocking(move || Ok(crate::build::prune_caches(&directory, &taken))).await?;
        pruned.reclaimed += freed;
        let attributes = std::collections::BTreeMap::from([("reclaimed".to_owned(), pruned.reclaimed.to_string())]);
        self.events.publish("builder", "prune", "", attributes);
        let caches: Vec<String> = pruned.items.into_iter().map(|item| item.deleted).chain(names).collect();
        let caches_deleted = if caches.is_empty() { List::default() } else { caches.into() };
        Ok(BuildPruneReport { caches_deleted, space_reclaimed: pruned.reclaimed })
    }

    /// Containers that keep an image.
    pub(crate) fn image_uses(&self, id: &Digest) -> Vec<Use> {
        let id = id.to_string();
        let containers = self.all_containers();
        let called = |record: &Record| {
            let mounts = record.mounts.iter().filter(|mount| mount.kind == MountKind::Image && mount.source == id);
            let own = (record.image_id == id).then(|| record.config.image.clone());
            own.or_else(|| mounts.map(|mount| mount.name.clone()).next())
        };
        let using = containers.iter().filter_map(|container| {
            let inner = container.read();
            let image = called(&inner.record)?;
            Some(Use { container: container.id.clone(), image, running: inner.state.counts_as_running() })
        });
        using.collect()
    }

    /// Looks at an image in its registry.
    pub async fn distribution_inspect(&self, name: &str, given: Option<Credentials>) -> Result<DistributionInspect> {
        let reference = reference(name)?.with_default_tag();
        let found = self.distribution().inspect(&reference, credentials(given)).await.map_err(failed)?;
        Ok(DistributionInspect {
            descriptor: Descriptor {
                media_type: found.descriptor.media_type,
                digest: found.descriptor.digest.to_string(),
                size: i64::try_from(found.descriptor.size).unwrap_or(i64::MAX),
                ..Descriptor::default()
            },
            platforms: found.platforms.into_iter().map(super::shown_platform).collect::<Vec<_>>().into(),
        })
    }

    /// Checks credentials with their registry.
    pub async fn auth(&self, config: AuthConfig) -> Result<AuthResponse> {
        let credentials = tare_registry::Credentials {
            username: config.username,
            password: config.password,
            identity_token: config.identity_token,
            registry_token: config.registry_token,
        };
        let token = self.distribution().registry().login(&config.server_address, &credentials).await;
        let identity_token = token.map_err(|error| failed(error.into()))?;
        Ok(AuthResponse { identity_token, status: "Login Succeeded".to_owned() })
    }
}

/// A container's configuration as an image's.
fn image_config(config: &Config) -> ImageConfig {
    let set = |keys: Vec<String>| keys.into_iter().map(|key| (key, serde_json::json!({}))).collect();
    ImageConfig {
        user: config.user.clone(),
        exposed_ports: set(config.exposed_ports.keys().cloned().collect()),
        env: config.env.to_vec(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        healthcheck: config.healthcheck.as_ref().map(|check| Healthcheck {
            test: check.test.to_vec(),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        volumes: set(config.volumes.keys().cloned().collect()),
        working_dir: config.working_dir.clone(),
        on_build: if config.on_build.is_empty() { None } else { Some(config.on_build.to_vec()) },
        labels: config.labels.clone().into_inner(),
        stop_signal: config.stop_signal.clone(),
        shell: if config.shell.is_empty() { None } else { Some(config.shell.to_vec()) },
        ..ImageConfig::default()
    }
}
