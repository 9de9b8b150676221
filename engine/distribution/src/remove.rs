//! `docker rmi` and `docker image prune`: what may go, and what keeps it.

use tare_docker_api::image::DeleteItem;
use tare_images::{Image, ImageRecord};
use tare_reference::{AnyReference, Digest, Reference};

use crate::{Distribution, Error, Result, blocking};

/// A container that uses an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Its full ID.
    pub container: String,
    /// What it calls the image, or the part of it that is mounted.
    pub image: String,
    /// Running, or paused or restarting.
    pub running: bool,
}

/// What a removal took.
#[derive(Debug, Clone, Default)]
pub struct Removal {
    /// Names taken away and images gone, in order.
    pub items: Vec<DeleteItem>,
}

/// What a prune took.
#[derive(Debug, Clone, Default)]
pub struct Pruned {
    /// Names taken away and images gone, in order.
    pub items: Vec<DeleteItem>,
    /// Names taken from images that containers use.
    pub spare: Vec<(Digest, DeleteItem)>,
    /// Bytes.
    pub reclaimed: u64,
}

/// Which containers use an image. Called while nothing is locked.
pub trait Uses: Fn(&Digest) -> Vec<Use> + Send + Sync {}
impl<T: Fn(&Digest) -> Vec<Use> + Send + Sync> Uses for T {}

/// Conflicts that are looked for.
#[derive(Clone, Copy)]
struct Check {
    stopped: bool,
    names: bool,
}

impl Distribution {
    /// Removes a name, or with its last name or by its ID the image, as Docker does: a running container always
    /// keeps its image, a stopped one and further names keep it unless forced.
    ///
    /// With `prune` the steps of the build that made it go, too, as far as no other image is made of them.
    pub async fn remove(&self, reference: &str, force: bool, prune: bool, uses: &dyn Uses) -> Result<Removal> {
        let mut items = self.remove_records(reference, force, uses)?;
        for id in items.iter().filter_map(|item| Digest::parse(&item.deleted).ok()).collect::<Vec<_>>() {
            if prune {
                items.extend(self.forget_ancestry(&id, uses)?);
            }
        }
        self.collect_later();
        Ok(Removal { items })
    }

    /// Removes images that no container uses and that `wanted` picks: dangling ones, or with `all` any.
    pub async fn prune(
        &self,
        all: bool,
        wanted: &(dyn Fn(&Image) -> bool + Send + Sync),
        uses: &dyn Uses,
    ) -> Result<Pruned> {
        let (mut items, mut spare) = (Vec::new(), Vec::new());
        for image in self.store.list() {
            let dangling = image.repo_tags().is_empty();
            if !(all || dangling) || !wanted(&image) {
                continue;
            }
            let users = uses(&image.id);
            if !users.is_empty() {
                if all {
                    let gone = self.untag_spare(&image.id, &users)?;
                    spare.extend(gone.into_iter().map(|item| (image.id.clone(), item)));
                }
                continue;
            }
            // someone may have given or taken a name meanwhile
            match self.remove_all(&image.id, Check { stopped: true, names: false }, uses) {
                Ok(removed) => items.extend(removed),
                Err(e) => tracing::debug!(image = %image.id, error = %e, "image not pruned"),
            }
        }
        items.extend(self.forget_loose_steps(wanted, uses)?);
        let store = self.store.clone();
        let reclaimed = blocking(move || Ok(store.collect()?)).await?;
        Ok(Pruned { items, spare, reclaimed })
    }

    /// Takes the names of an image that none of its users calls it by, but for the last one.
    fn untag_spare(&self, id: &Digest, users: &[Use]) -> Result<Vec<DeleteItem>> {
        let called: Vec<Reference> =
            users.iter().filter_map(|user| Reference::parse_normalized(&user.image).ok()).collect();
        let called: Vec<String> = called.into_iter().map(|name| name.with_default_tag().to_string()).collect();
        let mut records: Vec<ImageRecord> = self.records_of(id).into_iter().filter(|r| r.name.is_some()).collect();
        records.sort_by_key(|record| record.name.as_ref().map(Reference::to_string));
        let mut left = records.len();
        let mut gone = Vec::new();
        for record in records {
            let is_called = record.name.as_ref().is_some_and(|name| called.contains(&name.to_string()));
            if left > 1 && !is_called {
                gone.extend(self.untag(&[record])?);
                left -= 1;
            }
        }
        Ok(gone)
    }

