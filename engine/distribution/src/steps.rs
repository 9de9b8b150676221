//! The images of a build's steps: made without being published, kept while their build needs them, dropped when no image
//! is made of them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tare_docker_api::image::DeleteItem;
use tare_images::oci::{Config, ImageConfig};
use tare_images::{Image, ImageContent, Step};
use tare_reference::Digest;

use crate::create::{Commit, assemble, write_image};
use crate::remove::{Pruned, Uses};
use crate::{Distribution, Result, blocking, making};

/// Steps of builds in progress, by build.
#[derive(Debug, Default)]
pub(crate) struct Building(Mutex<(u64, HashMap<u64, HashSet<Digest>>)>);

impl Building {
    fn all(&self) -> HashSet<Digest> {
        let builds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        builds.1.values().flatten().cloned().collect()
    }

    fn holds(&self, image: &Digest) -> bool {
        let builds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        builds.1.values().any(|held| held.contains(image))
    }
}

/// A build in progress: what it holds stays until its last clone is dropped.
#[derive(Debug, Clone)]
pub struct BuildHold(Arc<Build>);

#[derive(Debug)]
struct Build {
    all: Arc<Building>,
    id: u64,
}

impl BuildHold {
    /// Holds one more image.
    pub fn hold(&self, image: &Digest) {
        let mut builds = self.0.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        builds.1.entry(self.0.id).or_default().insert(image.clone());
    }

    /// Whether this build or another one holds an image.
    fn is_any_builds(&self, image: &Digest) -> bool {
        self.0.all.holds(image)
    }
}

impl Drop for Build {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&self.id);
    }
}

/// A step that is part of an image's history.
#[derive(Debug)]
pub struct Taken {
    /// The image.
    pub from: Arc<ImageContent>,
    /// The image that the step was made on: the beginning of [`Self::from`]. `None` where the step is its first.
    pub below: Option<Arc<ImageContent>>,
    /// The ID of that.
    pub parent: Option<Digest>,
    /// What the step makes of the configuration.
    pub config: Config,
}

impl Distribution {
    /// Begins to hold the steps of a build.
    pub fn hold_steps(&self) -> BuildHold {
        let mut builds = self.building.0.lock().unwrap_or_else(PoisonError::into_inner);
        builds.0 += 1;
        BuildHold(Arc::new(Build { all: Arc::clone(&self.building), id: builds.0 }))
    }

    /// The image that an earlier build made of the same, which is held from now on.
    pub fn find_step(&self, key: &str, hold: &BuildHold) -> Option<Digest> {
        let found = self.store.find_step(key)?;
        hold.hold(&found.digest);
        // It may have gone before it was held.
        self.store.find_step(key).filter(|again| again.digest == found.digest).map(|found| found.digest)
    }

    /// Makes the image of a step, which no list shows; see [`tare_images::steps`]. Its name and changes are not looked at.
    /// It is held.
    pub async fn commit_step(&self, commit: Commit, key: String, hold: &BuildHold) -> Result<Digest> {
        let (store, hold) = (self.store.clone(), hold.clone());
        blocking(move || {
            making(&store, || {
                let parent = commit.parent.as_ref().map(|parent| parent.descriptor.digest.clone());
                let (image, layers) = assemble(&store, commit)?;
                let target = write_image(&store, &image, layers)?;
                hold.hold(&target.digest);
                store.keep_step(&key, &target, parent.as_ref(), &|image| hold.is_any_builds(image))?;
                Ok(target.digest)
            })
        })
        .await
    }

