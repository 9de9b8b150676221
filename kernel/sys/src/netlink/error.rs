//! What can go wrong, with step, object and errno.

use std::fmt;
use std::io;

use crate::errno;

/// The result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// A netlink failure.
#[derive(Debug)]
pub enum Error {
    /// The kernel refused a request.
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
    /// A system call failed.
    Call {
        /// The call (`netlink socket`).
        step: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// The kernel's answer is not what the protocol says.
    Malformed {
        /// What was being read.
        step: &'static str,
    },
    /// A dump was disturbed by concurrent changes too often.
    Unsettled {
        /// What was being read.
        step: &'static str,
        /// How often it was tried.
        attempts: u32,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { step, object, errno, message } if message.is_empty() => {
                write!(f, "{step} `{object}`: {}", errno::name(*errno))
            }
            Self::Refused { step, object, errno, message } => {
                write!(f, "{step} `{object}`: {} ({message})", errno::name(*errno))
            }
            Self::Call { step, source } => match source.raw_os_error() {
                Some(number) => write!(f, "{step}: {}", errno::name(number)),
                None => write!(f, "{step}: {source}"),
            },
            Self::Malformed { step } => write!(f, "{step}: malformed answer from the kernel"),
            Self::Unsettled { step, attempts } => {
                write!(f, "{step}: changed while it was being read, {attempts} times")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Call { source, .. } => Some(source),
            Self::Refused { .. } | Self::Malformed { .. } | Self::Unsettled { .. } => None,
        }
    }
}

impl Error {
    /// The error number, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { errno, .. } => Some(*errno),
            Self::Call { source, .. } => source.raw_os_error(),
            Self::Malformed { .. } | Self::Unsettled { .. } => None,
        }
    }

    pub(crate) fn call(step: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Call { step, source: source.into() }
    }
}