    fn remove_records(&self, reference: &str, force: bool, uses: &dyn Uses) -> Result<Vec<DeleteItem>> {
        let record = self.store.resolve_record(reference)?;
        let id = record.target.digest.clone();
        let all = self.records_of(&id);
        let mut check = Check { stopped: !force, names: !force };
        if is_id_of(reference, &id) {
            return self.remove_all(&id, check, uses);
        }
        let named = Reference::parse_normalized(reference)?;
        let same = same_references(&named, &all);
        if same.len() != all.len() {
            return self.untag(&same);
        }
        let user = uses(&id).into_iter().next().filter(|_| named.digest().is_none());
        if let Some(user) = user {
            let name = record.name.as_ref().map_or_else(|| named.familiar(), Reference::familiar);
            if !force {
                let reason =
                    format!("container {} is using its referenced image {}", short(&user.container), id.short());
                return Err(Error::Conflict { reference: name, hard: false, reason });
            }
            // the container keeps the image, without a name
            for name in all.iter().filter_map(|r| r.name.as_ref()) {
                self.store.untag(name, true)?;
            }
            return Ok(vec![untagged(&name)]);
        }
        // all names are this one's: no reason to insist on force
        check.names = false;
        self.remove_all(&id, check, uses)
    }

    fn untag(&self, records: &[ImageRecord]) -> Result<Vec<DeleteItem>> {
        let mut items = Vec::new();
        for name in records.iter().filter_map(|r| r.name.as_ref()) {
            self.store.untag(name, false)?;
            items.push(untagged(&name.familiar()));
        }
        Ok(items)
    }

    fn remove_all(&self, id: &Digest, check: Check, uses: &dyn Uses) -> Result<Vec<DeleteItem>> {
        let all = self.records_of(id);
        let conflict =
            |hard: bool, reason: String| Err(Error::Conflict { reference: id.short().to_owned(), hard, reason });
        let users = uses(id);
        if let Some(user) = users.iter().find(|u| u.running) {
            return conflict(true, format!("image is being used by running container {}", short(&user.container)));
        }
        if let Some(user) = users.first().filter(|_| check.stopped) {
            return conflict(false, format!("image is being used by stopped container {}", short(&user.container)));
        }
        if check.names && all.len() > 1 {
            return conflict(false, "image is referenced in multiple repositories".to_owned());
        }
        self.store.remove(id)?;
        if all.is_empty() {
            self.forget(&|step| step.target.digest == *id)?;
        }
        let names = all.iter().filter_map(|r| r.name.as_ref());
        let mut items: Vec<DeleteItem> = names.map(|name| untagged(&name.familiar())).collect();
        items.push(DeleteItem { deleted: id.to_string(), ..DeleteItem::default() });
        Ok(items)
    }

    fn records_of(&self, id: &Digest) -> Vec<ImageRecord> {
        self.store.records().into_iter().filter(|r| r.target.digest == *id).collect()
    }

    /// Frees what the removal left, behind the answer.
    pub(crate) fn collect_later(&self) {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(e) = store.collect() {
                tracing::warn!(error = %e, "cannot collect unused content");
            }
        });
    }
}

/// Whether the user meant the ID rather than a name.
fn is_id_of(reference: &str, id: &Digest) -> bool {
    !reference.is_empty() && (id.as_str().starts_with(reference) || id.hex().starts_with(reference))
}

/// The records that go when `named` goes: the name itself; with a digest all of its repository; nameless ones; and
/// names by digest of the same repository, unless another tag is left there.
fn same_references(named: &Reference, all: &[ImageRecord]) -> Vec<ImageRecord> {
    let by_digest = matches!(Reference::parse_any(&named.to_string()), Ok(AnyReference::Named(n)) if n.digest().is_some() && n.tag().is_none());
    let tag = named.clone().with_default_tag().tag().map(str::to_owned);
    let in_repository = |r: &&ImageRecord| r.name.as_ref().is_some_and(|n| n.name() == named.name());
    let other_tag = all
        .iter()
        .filter(in_repository)
        .any(|r| r.name.as_ref().is_some_and(|n| n.tag().is_some() && n.tag() != tag.as_deref()));
    let goes = |record: &&ImageRecord| match &record.name {
        None => true,
        Some(name) if name.name() != named.name() => false,
        Some(_) if by_digest => true,
        Some(name) if name.tag().is_some() => name.tag() == tag.as_deref(),
        Some(_) => !other_tag,
    };
    all.iter().filter(goes).cloned().collect()
}

fn untagged(name: &str) -> DeleteItem {
    DeleteItem { untagged: name.to_owned(), ..DeleteItem::default() }
}

/// The first 12 digits of a container's ID.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
