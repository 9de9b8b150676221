//! What a shim tells the daemon.

use serde::{Deserialize, Serialize};

use crate::bundle::ExitRecord;

/// One packet from the shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// The answer to a request.
    Reply(Reply),
    /// Something that happened.
    Event(Event),
}

/// The answer to the request with the same `seq`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// [`crate::Request::seq`].
    pub seq: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Ok {
        /// Launch and exec: the process's ID in the daemon's namespace; else 0.
        #[serde(default)]
        pid: i32,
        /// Launch and exec: its start time in clock ticks since boot (field 22 of `/proc/PID/stat`); else 0.
        #[serde(default)]
        start_time: u64,
        /// Attach: bytes in the log file at the moment of attaching.
        #[serde(default)]
        log_end: u64,
        /// Attach: inode of that log file.
        #[serde(default)]
        log_file: u64,
        /// Launch: [`crate::ShimState::started_at`]; else, and from older shims, 0.
        #[serde(default)]
        started_at: i64,
    },
    /// Not done.
    Failed(Failure),
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The class, which decides Docker's exit code and status.
    pub kind: FailureKind,
    /// Step, object and errno, ready to show.
    pub message: String,
    /// The errno behind it, or 0.
    #[serde(default)]
    pub errno: i32,
}

/// Classes of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The command was not found (Docker: 127).
    NotFound,
    /// The command may not be executed (Docker: 126).
    Permission,
    /// The request does not fit the container's state (no such exec, not running, terminal missing).
    State,
    /// Anything else on the way to the command (Docker: 128).
    Setup,
}

/// Something that happened in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The container's init has ended, its output is in the log, and `exit.json` is on disk. Sent again on every new
    /// connection until acknowledged.
    Exit(ExitRecord),
    /// An exec's process has ended and its output has been handed to its client.
    ExecExit {
        /// The exec instance.
        id: String,
        /// Exit code, or 128 + signal number.
        code: i32,
    },
    /// A client left with the detach keys.
    Detached {
        /// [`crate::Attach::id`].
        id: u64,
        /// The exec instance, if it was attached to one.
        #[serde(default)]
        exec: Option<String>,
    },
    /// The kernel killed a process of the container for want of memory.
    OutOfMemory,
}
