//! What can go wrong, with step, object and errno.

use std::io;
use std::path::Path;

use tare_reference::{Digest, ReferenceError};

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with images and layers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No image of that name or ID.
    #[error("No such image: {0}")]
    NotFound(String),
    /// A short ID that several images share.
    #[error("ambiguous reference")]
    Ambiguous(String),
    /// No name or ID at all.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The image is here, but not for that platform.
    #[error("image with reference {reference} was found but does not provide the specified platform ({platform})")]
    Platform {
        /// The image.
        reference: String,
        /// What was asked for.
        platform: String,
    },
    /// A path in a container that does not exist, see [`crate::copy`].
    #[error("no such path: {0}")]
    NoPath(String),
    /// A path with a trailing slash that is no directory, see [`crate::copy`].
    #[error("lstat {0}: not a directory")]
    NoDirectory(String),
    /// A container's working directory is something else.
    #[error("Cannot mkdir: {0} is not a directory")]
    NoWorkingDirectory(String),
    /// An archive cannot be extracted onto the path.
    #[error("extraction point is not a directory")]
    NotADirectory,
    /// `noOverwriteDirNonDir` forbids it.
    #[error("cannot overwrite {existing} \"{path}\" with {new} \"{target}\"")]
    Overwrite {
        /// `directory` or `non-directory`.
        existing: &'static str,
        /// In the container.
        path: String,
        /// `directory` or `non-directory`.
        new: &'static str,
        /// The directory that is extracted into.
        target: String,
    },
    /// A system call.
    #[error("{step} `{path}`: {}", tare_sys::errno::reason(.source))]
    Io {
        /// System call or action.
        step: &'static str,
        /// What it was done to.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Content that is not what its name says.
    #[error("unexpected {what} digest: {actual}, expected {expected}")]
    DigestMismatch {
        /// `blob` or `layer`.
        what: &'static str,
        /// What it should be.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// Content that is longer or shorter than its descriptor says.
    #[error("unexpected size of {digest}: {actual} bytes, expected {expected}")]
    SizeMismatch {
        /// The content.
        digest: Digest,
        /// Bytes.
        expected: u64,
        /// Bytes.
        actual: u64,
    },
    /// Only sha256 is verified.
    #[error("unsupported digest algorithm `{0}`")]
    Algorithm(Digest),
    /// A document that cannot be read.
    #[error("invalid {what}: {reason}")]
    Malformed {
        /// Which kind of document.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// An archive that cannot or must not be extracted.
    #[error("archive entry `{path}`: {reason}")]
    Entry {
        /// Its name in the archive.
        path: String,
        /// Why.
        reason: String,
    },
    /// The archive itself.
    #[error(transparent)]
    Archive(#[from] tare_archive::Error),
    /// A layer of the image is not there in unpacked form.
    #[error("layer {0} is not unpacked")]
    NotUnpacked(Digest),
    /// The blob is being written by someone else.
    #[error("{0} is being fetched already")]
    Busy(Digest),
    /// More than a stated limit.
    #[error("{what} exceeds {limit} bytes")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
}

impl Error {
    /// An [`Error::Io`] of step and path, for `map_err`.
    pub(crate) fn io<E: Into<io::Error>>(step: &'static str, path: impl AsRef<Path>) -> impl FnOnce(E) -> Error {
        move |source| Error::Io { step, path: path.as_ref().display().to_string(), source: source.into() }
    }

    /// Whether the disk is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::Io { source, .. } if tare_sys::errno::is_no_space(source))
    }

    /// The errno, where a system call failed.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
