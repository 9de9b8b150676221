//! The engine's error: a kind, which an interface maps to its own codes, and the sentence a user reads.
//!
//! Docker's sentences are part of the contract with its clients (the command line decides exit codes by them), so
//! those used in more than one place are constructors here.

use std::{fmt, io};

use tare_sys::errno::reason;

/// What went wrong, independent of any protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The named thing does not exist.
    NotFound,
    /// The request itself is wrong.
    Invalid,
    /// The request does not fit the present state.
    Conflict,
    /// Credentials are missing or refused.
    Unauthorized,
    /// Not permitted, whoever asks.
    Forbidden,
    /// Nothing had to be done.
    NotModified,
    /// Cannot be served now.
    Unavailable,
    /// Not supported by this engine.
    NotImplemented,
    /// Everything else.
    Internal,
}

/// An engine error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The class.
    pub kind: ErrorKind,
    /// The sentence, without a trailing newline.
    pub message: String,
}

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {
        $(#[doc = concat!("An error of kind [`ErrorKind::", stringify!($kind), "`].")]
        pub fn $name(message: impl Into<String>) -> Self {
            Self { kind: ErrorKind::$kind, message: message.into() }
        })*
    };
}

impl Error {
    constructors! {
        not_found => NotFound,
        invalid => Invalid,
        conflict => Conflict,
        unauthorized => Unauthorized,
        forbidden => Forbidden,
        not_modified => NotModified,
        unavailable => Unavailable,
        not_implemented => NotImplemented,
        internal => Internal,
    }

    /// The same kind with words before the message.
    #[must_use]
    pub fn context(mut self, before: impl fmt::Display) -> Self {
        self.message = format!("{before}{}", self.message);
        self
    }

    /// `No such container: NAME`.
    pub fn no_such_container(name: &str) -> Self {
        Self::not_found(format!("No such container: {name}"))
    }

    /// `container ID is not running`.
    pub fn not_running(id: &str) -> Self {
        Self::conflict(format!("container {id} is not running"))
    }

    /// `Container ID is restarting, wait until the container is running`.
    pub fn restarting(id: &str) -> Self {
        Self::conflict(format!("Container {id} is restarting, wait until the container is running"))
    }

    /// A step that failed on an object with a system error: ``open `/x`: No such file or directory``.
    pub fn io(step: &str, object: impl fmt::Display, error: impl Into<io::Error>) -> Self {
        Self::internal(format!("{step} `{object}`: {}", reason(&error.into())))
    }
}

impl From<tare_state::Error> for Error {
    fn from(error: tare_state::Error) -> Self {
        Self::internal(error.to_string())
    }
}
