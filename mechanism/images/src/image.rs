//! One image: found by name or ID, its manifest and configuration for a platform, its sizes and history.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use tare_reference::{AnyReference, Digest, Reference};

use crate::names::ImageRecord;
use crate::oci::{Descriptor, ImageConfig, Manifest, Platform, media, parse_config, parse_index, parse_manifest};
use crate::store::ImageStore;
use crate::{Error, Result};

/// Indexes may hold indexes; deeper ones than this are nobody's images.
const MAX_INDEX_DEPTH: usize = 4;
/// Fewest and most hexadecimal digits of a short ID.
const SHORT_ID: std::ops::RangeInclusive<usize> = 4..=64;

/// An image with one platform's manifest chosen. Cheap to clone; names and sizes are those of the moment.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of [`Self::target`].
    pub id: Digest,
    /// An index or a manifest.
    pub target: Descriptor,
    /// All its names; none if it is dangling.
    pub names: Vec<Reference>,
    /// When it last got a name (RFC 3339).
    pub updated: String,
    /// Bytes of its content, compressed layers and documents of all platforms that are here.
    pub content_size: u64,
    /// Bytes on disk of its unpacked layers.
    pub unpacked_size: u64,
    content: Arc<ImageContent>,
}

/// What never changes about one platform's image.
#[derive(Debug, Clone)]
pub struct ImageContent {
    /// Points at the manifest.
    pub descriptor: Descriptor,
    /// The layers as they are transferred.
    pub manifest: Manifest,
    /// What containers start from.
    pub config: ImageConfig,
}

/// A line of `docker history`, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// RFC 3339; may be empty.
    pub created: String,
    /// The command.
    pub created_by: String,
    /// Free text.
    pub comment: String,
    /// Bytes on disk of the step's layer, 0 if it made none.
    pub size: u64,
}

/// A manifest of an image's index, for `docker images --tree`.
#[derive(Debug, Clone)]
pub struct PlatformManifest {
    /// As in the index.
    pub descriptor: Descriptor,
    /// Manifest and configuration, if they are here.
    pub content: Option<Arc<ImageContent>>,
    /// Bytes of its content that are here.
    pub content_size: u64,
    /// Bytes on disk of its unpacked layers.
    pub unpacked_size: u64,
}

impl Deref for Image {
    type Target = ImageContent;
    fn deref(&self) -> &ImageContent {
        &self.content
    }
}

impl Image {
    /// `busybox:latest`, familiar, without names that have no tag, in the order of the full names.
    pub fn repo_tags(&self) -> Vec<String> {
        let mut names: Vec<_> = self.names.iter().filter(|name| name.tag().is_some()).collect();
        names.sort_by_key(ToString::to_string);
        names.into_iter().map(Reference::familiar).collect()
    }

    /// `busybox@sha256:…` for each repository it has a name in.
    pub fn repo_digests(&self) -> Vec<String> {
        let repositories: BTreeSet<String> = self.names.iter().map(Reference::familiar_name).collect();
        repositories.into_iter().map(|name| format!("{name}@{}", self.id)).collect()
    }

    /// Bytes it takes: content and unpacked layers.
    pub fn size(&self) -> u64 {
        self.content_size + self.unpacked_size
    }

    /// Its layers' identities, lowest first.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.config.rootfs.diff_ids
    }

    /// Whether it was made from another image: its layers and its history begin with that one's.
    pub fn descends_from(&self, other: &ImageContent) -> bool {
        let (layers, history) = (&other.config.rootfs.diff_ids, &other.config.history);
        let is_empty = layers.is_empty() && history.is_empty();
        !is_empty && self.config.rootfs.diff_ids.starts_with(layers) && self.config.history.starts_with(history)
    }

    /// Manifest and configuration, to keep after the image is gone.
    pub fn content(&self) -> &Arc<ImageContent> {
        &self.content
    }
}

impl ImageStore {
    /// Every image, each once, in the order in which they came.
    pub fn list(&self) -> Vec<Image> {
        let records = self.records();
        let mut seen = BTreeSet::new();
        let targets = records.iter().filter(|r| seen.insert(&r.target.digest));
        let images = targets.filter_map(|record| match self.image_of(&records, record, None, "") {
            Ok(image) => Some(image),
            Err(e) => {
                tracing::warn!(image = %record.target.digest, error = %e, "image left out of the list");
                None
            }
        });
        images.collect()
    }

