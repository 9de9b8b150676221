//! Images made here: from a file tree (`docker import`) or from a container's changes (`docker commit`).

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use bytes::Bytes;
use tare_archive::Writer;
use tare_images::compression::{Compression, buffered, gzip};
use tare_images::export::export_layer;
use tare_images::oci::{Config, Descriptor, History, ImageConfig, Manifest, Platform, media};
use tare_images::rootdir::RootDir;
use tare_images::{BlobWriter, ImageContent, ImageStore, Layer};
use tare_reference::{Digest, Reference};

use crate::transfer::{ChannelReader, Piece};
use crate::{Distribution, Error, Result, blocking, changes, making};

/// Bytes of an archive passed on at once.
const CHUNK: usize = 256 << 10;
/// Chunks between the threads that make, compress and unpack an archive.
const AHEAD: usize = 8;

/// What `docker import` is told.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// The image's name; none makes a dangling image.
    pub name: Option<Reference>,
    /// What it runs on, if not this machine's platform.
    pub platform: Option<Platform>,
    /// Comment of its history.
    pub message: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
}

/// What `docker commit` is told.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// The container's changes: its overlay's upper directory. `None` changes the configuration alone.
    pub upper: Option<PathBuf>,
    /// The container's image, if it has one.
    pub parent: Option<Arc<ImageContent>>,
    /// The ID of that image: an index's, where it came as one.
    pub parent_id: Option<Digest>,
    /// The new image's configuration, before [`Self::changes`].
    pub config: Config,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// The command that made the changes, for the history.
    pub created_by: String,
    /// Who.
    pub author: String,
    /// Free text.
    pub comment: String,
    /// The image's name; none makes a dangling image.
    pub name: Option<Reference>,
    /// When it is said to be made, as in RFC 3339; `None` for now.
    pub created: Option<String>,
}

impl Distribution {
    /// Makes an image of one layer from an archive of a file tree, compressed or not.
    pub async fn import<R: Read + Send + 'static>(&self, archive: R, import: Import) -> Result<Digest> {
        let mut config = Config::default();
        changes::apply(&import.changes, &mut config)?;
        let store = self.store.clone();
        blocking(move || {
            making(&store, || {
                let (layer, descriptor) = store_layer(&store, archive)?;
                let platform = import.platform.unwrap_or_else(Platform::host);
                let created = now();
                let mut image = ImageConfig {
                    created: created.clone(),
                    architecture: platform.architecture,
                    variant: platform.variant,
                    os: platform.os,
                    config,
                    history: vec![History { created, comment: import.message, ..History::default() }],
                    ..ImageConfig::default()
                };
                image.rootfs.diff_ids.push(layer.diff_id.clone());
                publish(&store, &image, vec![descriptor], import.name, None)
            })
        })
        .await
    }

    /// Makes an image from what a container changed, on top of its image.
    pub async fn commit(&self, commit: Commit) -> Result<Digest> {
        let store = self.store.clone();
        blocking(move || making(&store, || commit_now(&store, commit))).await
    }
}

fn commit_now(store: &ImageStore, mut commit: Commit) -> Result<Digest> {
    changes::apply(&commit.changes, &mut commit.config)?;
    let (name, parent) = (commit.name.take(), commit.parent_id.take());
    let (image, layers) = assemble(store, commit)?;
    publish(store, &image, layers, name, parent.as_ref())
}

/// The configuration and the layers of an image with what changed on top of its parent.
pub(crate) fn assemble(store: &ImageStore, commit: Commit) -> Result<(ImageConfig, Vec<Descriptor>)> {
    let parent = commit.parent.as_deref();
    let mut layers = parent.map(|p| p.manifest.layers.clone()).unwrap_or_default();
    if let Some(gone) = layers.iter().find(|layer| !store.has_blob(&layer.digest)) {
        return Err(Error::NotFound(format!("layer {} of the container's image is gone", gone.digest)));
    }
    let mut image = parent.map(|p| p.config.clone()).unwrap_or_default();
    let changed = match &commit.upper {
        Some(upper) => Some(pack_changes(store, upper)?).filter(|(layer, _)| layer.entries > 0),
        None => None,
    };
    let empty = changed.is_none();
    if let Some((layer, descriptor)) = changed {
        image.rootfs.diff_ids.push(layer.diff_id.clone());
        layers.push(descriptor);
    }
    let host = Platform::host();
    if image.architecture.is_empty() {
        image.architecture = host.architecture;
    }
    if image.os.is_empty() {
        image.os = host.os;
    }
    if !commit.author.is_empty() {
        image.author = commit.author;
    }
    image.created = commit.created.unwrap_or_else(now);
    image.config = commit.config;
    image.history.push(History {
        created: image.created.clone(),
        created_by: commit.created_by,
        author: image.author.clone(),
        comment: commit.comment,
        empty_layer: empty,
    });
    Ok((image, layers))
}

