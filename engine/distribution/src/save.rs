//! `docker save`: one archive that is both an OCI image layout and what older versions of Docker load.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use bytes::Bytes;
use serde::Serialize;
use tare_archive::{Entry, Kind, Writer};
use tare_images::names::{NAME_ANNOTATION, REF_ANNOTATION};
use tare_images::oci::{Descriptor, Index, Platform, media, parse_index};
use tare_images::{Image, ImageStore};
use tare_reference::{Digest, Reference};
use tokio::sync::mpsc;

use crate::create::to_json;
use crate::{Distribution, Error, Result, blocking};

/// Bytes of the archive passed on at once.
const CHUNK: usize = 256 << 10;
/// Chunks made ahead of whoever takes the archive.
const AHEAD: usize = 4;
/// Names the manifest that a manifest attests.
const ATTESTED: &str = "vnd.docker.reference.digest";
const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// What goes into an archive.
#[derive(Debug, Default)]
struct Plan {
    /// What is left of indexes; all of it if this is empty.
    platforms: Vec<Platform>,
    index: Vec<Descriptor>,
    manifest: Vec<DockerManifest>,
    repositories: BTreeMap<String, BTreeMap<String, String>>,
    blobs: BTreeSet<Digest>,
}

/// An entry of `manifest.json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Distribution {
    /// Starts an archive of images by name or ID; a name without tag stands for all tags of the repository. Of some
    /// platforms, if any are named: one is there by its manifest, several below the image's index. Names are checked
    /// before the first byte; an error later on is the last item of the channel.
    pub async fn save(&self, names: &[String], platforms: &[Platform]) -> Result<mpsc::Receiver<io::Result<Bytes>>> {
        let store = self.store.clone();
        let (names, platforms) = (names.to_vec(), platforms.to_vec());
        Ok(self.stream(blocking(move || plan(&store, &names, platforms)).await?))
    }

    /// Starts an archive of one image by its ID, with names that it has in the archive alone.
    pub async fn save_as(&self, id: &str, names: &[Reference]) -> Result<mpsc::Receiver<io::Result<Bytes>>> {
        let store = self.store.clone();
        let (id, names) = (id.to_owned(), names.to_vec());
        let plan = blocking(move || {
            let image = store.resolve_platform(&id, None)?;
            let mut plan = Plan::default();
            for name in &names {
                plan.add(&store, &image, Some(name))?;
            }
            if names.is_empty() {
                plan.add(&store, &image, None)?;
            }
            Ok(plan)
        });
        Ok(self.stream(plan.await?))
    }

    fn stream(&self, plan: Plan) -> mpsc::Receiver<io::Result<Bytes>> {
        let (sender, chunks) = mpsc::channel(AHEAD);
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            let _lease = store.lease();
            let out = io::BufWriter::with_capacity(CHUNK, ChannelWriter(sender.clone()));
            if let Err(e) = write(&store, &plan, out) {
                let _ = sender.blocking_send(Err(io::Error::other(e)));
            }
        });
        chunks
    }
}

fn plan(store: &ImageStore, names: &[String], platforms: Vec<Platform>) -> Result<Plan> {
    let mut plan = Plan { platforms, ..Plan::default() };
    for name in names {
        let resolved = plan.resolve(store, name);
        let by_id = resolved.as_ref().is_ok_and(|image| {
            let hex = name.strip_prefix("sha256:").unwrap_or(name);
            image.id.hex().starts_with(hex)
        });
        let reference = Reference::parse_normalized(name).ok();
        let repository = reference.as_ref().filter(|r| !by_id && r.tag().is_none() && r.digest().is_none());
        if let Some(repository) = repository {
            let records = store.records();
            let all = records.iter().filter_map(|r| r.name.as_ref()).filter(|n| n.name() == repository.name());
            let all: Vec<&Reference> = all.collect();
            if all.is_empty() {
                return Err(tare_images::Error::NotFound(repository.clone().with_default_tag().familiar()).into());
            }
            for tagged in all {
                let image = plan.resolve(store, &tagged.to_string())?;
                plan.add(store, &image, Some(tagged))?;
            }
            continue;
        }
        let image = resolved?;
        // an image asked for by its identity has no name in the archive
        let tagged = reference.filter(|r| !by_id && r.digest().is_none());
        plan.add(store, &image, tagged.as_ref())?;
    }
    Ok(plan)
}

impl Plan {
    /// Finds an image for one of the platforms, this machine's if that is one of them.
    fn resolve(&self, store: &ImageStore, name: &str) -> tare_images::Result<Image> {
        let Some(first) = self.platforms.first() else { return store.resolve_platform(name, None) };
        let host = Platform::host();
        let own = self.platforms.iter().find(|platform| host.accepts(platform)).unwrap_or(first);
        let of = |platform| store.resolve_platform(name, Some(platform));
        self.platforms.iter().fold(of(own), |found, platform| found.or_else(|_| of(platform)))
    }

