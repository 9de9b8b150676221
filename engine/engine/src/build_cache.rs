//! The cache of builds as clients see it: what is in it, and what of it a prune takes.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use tare_docker_api::filters::Filters;
use tare_docker_api::image::BuildCacheRecord;
use tare_docker_api::time::Time;
use tare_images::Step;
use tare_reference::Digest;

use crate::Engine;
use crate::cache_selector::CacheSelector;
use crate::error::{Error, Result};
use crate::filter;

/// Filters that look at a record, besides its age.
pub(crate) const FILTERS: &[&str] =
    &["until", "id", "parent", "type", "description", "inuse", "shared", "private", "label", "label!"];
/// BuildKit's name for the result of an instruction.
const REGULAR: &str = "regular";
/// BuildKit's name for what `RUN --mount=type=cache` keeps.
pub(crate) const CACHE_MOUNT: &str = "exec.cachemount";

/// How much of the cache may stay, in bytes; all zero: nothing need stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// So much always may (`keep-storage`, `reserved-space`).
    pub reserved: u64,
    /// No more than that.
    pub max_used: u64,
    /// So much of the disk should be free.
    pub min_free: u64,
}

impl Bounds {
    /// Bytes that stay of `total`, with so much of the disk free.
    fn kept(self, total: u64, free: u64) -> u64 {
        let mut kept = self.max_used;
        let excess = self.min_free.saturating_sub(free);
        if excess > 0 {
            let rest = total.saturating_sub(excess);
            kept = if kept == 0 { rest } else { kept.min(rest) };
        }
        kept.max(self.reserved)
    }
}

impl Engine {
    /// What is in the cache of builds, oldest first.
    pub async fn build_cache(self: &Arc<Self>) -> Result<Vec<BuildCacheRecord>> {
        let engine = Arc::clone(self);
        crate::blocking(move || Ok(engine.records())).await
    }

    /// Blocking.
    fn records(&self) -> Vec<BuildCacheRecord> {
        let loose = self.images.loose_steps(&HashSet::new());
        let mut records: Vec<_> = self.images.steps().iter().map(|step| self.record(step, &loose)).collect();
        let directory = self.build_cache_directory();
        let names = crate::recover::names_in(&directory);
        records.extend(names.into_iter().filter_map(|name| shared_directory(&directory, name)));
        records.sort_by_key(|record| record.created_at.unix_nanos());
        records
    }

    fn record(&self, step: &Step, loose: &HashSet<Digest>) -> BuildCacheRecord {
        let id = &step.target.digest;
        let image = self.images.image(id).ok();
        let config = image.as_ref().map(|image| &image.content().config);
        let last = config.and_then(|config| config.history.last());
        // An instruction that only says something has no layer.
        let layer = config.and_then(|config| config.rootfs.diff_ids.last());
        let layer = layer.filter(|_| last.is_some_and(|last| !last.empty_layer));
        let size = layer.map_or(0, |layer| self.images.unpacked_size(std::slice::from_ref(layer)));
        BuildCacheRecord {
            id: id.to_string(),
            parents: step.parent.iter().map(ToString::to_string).collect::<Vec<_>>().into(),
            kind: REGULAR.to_owned(),
            description: last.map_or_else(String::new, |last| last.created_by.clone()),
            in_use: !self.image_uses(id).is_empty() || self.distribution().is_held(id),
            shared: !loose.contains(id),
            size: i64::try_from(size).unwrap_or(i64::MAX),
            created_at: step.updated.parse().unwrap_or_default(),
            last_used_at: None,
            usage_count: 1,
        }
    }

    /// Labels that the image between two instructions has.
    fn labels_of(&self, record: &BuildCacheRecord) -> BTreeMap<String, String> {
        let image = Digest::parse(&record.id).ok().and_then(|id| self.images.image(&id).ok());
        image.map(|image| image.config.config.labels.clone()).unwrap_or_default()
    }

    /// IDs of the records that a prune takes.
    pub(crate) fn taken(
        &self,
        filters: &Filters,
        until: Option<i64>,
        selector: &CacheSelector,
        bounds: Bounds,
    ) -> Result<HashSet<String>> {
        let matcher = Matcher::of(filters, until)?;
        let records = self.records();
        let size = |record: &BuildCacheRecord| u64::try_from(record.size).unwrap_or(0);
        let mut left: u64 = records.iter().map(size).sum();
        let free = rustix::fs::statvfs(&self.config.data_root).map_or(u64::MAX, |disk| disk.f_bavail * disk.f_frsize);
        let kept = bounds.kept(left, free);
        let mut taken = HashSet::new();
        let takes = |record: &&BuildCacheRecord| {
            matcher.takes(record) && selector.takes(record) && filter::labels_match(filters, &self.labels_of(record))
        };
        for record in records.iter().filter(takes) {
            if bounds != Bounds::default() && left <= kept {
                break;
            }
            left = left.saturating_sub(size(record));
            taken.insert(record.id.clone());
        }
        Ok(taken)
    }
}

