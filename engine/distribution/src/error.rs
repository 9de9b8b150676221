//! What goes wrong, by kind, in Docker's words.

use tare_images::oci::{Descriptor, media};
use tare_images::platform::BadPlatform;
use tare_reference::ReferenceError;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure it is; the interface maps it to a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no such thing.
    NotFound,
    /// Something stands in the way.
    Conflict,
    /// The request makes no sense.
    Invalid,
    /// Not allowed to anyone.
    Forbidden,
    /// Not allowed without other credentials.
    Unauthorized,
    /// Everything else.
    Internal,
}

/// What can go wrong when images come and go.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store.
    #[error(transparent)]
    Store(#[from] tare_images::Error),
    /// The registry.
    #[error(transparent)]
    Registry(#[from] tare_registry::Error),
    /// A registry that could not say what a reference means.
    #[error("failed to resolve reference \"{reference}\": {source}")]
    Resolve {
        /// The full reference.
        reference: String,
        /// Why.
        source: Box<tare_registry::Error>,
    },
    /// A reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// `--platform`
    #[error(transparent)]
    Platform(#[from] BadPlatform),
    /// An archive that is read or written.
    #[error(transparent)]
    Archive(#[from] tare_archive::Error),
    /// No image for the platform on the registry.
    #[error(
        "no matching manifest for {platform} in the manifest list entries: no match for platform in manifest: not found"
    )]
    NoManifest {
        /// What was asked for.
        platform: String,
    },
    /// Content that is not what its descriptor says. The words are containerd's.
    #[error(
        "failed commit on ref \"{content}-{digest}\": unexpected commit {difference} {actual}, expected {expected}: failed precondition"
    )]
    Commit {
        /// `layer`, `config`, `manifest`, `index`
        content: &'static str,
        /// Its name.
        digest: tare_reference::Digest,
        /// `digest` or `size`
        difference: &'static str,
        /// What it is.
        actual: String,
        /// What was said.
        expected: String,
    },
    /// A layer that cannot be unpacked.
    #[error("failed to extract layer {diff_id}: {source}")]
    Extract {
        /// The layer.
        diff_id: String,
        /// Why.
        source: tare_images::Error,
    },
    /// Something else that is missing.
    #[error("{0}")]
    NotFound(String),
    /// An image that is in use or has other names.
    #[error("conflict: unable to delete {reference} ({}) - {reason}", if *.hard { "cannot be forced" } else { "must be forced" })]
    Conflict {
        /// The name or short ID.
        reference: String,
        /// Whether `--force` would not help either.
        hard: bool,
        /// What stands in the way.
        reason: String,
    },
    /// A request that makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Reserved names.
    #[error("{0}")]
    Forbidden(String),
    /// A step of ours that the system refused.
    #[error("{step}: {}", tare_sys::errno::reason(.source))]
    Io {
        /// The step.
        step: String,
        /// Why.
        source: std::io::Error,
    },
    /// Everything else.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Store(e) => store_kind(e),
            Error::Registry(e) => registry_kind(e),
            Error::Resolve { source, .. } => registry_kind(source),
            Error::Reference(_) | Error::Platform(_) | Error::Invalid(_) | Error::Archive(_) => Kind::Invalid,
            Error::NoManifest { .. } | Error::NotFound(_) => Kind::NotFound,
            Error::Conflict { .. } => Kind::Conflict,
            Error::Forbidden(_) => Kind::Forbidden,
            Error::Commit { .. } | Error::Extract { .. } | Error::Io { .. } | Error::Internal(_) => Kind::Internal,
        }
    }

    pub(crate) fn io(step: &str, source: impl Into<std::io::Error>) -> Error {
        Error::Io { step: step.to_owned(), source: source.into() }
    }

    /// Content that is not what its descriptor says; `difference` is `digest` or `size`.
    pub(crate) fn unexpected(
        descriptor: &Descriptor,
        difference: &'static str,
        actual: impl ToString,
        expected: impl ToString,
    ) -> Error {
        Error::Commit {
            content: word(&descriptor.media_type),
            digest: descriptor.digest.clone(),
            difference,
            actual: actual.to_string(),
            expected: expected.to_string(),
        }
    }

    /// Whether the disk is full.
    pub(crate) fn is_no_space(&self) -> bool {
        match self {
            Error::Store(e) | Error::Extract { source: e, .. } => e.is_no_space(),
            Error::Io { source, .. } => tare_sys::errno::is_no_space(source),
            _ => false,
        }
    }

    /// Whether another attempt may go on where this one ended: it was not ours that failed.
    pub(crate) fn is_remote(&self) -> bool {
        matches!(self, Error::Registry(_) | Error::Resolve { .. })
    }
}

fn store_kind(error: &tare_images::Error) -> Kind {
    use tare_images::Error as E;
    match error {
        E::NotFound(_) | E::Ambiguous(_) | E::Platform { .. } | E::NoPath(_) => Kind::NotFound,
        E::Reference(_) | E::NotADirectory | E::Overwrite { .. } | E::Malformed { .. } | E::Archive(_) => Kind::Invalid,
        _ => Kind::Internal,
    }
}

fn registry_kind(error: &tare_registry::Error) -> Kind {
    use tare_registry::Error as E;
    match error {
        E::PullDenied(_) | E::NotFound(_) => Kind::NotFound,
        // Without credentials it is the registry's refusal, not ours: a 401 would make clients ask for a password.
        E::PushDenied(_) | E::Unauthorized(_) => Kind::Unauthorized,
        E::Schema1(_) => Kind::Invalid,
        _ => Kind::Internal,
    }
}

/// What containerd calls content of a type.
fn word(media_type: &str) -> &'static str {
    match media_type {
        other if media::is_layer(other) => "layer",
        other if media::is_config(other) => "config",
        other if media::is_index(other) => "index",
        other if media::is_manifest(other) => "manifest",
        _ => "unknown",
    }
}
