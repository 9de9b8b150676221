//! Layers: each unpacked once into a directory of its own, in overlay form, whatever lies below it in an image.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tare_archive::Reader;
use tare_reference::Digest;

use crate::compression::{Plain, buffered, decompress};
use crate::pipeline::{Hashed, ReadSource, Source, pieces};
use crate::rootdir::RootDir;
use crate::settle::{directories_id, mount_points_id};
use crate::store::{ImageStore, State};
use crate::unpack::{Options, Unpacked, unpack};
use crate::{Error, Result, files, gc};

/// Largest `layer.json`, in bytes; it lists implicit directories.
const MAX_MARK: u64 = 64 << 20;
/// Digits of a layer's directory name. Short, because older kernels take all of an overlay's layers in one page.
const SHORT: usize = 12;
/// Digits added when two layers begin alike.
const SHORT_STEP: usize = 4;

/// A layer that is whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Digest of its uncompressed archive.
    pub diff_id: Digest,
    /// Its directory in `layers/`.
    #[serde(skip)]
    pub directory: String,
    /// Bytes on disk.
    pub size: u64,
    /// Entries of its archive.
    pub entries: u64,
    /// Mode, owner and group of its root directory, if its archive has that.
    pub root: Option<(u32, u32, u32)>,
    /// Directories without an entry of their own.
    pub implicit: BTreeSet<Vec<u8>>,
}

impl Layer {
    /// Writes the mark that makes it a layer for [`load`].
    pub(crate) fn mark(&self, root: &Path) -> Result<()> {
        let directory = root.join("layers").join(&self.directory);
        let bytes =
            serde_json::to_vec(self).map_err(|e| Error::Malformed { what: "layer mark", reason: e.to_string() })?;
        let (new, mark) = (directory.join("layer.json.new"), directory.join("layer.json"));
        fs::write(&new, bytes).map_err(Error::io("write", &new))?;
        fs::rename(&new, &mark).map_err(Error::io("rename", &mark))
    }
}

/// Reads the marks of all layers; what has none goes to the trash.
pub(crate) fn load(root: &Path) -> Result<HashMap<Digest, Arc<Layer>>> {
    let directory = root.join("layers");
    let mut layers = HashMap::new();
    for entry in fs::read_dir(&directory).map_err(Error::io("readdir", &directory))? {
        let entry = entry.map_err(Error::io("readdir", &directory))?;
        match read_mark(&entry.path()) {
            Some(layer) => {
                layers.insert(layer.diff_id.clone(), Arc::new(layer));
            }
            None => {
                let to = root.join("trash").join(files::unique("layer-"));
                fs::rename(entry.path(), &to).map_err(Error::io("rename", &to))?;
            }
        }
    }
    Ok(layers)
}

fn read_mark(directory: &Path) -> Option<Layer> {
    let bytes = files::read(&directory.join("layer.json"), MAX_MARK).ok()?;
    let mut layer: Layer = serde_json::from_slice(&bytes).ok()?;
    directory.file_name()?.to_str()?.clone_into(&mut layer.directory);
    Some(layer)
}

/// Takes the mark from a layer that may be torn.
pub(crate) fn unmark(root: &Path, diff_id: &Digest) -> Result<()> {
    let directory = root.join("layers");
    for entry in fs::read_dir(&directory).map_err(Error::io("readdir", &directory))?.flatten() {
        if read_mark(&entry.path()).is_some_and(|layer| layer.diff_id == *diff_id) {
            files::remove_if_exists(&entry.path().join("layer.json"))?;
        }
    }
    Ok(())
}

impl ImageStore {
    /// Whether the layer is unpacked.
    pub fn has_layer(&self, diff_id: &Digest) -> bool {
        self.state().layers.contains_key(diff_id)
    }

    /// The layer, if it is unpacked.
    pub fn layer(&self, diff_id: &Digest) -> Option<Arc<Layer>> {
        self.state().layers.get(diff_id).cloned()
    }

