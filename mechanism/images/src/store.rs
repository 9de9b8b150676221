//! The store: directories, names, and when what is written becomes durable.
//!
//! # Durability
//! A pull answers when everything is in the page cache; [`ImageStore::publish`] makes the image visible then. Until
//! a syncfs in the background has passed, what is new is listed in `unsynced.json` together with the boot ID. A store
//! that opens after a power loss (another boot ID) removes exactly that; one that opens after a mere crash of the
//! process keeps everything. So no image is ever torn, and no pull waits for the disk.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tare_reference::{Digest, Reference};

use crate::image::ImageContent;
use crate::layers::Layer;
use crate::names::{self, ImageRecord, MAX_INDEX};
use crate::oci::Descriptor;
use crate::steps::{self, Step};
use crate::{Error, Result, files, gc, layers, snapshots};

const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
const DIRECTORIES: [&str; 7] = ["blobs/sha256", "ingest", "layers", "snapshots", "trash", "empty", "void"];

/// Images on this machine. Clones share one store.
#[derive(Clone)]
pub struct ImageStore {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    /// Keeps the file system busy and is what syncfs goes through.
    pub(crate) dir: fs::File,
    state: Mutex<State>,
    /// Held while index.json and unsynced.json are written, which waits for the disk; never taken under `state`.
    writing: Mutex<()>,
    pub(crate) background: gc::Background,
}

/// Everything that changes, under one lock that is never held while the disk is waited for: starts need it.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) records: Vec<ImageRecord>,
    /// What builds keep, older ones first.
    pub(crate) steps: Vec<Step>,
    /// Layers that are whole, by diffID.
    pub(crate) layers: HashMap<Digest, Arc<Layer>>,
    /// Blobs that are whole but still in `ingest/`.
    pub(crate) staged: HashSet<Digest>,
    /// Blobs with a writer.
    pub(crate) ingesting: HashSet<Digest>,
    /// Layers that are whole but without their `layer.json`.
    pub(crate) unmarked: HashSet<Digest>,
    pub(crate) unsynced: Unsynced,
    /// Parsed manifests and configurations, by the manifest's digest.
    pub(crate) contents: HashMap<Digest, Arc<ImageContent>>,
    /// Directory names of the layers that containers use, topmost first, by container.
    pub(crate) snapshots: HashMap<String, Vec<String>>,
    /// Counts what [`ImageStore::collect`] must have seen: names, content and layers that came.
    pub(crate) generation: u64,
    pub(crate) leases: usize,
    pub(crate) collect_wanted: bool,
}

/// What would be torn if the machine lost power now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unsynced {
    pub(crate) boot: String,
    pub(crate) blobs: BTreeSet<Digest>,
    pub(crate) layers: BTreeSet<Digest>,
}

