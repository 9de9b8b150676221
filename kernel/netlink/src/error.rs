//! What can go wrong, with step, object and errno.

use std::io;

use tare_sys::errno;

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// A netlink failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a request.
    #[error("{step} `{object}`: {}{}", errno::name(*errno), detail(message))]
    Refused {
        /// What was asked for (`create link`).
        step: &'static str,
        /// Of what (`eth0`).
        object: String,
        /// The error number, positive.
        errno: i32,
        /// The kernel's explanation, where it gave one.
        message: String,
    },
    /// A system call on the socket failed.
    #[error("{step}: {source}")]
    Socket {
        /// The call (`netlink socket`).
        step: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// The kernel's answer is not what the protocol says.
    #[error("{step}: malformed answer from the kernel")]
    Malformed {
        /// What was being read.
        step: &'static str,
    },
    /// A dump was disturbed by concurrent changes too often.
    #[error("{step}: changed while it was being read, {attempts} times")]
    Unsettled {
        /// What was being read.
        step: &'static str,
        /// How often it was tried.
        attempts: u32,
    },
}

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}

impl Error {
    /// The error number, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::Socket { source, .. } => source.raw_os_error(),
            Self::Malformed { .. } | Self::Unsettled { .. } => None,
        }
    }

    pub(crate) fn socket(step: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Socket { step, source: source.into() }
    }
}
