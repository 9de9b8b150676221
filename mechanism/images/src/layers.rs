//! Layers: each unpacked once into a directory of its own, in overlay form, whatever lies below it in an image.
//!
//! A layer's archive may leave out the entries of directories that it has files in; extracted on its own, such a
//! directory gets a default mode, which as the topmost one would show in the image (`/tmp` without its sticky bit).
//! For images where that matters, [`ImageStore::settle_directories`] makes one more layer on top: empty directories
//! that have the attributes the image should show.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tare_archive::Reader;
use tare_archive::path::{join, split};
use tare_reference::Digest;

use crate::compression::{Plain, buffered, decompress};
use crate::pipeline::{Hashed, ReadSource, Source, pieces};
use crate::rootdir::{OPAQUE_XATTR, RootDir, is_whiteout};
use crate::store::{ImageStore, State};
use crate::unpack::{Options, Unpacked, unpack};
use crate::{Error, Result, files};

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
    fn adopt_layer(&self, temporary: &Path, diff_id: Digest, unpacked: Unpacked) -> Result<Arc<Layer>> {
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

    /// Makes the layer of directory attributes for this stack of layers if it needs one (see the module).
    pub fn settle_directories(&self, diff_ids: &[Digest]) -> Result<()> {
        let id = directories_id(diff_ids);
        let stack: Vec<Arc<Layer>> = {
            let state = self.state();
            let needed = diff_ids.iter().any(|d| state.layers.get(d).is_some_and(|l| !l.implicit.is_empty()));
            if !needed || state.layers.contains_key(&id) {
                return Ok(());
            }
            diff_ids.iter().rev().filter_map(|d| state.layers.get(d).cloned()).collect()
        };
        let wanted = self.directories_to_settle(&stack)?;
        if wanted.is_empty() {
            return Ok(());
        }
        let temporary = self.inner.root.join("layers").join(files::unique("tmp-"));
        let made = make_diff(&temporary).and_then(|diff| {
            let root = RootDir::open(&diff).map_err(Error::io("open", &diff))?;
            wanted.iter().try_for_each(|(path, stat)| make_directory(&root, path, stat))?;
            // making a directory changes its parent's time
            wanted.iter().rev().try_for_each(|(path, stat)| set_time(&root, path, stat))?;
            let entries = wanted.len() as u64;
            self.adopt_layer(&temporary, id, Unpacked { entries, ..Unpacked::default() })
        });
        if made.is_err() {
            self.discard(&temporary);
        }
        made.map(drop)
    }

    /// Directories that show wrong attributes, and their parents, with the right ones. `stack` is topmost first.
    fn directories_to_settle(&self, stack: &[Arc<Layer>]) -> Result<BTreeMap<Vec<u8>, Stat>> {
        let mut roots = Vec::new();
        for layer in stack {
            let diff = self.inner.root.join("layers").join(&layer.directory).join("diff");
            roots.push((layer, RootDir::open(&diff).map_err(Error::io("open", &diff))?));
        }
        let mut wanted = BTreeMap::new();
        let paths: BTreeSet<&Vec<u8>> = stack.iter().flat_map(|layer| &layer.implicit).collect();
        for path in paths {
            let Some((stat, true)) = merged(&roots, path) else { continue };
            wanted.insert(path.clone(), stat);
            let (mut parent, _) = split(path);
            while !parent.is_empty() {
                if let Some((stat, _)) = merged(&roots, parent) {
                    wanted.insert(parent.to_vec(), stat);
                }
                parent = split(parent).0;
            }
        }
        Ok(wanted)
    }

    /// Moves a directory to the trash.
    pub(crate) fn discard(&self, directory: &Path) {
        let to = self.inner.root.join("trash").join(files::unique("layer-"));
        if let Err(e) = fs::rename(directory, &to)
            && e.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %directory.display(), error = %e, "cannot discard");
        }
    }
}

impl State {
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

/// The key of the layer of directory attributes for a stack of layers.
pub(crate) fn directories_id(diff_ids: &[Digest]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(b"directories of");
    for diff_id in diff_ids {
        hasher.update(b" ");
        hasher.update(diff_id.as_str());
    }
    let hash: [u8; 32] = hasher.finalize().into();
    Digest::from_sha256(&hash)
}

fn make_diff(temporary: &Path) -> Result<PathBuf> {
    let diff = temporary.join("diff");
    fs::create_dir_all(&diff).map_err(Error::io("mkdir", &diff))?;
    fs::set_permissions(&diff, PermissionsExt::from_mode(0o755)).map_err(Error::io("chmod", &diff))?;
    Ok(diff)
}

/// The attributes a directory should show in a stack of layers, and whether the topmost one that has it lacks them
/// because its archive had no entry for it. `None` where the merged tree has no directory or all are implicit.
fn merged(roots: &[(&Arc<Layer>, RootDir)], path: &[u8]) -> Option<(Stat, bool)> {
    let mut hidden = false;
    for (layer, root) in roots {
        match look(root, path) {
            Look::Absent => {}
            Look::Cut => return None,
            Look::Directory { stat, opaque } => {
                if !layer.implicit.contains(path) {
                    return Some((stat, hidden));
                }
                hidden = true;
                if opaque {
                    return None;
                }
            }
            Look::Opaque => return None,
        }
    }
    None
}

enum Look {
    /// Not in this layer; the ones below count.
    Absent,
    /// Deleted here, or no directory.
    Cut,
    /// Not in this layer, and a parent hides what is below.
    Opaque,
    Directory {
        stat: Stat,
        opaque: bool,
    },
}

/// Looks for a directory in one layer, component by component, without following links.
fn look(root: &RootDir, path: &[u8]) -> Look {
    let mut at: Vec<u8> = Vec::new();
    let mut opaque = false;
    for component in path.split(|&b| b == b'/') {
        at = join(&at, component);
        let Ok(stat) = root.lstat(&at) else {
            return if opaque { Look::Opaque } else { Look::Absent };
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory || is_whiteout(&stat) {
            return Look::Cut;
        }
        opaque |= root.open_at(&at, OFlags::RDONLY | OFlags::DIRECTORY).is_ok_and(|fd| {
            let mut value = [0u8; 1];
            rustix::fs::fgetxattr(&fd, OPAQUE_XATTR, &mut value[..]).is_ok_and(|n| n == 1 && value == *b"y")
        });
        if at == path {
            return Look::Directory { stat, opaque };
        }
    }
    Look::Absent
}

fn make_directory(root: &RootDir, path: &[u8], stat: &Stat) -> Result<()> {
    let shown = Path::new(std::ffi::OsStr::from_bytes(path));
    let (parent, name) = root.open_parent(path).map_err(Error::io("open", shown))?;
    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)).map_err(Error::io("mkdirat", shown))?;
    let directory = root.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(Error::io("open", shown))?;
    rustix::fs::fchown(&directory, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
        .map_err(Error::io("fchown", shown))?;
    rustix::fs::fchmod(&directory, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(Error::io("fchmod", shown))
}

#[allow(clippy::cast_possible_wrap, reason = "nanoseconds as the kernel gives them")]
fn set_time(root: &RootDir, path: &[u8], stat: &Stat) -> Result<()> {
    let shown = Path::new(std::ffi::OsStr::from_bytes(path));
    let directory = root.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(Error::io("open", shown))?;
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as i64 };
    rustix::fs::futimens(&directory, &Timestamps { last_access: time, last_modification: time })
        .map_err(Error::io("futimens", shown))
}
