//! The names of images, kept as the `index.json` of the OCI layout.
//!
//! Each name is a descriptor of what it points at, with the name in an annotation, as containerd writes it into
//! archives. An image without name (dangling) has a descriptor without that annotation.

use std::collections::BTreeMap;

use tare_reference::{Digest, Reference};

use crate::oci::{Descriptor, Index, media, parse_index};
use crate::{Error, Result};

/// The full name, as containerd and Docker write it into archives.
pub const NAME_ANNOTATION: &str = "io.containerd.image.name";
/// The tag alone, which other tools show.
pub const REF_ANNOTATION: &str = "org.opencontainers.image.ref.name";
/// When the name was last pointed at the image (RFC 3339).
const UPDATED_ANNOTATION: &str = "tare.updated";
/// The ID of the image that it was committed on.
const PARENT_ANNOTATION: &str = "tare.parent";
/// Largest index.json that is read, in bytes: some 100,000 names.
pub(crate) const MAX_INDEX: u64 = 64 << 20;

/// A name and what it points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// `None` keeps an image that has lost its names.
    pub name: Option<Reference>,
    /// An index or a manifest; its digest is the image's ID.
    pub target: Descriptor,
    /// RFC 3339 with nanoseconds: when the name was given.
    pub updated: String,
    /// The image of the container that it was committed from, which may be gone since. Every name of it says the same.
    pub parent: Option<Digest>,
}

/// The records of an `index.json`; entries with names that do not parse become nameless.
pub fn decode(bytes: &[u8]) -> Result<Vec<ImageRecord>> {
    let index = parse_index(bytes)?;
    Ok(index
        .manifests
        .into_iter()
        .map(|mut target| {
            let name = target.annotations.remove(NAME_ANNOTATION);
            target.annotations.remove(REF_ANNOTATION);
            let updated = target.annotations.remove(UPDATED_ANNOTATION).unwrap_or_default();
            let parent = target.annotations.remove(PARENT_ANNOTATION).and_then(|id| id.parse().ok());
            ImageRecord { name: name.and_then(|n| Reference::parse_normalized(&n).ok()), target, updated, parent }
        })
        .collect())
}

/// The `index.json` of some records.
pub fn encode(records: &[ImageRecord]) -> Result<Vec<u8>> {
    let manifests = records
        .iter()
        .map(|record| {
            let mut descriptor = record.target.clone();
            if let Some(name) = &record.name {
                descriptor.annotations.insert(NAME_ANNOTATION.to_owned(), name.to_string());
                if let Some(tag) = name.tag() {
                    descriptor.annotations.insert(REF_ANNOTATION.to_owned(), tag.to_owned());
                }
            }
            descriptor.annotations.insert(UPDATED_ANNOTATION.to_owned(), record.updated.clone());
            if let Some(parent) = &record.parent {
                descriptor.annotations.insert(PARENT_ANNOTATION.to_owned(), parent.to_string());
            }
            descriptor
        })
        .collect();
    let index =
        Index { schema_version: 2, media_type: media::OCI_INDEX.to_owned(), manifests, annotations: BTreeMap::new() };
    serde_json::to_vec(&index).map_err(|e| Error::Malformed { what: "image index", reason: e.to_string() })
}