/// The archive of an upper directory goes through the same hands as an imported one.
fn pack_changes(store: &ImageStore, upper: &std::path::Path) -> Result<(Arc<Layer>, Descriptor)> {
    let root = RootDir::open(upper).map_err(|e| Error::io(&format!("open `{}`", upper.display()), e))?;
    let (pieces, received) = sync_channel(AHEAD);
    let thread = std::thread::Builder::new().name("commit".to_owned());
    let packing = thread
        .spawn(move || -> Result<()> {
            let out = io::BufWriter::with_capacity(CHUNK, PieceWriter(pieces.clone()));
            let mut writer = Writer::new(out);
            export_layer(&root, &mut writer)?;
            drop(writer.finish()?);
            // fails only if the other side has failed, which tells more
            let _ = pieces.send(Piece::End);
            Ok(())
        })
        .map_err(|e| Error::io("spawn thread", e))?;
    let stored = store_layer(store, ChannelReader::new(received));
    let packed = packing.join().unwrap_or_else(|_| Err(Error::Internal("commit: thread died".to_owned())));
    match (packed, stored) {
        (Ok(()), stored) => stored,
        // the archive could not be handed over: the other side knows why
        (Err(Error::Archive(_)), Err(e)) | (Err(e), _) => Err(e),
    }
}

/// Stores and unpacks a layer at the same time; one that is not compressed is stored compressed.
fn store_layer<R: Read>(store: &ImageStore, archive: R) -> Result<(Arc<Layer>, Descriptor)> {
    let mut archive = buffered(archive);
    let start = io::BufRead::fill_buf(&mut archive).map_err(|e| Error::io("read archive", e))?;
    let compression = Compression::detect(start);
    let (pieces, received) = sync_channel(AHEAD);
    std::thread::scope(|scope| {
        let unpacking = scope.spawn(move || store.unpack_layer(ChannelReader::new(received), None));
        let written = match compression {
            Compression::None => compress(store, archive, &pieces),
            _ => keep(store, archive, &pieces),
        };
        drop(pieces);
        let unpacked = unpacking
            .join()
            .unwrap_or_else(|_| Err(tare_images::Error::Malformed { what: "layer", reason: "thread died".to_owned() }));
        // if unpacking failed, writing only noticed that nobody listens
        let (layer, (digest, size)) = match (unpacked, written) {
            (Ok(layer), written) => (layer, written?),
            (Err(_), Err(Stop::Failed(e))) => return Err(e),
            (Err(e), _) => return Err(e.into()),
        };
        let media_type = match compression {
            Compression::None => media::OCI_LAYER_GZIP,
            other => other.layer_media_type(),
        };
        Ok((layer, Descriptor::new(media_type, digest, size)))
    })
}

enum Stop {
    Unwanted,
    Failed(Error),
}

impl From<Stop> for Error {
    fn from(stop: Stop) -> Error {
        match stop {
            Stop::Unwanted => Error::Internal("layer: nobody unpacks it".to_owned()),
            Stop::Failed(error) => error,
        }
    }
}

fn compress(store: &ImageStore, archive: impl Read, pieces: &SyncSender<Piece>) -> Result<(Digest, u64), Stop> {
    let writer = store.begin_blob().map_err(|e| Stop::Failed(e.into()))?;
    let mut encoder = gzip(BlobOut(writer));
    each_chunk(archive, pieces, |chunk| encoder.write_all(chunk))?;
    let BlobOut(writer) = encoder.finish().map_err(|e| Stop::Failed(Error::io("compress layer", e)))?;
    writer.finish().map_err(|e| Stop::Failed(e.into()))
}

fn keep(store: &ImageStore, archive: impl Read, pieces: &SyncSender<Piece>) -> Result<(Digest, u64), Stop> {
    let writer = store.begin_blob().map_err(|e| Stop::Failed(e.into()))?;
    let mut out = BlobOut(writer);
    each_chunk(archive, pieces, |chunk| out.write_all(chunk))?;
    out.0.finish().map_err(|e| Stop::Failed(e.into()))
}

/// Reads to the end; every chunk goes to `write` and to the unpacker.
fn each_chunk(
    mut archive: impl Read,
    pieces: &SyncSender<Piece>,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), Stop> {
    loop {
        let mut chunk = vec![0; CHUNK];
        let read = match archive.read(&mut chunk) {
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(Stop::Failed(Error::io("read archive", e))),
        };
        if read == 0 {
            return pieces.send(Piece::End).map_err(|_| Stop::Unwanted);
        }
        chunk.truncate(read);
        let chunk = Bytes::from(chunk);
        pieces.send(Piece::Data(chunk.clone())).map_err(|_| Stop::Unwanted)?;
        write(&chunk).map_err(|e| Stop::Failed(Error::io("write layer", e)))?;
    }
}

struct BlobOut(BlobWriter);

impl Write for BlobOut {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct PieceWriter(SyncSender<Piece>);

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.send(Piece::Data(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes configuration and manifest, and makes the image visible.
fn publish(
    store: &ImageStore,
    image: &ImageConfig,
    layers: Vec<Descriptor>,
    name: Option<Reference>,
    parent: Option<&Digest>,
) -> Result<Digest> {
    let target = write_image(store, image, layers)?;
    let names: Vec<Reference> = name.map(Reference::with_default_tag).into_iter().collect();
    store.publish_on(&target, &names, parent)?;
    Ok(target.digest)
}

/// Writes configuration and manifest.
pub(crate) fn write_image(store: &ImageStore, image: &ImageConfig, layers: Vec<Descriptor>) -> Result<Descriptor> {
    let config = store.write_blob(media::OCI_CONFIG, &to_json(image)?)?;
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::OCI_MANIFEST.to_owned(),
        config,
        layers,
        annotations: Default::default(),
    };
    Ok(store.write_blob(media::OCI_MANIFEST, &to_json(&manifest)?)?)
}

pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::Internal(format!("write JSON: {e}")))
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}
