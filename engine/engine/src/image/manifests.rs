//! The manifests behind an image: one for each platform, and what attests them.

use tare_docker_api::image::{AttestationProperties, ImageProperties, ManifestSize, ManifestSummary, UnpackedSize};
use tare_docker_api::oci::Descriptor;
use tare_images::oci;
use tare_images::{Image, PlatformManifest};

use super::{error, shown_platform};
use crate::Engine;
use crate::error::Result;

/// The annotation of an attestation that says what it attests.
const ATTESTED: &str = "vnd.docker.reference.digest";

impl Engine {
    /// Every manifest an image's index names (itself, for a manifest), and what of them is here.
    pub(super) fn manifest_summaries(&self, image: &Image) -> Result<Vec<ManifestSummary>> {
        let manifests = self.images.manifests(&image.target).map_err(error)?;
        Ok(manifests.iter().map(|manifest| self.manifest_summary(manifest)).collect())
    }

    fn manifest_summary(&self, manifest: &PlatformManifest) -> ManifestSummary {
        let digest = manifest.descriptor.digest.to_string();
        let attested = manifest.descriptor.annotations.get(ATTESTED);
        let (kind, image, unpacked) = match (manifest.descriptor.is_attestation(), attested) {
            (true, Some(_)) => ("attestation", None, 0),
            (true, None) => ("unknown", None, 0),
            (false, _) => ("image", Some(self.image_properties(manifest, &digest)), manifest.unpacked_size),
        };
        ManifestSummary {
            id: digest,
            descriptor: descriptor(&manifest.descriptor),
            available: self.images.is_complete(manifest),
            size: ManifestSize {
                content: bytes(manifest.content_size),
                total: bytes(manifest.content_size + unpacked),
            },
            kind: kind.to_owned(),
            image_data: image,
            attestation_data: attested
                .filter(|_| kind == "attestation")
                .map(|subject| AttestationProperties { subject: subject.clone() }),
        }
    }

    fn image_properties(&self, manifest: &PlatformManifest, digest: &str) -> ImageProperties {
        let own = || manifest.content.as_ref().map(|content| content.config.platform()).unwrap_or_default();
        let uses = |container: &crate::container::Container| {
            container.read().record.image_manifest.as_ref().is_some_and(|manifest| manifest.digest == digest)
        };
        let containers = self.all_containers().into_iter().filter(|container| uses(container));
        ImageProperties {
            platform: shown_platform(manifest.descriptor.platform.clone().unwrap_or_else(own)),
            size: UnpackedSize { unpacked: bytes(manifest.unpacked_size) },
            containers: containers.map(|container| container.id.clone()).collect(),
            ..ImageProperties::default()
        }
    }
}

/// A descriptor as the API has it.
fn descriptor(descriptor: &oci::Descriptor) -> Descriptor {
    Descriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.to_string(),
        size: bytes(descriptor.size),
        urls: descriptor.urls.clone().into(),
        annotations: descriptor.annotations.clone().into(),
        platform: descriptor.platform.clone().map(shown_platform),
        artifact_type: descriptor.artifact_type.clone().unwrap_or_default(),
        ..Descriptor::default()
    }
}

fn bytes(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
