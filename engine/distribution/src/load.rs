//! `docker load`: archives of images, as an OCI image layout or as older versions of Docker save them.
//!
//! The archive is read once, front to back, as it comes; what it holds goes straight to the store's blobs. Only then
//! its documents are read, which may be at its end, and the layers unpacked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::channel;

use serde::Deserialize;
use tare_archive::path::{clean, join, split};
use tare_archive::{Entry, Kind, Reader};
use tare_docker_api::stream::JsonMessage;
use tare_images::blobs::MAX_DOCUMENT;
use tare_images::compression::{buffered, decompress};
use tare_images::names::{NAME_ANNOTATION, REF_ANNOTATION};
use tare_images::oci::{Descriptor, Manifest, Platform, media, parse_config, parse_index};
use tare_images::{ImageContent, ImageStore, PlatformManifest};
use tare_reference::{Digest, Reference};

use crate::create::to_json;
use crate::{Distribution, Error, Progress, Result, blocking, making};

/// Most files of an archive; the largest have a few hundred.
const MAX_FILES: usize = 100_000;
/// Bytes of the outer archive read at once.
const BUFFER: usize = 256 << 10;
/// First bytes of a blob that tell how it is compressed.
const MAGIC: usize = 4;

/// An image found in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its ID.
    pub id: Digest,
    /// Its name, if it has one.
    pub name: Option<Reference>,
}

/// An entry of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// What an archive holds, by clean name.
#[derive(Default)]
struct Contents {
    documents: BTreeMap<Vec<u8>, Vec<u8>>,
    blobs: BTreeMap<Vec<u8>, Blob>,
    links: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the store did not have before.
    new: BTreeSet<Digest>,
}

#[derive(Debug, Clone)]
struct Blob {
    digest: Digest,
    size: u64,
    /// The media type, if it is compressed.
    compressed: Option<&'static str>,
}

impl Distribution {
    /// Loads all images of an archive, compressed or not, and unpacks them for some platforms, or for the machine's if none
    /// are named. Messages are those of `docker load`.
    pub async fn load<R: Read + Send + 'static>(
        &self,
        archive: R,
        platforms: Vec<Platform>,
        progress: Arc<dyn Progress>,
    ) -> Result<Vec<Loaded>> {
        let store = self.store.clone();
        blocking(move || making(&store, || load(&store, archive, &platforms, &*progress))).await
    }

    /// Unpacks an image's layers where they are not: an image of several platforms comes unpacked for one.
    pub async fn unpack(&self, content: Arc<ImageContent>) -> Result<()> {
        let store = self.store.clone();
        blocking(move || making(&store, || unpack_layers(&store, &content))).await
    }
}

fn load<R: Read + Send + 'static>(
    store: &ImageStore,
    archive: R,
    platforms: &[Platform],
    progress: &dyn Progress,
) -> Result<Vec<Loaded>> {
    let contents = read(store, archive)?;
    let images = if contents.documents.contains_key(b"oci-layout".as_slice()) {
        oci_images(&contents)?
    } else {
        docker_images(store, &contents)?
    };
    let mut loaded = Vec::new();
    for (target, name) in images {
        unpack(store, &target, platforms, name.as_ref())?;
        if !platforms.is_empty() {
            drop_others(store, &target, platforms, &contents.new)?;
        }
        let names: Vec<Reference> = name.clone().into_iter().collect();
        store.publish(&target, &names)?;
        progress(JsonMessage::stream(match &name {
            Some(name) => format!("Loaded image: {}\n", name.familiar()),
            None => format!("Loaded image ID: {}\n", target.digest),
        }));
        loaded.push(Loaded { id: target.digest, name });
    }
    Ok(loaded)
}

/// Reads the whole archive into the store.
fn read<R: Read + Send + 'static>(store: &ImageStore, archive: R) -> Result<Contents> {
    let (_, plain) = decompress(buffered(archive))?;
    let mut reader = Reader::new(std::io::BufReader::with_capacity(BUFFER, plain));
    let mut contents = Contents::default();
    let mut count = 0;
    while let Some(entry) = reader.next_entry()? {
        count += 1;
        if count > MAX_FILES {
            return Err(Error::Invalid(format!("archive has more than {MAX_FILES} files")));
        }
        let bad = |reason: String| {
            Error::Invalid(format!("archive entry `{}`: {reason}", String::from_utf8_lossy(&entry.path)))
        };
        let path = clean(&entry.path).map_err(|e| bad(e.to_string()))?;
        match entry.kind {
            Kind::File if is_document(&path) => {
                let bytes = read_document(&mut reader, &entry)?;
                contents.documents.insert(path, bytes);
            }
            Kind::File if !is_legacy(&path) => {
                let (blob, is_new) = read_blob(store, &mut reader, &path, &entry)?;
                if is_new {
                    contents.new.insert(blob.digest.clone());
                }
                contents.blobs.insert(path, blob);
            }
            Kind::Symlink => {
                let target = join(split(&path).0, &entry.link);
                let target = clean(&target).map_err(|e| bad(e.to_string()))?;
                contents.links.insert(path, target);
            }
            Kind::HardLink => {
                let target = clean(&entry.link).map_err(|e| bad(e.to_string()))?;
                contents.links.insert(path, target);
            }
            _ => {}
        }
    }
    Ok(contents)
}