    /// Makes a step's image of the beginning of another's history and layers; of all of it, that is the other image. It is
    /// held.
    pub async fn take_step(&self, taken: Taken, key: String, hold: &BuildHold) -> Result<Digest> {
        let (store, hold) = (self.store.clone(), hold.clone());
        blocking(move || {
            making(&store, || {
                let Taken { from, below, parent, config } = taken;
                let (steps, layers) =
                    below.map_or((0, 0), |b| (b.config.history.len(), b.config.rootfs.diff_ids.len()));
                let target = match from.config.history.get(steps) {
                    Some(step) if steps + 1 < from.config.history.len() => {
                        let layers = layers + usize::from(!step.empty_layer);
                        let mut image = ImageConfig { created: step.created.clone(), config, ..from.config.clone() };
                        image.history.truncate(steps + 1);
                        image.rootfs.diff_ids.truncate(layers);
                        write_image(&store, &image, from.manifest.layers.iter().take(layers).cloned().collect())?
                    }
                    _ => from.descriptor.clone(),
                };
                hold.hold(&target.digest);
                store.keep_step(&key, &target, parent.as_ref(), &|image| hold.is_any_builds(image))?;
                Ok(target.digest)
            })
        })
        .await
    }

    /// Whether a build in progress needs an image.
    pub fn is_held(&self, image: &Digest) -> bool {
        self.building.holds(image)
    }

    /// Drops what `wanted` picks of the cache of builds, but for what a container or a running build uses.
    pub async fn prune_steps(&self, wanted: &(dyn Fn(&Step) -> bool + Send + Sync), uses: &dyn Uses) -> Result<Pruned> {
        let visible: HashSet<Digest> = self.store.records().into_iter().map(|record| record.target.digest).collect();
        let gone = self.forget(&|step| {
            let id = &step.target.digest;
            wanted(step) && (visible.contains(id) || uses(id).is_empty())
        })?;
        let items = gone.iter().filter(|id| !visible.contains(*id)).map(deleted).collect();
        let store = self.store.clone();
        let reclaimed = blocking(move || Ok(store.collect()?)).await?;
        Ok(Pruned { items, spare: Vec::new(), reclaimed })
    }

    /// Forgets the steps that no image is made of and that `wanted` picks.
    pub(crate) fn forget_loose_steps(
        &self,
        wanted: &(dyn Fn(&Image) -> bool + Send + Sync),
        uses: &dyn Uses,
    ) -> Result<Vec<DeleteItem>> {
        let loose = self.store.loose_steps(&self.building.all());
        let goes = |id: &Digest| uses(id).is_empty() && self.store.image(id).is_ok_and(|image| wanted(&image));
        let loose: HashSet<Digest> = loose.into_iter().filter(goes).collect();
        let gone = self.forget(&|step| loose.contains(&step.target.digest))?;
        Ok(gone.iter().map(deleted).collect())
    }

    /// Forgets a removed image's step, and those it was made of as far as no other image is.
    pub(crate) fn forget_ancestry(&self, id: &Digest, uses: &dyn Uses) -> Result<Vec<DeleteItem>> {
        let steps = self.store.steps();
        let parent_of = |id: &Digest| steps.iter().find(|s| s.target.digest == *id).and_then(|s| s.parent.clone());
        let mut line = vec![id.clone()];
        let mut next = parent_of(id);
        // A step's parent is older than it; a line longer than the list would be a circle.
        while let Some(parent) = next.filter(|_| line.len() <= steps.len()) {
            next = parent_of(&parent);
            line.push(parent);
        }
        self.forget(&|step| step.target.digest == *id)?;
        let loose = self.store.loose_steps(&self.building.all());
        let mut gone = Vec::new();
        for ancestor in line.iter().skip(1) {
            let has_children = self.store.steps().iter().any(|step| step.parent.as_ref() == Some(ancestor));
            if has_children || !loose.contains(ancestor) || !uses(ancestor).is_empty() {
                break;
            }
            gone.extend(self.forget(&|step| step.target.digest == *ancestor)?.iter().map(deleted));
        }
        Ok(gone)
    }

    /// Forgets steps, but for those that a running build holds by now.
    pub(crate) fn forget(&self, gone: &dyn Fn(&Step) -> bool) -> Result<Vec<Digest>> {
        Ok(self.store.forget_steps(|step| gone(step) && !self.building.holds(&step.target.digest))?)
    }
}

fn deleted(id: &Digest) -> DeleteItem {
    DeleteItem { deleted: id.to_string(), ..DeleteItem::default() }
}
