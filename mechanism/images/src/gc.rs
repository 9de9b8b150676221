//! What nothing needs any more, and work behind the caller's back: syncfs, emptying the trash.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use tare_reference::Digest;

use crate::blobs::INGEST_LIFETIME;
use crate::oci::Descriptor;
use crate::settle::{directories_id, mount_points_id};
use crate::store::{ImageStore, State};
use crate::{Error, Result, files};

/// How often a collection starts over because something came meanwhile, before it is put off.
const COLLECT_ATTEMPTS: u32 = 8;

/// State of the one thread that works in the background.
#[derive(Default)]
pub(crate) struct Background {
    running: Mutex<bool>,
    idle: Condvar,
}

impl ImageStore {
    /// Removes content and layers that no image, no container and no [`crate::store::Lease`] needs; returns their
    /// bytes. While there are leases it is put off until the last one ends, and 0 is returned.
    ///
    /// What goes is renamed away at once and deleted in the background.
    pub fn collect(&self) -> Result<u64> {
        for _ in 0..COLLECT_ATTEMPTS {
            let (generation, targets) = {
                let state = self.state();
                let records = state.records.iter().map(|r| r.target.clone());
                let targets: Vec<Descriptor> = records.chain(state.steps.iter().map(|s| s.target.clone())).collect();
                (state.generation, targets)
            };
            let (mut blobs, mut layers) = (HashSet::new(), HashSet::new());
            for target in &targets {
                self.reach(target, &mut blobs, &mut layers)?;
            }
            let mut state = self.state();
            if state.leases > 0 {
                break;
            }
            if state.generation == generation {
                let freed = self.sweep(&mut state, &blobs, layers)?;
                drop(state);
                self.drop_interrupted(INGEST_LIFETIME);
                start(self);
                return Ok(freed);
            }
        }
        self.state().collect_wanted = true;
        Ok(0)
    }

    /// Takes manifests away while indexes still name them: what only they need goes with the next [`Self::collect`].
    pub fn drop_manifests(&self, digests: &[Digest]) -> Result<()> {
        let mut state = self.state();
        for digest in digests {
            self.trash_blob(&files::blob_path(&self.inner.root, digest))?;
            files::remove_if_exists(&self.ingest_path(digest))?;
            state.staged.remove(digest);
            state.unsynced.blobs.remove(digest);
            state.contents.remove(digest);
        }
        state.generation += 1;
        drop(state);
        start(self);
        Ok(())
    }