/// A directory that commands share; `None` when it has gone.
fn shared_directory(directory: &Path, name: String) -> Option<BuildCacheRecord> {
    let path = directory.join(&name);
    let file = File::open(&path).ok()?;
    let changed = file.metadata().ok()?.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let changed = Time::from_unix(i64::try_from(changed.as_secs()).ok()?, changed.subsec_nanos());
    Some(BuildCacheRecord {
        id: name,
        kind: CACHE_MOUNT.to_owned(),
        description: "directory of RUN --mount=type=cache".to_owned(),
        in_use: flock(&file, FlockOperation::NonBlockingLockShared).is_err(),
        size: i64::try_from(crate::volume::api::tree_size(&path)).unwrap_or(i64::MAX),
        created_at: changed,
        last_used_at: Some(changed),
        ..BuildCacheRecord::default()
    })
}

/// Filters that were looked at.
struct Matcher<'a> {
    filters: &'a Filters,
    until: Option<i64>,
    in_use: Option<bool>,
    shared: Option<bool>,
    private: Option<bool>,
}

impl<'a> Matcher<'a> {
    fn of(filters: &'a Filters, until: Option<i64>) -> Result<Self> {
        if let Some(name) = FILTERS.iter().find(|name| !name.starts_with("label") && filters.get(name).count() > 1) {
            return Err(Error::invalid(format!("filters expect only one value: {name}")));
        }
        let flag = |name: &str| match filters.contains(name) {
            // A name alone is a yes, as in BuildKit.
            true if filters.get(name).all(str::is_empty) => Ok(Some(true)),
            true => filters.bool_or(name, false).map(Some),
            false => Ok(None),
        };
        let (in_use, shared, private) = (flag("inuse")?, flag("shared")?, flag("private")?);
        Ok(Matcher { filters, until, in_use, shared, private })
    }

    fn takes(&self, record: &BuildCacheRecord) -> bool {
        let is = |wanted: Option<bool>, is: bool| wanted.is_none_or(|wanted| wanted == is);
        let parents = record.parents.iter().any(|parent| self.filters.exact("parent", parent));
        self.until.is_none_or(|until| record.created_at.unix_nanos() < until)
            && self.filters.matches("id", &record.id)
            && (parents || !self.filters.contains("parent"))
            && self.filters.exact("type", &record.kind)
            && self.filters.exact("description", &record.description)
            && is(self.in_use, record.in_use)
            && is(self.shared, record.shared)
            && is(self.private, !record.shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> BuildCacheRecord {
        BuildCacheRecord {
            id: "sha256:abc".to_owned(),
            parents: vec!["sha256:def".to_owned()].into(),
            kind: REGULAR.to_owned(),
            description: "RUN x".to_owned(),
            created_at: Time::from_unix(10, 0),
            ..BuildCacheRecord::default()
        }
    }

    fn taken(pairs: &[(&str, &str)], until: Option<i64>) -> bool {
        let mut filters = Filters::default();
        for (name, value) in pairs {
            filters.add(*name, *value);
        }
        Matcher::of(&filters, until).unwrap().takes(&record())
    }

    #[test]
    fn filters_look_at_records() {
        for (name, yes, no) in [
            ("id", "abc", "abd"),
            ("parent", "sha256:def", "sha256:abc"),
            ("type", "regular", "exec.cachemount"),
            ("description", "RUN x", "RUN"),
            ("inuse", "false", "true"),
            ("shared", "0", "1"),
            ("private", "true", "false"),
        ] {
            assert!(taken(&[(name, yes)], None), "{name}={yes}");
            assert!(!taken(&[(name, no)], None), "{name}={no}");
            assert!(!taken(
                &[(name, yes), ("type", "other")].map(|p| if name == "type" { ("id", "zz") } else { p }),
                None
            ));
        }
        assert!(taken(&[], Some(10_000_000_001)) && !taken(&[], Some(10_000_000_000)));
        let mut filters = Filters::default();
        filters.add("id", "a");
        filters.add("id", "b");
        assert!(Matcher::of(&filters, None).is_err());
    }

    #[test]
    fn bounds() {
        let kept =
            |reserved, max_used, min_free, total, free| Bounds { reserved, max_used, min_free }.kept(total, free);
        assert_eq!(kept(5, 0, 0, 100, 0), 5);
        assert_eq!(kept(0, 30, 0, 100, 0), 30);
        // Twenty more have to be free.
        assert_eq!(kept(0, 0, 50, 100, 30), 80);
        assert_eq!(kept(90, 0, 50, 100, 30), 90);
        assert_eq!(kept(0, 30, 50, 100, 30), 30);
        assert_eq!(kept(0, 0, 50, 100, 60), 0);
    }
}