    /// Unpacks a layer from its (compressed or plain) archive, which is read to its end.
    ///
    /// With `expected` the layer must have that diffID. A layer that is unpacked already is not unpacked again, but
    /// a stream is still read. Uses one more thread for decompression while it runs.
    pub fn unpack_layer<R: Read + Send + 'static>(&self, archive: R, expected: Option<&Digest>) -> Result<Arc<Layer>> {
        let (_, plain) = decompress(buffered(archive))?;
        match plain {
            Plain::Same(source) => self.unpack_plain(ReadSource(source), expected),
            Plain::Inflated(source) => {
                let (feeder, pieces) = pieces();
                std::thread::scope(|scope| {
                    let inflate = std::thread::Builder::new().name("inflate".to_owned());
                    inflate
                        .spawn_scoped(scope, move || feeder.feed(source))
                        .map_err(Error::io("spawn thread", "inflate"))?;
                    self.unpack_plain(pieces, expected)
                })
            }
        }
    }

    fn unpack_plain(&self, source: impl Source, expected: Option<&Digest>) -> Result<Arc<Layer>> {
        let temporary = self.inner.root.join("layers").join(files::unique("tmp-"));
        let result = self.unpack_into(&temporary, source, expected);
        if result.is_err() {
            self.discard(&temporary);
        }
        result
    }

    fn unpack_into(&self, temporary: &Path, source: impl Source, expected: Option<&Digest>) -> Result<Arc<Layer>> {
        let diff = make_diff(temporary)?;
        let root = RootDir::open(&diff).map_err(Error::io("open", &diff))?;
        let mut reader = Reader::new(Hashed::new(source));
        let options = Options { layer: true, ..Options::default() };
        let unpacked = unpack(&mut reader, root, options)?;
        let diff_id = reader.into_inner().finish().map_err(Error::io("read", "layer"))?;
        if let Some(expected) = expected.filter(|e| **e != diff_id) {
            return Err(Error::DigestMismatch { what: "layer", expected: expected.clone(), actual: diff_id });
        }
        self.adopt_layer(temporary, diff_id, unpacked)
    }

    /// Gives a finished directory its name.
    pub(crate) fn adopt_layer(&self, temporary: &Path, diff_id: Digest, unpacked: Unpacked) -> Result<Arc<Layer>> {
        let mut state = self.state();
        if let Some(layer) = state.layers.get(&diff_id).cloned() {
            drop(state);
            self.discard(temporary);
            return Ok(layer);
        }
        let taken = |name: &str| state.layers.values().any(|layer| layer.directory == name);
        let directory = (SHORT..=diff_id.hex().len())
            .step_by(SHORT_STEP)
            .filter_map(|digits| diff_id.hex().get(..digits))
            .find(|name| !taken(name))
            .unwrap_or(diff_id.hex())
            .to_owned();
        let to = self.inner.root.join("layers").join(&directory);
        fs::rename(temporary, &to).map_err(Error::io("rename", &to))?;
        let Unpacked { size, entries, root, implicit } = unpacked;
        let layer = Arc::new(Layer { diff_id: diff_id.clone(), directory, size, entries, root, implicit });
        state.layers.insert(diff_id.clone(), layer.clone());
        state.unmarked.insert(diff_id);
        state.generation += 1;
        Ok(layer)
    }

    /// The layers of an image as overlayfs wants them: directories, topmost first, never empty.
    ///
    /// Layers without entries are left out, and so are repetitions: overlayfs refuses them, and the topmost copy
    /// decides everything that the others could.
    pub fn lower_dirs(&self, diff_ids: &[Digest]) -> Result<Vec<PathBuf>> {
        Ok(self.directory_paths(&self.state().lower_names(diff_ids)?))
    }

    /// `layers/<name>/diff` for each, or the empty directory.
    pub(crate) fn directory_paths(&self, names: &[String]) -> Vec<PathBuf> {
        if names.is_empty() {
            return vec![self.inner.root.join("empty")];
        }
        let layers = self.inner.root.join("layers");
        names.iter().map(|name| layers.join(name).join("diff")).collect()
    }

    /// Mode, owner and group of an image's root directory: the topmost layer's that says.
    pub fn root_attributes(&self, diff_ids: &[Digest]) -> (u32, u32, u32) {
        let state = self.state();
        let found = diff_ids.iter().rev().find_map(|d| state.layers.get(d).and_then(|layer| layer.root));
        found.unwrap_or((0o755, 0, 0))
    }

    /// Bytes on disk of an image's layers, as far as they are unpacked.
    pub fn unpacked_size(&self, diff_ids: &[Digest]) -> u64 {
        let state = self.state();
        let unique: BTreeSet<&Digest> = diff_ids.iter().collect();
        unique.into_iter().filter_map(|d| state.layers.get(d)).map(|layer| layer.size).sum()
    }

    /// Moves a directory to the trash.
    pub(crate) fn discard(&self, directory: &Path) {
        let to = self.inner.root.join("trash").join(files::unique("layer-"));
        // The trash of a full disk may have no room for another name.
        let moved = fs::rename(directory, &to).or_else(|_| fs::remove_dir_all(directory));
        if let Err(e) = moved
            && e.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %directory.display(), error = %e, "cannot discard");
        }
        gc::start(self);
    }
}

impl State {
    /// Directory names for a container: its mount points, then [`Self::lower_names`]; and whether a layer of them
    /// would not survive a restart of the process yet.
    pub(crate) fn container_names(&self, diff_ids: &[Digest]) -> Result<(Vec<String>, bool)> {
        let made = [mount_points_id(diff_ids), directories_id(diff_ids)];
        let mount_points = self.layers.get(&made[0]);
        let mut names: Vec<String> = mount_points.map(|layer| layer.directory.clone()).into_iter().collect();
        names.extend(self.lower_names(diff_ids)?);
        let unmarked = made.iter().chain(diff_ids).any(|id| self.unmarked.contains(id));
        Ok((names, unmarked))
    }

    /// Directory names of [`ImageStore::lower_dirs`].
    pub(crate) fn lower_names(&self, diff_ids: &[Digest]) -> Result<Vec<String>> {
        let settled = self.layers.get(&directories_id(diff_ids));
        let mut names: Vec<String> = settled.map(|layer| layer.directory.clone()).into_iter().collect();
        for diff_id in diff_ids.iter().rev() {
            let layer = self.layers.get(diff_id).ok_or_else(|| Error::NotUnpacked(diff_id.clone()))?;
            if layer.entries > 0 && !names.contains(&layer.directory) {
                names.push(layer.directory.clone());
            }
        }
        Ok(names)
    }
}

pub(crate) fn make_diff(temporary: &Path) -> Result<PathBuf> {
    let diff = temporary.join("diff");
    fs::create_dir_all(&diff).map_err(Error::io("mkdir", &diff))?;
    fs::set_permissions(&diff, PermissionsExt::from_mode(0o755)).map_err(Error::io("chmod", &diff))?;
    Ok(diff)
}
