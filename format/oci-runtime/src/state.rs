//! The state of a container, as hooks and `state` see it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What `state` prints, and hooks read from their standard input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct State {
    /// Version of the specification.
    pub oci_version: String,
    /// The container.
    pub id: String,
    /// Where in its life it is.
    pub status: Status,
    /// Process ID of its init on the host; 0 when it has none.
    pub pid: i32,
    /// Its bundle directory.
    pub bundle: PathBuf,
    /// Those of its configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What a seccomp agent gets with the notification descriptor of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerProcessState {
    /// Version of the specification.
    pub oci_version: String,
    /// Names of the descriptors that come with it, in order.
    pub fds: Vec<String>,
    /// The process on the host.
    pub pid: i32,
    /// What the configuration has for the agent.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// The container.
    pub state: State,
}

/// Name of a notification descriptor in [`ContainerProcessState::fds`].
pub const SECCOMP_FD_NAME: &str = "seccompFd";

/// Where in its life a container is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being created.
    #[default]
    Creating,
    /// Waiting for `start`.
    Created,
    /// Running.
    Running,
    /// Frozen (beyond the specification).
    Paused,
    /// Ended.
    Stopped,
}
