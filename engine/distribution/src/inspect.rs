//! `docker manifest inspect`'s half on the daemon: what a reference is on its registry.

use tare_images::oci::{Descriptor, Platform, media, parse_config, parse_index, parse_manifest};
use tare_reference::Reference;
use tare_registry::{Access, Credentials};

use crate::{Distribution, Result};

/// What a registry has under a reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The manifest or index.
    pub descriptor: Descriptor,
    /// The platforms there are images for.
    pub platforms: Vec<Platform>,
}

impl Distribution {
    /// Asks a registry what a full reference is; fetches documents only.
    pub async fn inspect(&self, reference: &Reference, credentials: Option<Credentials>) -> Result<Inspected> {
        let repository = self.registry.repository(reference, credentials, Access::Pull);
        let tag = reference.digest().map(ToString::to_string).or_else(|| reference.tag().map(str::to_owned));
        let document = repository.manifest(&tag.unwrap_or_default()).await?;
        let platforms = if media::is_index(&document.media_type) {
            let index = parse_index(&document.bytes)?;
            let images = index.manifests.into_iter().filter(|manifest| !manifest.is_attestation());
            images.filter_map(|manifest| manifest.platform).collect()
        } else {
            let config = parse_manifest(&document.bytes)?.config;
            // Artifacts other than images have configurations of their own kinds.
            if media::is_config(&config.media_type) {
                vec![parse_config(&repository.document(&config.digest, config.size).await?)?.platform()]
            } else {
                Vec::new()
            }
        };
        let descriptor = Descriptor::new(document.media_type, document.digest, document.bytes.len() as u64);
        Ok(Inspected { descriptor, platforms })
    }
}