    /// Finds an image by full or short ID, name, name:tag or name@digest, with this machine's platform.
    pub fn resolve(&self, reference: &str) -> Result<Image> {
        self.resolve_platform(reference, None)
    }

    /// The same with the manifest for `platform`.
    pub fn resolve_platform(&self, reference: &str, platform: Option<&Platform>) -> Result<Image> {
        let records = self.all_records();
        let record = find(&records, reference)?;
        self.image_of(&records, record, platform, reference)
    }

    /// Finds only the name's record; what it points at need not be complete.
    pub fn resolve_record(&self, reference: &str) -> Result<ImageRecord> {
        find(&self.all_records(), reference).cloned()
    }

    /// The image with this full ID.
    pub fn image(&self, id: &Digest) -> Result<Image> {
        self.resolve(id.as_str())
    }

    /// The manifests an index names (itself, for a manifest), attestations included, with what of them is here.
    pub fn manifests(&self, target: &Descriptor) -> Result<Vec<PlatformManifest>> {
        let describe = |descriptor: Descriptor| {
            let content = self.content_of(&descriptor).ok();
            let content_size = content.as_ref().map_or(0, |c| self.content_size(std::iter::once(&**c)));
            let unpacked_size = content.as_ref().map_or(0, |c| self.unpacked_size(&c.config.rootfs.diff_ids));
            PlatformManifest { descriptor, content, content_size, unpacked_size }
        };
        Ok(self.flatten(target)?.into_iter().map(describe).collect())
    }

    /// Whether all of a manifest's content is here.
    pub fn is_complete(&self, manifest: &PlatformManifest) -> bool {
        manifest.content.as_ref().is_some_and(|content| {
            let blobs = std::iter::once(&content.manifest.config).chain(&content.manifest.layers);
            blobs.into_iter().all(|blob| self.has_blob(&blob.digest))
        })
    }

    /// How the image was built, newest step first.
    pub fn history(&self, image: &Image) -> Vec<HistoryEntry> {
        let mut layers = image.diff_ids().iter();
        let mut entries: Vec<HistoryEntry> = image
            .config
            .history
            .iter()
            .map(|step| {
                let layer = if step.empty_layer { None } else { layers.next() };
                HistoryEntry {
                    created: step.created.clone(),
                    created_by: step.created_by.clone(),
                    comment: step.comment.clone(),
                    size: layer.map_or(0, |diff_id| self.unpacked_size(std::slice::from_ref(diff_id))),
                }
            })
            .collect();
        entries.reverse();
        entries
    }

    fn image_of(
        &self,
        records: &[ImageRecord],
        record: &ImageRecord,
        platform: Option<&Platform>,
        reference: &str,
    ) -> Result<Image> {
        let target = &record.target;
        let manifests = self.flatten(target)?;
        let content = self.choose(&manifests, platform).ok_or_else(|| match platform {
            Some(platform) => Error::Platform { reference: reference.to_owned(), platform: platform.to_string() },
            None => Error::Malformed { what: "image", reason: format!("{}: no complete manifest", target.digest) },
        })?;
        let same = || records.iter().filter(|r| r.target.digest == target.digest);
        let present: Vec<Arc<ImageContent>> = manifests.iter().filter_map(|m| self.content_of(m).ok()).collect();
        let mut content_size = self.content_size(present.iter().map(|c| &**c));
        if media::is_index(&target.media_type) {
            content_size += target.size;
        }
        Ok(Image {
            id: target.digest.clone(),
            target: target.clone(),
            names: same().filter_map(|r| r.name.clone()).collect(),
            updated: same().map(|r| r.updated.as_str()).max().unwrap_or_default().to_owned(),
            content_size,
            unpacked_size: self.unpacked_size(&content.config.rootfs.diff_ids),
            content,
        })
    }

    /// The best manifest that is here for the platform, or for this machine, or any.
    fn choose(&self, manifests: &[Descriptor], platform: Option<&Platform>) -> Option<Arc<ImageContent>> {
        let images: Vec<(Descriptor, Arc<ImageContent>)> = manifests
            .iter()
            .filter(|m| !m.is_attestation())
            .filter_map(|m| {
                let content = self.content_of(m).ok()?;
                // the configuration knows the platform better than the index, which may leave it out
                Some((Descriptor { platform: Some(content.config.platform()), ..m.clone() }, content))
            })
            .collect();
        let descriptors: Vec<Descriptor> = images.iter().map(|(descriptor, _)| descriptor.clone()).collect();
        let wanted = platform.cloned().unwrap_or_else(Platform::host);
        let best = match (wanted.select(&descriptors), platform) {
            (Some(best), _) => best,
            (None, None) => descriptors.first()?,
            (None, Some(_)) => return None,
        };
        images.iter().find(|(descriptor, _)| descriptor == best).map(|(_, content)| content.clone())
    }

