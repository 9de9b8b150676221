//! What can go wrong, with step, object and errno.

use std::fmt::Display;
use std::io;

use tare_sys::errno;

/// The result of most things here.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure to change or read the host's network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Netlink or netfilter refused.
    #[error(transparent)]
    Netlink(#[from] tare_netlink::Error),
    /// A file or system call failed.
    #[error("{step} `{object}`: {}", describe(source))]
    Io {
        /// What was done.
        step: &'static str,
        /// To what.
        object: String,
        /// The error.
        source: io::Error,
    },
    /// A link of that name exists and is not this engine's.
    #[error("interface `{0}` exists and was not made by this engine")]
    NotOurs(String),
    /// There is no such bridge.
    #[error("no bridge `{0}`")]
    NoBridge(String),
    /// A name that the kernel does not take for an interface.
    #[error("invalid interface name `{0}`")]
    InvalidName(String),
    /// There is no such kernel setting.
    #[error("{0} is not a sysctl file")]
    NoSetting(String),
    /// All subnets of the pools are taken.
    #[error("no subnet is free: all predefined address pools have been fully subnetted")]
    NoSubnet,
}

impl Error {
    pub(crate) fn io(step: &'static str, object: impl Display, source: io::Error) -> Self {
        Self::Io { step, object: object.to_string(), source }
    }

    /// The error number, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Netlink(error) => error.errno(),
            Self::Io { source, .. } => source.raw_os_error(),
            Self::NotOurs(_) | Self::NoBridge(_) | Self::InvalidName(_) | Self::NoSetting(_) | Self::NoSubnet => None,
        }
    }
}

pub(crate) fn describe(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| errno::name(number).to_owned())
}