    /// Renames a blob away; one that is not there is no failure.
    fn trash_blob(&self, path: &Path) -> Result<()> {
        match fs::rename(path, self.inner.root.join("trash").join(files::unique("blob-"))) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            renamed => renamed.map_err(Error::io("rename", path)),
        }
    }

    fn sweep(&self, state: &mut State, blobs: &HashSet<Digest>, mut layers: HashSet<Digest>) -> Result<u64> {
        layers.extend(used_by_containers(state));
        let freed = self.sweep_blobs(state, blobs)? + self.sweep_layers(state, &layers)?;
        state.contents.retain(|digest, _| blobs.contains(digest));
        Ok(freed)
    }

    /// Bytes that [`Self::collect`] would free if these images were gone, for `system df`.
    pub fn reclaimable(&self, without: &[Digest]) -> Result<u64> {
        let records = self.all_records();
        let (mut all, mut kept) = ((HashSet::new(), HashSet::new()), (HashSet::new(), HashSet::new()));
        for record in &records {
            self.reach(&record.target, &mut all.0, &mut all.1)?;
            if !without.contains(&record.target.digest) {
                self.reach(&record.target, &mut kept.0, &mut kept.1)?;
            }
        }
        let blobs: u64 = all.0.difference(&kept.0).filter_map(|digest| self.blob_size(digest)).sum();
        let state = self.state();
        let used = used_by_containers(&state);
        let layers = all.1.difference(&kept.1).filter(|digest| !used.contains(*digest));
        Ok(blobs + layers.filter_map(|digest| state.layers.get(digest)).map(|layer| layer.size).sum::<u64>())
    }

    /// Bytes of all content and all unpacked layers, shared ones once (`LayersSize` of `system df`).
    pub fn total_size(&self) -> u64 {
        let directory = self.inner.root.join("blobs/sha256");
        let blobs: u64 = fs::read_dir(directory)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|e| e.metadata().ok())
            .map(|m| m.len())
            .sum();
        blobs + self.state().layers.values().map(|layer| layer.size).sum::<u64>()
    }

    /// Everything a target needs that is here.
    fn reach(&self, target: &Descriptor, blobs: &mut HashSet<Digest>, layers: &mut HashSet<Digest>) -> Result<()> {
        blobs.insert(target.digest.clone());
        for manifest in self.flatten(target)? {
            blobs.insert(manifest.digest.clone());
            if let Ok(content) = self.content_of(&manifest) {
                blobs.insert(content.manifest.config.digest.clone());
                blobs.extend(content.manifest.layers.iter().map(|layer| layer.digest.clone()));
                let diff_ids = &content.config.rootfs.diff_ids;
                layers.extend(diff_ids.iter().cloned());
                layers.extend([directories_id(diff_ids), mount_points_id(diff_ids)]);
            }
        }
        Ok(())
    }

    fn sweep_blobs(&self, state: &mut State, reachable: &HashSet<Digest>) -> Result<u64> {
        let directory = self.inner.root.join("blobs/sha256");
        let mut freed = 0;
        for entry in fs::read_dir(&directory).map_err(Error::io("readdir", &directory))?.flatten() {
            let digest = entry.file_name().to_str().and_then(Digest::from_sha256_hex);
            if digest.as_ref().is_some_and(|digest| reachable.contains(digest)) {
                continue;
            }
            freed += entry.metadata().map_or(0, |m| m.len());
            self.trash_blob(&entry.path())?;
            if let Some(digest) = digest {
                state.unsynced.blobs.remove(&digest);
            }
        }
        let staged: Vec<Digest> = state.staged.iter().filter(|d| !reachable.contains(*d)).cloned().collect();
        for digest in staged {
            let path = self.ingest_path(&digest);
            freed += fs::metadata(&path).map_or(0, |m| m.len());
            files::remove_if_exists(&path)?;
            state.staged.remove(&digest);
        }
        Ok(freed)
    }

    fn sweep_layers(&self, state: &mut State, reachable: &HashSet<Digest>) -> Result<u64> {
        let unused: Vec<Digest> = state.layers.keys().filter(|d| !reachable.contains(*d)).cloned().collect();
        let mut freed = 0;
        for diff_id in unused {
            let Some(layer) = state.layers.remove(&diff_id) else { continue };
            let from = self.inner.root.join("layers").join(&layer.directory);
            let to = self.inner.root.join("trash").join(files::unique("layer-"));
            fs::rename(&from, &to).map_err(Error::io("rename", &from))?;
            freed += layer.size;
            state.unsynced.layers.remove(&diff_id);
            state.unmarked.remove(&diff_id);
        }
        Ok(freed)
    }

    /// One round of background work; true if there was something to do.
    fn work(&self) -> Result<bool> {
        let emptied = self.empty_trash();
        let pending = self.state().unsynced.clone();
        if pending.blobs.is_empty() && pending.layers.is_empty() {
            return Ok(emptied);
        }
        rustix::fs::syncfs(&self.inner.dir).map_err(Error::io("syncfs", &self.inner.root))?;
        let _writing = self.writing();
        let left = {
            let mut state = self.state();
            state.unsynced.blobs.retain(|digest| !pending.blobs.contains(digest));
            state.unsynced.layers.retain(|digest| !pending.layers.contains(digest));
            state.unsynced.clone()
        };
        if left.blobs.is_empty() && left.layers.is_empty() {
            files::remove_if_exists(&self.inner.root.join("unsynced.json"))?;
        } else {
            self.write_unsynced(&left)?;
        }
        Ok(true)
    }

    fn empty_trash(&self) -> bool {
        let directory = self.inner.root.join("trash");
        let mut any = false;
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let removed = match entry.file_type() {
                Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
                _ => fs::remove_file(&path),
            };
            match removed {
                Ok(()) => any = true,
                Err(e) => tracing::warn!(path = %path.display(), error = %e, "cannot remove"),
            }
        }
        any
    }
}

fn used_by_containers(state: &State) -> HashSet<Digest> {
    let names: HashSet<&String> = state.snapshots.values().flatten().collect();
    state.layers.values().filter(|layer| names.contains(&layer.directory)).map(|l| l.diff_id.clone()).collect()
}

/// Starts the background thread unless it runs or has nothing to do.
pub(crate) fn start(store: &ImageStore) {
    let mut running = lock(store);
    if *running {
        return;
    }
    let thread = std::thread::Builder::new().name("images".to_owned());
    let own = store.clone();
    match thread.spawn(move || run(&own)) {
        Ok(_) => *running = true,
        Err(e) => tracing::warn!(error = %e, "cannot start the image store's background thread"),
    }
}

/// Works until a round finds nothing.
fn run(store: &ImageStore) {
    loop {
        let more = store.work().unwrap_or_else(|e| {
            tracing::warn!(error = %e, "image store: background work failed");
            false
        });
        if !more {
            // what is handed in after this round starts a thread of its own
            *lock(store) = false;
            store.inner.background.idle.notify_all();
            return;
        }
    }
}

/// Waits for the background thread, then does what is left.
pub(crate) fn sync(store: &ImageStore) -> Result<()> {
    let mut running = lock(store);
    while *running {
        running = store.inner.background.idle.wait(running).unwrap_or_else(PoisonError::into_inner);
    }
    // holding the lock keeps another thread from starting meanwhile
    while store.work()? {}
    Ok(())
}

fn lock(store: &ImageStore) -> std::sync::MutexGuard<'_, bool> {
    store.inner.background.running.lock().unwrap_or_else(PoisonError::into_inner)
}