impl ImageStore {
    /// Opens or creates the store at `root`, and removes what an earlier process left unfinished.
    ///
    /// The caller holds whatever lock makes it the only process that writes here.
    pub fn open(root: &Path) -> Result<ImageStore> {
        for directory in DIRECTORIES {
            let path = root.join(directory);
            fs::create_dir_all(&path).map_err(Error::io("mkdir", &path))?;
        }
        let dir = fs::File::open(root).map_err(Error::io("open", root))?;
        let layout = root.join("oci-layout");
        if !layout.exists() {
            fs::write(&layout, OCI_LAYOUT).map_err(Error::io("write", &layout))?;
        }
        let boot = files::boot_id();
        let unsynced = recover(root, &boot)?;
        let records = match files::read(&root.join("index.json"), MAX_INDEX) {
            Ok(bytes) => names::decode(&bytes)?,
            Err(e) if e.errno() == Some(rustix::io::Errno::NOENT.raw_os_error()) => Vec::new(),
            Err(e) => return Err(e),
        };
        let state = State {
            records,
            steps: steps::load(root),
            layers: layers::load(root)?,
            snapshots: snapshots::load(root)?,
            unsynced,
            ..State::default()
        };
        let store = ImageStore {
            inner: Arc::new(Inner {
                root: root.to_owned(),
                dir,
                state: Mutex::new(state),
                writing: Mutex::default(),
                background: gc::Background::default(),
            }),
        };
        store.drop_incomplete();
        store.remove_old_ingests();
        gc::start(&store);
        Ok(store)
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// All names and what they point at, in the order they were given.
    pub fn records(&self) -> Vec<ImageRecord> {
        self.state().records.clone()
    }

    /// The records, and the images of builds without a record as nameless ones: what can be found, not what is listed.
    pub(crate) fn all_records(&self) -> Vec<ImageRecord> {
        let state = self.state();
        let hidden =
            state.steps.iter().filter(|step| !state.records.iter().any(|r| r.target.digest == step.target.digest));
        state.records.iter().cloned().chain(hidden.map(Step::record)).collect()
    }

    /// Makes an image visible under some names; without names it is kept as a dangling image.
    ///
    /// Content and layers written so far count as the image's; they become durable behind the caller's back (see the
    /// module). An image that loses its last name to this one stays as a dangling image, as after `docker pull`.
    pub fn publish(&self, target: &Descriptor, names: &[Reference]) -> Result<()> {
        self.publish_on(target, names, None)
    }

    /// [`Self::publish`] of an image that was committed on another one, which is remembered.
    pub fn publish_on(&self, target: &Descriptor, names: &[Reference], parent: Option<&Digest>) -> Result<()> {
        for manifest in self.flatten(target)? {
            if let Ok(content) = self.content_of(&manifest) {
                self.settle(&content.config.rootfs.diff_ids)?;
            }
        }
        self.commit_pending()?;
        let now = files::now();
        self.change_records(|records| {
            let same = |r: &ImageRecord| r.target.digest == target.digest;
            let known = records.iter().find(|r| same(r)).and_then(|r| r.parent.clone());
            let record =
                ImageRecord { name: None, target: target.clone(), updated: now, parent: parent.cloned().or(known) };
            for name in names {
                give_name(records, name, &record);
            }
            if records.iter().any(|r| same(r) && r.name.is_some()) {
                records.retain(|r| r.name.is_some() || !same(r));
            } else if !records.iter().any(same) {
                records.push(record);
            }
        })?;
        gc::start(self);
        Ok(())
    }

    /// Gives the image with ID `id` one more name.
    pub fn tag(&self, id: &Digest, name: &Reference) -> Result<()> {
        let target = self.all_records().into_iter().find(|r| r.target.digest == *id).map(|r| r.target);
        let target = target.ok_or_else(|| Error::NotFound(id.to_string()))?;
        self.publish(&target, std::slice::from_ref(name))
    }

    /// Takes a name away. With `keep` an image that loses its last name stays as a dangling one; otherwise it is
    /// gone, and its content with the next [`Self::collect`]. False if there is no such name.
    pub fn untag(&self, name: &Reference, keep: bool) -> Result<bool> {
        self.change_records(|records| {
            let Some(at) = records.iter().position(|r| r.name.as_ref() == Some(name)) else { return false };
            let record = records.remove(at);
            if keep && !records.iter().any(|r| r.target.digest == record.target.digest) {
                records.insert(at, ImageRecord { name: None, ..record });
            }
            true
        })
    }

    /// Removes the image with all its names. Its content goes with the next [`Self::collect`].
    pub fn remove(&self, id: &Digest) -> Result<()> {
        self.change_records(|records| records.retain(|r| r.target.digest != *id))
    }

    /// Waits until everything published is durable.
    pub fn sync(&self) -> Result<()> {
        gc::sync(self)
    }

    /// Protects content that no name reaches yet from [`Self::collect`] while it lives.
    pub fn lease(&self) -> Lease {
        self.state().leases += 1;
        Lease { store: self.clone() }
    }

    /// Blobs of `ingest/` and layers without mark take their final form, after being listed as unsynced.
    pub(crate) fn commit_pending(&self) -> Result<()> {
        let _writing = self.writing();
        let (blobs, layers, unsynced) = {
            let mut state = self.state();
            if state.staged.is_empty() && state.unmarked.is_empty() {
                return Ok(());
            }
            let blobs: Vec<Digest> = state.staged.iter().cloned().collect();
            let layers: Vec<Digest> = state.unmarked.iter().cloned().collect();
            state.unsynced.boot = files::boot_id();
            state.unsynced.blobs.extend(blobs.iter().cloned());
            state.unsynced.layers.extend(layers.iter().cloned());
            (blobs, layers, state.unsynced.clone())
        };
        self.write_unsynced(&unsynced)?;
        for blob in blobs {
            self.settle_blob(&blob)?;
            self.state().staged.remove(&blob);
        }
        for diff_id in layers {
            let layer = self.state().layers.get(&diff_id).cloned();
            if let Some(layer) = layer {
                layer.mark(&self.inner.root)?;
            }
            self.state().unmarked.remove(&diff_id);
        }
        Ok(())
    }

    /// Changes the names, here and on disk; if the disk fails, not at all.
    fn change_records<T>(&self, change: impl FnOnce(&mut Vec<ImageRecord>) -> T) -> Result<T> {
        let _writing = self.writing();
        let (before, after, result) = {
            let mut state = self.state();
            let before = state.records.clone();
            let result = change(&mut state.records);
            state.generation += 1;
            (before, state.records.clone(), result)
        };
        if let Err(e) = self.write_records(&after) {
            self.state().records = before;
            return Err(e);
        }
        Ok(result)
    }

    pub(crate) fn writing(&self) -> MutexGuard<'_, ()> {
        self.inner.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write_unsynced(&self, unsynced: &Unsynced) -> Result<()> {
        let path = self.inner.root.join("unsynced.json");
        let bytes = serde_json::to_vec(unsynced)
            .map_err(|e| Error::Malformed { what: "list of unsynced content", reason: e.to_string() })?;
        files::replace(&path, &bytes, true)
    }

    fn write_records(&self, records: &[ImageRecord]) -> Result<()> {
        files::replace(&self.inner.root.join("index.json"), &names::encode(records)?, true)
    }

    /// The lock. A panic while it was held leaves nothing half-changed that a restart would not repair.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets names whose manifest is not there: what a power loss took, or someone's hand.
    fn drop_incomplete(&self) {
        let root = &self.inner.root;
        let whole = |r: &ImageRecord| {
            let whole = files::blob_path(root, &r.target.digest).exists();
            if !whole {
                tracing::warn!(image = %r.target.digest, name = ?r.name, "image dropped: its content is missing");
            }
            whole
        };
        if !self.records().iter().all(whole)
            && let Err(e) = self.change_records(|records| records.retain(whole))
        {
            tracing::warn!(error = %e, "cannot write the list of images");
        }
    }
}

/// Points `name` at the image of `new`; an image that had only this name keeps a nameless record.
fn give_name(records: &mut Vec<ImageRecord>, name: &Reference, new: &ImageRecord) {
    let new = ImageRecord { name: Some(name.clone()), ..new.clone() };
    let Some(record) = records.iter_mut().find(|r| r.name.as_ref() == Some(name)) else {
        records.push(new);
        return;
    };
    let old = std::mem::replace(record, new);
    if !records.iter().any(|r| r.target.digest == old.target.digest) {
        records.push(ImageRecord { name: None, ..old });
    }
}

/// After a power loss: removes what had not reached the disk. Otherwise: what still has to.
fn recover(root: &Path, boot: &str) -> Result<Unsynced> {
    let path = root.join("unsynced.json");
    let Ok(bytes) = files::read(&path, MAX_INDEX) else { return Ok(Unsynced::default()) };
    let Ok(unsynced) = serde_json::from_slice::<Unsynced>(&bytes) else {
        // it is written before anything it lists takes effect, so a torn one protects nothing
        fs::remove_file(&path).map_err(Error::io("unlink", &path))?;
        return Ok(Unsynced::default());
    };
    if unsynced.boot == boot {
        return Ok(unsynced);
    }
    for blob in &unsynced.blobs {
        tracing::warn!(%blob, "blob removed: the machine stopped before it was on disk");
        files::remove_if_exists(&files::blob_path(root, blob))?;
    }
    for layer in &unsynced.layers {
        tracing::warn!(%layer, "layer removed: the machine stopped before it was on disk");
        layers::unmark(root, layer)?;
    }
    files::remove_if_exists(&path)?;
    Ok(Unsynced::default())
}

/// Keeps new content from being collected; see [`ImageStore::lease`].
pub struct Lease {
    store: ImageStore,
}

impl Lease {
    /// What it protected is of no use: it is collected, at once if there are no other leases.
    pub fn give_up(self) {
        self.store.state().collect_wanted = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let wanted = {
            let mut state = self.store.state();
            state.leases = state.leases.saturating_sub(1);
            state.leases == 0 && std::mem::take(&mut state.collect_wanted)
        };
        if wanted && let Err(e) = self.store.collect() {
            tracing::warn!(error = %e, "cannot collect unused content");
        }
    }
}
