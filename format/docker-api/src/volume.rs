//! Volumes.

use crate::go::{List, Map};

go_types! {
    /// A volume.
    pub struct Volume {
        /// RFC 3339 in whole seconds; empty when unknown.
        created_at: String ["CreatedAt" omitempty],
        driver: String ["Driver"],
        labels: Map<String> ["Labels"],
        mountpoint: String ["Mountpoint"],
        name: String ["Name"],
        options: Map<String> ["Options"],
        /// `local`.
        scope: String ["Scope"],
        status: Map<serde_json::Value> ["Status" omitempty],
        usage_data: Option<UsageData> ["UsageData" omitempty],
    }

    /// Use of a volume.
    pub struct UsageData {
        /// Containers that reference it; -1 when not counted.
        ref_count: i64 ["RefCount"],
        /// Bytes; -1 when not counted.
        size: i64 ["Size"],
    }

    /// Body of `POST /volumes/create`.
    pub struct VolumeCreateRequest {
        cluster_volume_spec: Option<serde_json::Value> ["ClusterVolumeSpec" omitempty],
        driver: String ["Driver" omitempty],
        driver_opts: Map<String> ["DriverOpts" omitempty],
        labels: Map<String> ["Labels" omitempty],
        name: String ["Name" omitempty],
    }

    /// Answer of `GET /volumes`.
    pub struct VolumeList {
        volumes: Vec<Volume> ["Volumes"],
        warnings: List<String> ["Warnings"],
    }

    /// Answer of `POST /volumes/prune`.
    pub struct VolumePruneReport {
        volumes_deleted: List<String> ["VolumesDeleted"],
        /// Bytes.
        space_reclaimed: u64 ["SpaceReclaimed"],
    }
}
