//! Docker's image references: grammar, normalisation, the familiar short form, digests.
//!
//! * here: [`Reference`], the name of an image on a registry
//! * [`digest`]: [`Digest`], the name of content
//! * [`glob`]: patterns over familiar names (`--filter reference=`)
//!
//! Pure: text in, values out. The grammar is that of the distribution project's reference package.

#![forbid(unsafe_code)]

pub mod digest;
pub mod glob;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use digest::{Digest, DigestError};
pub use glob::BadPattern;

/// The registry that names without one belong to.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// Docker Hub's former name, rewritten to [`DEFAULT_DOMAIN`].
const LEGACY_DOMAIN: &str = "index.docker.io";
/// Where one-component names of [`DEFAULT_DOMAIN`] live.
const OFFICIAL_PREFIX: &str = "library/";
/// The tag of references without tag and digest.
pub const DEFAULT_TAG: &str = "latest";
/// Longest repository path in bytes.
pub const MAX_NAME: usize = 255;
/// Longest tag in bytes.
const MAX_TAG: usize = 128;
/// Fewest hexadecimal digits after a digest's colon for it to be read as a digest at all.
const MIN_DIGEST_HEX: usize = 32;

/// A normalised reference: `domain/path[:tag][@digest]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// What an argument that may be an ID or a name turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnyReference {
    /// 64 hexadecimal digits, or `sha256:` and those.
    Id(Digest),
    /// Everything else.
    Named(Reference),
}

/// Why a string is no reference. The texts are the ones Docker's users know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// Upper case in the repository path.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// The path has more than [`MAX_NAME`] bytes.
    #[error("repository name must not be more than {MAX_NAME} characters")]
    TooLong,
    /// A name that would be taken for an ID.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
    /// The part after `@`.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A tag given on its own, see [`Reference::with_tag`].
    #[error("invalid tag format")]
    Tag,
}