    fn add(&mut self, store: &ImageStore, image: &Image, name: Option<&Reference>) -> Result<()> {
        let mut target = if self.platforms.len() == 1 { image.descriptor.clone() } else { image.target.clone() };
        target.annotations.remove(NAME_ANNOTATION);
        target.annotations.remove(REF_ANNOTATION);
        self.reach(store, &target)?;
        if let Some(name) = name {
            target.annotations.insert(NAME_ANNOTATION.to_owned(), name.to_string());
            if let Some(tag) = name.tag() {
                target.annotations.insert(REF_ANNOTATION.to_owned(), tag.to_owned());
            }
        }
        self.index.push(target);
        let path = |digest: &Digest| format!("blobs/{}/{}", digest.algorithm(), digest.hex());
        let config = path(&image.manifest.config.digest);
        let layers: Vec<String> = image.manifest.layers.iter().map(|l| path(&l.digest)).collect();
        if let Some(name) = name
            && let (Some(tag), Some(top)) = (name.tag(), image.manifest.layers.last())
        {
            let tags = self.repositories.entry(name.familiar_name()).or_default();
            tags.insert(tag.to_owned(), top.digest.hex().to_owned());
        }
        let tag = name.map(Reference::familiar);
        match self.manifest.iter_mut().find(|m| m.config == config) {
            Some(known) => {
                if let Some(tag) = tag {
                    known.repo_tags.get_or_insert_default().push(tag);
                }
            }
            None => self.manifest.push(DockerManifest { config, repo_tags: tag.map(|t| vec![t]), layers }),
        }
        Ok(())
    }

    /// Adds what a target needs and what of it is here.
    fn reach(&mut self, store: &ImageStore, target: &Descriptor) -> Result<()> {
        self.blobs.insert(target.digest.clone());
        if media::is_index(&target.media_type) {
            let children = parse_index(&store.read_blob(&target.digest)?)?.manifests;
            let left_out: Vec<_> = children.iter().filter(|child| self.leaves_out(child)).cloned().collect();
            for child in children {
                // What attests an image goes with it.
                let subject = child.annotations.get(ATTESTED);
                let goes = left_out.iter().any(|out| *out == child || subject == Some(&out.digest.to_string()));
                if !goes && store.has_blob(&child.digest) {
                    self.reach(store, &child)?;
                }
            }
            return Ok(());
        }
        let manifests = store.manifests(target)?;
        for content in manifests.iter().filter_map(|m| m.content.as_ref()) {
            let blobs = std::iter::once(&content.manifest.config).chain(&content.manifest.layers);
            self.blobs.extend(blobs.filter(|b| store.has_blob(&b.digest)).map(|b| b.digest.clone()));
        }
        Ok(())
    }

    /// Whether a manifest of an index is of a platform that was not asked for.
    fn leaves_out(&self, child: &Descriptor) -> bool {
        let wanted = |own: &Platform| self.platforms.iter().any(|platform| platform.accepts(own));
        !self.platforms.is_empty() && !child.is_attestation() && child.platform.as_ref().is_some_and(|own| !wanted(own))
    }
}

fn write<W: Write>(store: &ImageStore, plan: &Plan, out: W) -> Result<()> {
    let mut writer = Writer::new(out);
    let index = Index {
        schema_version: 2,
        media_type: media::OCI_INDEX.to_owned(),
        manifests: plan.index.clone(),
        annotations: BTreeMap::new(),
    };
    for directory in ["blobs/", "blobs/sha256/"] {
        writer.append(&Entry::new(directory, Kind::Directory, 0o755))?;
    }
    for blob in &plan.blobs {
        let mut file = store.open_blob(blob)?;
        let size = file.metadata().map_err(|e| Error::io("fstat", e))?.len();
        let name = format!("blobs/{}/{}", blob.algorithm(), blob.hex());
        writer.append_data(&Entry { size, ..Entry::new(name, Kind::File, 0o444) }, &mut file)?;
    }
    let documents = [
        ("index.json", to_json(&index)?),
        ("manifest.json", to_json(&plan.manifest)?),
        ("oci-layout", OCI_LAYOUT.to_vec()),
        ("repositories", to_json(&plan.repositories)?),
    ];
    for (name, bytes) in documents {
        let entry = Entry { size: bytes.len() as u64, ..Entry::new(name, Kind::File, 0o444) };
        writer.append_data(&entry, &mut bytes.as_slice())?;
    }
    writer.finish()?;
    Ok(())
}

struct ChannelWriter(mpsc::Sender<io::Result<Bytes>>);

impl Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
