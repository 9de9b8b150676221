//! Mounts as `--mount` asks for them.

use crate::go::{Empty, List, Map};

go_types! {
    /// A mount request.
    pub struct Mount {
        /// `bind`, `volume`, `tmpfs`, `image`, `npipe` or `cluster`.
        kind: String ["Type" omitempty],
        source: String ["Source" omitempty],
        target: String ["Target" omitempty],
        read_only: bool ["ReadOnly" omitempty],
        consistency: String ["Consistency" omitempty],
        bind_options: Option<BindOptions> ["BindOptions" omitempty],
        volume_options: Option<VolumeOptions> ["VolumeOptions" omitempty],
        image_options: Option<ImageOptions> ["ImageOptions" omitempty],
        tmpfs_options: Option<TmpfsOptions> ["TmpfsOptions" omitempty],
        cluster_options: Option<Empty> ["ClusterOptions" omitempty],
    }

    /// Options of a bind mount.
    pub struct BindOptions {
        /// `[r]private`, `[r]shared`, `[r]slave`.
        propagation: String ["Propagation" omitempty],
        non_recursive: bool ["NonRecursive" omitempty],
        create_mountpoint: bool ["CreateMountpoint" omitempty],
        read_only_non_recursive: bool ["ReadOnlyNonRecursive" omitempty],
        read_only_force_recursive: bool ["ReadOnlyForceRecursive" omitempty],
    }

    /// Options of a volume.
    pub struct VolumeOptions {
        no_copy: bool ["NoCopy" omitempty],
        labels: Map<String> ["Labels" omitempty],
        subpath: String ["Subpath" omitempty],
        driver_config: Option<Driver> ["DriverConfig" omitempty],
    }

    /// Options of an image mount.
    pub struct ImageOptions {
        subpath: String ["Subpath" omitempty],
    }

    /// Options of a tmpfs.
    pub struct TmpfsOptions {
        /// Bytes; 0 is unlimited.
        size_bytes: i64 ["SizeBytes" omitempty],
        /// Permission bits.
        mode: u32 ["Mode" omitempty],
        /// `[name]` or `[name, value]`.
        options: List<List<String>> ["Options" omitempty],
    }

    /// A volume driver and its options.
    pub struct Driver {
        name: String ["Name" omitempty],
        options: Map<String> ["Options" omitempty],
    }
}