    /// The manifests below a target.
    pub(crate) fn flatten(&self, target: &Descriptor) -> Result<Vec<Descriptor>> {
        let mut found = Vec::new();
        let mut pending = vec![(target.clone(), 0)];
        while let Some((descriptor, depth)) = pending.pop() {
            if !media::is_index(&descriptor.media_type) {
                found.push(descriptor);
            } else if depth < MAX_INDEX_DEPTH && (depth == 0 || self.has_blob(&descriptor.digest)) {
                let index = parse_index(&self.read_blob(&descriptor.digest)?)?;
                pending.extend(index.manifests.into_iter().rev().map(|m| (m, depth + 1)));
            }
        }
        Ok(found)
    }

    /// Manifest and configuration behind a descriptor; an error if they are not here or not an image's.
    pub(crate) fn content_of(&self, descriptor: &Descriptor) -> Result<Arc<ImageContent>> {
        if let Some(content) = self.state().contents.get(&descriptor.digest) {
            return Ok(content.clone());
        }
        let manifest = parse_manifest(&self.read_blob(&descriptor.digest)?)?;
        let config = parse_config(&self.read_blob(&manifest.config.digest)?)?;
        let content = Arc::new(ImageContent { descriptor: descriptor.clone(), manifest, config });
        self.state().contents.insert(descriptor.digest.clone(), content.clone());
        Ok(content)
    }

    /// Bytes of manifests, configurations and layers, shared ones once, as far as they are here.
    fn content_size<'a>(&self, contents: impl Iterator<Item = &'a ImageContent>) -> u64 {
        let mut seen = BTreeSet::new();
        let mut total = 0;
        for content in contents {
            let blobs = [&content.descriptor, &content.manifest.config];
            for blob in blobs.into_iter().chain(&content.manifest.layers) {
                if seen.insert(blob.digest.clone()) && self.has_blob(&blob.digest) {
                    total += blob.size;
                }
            }
        }
        total
    }
}

/// Docker's rules: a digest must be exact and of the same repository; a name wins over a short ID.
fn find<'a>(records: &'a [ImageRecord], reference: &str) -> Result<&'a ImageRecord> {
    let parsed = match Reference::parse_any(reference) {
        Ok(parsed) => parsed,
        Err(e) => return find_short(records, reference).unwrap_or(Err(e.into())),
    };
    let not_found = || Error::NotFound(parsed.to_string());
    match &parsed {
        AnyReference::Id(id) => records.iter().find(|r| r.target.digest == *id).ok_or_else(not_found),
        AnyReference::Named(name) => {
            if let Some(digest) = name.digest() {
                let same = |r: &&ImageRecord| {
                    r.target.digest == *digest && r.name.as_ref().is_some_and(|n| n.name() == name.name())
                };
                return records.iter().find(same).ok_or_else(not_found);
            }
            let name = name.clone().with_default_tag();
            let by_name = records.iter().find(|r| r.name.as_ref() == Some(&name));
            match by_name {
                Some(record) => Ok(record),
                None => find_short(records, reference).unwrap_or_else(|| Err(Error::NotFound(name.familiar()))),
            }
        }
    }
}

/// By the beginning of the ID, if `reference` could be one and any image fits.
fn find_short<'a>(records: &'a [ImageRecord], reference: &str) -> Option<Result<&'a ImageRecord>> {
    let prefix = reference.strip_prefix("sha256:").unwrap_or(reference);
    let hex = prefix.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !hex || !SHORT_ID.contains(&prefix.len()) {
        return None;
    }
    let mut fitting = records.iter().filter(|r| r.target.digest.hex().starts_with(prefix));
    let first = fitting.next()?;
    if fitting.any(|r| r.target.digest != first.target.digest) {
        return Some(Err(Error::Ambiguous(reference.to_owned())));
    }
    Some(Ok(first))
}
