//! What builds made on their way: images that no list shows, found again by what they were made of.
//!
//! They are a cache. `steps.json` is replaced without waiting for the disk, and what of it is torn or has lost its content
//! is dropped at the next start. They keep their content from [`ImageStore::collect`] until they are forgotten.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tare_reference::Digest;

use crate::names::{ImageRecord, MAX_INDEX};
use crate::oci::Descriptor;
use crate::store::ImageStore;
use crate::{Error, Result, files};

/// An image between two instructions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Stands for everything it was made of: the image below, the instruction, the content it copied.
    pub key: String,
    /// The image.
    pub target: Descriptor,
    /// The image below; `None` at the beginning.
    pub parent: Option<Digest>,
    /// RFC 3339.
    pub updated: String,
}

impl Step {
    /// As an image without a name.
    pub(crate) fn record(&self) -> ImageRecord {
        ImageRecord { name: None, target: self.target.clone(), updated: self.updated.clone(), parent: None }
    }
}

impl ImageStore {
    /// Remembers an image as the step with this key, in place of older ones, but for those that are `held`: builds at the
    /// same time make the same steps, and each goes on with its own.
    pub fn keep_step(
        &self,
        key: &str,
        target: &Descriptor,
        parent: Option<&Digest>,
        held: &dyn Fn(&Digest) -> bool,
    ) -> Result<()> {
        for manifest in self.flatten(target)? {
            self.settle(&self.content_of(&manifest)?.config.rootfs.diff_ids)?;
        }
        let step = Step { key: key.to_owned(), target: target.clone(), parent: parent.cloned(), updated: files::now() };
        self.change_steps(|steps| {
            steps.retain(|known| known.key != step.key || known.target != step.target && held(&known.target.digest));
            steps.push(step);
        })
    }

    /// The image that was made of the same, if all of it is still here.
    pub fn find_step(&self, key: &str) -> Option<Descriptor> {
        let target = self.state().steps.iter().rev().find(|step| step.key == key).map(|step| step.target.clone())?;
        let content = self.content_of(&target).ok()?;
        let unpacked = content.config.rootfs.diff_ids.iter().all(|layer| self.has_layer(layer));
        let packed = content.manifest.layers.iter().all(|layer| self.has_blob(&layer.digest));
        (unpacked && packed).then_some(target)
    }

    /// All of them, oldest first.
    pub fn steps(&self) -> Vec<Step> {
        self.state().steps.clone()
    }

    /// The image that one was committed on; it may be gone since.
    pub fn committed_on(&self, id: &Digest) -> Option<Digest> {
        self.state().records.iter().find(|record| record.target.digest == *id)?.parent.clone()
    }

    /// The image below one that a build has made.
    pub fn parent(&self, id: &Digest) -> Option<Digest> {
        self.state().steps.iter().rev().find(|step| step.target.digest == *id)?.parent.clone()
    }

    /// Forgets some; says which. Their content goes with the next [`Self::collect`].
    pub fn forget_steps(&self, forget: impl Fn(&Step) -> bool) -> Result<Vec<Digest>> {
        let mut gone = Vec::new();
        self.change_steps(|steps| {
            steps.retain(|step| {
                let stays = !forget(step);
                if !stays {
                    gone.push(step.target.digest.clone());
                }
                stays
            });
        })?;
        Ok(gone)
    }

    /// Steps that no image with a record, nor any in `used`, was made from.
    pub fn loose_steps(&self, used: &HashSet<Digest>) -> HashSet<Digest> {
        let state = self.state();
        let mut kept: HashSet<&Digest> = state.records.iter().map(|record| &record.target.digest).collect();
        kept.extend(used);
        // A parent is older than its children: one pass from the youngest is enough.
        for step in state.steps.iter().rev() {
            if kept.contains(&step.target.digest) {
                kept.extend(&step.parent);
            }
        }
        let loose = state.steps.iter().map(|step| &step.target.digest).filter(|id| !kept.contains(id));
        loose.cloned().collect()
    }

    fn change_steps(&self, change: impl FnOnce(&mut Vec<Step>)) -> Result<()> {
        let _writing = self.writing();
        let (before, steps) = {
            let mut state = self.state();
            let before = state.steps.clone();
            change(&mut state.steps);
            state.generation += 1;
            (before, state.steps.clone())
        };
        // Removing an image asks for it each time, and must not need room.
        if steps == before {
            return Ok(());
        }
        let path = self.root().join("steps.json");
        let bytes = serde_json::to_vec(&steps)
            .map_err(|e| Error::Malformed { what: "list of build steps", reason: e.to_string() })?;
        files::replace(&path, &bytes, false).inspect_err(|_| self.state().steps = before)
    }
}

/// What an earlier process left, as far as it is whole.
pub(crate) fn load(root: &Path) -> Vec<Step> {
    let bytes = files::read(&root.join("steps.json"), MAX_INDEX).unwrap_or_default();
    let mut steps: Vec<Step> = serde_json::from_slice(&bytes).unwrap_or_default();
    steps.retain(|step| files::blob_path(root, &step.target.digest).exists());
    steps
}
