//! The use cases on volumes.

use std::path::Path;

use tare_docker_api::filters::Filters;
use tare_docker_api::go::List;
use tare_docker_api::time::Time;
use tare_docker_api::volume::{UsageData, Volume as ApiVolume, VolumeCreateRequest, VolumeList, VolumePruneReport};

use super::{ANONYMOUS_LABEL, Volume, no_such};
use crate::Engine;
use crate::error::{Error, Result};
use crate::filter;

impl Engine {
    /// Lists volumes.
    pub async fn volumes(&self, filters: Filters) -> Result<VolumeList> {
        filters.validate(&["dangling", "name", "driver", "label", "label!"])?;
        let dangling = if filters.contains("dangling") { Some(filters.bool_or("dangling", false)?) } else { None };
        let volumes = self
            .volumes
            .all()
            .into_iter()
            .filter(|volume| {
                filters.matches("name", &volume.name)
                    && filters.exact("driver", "local")
                    && filter::labels_match(&filters, &volume.labels)
                    && dangling.is_none_or(|dangling| self.volume_users(&volume.name).is_empty() == dangling)
            })
            .map(|volume| self.volume_json(&volume))
            .collect();
        Ok(VolumeList { volumes, ..VolumeList::default() })
    }

    /// Makes a volume; one of the same name is returned as it is.
    pub async fn volume_create(&self, request: VolumeCreateRequest) -> Result<ApiVolume> {
        if !matches!(request.driver.as_str(), "" | "local") {
            let driver = &request.driver;
            // What has no name gets one first.
            let name = if request.name.is_empty() { crate::host::random::id() } else { request.name };
            return Err(Error::not_found(format!(
                "create {name}: error looking up volume plugin {driver}: plugin \"{driver}\" not found"
            )));
        }
        if request.cluster_volume_spec.is_some() {
            return Err(Error::invalid("cluster volumes are not supported: this engine is not part of a swarm"));
        }
        let (volume, new) = self
            .volumes
            .create(&request.name, "", request.labels.into_inner(), request.driver_opts.into_inner())
            .map_err(|error| {
                if error.message.starts_with("create ") {
                    error
                } else {
                    error.context(format!("create {}: ", request.name))
                }
            })?;
        if new {
            self.volume_event("create", &volume.name, &[]);
        }
        Ok(self.volume_json(&volume))
    }

    /// Describes a volume.
    pub async fn volume_inspect(&self, name: &str) -> Result<ApiVolume> {
        self.volumes.get(name).map(|volume| self.volume_json(&volume)).ok_or_else(|| no_such(name))
    }

    /// Removes a volume. With `force` one that does not exist is fine.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        let users = self.volume_users(name);
        if !users.is_empty() {
            return Err(Error::conflict(format!("remove {name}: volume is in use - [{}]", users.join(", "))));
        }
        match self.volumes.remove(name) {
            Err(error) if force && error.kind == crate::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                self.volume_event("destroy", name, &[]);
                Ok(())
            }
        }
    }

    /// Removes volumes that nobody uses: anonymous ones, or with the filter `all` every one.
    pub async fn volumes_prune(&self, filters: Filters) -> Result<VolumePruneReport> {
        filters.validate(&["label", "label!", "all"])?;
        let all = filters.bool_or("all", false)?;
        let mut report = VolumePruneReport { volumes_deleted: List::empty(), ..VolumePruneReport::default() };
        for volume in self.volumes.all() {
            let wanted = (all || volume.labels.contains_key(ANONYMOUS_LABEL))
                && filter::labels_match(&filters, &volume.labels)
                && self.volume_users(&volume.name).is_empty();
            if !wanted {
                continue;
            }
            let content = self.volumes.content(&volume.name);
            let size = crate::blocking(move || Ok(tree_size(&content))).await?;
            if self.volumes.remove(&volume.name).is_ok() {
                self.volume_event("destroy", &volume.name, &[]);
                report.volumes_deleted.push(volume.name);
                report.space_reclaimed += size;
            }
        }
        let mut attributes = std::collections::BTreeMap::new();
        attributes.insert("reclaimed".to_owned(), report.space_reclaimed.to_string());
        self.events.publish("volume", "prune", "", attributes);
        Ok(report)
    }

    pub(crate) fn volume_json(&self, volume: &Volume) -> ApiVolume {
        ApiVolume {
            created_at: Time::from_unix(volume.created_at / 1_000_000_000, 0).to_string(),
            driver: "local".to_owned(),
            labels: if volume.labels.is_empty() {
                tare_docker_api::go::Map::default()
            } else {
                volume.labels.clone().into()
            },
            mountpoint: self.volumes.content(&volume.name).to_string_lossy().into_owned(),
            name: volume.name.clone(),
            options: if volume.options.is_empty() {
                tare_docker_api::go::Map::default()
            } else {
                volume.options.clone().into()
            },
            scope: "local".to_owned(),
            ..ApiVolume::default()
        }
    }

    /// The same with its size and number of users.
    pub(crate) fn volume_usage(&self, volume: &Volume) -> ApiVolume {
        let users = self.volume_users(&volume.name).len();
        ApiVolume {
            usage_data: Some(UsageData {
                ref_count: i64::try_from(users).unwrap_or(i64::MAX),
                size: i64::try_from(tree_size(&self.volumes.content(&volume.name))).unwrap_or(i64::MAX),
            }),
            ..self.volume_json(volume)
        }
    }
}

/// Bytes of the files in a tree, hard links counted once; what cannot be read counts nothing.
pub(crate) fn tree_size(root: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut seen = std::collections::HashSet::new();
    let mut directories = vec![root.to_owned()];
    let mut total = 0;
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                directories.push(entry.path());
            } else if metadata.nlink() < 2 || seen.insert((metadata.dev(), metadata.ino())) {
                total += metadata.len();
            }
        }
    }
    total
}
