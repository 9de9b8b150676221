//! What can go wrong, said as step, object and errno.

use std::fmt::Display;
use std::io;

use rustix::io::Errno;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither version is mounted.
    #[error("no cgroup hierarchy is mounted")]
    NotMounted,
    /// A system call failed.
    #[error("{step} `{object}`: {}", tare_sys::errno::name(.errno.raw_os_error()))]
    Os {
        /// What was being done, a verb: `write`.
        step: &'static str,
        /// To what: a path, or a file and the value written to it.
        object: String,
        /// What the kernel answered.
        errno: Errno,
    },
    /// A value was asked for whose controller this machine (or this part of the tree) does not have.
    #[error("the requested cgroup controller `{controller}` is not available (needed for `{file}`)")]
    NoController {
        /// `pids`
        controller: String,
        /// `pids.max`
        file: String,
    },
    /// The memory limit is below what the group uses and the kernel could not reclaim the difference.
    #[error("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})")]
    MemoryInUse {
        /// The limit that was asked for, in bytes.
        limit: String,
        /// In bytes.
        usage: u64,
        /// In bytes.
        peak: u64,
    },
    /// The same, seen before anything was tried.
    #[error("rejecting {what} limit {limit} <= usage {usage}")]
    BelowUsage {
        /// `memory`, `memory+swap`
        what: &'static str,
        /// In bytes.
        limit: u64,
        /// In bytes.
        usage: u64,
    },
    /// A resource value that no kernel would take, or that has no counterpart in this version.
    #[error("{0}")]
    Invalid(String),
    /// The processes of a group did not go, or did not stop, in the time allowed.
    #[error("{step} cgroup `{path}`: not done after {seconds} s")]
    Timeout {
        /// `kill`, `freeze`
        step: &'static str,
        /// The group.
        path: String,
        /// How long was waited.
        seconds: u64,
    },
    /// Several hierarchies failed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
}

impl Error {
    pub(crate) fn os(step: &'static str, object: impl Display, errno: Errno) -> Self {
        Self::Os { step, object: object.to_string(), errno }
    }

    pub(crate) fn io(step: &'static str, object: impl Display, error: &io::Error) -> Self {
        Self::os(step, object, Errno::from_io_error(error).unwrap_or(Errno::IO))
    }

    /// No error, the only one, or all.
    pub(crate) fn collect(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }

    /// The group does not exist any more.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Os { errno: Errno::NOENT | Errno::NODEV, .. })
    }

    /// The error number, when a system call failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Os { errno, .. } => Some(errno.raw_os_error()),
            _ => None,
        }
    }
}