fn is_document(path: &[u8]) -> bool {
    matches!(path, b"manifest.json" | b"index.json" | b"oci-layout" | b"repositories")
}

/// Files that Docker before 1.10 read.
fn is_legacy(path: &[u8]) -> bool {
    matches!(split(path).1, b"VERSION" | b"json")
}

fn read_document<R: std::io::BufRead>(reader: &mut Reader<R>, entry: &Entry) -> Result<Vec<u8>> {
    if entry.size > MAX_DOCUMENT {
        return Err(tare_images::Error::TooLarge { what: "image document", limit: MAX_DOCUMENT }.into());
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.chunk()? {
        bytes.extend_from_slice(chunk.data);
    }
    Ok(bytes)
}

/// Writes a file to the store, unless its name is a digest that the store has; says whether it did.
fn read_blob<R: std::io::BufRead>(
    store: &ImageStore,
    reader: &mut Reader<R>,
    path: &[u8],
    entry: &Entry,
) -> Result<(Blob, bool)> {
    let expected = digest_of(path);
    let mut start: Vec<u8> = Vec::with_capacity(MAGIC);
    let mut note = |data: &[u8]| {
        let missing = MAGIC - start.len().min(MAGIC);
        start.extend(data.iter().take(missing));
    };
    let known = expected.clone().filter(|digest| store.has_blob(digest));
    let is_new = known.is_none();
    let (digest, size) = if let Some(digest) = known {
        // the first bytes tell what it is; the rest need not be looked at
        if let Some(chunk) = reader.chunk()? {
            note(chunk.data);
        }
        (digest, entry.size)
    } else {
        let mut writer = store.begin_blob()?;
        while let Some(chunk) = reader.chunk()? {
            note(chunk.data);
            writer.write(chunk.data)?;
        }
        writer.finish()?
    };
    if let Some(expected) = expected.filter(|e| *e != digest) {
        return Err(tare_images::Error::DigestMismatch { what: "blob", expected, actual: digest }.into());
    }
    let compressed = match start.as_slice() {
        [0x1f, 0x8b, ..] => Some(media::DOCKER_LAYER_GZIP),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(media::DOCKER_LAYER_ZSTD),
        _ => None,
    };
    Ok((Blob { digest, size, compressed }, is_new))
}

/// `blobs/sha256/<hex>`
fn digest_of(path: &[u8]) -> Option<Digest> {
    let hex = std::str::from_utf8(path.strip_prefix(b"blobs/sha256/")?).ok()?;
    Digest::from_sha256_hex(hex)
}

impl Contents {
    /// A blob by its name in the archive, through links.
    fn blob(&self, name: &str) -> Result<&Blob> {
        let missing = || Error::Invalid(format!("archive lacks `{name}`"));
        let mut path = clean(name.as_bytes()).map_err(|_| missing())?;
        // as many links as the kernel follows
        for _ in 0..40 {
            if let Some(blob) = self.blobs.get(&path) {
                return Ok(blob);
            }
            path = self.links.get(&path).ok_or_else(missing)?.clone();
        }
        Err(missing())
    }

    fn document(&self, name: &str) -> Result<&[u8]> {
        let document = self.documents.get(name.as_bytes());
        document.map(Vec::as_slice).ok_or_else(|| Error::Invalid(format!("archive lacks `{name}`")))
    }
}

/// What `index.json` names.
fn oci_images(contents: &Contents) -> Result<Vec<(Descriptor, Option<Reference>)>> {
    let index = parse_index(contents.document("index.json")?)?;
    let mut images = Vec::new();
    for mut descriptor in index.manifests {
        let full = descriptor.annotations.get(NAME_ANNOTATION);
        let name = full.or_else(|| descriptor.annotations.get(REF_ANNOTATION)).cloned();
        let name = name.and_then(|n| Reference::parse_normalized(&n).ok()).map(Reference::with_default_tag);
        descriptor.annotations.remove(NAME_ANNOTATION);
        descriptor.annotations.remove(REF_ANNOTATION);
        images.push((descriptor, name));
    }
    Ok(images)
}

/// What `manifest.json` names: a manifest is made for each, as containerd makes it, so that IDs agree.
fn docker_images(store: &ImageStore, contents: &Contents) -> Result<Vec<(Descriptor, Option<Reference>)>> {
    let entries: Vec<DockerManifest> = serde_json::from_slice(contents.document("manifest.json")?)
        .map_err(|e| Error::Invalid(format!("invalid manifest.json: {e}")))?;
    let mut images = Vec::new();
    for entry in entries {
        let config = contents.blob(&entry.config)?;
        let mut layers = Vec::new();
        for layer in entry.layers.unwrap_or_default() {
            let blob = contents.blob(&layer)?;
            let media_type = blob.compressed.unwrap_or(media::DOCKER_LAYER);
            layers.push(Descriptor::new(media_type, blob.digest.clone(), blob.size));
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: media::DOCKER_MANIFEST.to_owned(),
            config: Descriptor::new(media::DOCKER_CONFIG, config.digest.clone(), config.size),
            layers,
            annotations: BTreeMap::new(),
        };
        let mut target = store.write_blob(media::DOCKER_MANIFEST, &to_json(&manifest)?)?;
        let config = parse_config(&store.read_blob(&config.digest)?)?;
        target.platform = Some(config.platform()).filter(|p| !p.os.is_empty());
        let tags = entry.repo_tags.unwrap_or_default();
        let names: Vec<Reference> = tags
            .iter()
            .filter_map(|tag| Reference::parse_normalized(tag).ok())
            .map(Reference::with_default_tag)
            .collect();
        if names.is_empty() {
            images.push((target, None));
        } else {
            images.extend(names.into_iter().map(|name| (target.clone(), Some(name))));
        }
    }
    Ok(images)
}

/// Unpacks the layers of the image that runs here, or those of the platforms that are asked for.
fn unpack(store: &ImageStore, target: &Descriptor, platforms: &[Platform], name: Option<&Reference>) -> Result<()> {
    let manifests = store.manifests(target)?;
    let complete = |manifest: &&PlatformManifest| platforms.is_empty() || store.is_complete(manifest);
    let contents = manifests.iter().filter(|manifest| !manifest.descriptor.is_attestation()).filter(complete);
    let contents: Vec<&Arc<ImageContent>> = contents.filter_map(|manifest| manifest.content.as_ref()).collect();
    if platforms.is_empty() {
        let host = Platform::host();
        let fitting = contents.iter().find(|content| host.accepts(&content.config.platform()));
        // something of another platform may be kept all the same
        let content = fitting.or(contents.first());
        let lacks = || Error::Invalid(format!("archive lacks the content of {}", target.digest));
        return unpack_layers(store, content.ok_or_else(lacks)?);
    }
    let asked = |content: &&&Arc<ImageContent>| platforms.iter().any(|p| p.accepts(&content.config.platform()));
    let mut fitting = contents.iter().filter(asked).peekable();
    if fitting.peek().is_none() {
        let shown = name.map_or_else(|| target.digest.to_string(), Reference::familiar);
        let platforms: Vec<String> = platforms.iter().map(ToString::to_string).collect();
        return Err(Error::NotFound(format!(
            "image {shown} was loaded, but doesn't provide the requested platform ({})",
            platforms.join(" ")
        )));
    }
    fitting.try_for_each(|content| unpack_layers(store, content))
}

/// Takes manifests away that nobody has asked for, of those that came with the archive; what only they need is collected.
fn drop_others(store: &ImageStore, target: &Descriptor, platforms: &[Platform], new: &BTreeSet<Digest>) -> Result<()> {
    let asked = |manifest: &PlatformManifest| {
        let own = manifest.content.as_ref().map(|content| content.config.platform());
        own.is_none_or(|own| platforms.iter().any(|p| p.accepts(&own)))
    };
    let others = store.manifests(target)?.into_iter().filter(|m| !m.descriptor.is_attestation() && !asked(m));
    let others: Vec<Digest> = others.map(|m| m.descriptor.digest).filter(|digest| new.contains(digest)).collect();
    Ok(store.drop_manifests(&others)?)
}

/// Some at the same time.
fn unpack_layers(store: &ImageStore, content: &ImageContent) -> Result<()> {
    let diff_ids = &content.config.rootfs.diff_ids;
    if diff_ids.len() != content.manifest.layers.len() {
        return Err(Error::Invalid(format!(
            "manifest has {} layers, configuration {}",
            content.manifest.layers.len(),
            diff_ids.len()
        )));
    }
    let mut missing: Vec<(&Digest, &Digest)> = Vec::new();
    for (layer, diff_id) in content.manifest.layers.iter().zip(diff_ids) {
        if !store.has_layer(diff_id) && !missing.iter().any(|(_, known)| *known == diff_id) {
            missing.push((&layer.digest, diff_id));
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(missing.len());
    let (work, queue) = channel();
    for layer in missing {
        // the other end is below
        let _ = work.send(layer);
    }
    drop(work);
    let queue = std::sync::Mutex::new(queue);
    let next = || queue.lock().ok().and_then(|queue| queue.recv().ok());
    let unpack_some = || -> Result<()> {
        while let Some((blob, diff_id)) = next() {
            let file = store.open_blob(blob)?;
            let unpacked = store.unpack_layer(file, Some(diff_id));
            unpacked.map_err(|source| Error::Extract { diff_id: diff_id.to_string(), source })?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(unpack_some)).collect();
        let died = |_| Err(Error::Internal("load: thread died".to_owned()));
        running.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(died))
    })
}