impl Reference {
    /// Parses what a user typed and completes domain and `library/`; adds no tag (see [`Self::with_default_tag`]).
    pub fn parse_normalized(s: &str) -> Result<Reference, ReferenceError> {
        if digest::is_identifier(s) {
            return Err(ReferenceError::Identifier(s.to_owned()));
        }
        let (domain, remainder) = split_domain(s);
        let remote = remainder.split(':').next().unwrap_or("");
        if remote.chars().any(|c| c.to_lowercase().next() != Some(c)) {
            return Err(ReferenceError::Uppercase(remote.to_owned()));
        }
        let (rest, digest) = match remainder.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
            None => (&*remainder, None),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if !is_domain(domain) || !is_path(path) || tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ReferenceError::Format);
        }
        if path.len() > MAX_NAME {
            return Err(ReferenceError::TooLong);
        }
        Ok(Reference { domain: domain.to_owned(), path: path.to_owned(), tag: tag.map(str::to_owned), digest })
    }

    /// Parses what may be an image ID or a name. Short IDs come back as names: only a store can tell.
    pub fn parse_any(s: &str) -> Result<AnyReference, ReferenceError> {
        if let Some(id) = Digest::from_sha256_hex(s) {
            return Ok(AnyReference::Id(id));
        }
        match Digest::parse(s) {
            Ok(id) => Ok(AnyReference::Id(id)),
            Err(_) => Reference::parse_normalized(s).map(AnyReference::Named),
        }
    }

    /// The registry, `docker.io` or `host[:port]`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository on the registry, `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// `docker.io/library/busybox`: no tag, no digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// `busybox`: the shortest form of [`Self::name`] that parses to the same.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(official) if !official.contains('/') && !digest::is_identifier(official) => official.to_owned(),
            // `docker.io/a.b/c` without its domain would be taken for a repository of the registry a.b
            _ if split_domain(&self.path).0 != DEFAULT_DOMAIN => self.name(),
            _ => self.path.clone(),
        }
    }

    /// `busybox:1.36@sha256:…`: the familiar name with tag and digest, as Docker prints it.
    pub fn familiar(&self) -> String {
        let mut s = self.familiar_name();
        self.push_suffix(&mut s);
        s
    }

    /// The same with `:latest` unless it has a tag or a digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Reference {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same repository with another tag and without digest.
    pub fn with_tag(&self, tag: &str) -> Result<Reference, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Tag);
        }
        Ok(Reference { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository and tag with another digest.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Reference {
        Reference { digest: Some(digest), ..self.clone() }
    }

    /// The same repository without tag and digest.
    #[must_use]
    pub fn name_only(&self) -> Reference {
        Reference { tag: None, digest: None, ..self.clone() }
    }

    /// Whether `pattern` matches the reference or its name, familiar or in full (`--filter reference=`).
    pub fn matches(&self, pattern: &str) -> Result<bool, BadPattern> {
        for text in [self.familiar(), self.familiar_name(), self.to_string(), self.name()] {
            if glob::path_match(pattern, &text)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn push_suffix(&self, s: &mut String) {
        if let Some(tag) = &self.tag {
            s.push(':');
            s.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            s.push('@');
            s.push_str(digest.as_str());
        }
    }
}

/// The canonical form, `docker.io/library/busybox:latest`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = self.name();
        self.push_suffix(&mut s);
        f.write_str(&s)
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;
    fn from_str(s: &str) -> Result<Reference, ReferenceError> {
        Reference::parse_normalized(s)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reference, D::Error> {
        let s = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Reference::parse_normalized(&s).map_err(|e| serde::de::Error::custom(format_args!("{e}: {s:?}")))
    }
}

impl fmt::Display for AnyReference {
    /// The form Docker prints in `No such image: …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnyReference::Id(id) => f.write_str(id.as_str()),
            AnyReference::Named(reference) => f.write_str(&reference.familiar()),
        }
    }
}

/// The first component is a registry if it could not be part of a Docker Hub name.
fn split_domain(name: &str) -> (&str, std::borrow::Cow<'_, str>) {
    let (domain, remainder) = match name.split_once('/') {
        Some((LEGACY_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.chars().any(|c| c.to_lowercase().next() != Some(c)) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    };
    if domain == DEFAULT_DOMAIN && !remainder.contains('/') {
        return (domain, format!("{OFFICIAL_PREFIX}{remainder}").into());
    }
    (domain, remainder.into())
}

/// `host[:port]`, host being dotted names or `[IPv6]`.
pub fn is_domain(s: &str) -> bool {
    let (host, port) = match s.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (s, None),
    };
    if port.is_some_and(|port| port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit())) {
        return false;
    }
    if let Some(v6) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return !v6.is_empty() && v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
    }
    host.split('.').all(|part| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

/// Components joined by `/`.
fn is_path(s: &str) -> bool {
    s.split('/').all(is_path_component)
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(s: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = s.as_bytes();
    if !bytes.first().copied().is_some_and(alphanumeric) || !bytes.last().copied().is_some_and(alphanumeric) {
        return false;
    }
    s.split(|c: char| u8::try_from(c).is_ok_and(alphanumeric))
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

/// `[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}`
fn is_tag(s: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    s.len() <= MAX_TAG && s.bytes().next().is_some_and(word) && s.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

/// A string that is not even shaped like a digest makes the reference invalid, the rest makes the digest invalid.
fn parse_digest(s: &str) -> Result<Digest, ReferenceError> {
    let shaped = s.split_once(':').is_some_and(|(algorithm, hex)| {
        hex.len() >= MIN_DIGEST_HEX
            && hex.bytes().all(|b| b.is_ascii_hexdigit())
            && algorithm.split(['-', '_', '+', '.']).all(|part| {
                part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
            })
    });
    if !shaped {
        return Err(ReferenceError::Format);
    }
    Ok(Digest::parse(s)?)
}
