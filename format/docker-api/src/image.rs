//! Images.

use crate::container::{DriverData, Healthcheck, PortSet};
use crate::go::{Empty, List, Map};
use crate::oci::{Descriptor, Platform};
use crate::time::Time;

go_types! {
    /// An image in a list (`GET /images/json`).
    pub struct ImageSummary {
        /// Containers that use it; -1 when not counted.
        containers: i64 ["Containers"],
        /// Unix seconds.
        created: i64 ["Created"],
        id: String ["Id"],
        labels: Map<String> ["Labels"],
        parent_id: String ["ParentId"],
        descriptor: Option<Descriptor> ["Descriptor" omitempty],
        manifests: List<ManifestSummary> ["Manifests" omitempty],
        repo_digests: Vec<String> ["RepoDigests"],
        repo_tags: Vec<String> ["RepoTags"],
        /// Bytes shared with other images; -1 when not counted.
        shared_size: i64 ["SharedSize"],
        /// Bytes.
        size: i64 ["Size"],
        /// Bytes; only below API 1.44.
        virtual_size: Option<i64> ["VirtualSize" omitempty],
    }

    /// Answer of `GET /images/{name}/json`.
    pub struct ImageInspect {
        id: String ["Id"],
        repo_tags: Vec<String> ["RepoTags"],
        repo_digests: Vec<String> ["RepoDigests"],
        /// The image below, of what a build without BuildKit has made here.
        parent: String ["Parent" omitempty],
        comment: String ["Comment" omitempty],
        /// Absent when the image does not say.
        created: Time ["Created" omitempty],
        author: String ["Author" omitempty],
        config: ImageConfig ["Config"],
        architecture: String ["Architecture"],
        variant: String ["Variant" omitempty],
        os: String ["Os"],
        os_version: String ["OsVersion" omitempty],
        /// Bytes.
        size: i64 ["Size"],
        graph_driver: Option<DriverData> ["GraphDriver" omitempty],
        root_fs: RootFs ["RootFS"],
        metadata: Metadata ["Metadata"],
        descriptor: Option<Descriptor> ["Descriptor" omitempty],
        manifests: List<ManifestSummary> ["Manifests" omitempty],
        identity: Option<Identity> ["Identity" omitempty],
    }

    /// What an image says about the containers made from it (OCI image specification, with Docker's additions).
    pub struct ImageConfig {
        user: String ["User" omitempty],
        exposed_ports: PortSet ["ExposedPorts" omitempty],
        env: List<String> ["Env" omitempty],
        entrypoint: Option<Vec<String>> ["Entrypoint" omitempty],
        cmd: Option<Vec<String>> ["Cmd" omitempty],
        volumes: Map<Empty> ["Volumes" omitempty],
        working_dir: String ["WorkingDir" omitempty],
        labels: Map<String> ["Labels" omitempty],
        stop_signal: String ["StopSignal" omitempty],
        args_escaped: bool ["ArgsEscaped" omitempty],
        healthcheck: Option<Healthcheck> ["Healthcheck" omitempty],
        on_build: List<String> ["OnBuild" omitempty],
        shell: List<String> ["Shell" omitempty],
    }

    /// The layers of an image.
    pub struct RootFs {
        /// `layers`.
        kind: String ["Type" omitempty],
        /// Digests of the uncompressed layers.
        layers: List<String> ["Layers" omitempty],
    }

    /// What the engine knows about an image beside its content.
    pub struct Metadata {
        last_tag_time: Time ["LastTagTime"],
    }

    /// Where an image came from.
    pub struct Identity {
        signature: List<serde_json::Value> ["Signature" omitempty],
        pull: List<PullIdentity> ["Pull" omitempty],
        build: List<BuildIdentity> ["Build" omitempty],
    }

    /// A repository an image was pulled from.
    pub struct PullIdentity {
        repository: String ["Repository" omitempty],
    }

    /// A build an image came from.
    pub struct BuildIdentity {
        reference: String ["Ref" omitempty],
        created_at: Time ["CreatedAt"],
    }

    /// One manifest of a multi-platform image.
    pub struct ManifestSummary {
        id: String ["ID"],
        descriptor: Descriptor ["Descriptor"],
        /// Whether all of its content is here.
        available: bool ["Available"],
        size: ManifestSize ["Size"],
        /// `image`, `attestation` or `unknown`.
        kind: String ["Kind"],
        image_data: Option<ImageProperties> ["ImageData" omitempty],
        attestation_data: Option<AttestationProperties> ["AttestationData" omitempty],
    }

    /// Sizes of a manifest in bytes.
    pub struct ManifestSize {
        content: i64 ["Content"],
        total: i64 ["Total"],
    }

    /// A manifest that is an image.
    pub struct ImageProperties {
        platform: Platform ["Platform"],
        identity: Option<Identity> ["Identity" omitempty],
        size: UnpackedSize ["Size"],
        containers: Vec<String> ["Containers"],
    }

    /// Size of the unpacked image in bytes.
    pub struct UnpackedSize {
        unpacked: i64 ["Unpacked"],
    }

    /// A manifest that attests another.
    pub struct AttestationProperties {
        subject: String ["For"],
    }

    /// One step of an image's history.
    pub struct History {
        comment: String ["Comment"],
        /// Unix seconds.
        created: i64 ["Created"],
        created_by: String ["CreatedBy"],
        /// `<missing>` for all but the newest.
        id: String ["Id"],
        /// Bytes.
        size: i64 ["Size"],
        tags: List<String> ["Tags"],
    }

    /// One thing `DELETE /images/{name}` did.
    pub struct DeleteItem {
        deleted: String ["Deleted" omitempty],
        untagged: String ["Untagged" omitempty],
    }

    /// Answer of `POST /images/prune`.
    pub struct ImagePruneReport {
        images_deleted: List<DeleteItem> ["ImagesDeleted"],
        /// Bytes.
        space_reclaimed: u64 ["SpaceReclaimed"],
    }

    /// A repository found by `GET /images/search`.
    pub struct SearchResult {
        star_count: i64 ["star_count"],
        is_official: bool ["is_official"],
        name: String ["name"],
        is_automated: bool ["is_automated"],
        description: String ["description"],
    }

    /// Answer of `GET /distribution/{name}/json`.
    pub struct DistributionInspect {
        descriptor: Descriptor ["Descriptor"],
        platforms: List<Platform> ["Platforms"],
    }

    /// An entry of the build cache.
    pub struct BuildCacheRecord {
        id: String ["ID"],
        parents: List<String> [" Parents" omitempty],
        kind: String ["Type"],
        description: String ["Description"],
        in_use: bool ["InUse"],
        shared: bool ["Shared"],
        /// Bytes.
        size: i64 ["Size"],
        created_at: Time ["CreatedAt"],
        last_used_at: Option<Time> ["LastUsedAt"],
        usage_count: i64 ["UsageCount"],
    }

    /// Answer of `POST /build/prune`.
    pub struct BuildPruneReport {
        caches_deleted: List<String> ["CachesDeleted"],
        /// Bytes.
        space_reclaimed: u64 ["SpaceReclaimed"],
    }
}
