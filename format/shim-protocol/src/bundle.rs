//! The files in a container's bundle directory, which lies on a tmpfs in the daemon's exec root and carries all that a
//! returning daemon needs to adopt the container.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `shim.json`: how to run the container, beside the OCI specification. Written by the daemon before launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimConfig {
    /// The container's full ID.
    pub id: String,
    /// Keep standard input open though nobody is attached (Docker's `OpenStdin`).
    #[serde(default)]
    pub open_stdin: bool,
    /// Close standard input when the first attached client ends its own (Docker's `StdinOnce`).
    #[serde(default)]
    pub stdin_once: bool,
    /// The log.
    pub log: LogConfig,
    /// Directory with the answers of the embedded DNS server, when the container has one.
    #[serde(default)]
    pub dns: Option<PathBuf>,
    /// Free for the daemon: what it wants back when it adopts the container.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Where and how output is logged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// `json-file`, `local` or `none`.
    pub driver: String,
    /// The current log file's absolute path (unused with `none`); rotated files get suffixes `.1`, `.2.gz`…
    #[serde(default)]
    pub path: PathBuf,
    /// Rotate when the file would grow over this many bytes; `None` never rotates.
    #[serde(default)]
    pub max_size: Option<u64>,
    /// Files kept, the current one included; at least 1.
    #[serde(default)]
    pub max_file: u32,
    /// Compress rotated files with gzip.
    #[serde(default)]
    pub compress: bool,
    /// Attributes (`labels`, `env`, `tag` options) stored with every line.
    #[serde(default)]
    pub attrs: BTreeMap<String, String>,
}

/// `state.json`: the running container. Written by the shim when the process has been executed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimState {
    /// [`crate::VERSION`] of the shim.
    pub version: u32,
    /// `/proc/sys/kernel/random/boot_id` when it started; a different one means that the record is of another boot.
    pub boot_id: String,
    /// The shim's process ID.
    pub shim_pid: i32,
    /// The init's process ID in the host's namespace.
    pub pid: i32,
    /// The init's start time in clock ticks since boot.
    pub start_time: u64,
    /// When the container started, nanoseconds since the Unix epoch.
    pub started_at: i64,
}

/// `exit.json`: how the container's init ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Exit code, or 128 + signal number.
    pub code: i32,
    /// The kernel's OOM killer took a process of the container during this run.
    #[serde(default)]
    pub oom_killed: bool,
    /// When it ended, nanoseconds since the Unix epoch.
    pub finished_at: i64,
    /// Why the end was not the process's own doing (for instance that the shim was lost); empty otherwise.
    #[serde(default)]
    pub error: String,
}

/// How an exec's process ended; in the file that [`crate::Exec::exit_file`] names. A daemon that was not there when it
/// was told finds it here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRecord {
    /// Exit code, or 128 + signal number.
    pub code: i32,
}
