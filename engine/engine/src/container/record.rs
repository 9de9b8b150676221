//! What is stored of a container: all that its next start needs, whatever happens to the daemon.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tare_docker_api::container::{Config, EndpointSettings, HostConfig};
use tare_docker_api::oci::Descriptor;

use super::state::State;

/// The durable description.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Full ID.
    pub(crate) id: String,
    /// Name without a slash.
    pub(crate) name: String,
    /// Nanoseconds since the epoch.
    pub(crate) created_at: i64,
    /// The image's ID (digest); `Config.Image` keeps what was asked for.
    pub(crate) image_id: String,
    /// The manifest of the image's platform; none in records of engines that did not keep it.
    #[serde(default)]
    pub(crate) image_manifest: Option<Descriptor>,
    /// Platform of the image (`linux`).
    pub(crate) os: String,
    /// First word of the command.
    pub(crate) path: String,
    /// The rest.
    pub(crate) args: Vec<String>,
    /// Merged with the image's.
    pub(crate) config: Config,
    /// As given, with defaults filled in.
    pub(crate) host_config: HostConfig,
    /// Networks it is connected to, by network name; addresses are filled in while it runs.
    pub(crate) networks: BTreeMap<String, EndpointSettings>,
    /// Mounts, ordered by destination.
    #[serde(default)]
    pub(crate) mounts: Vec<Mount>,
    /// Legacy links: (ID of the linked container, alias).
    #[serde(default)]
    pub(crate) links: Vec<(String, String)>,
    /// Made for a step of a build, and of no use without it.
    #[serde(default)]
    pub(crate) for_build: bool,
    /// The log driver decided at creation.
    pub(crate) log: tare_shim_protocol::LogConfig,
    /// State as of the last write.
    #[serde(default)]
    pub(crate) state: State,
}

/// A mount into the container, resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Mount {
    /// What is mounted.
    pub(crate) kind: MountKind,
    /// The volume's name.
    pub(crate) name: String,
    /// Path on the host (bind, volume), or the image's ID.
    pub(crate) source: String,
    /// Path in the container.
    pub(crate) destination: String,
    /// Driver of a volume.
    pub(crate) driver: String,
    /// Options as given (`ro`, `z`…), for display.
    pub(crate) mode: String,
    /// Writable.
    pub(crate) writable: bool,
    /// `rprivate`, `rslave`…; empty for kinds without.
    pub(crate) propagation: String,
    /// Path below the volume's or image's root.
    pub(crate) subpath: String,
    /// The volume was made for this container alone, and goes with `rm -v` and `--rm`.
    pub(crate) anonymous: bool,
    /// Bind without the mounts below.
    pub(crate) non_recursive: bool,
    /// Read-only for the top mount only.
    pub(crate) read_only_non_recursive: bool,
    /// Fail when mounts below cannot be made read-only, too.
    pub(crate) read_only_force_recursive: bool,
    /// Make a missing source of a bind mount a directory (Docker's `-v`).
    pub(crate) create_source: bool,
    /// Options of a tmpfs.
    pub(crate) tmpfs_options: Vec<String>,
    /// Do not copy what the image has at the destination into a new volume.
    pub(crate) no_copy: bool,
}

/// Kinds of mounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MountKind {
    /// A host path.
    #[default]
    Bind,
    /// A volume.
    Volume,
    /// Memory.
    Tmpfs,
    /// Another image's root.
    Image,
}

impl MountKind {
    /// Docker's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            MountKind::Bind => "bind",
            MountKind::Volume => "volume",
            MountKind::Tmpfs => "tmpfs",
            MountKind::Image => "image",
        }
    }
}
