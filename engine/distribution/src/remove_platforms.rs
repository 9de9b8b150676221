//! `docker rmi --platform`: an image loses some of its platforms.

use tare_docker_api::image::DeleteItem;
use tare_images::PlatformManifest;
use tare_images::oci::{Descriptor, Platform};

use crate::remove::{Removal, Uses};
use crate::{Distribution, Error, Result};

impl Distribution {
    /// Removes the content of some platforms of an image, from every image that has it, as Docker does. The last of its
    /// platforms takes the image with it.
    pub async fn remove_platforms(
        &self,
        reference: &str,
        platforms: &[Platform],
        prune: bool,
        uses: &dyn Uses,
    ) -> Result<Removal> {
        let target = self.store.resolve_record(reference)?.target;
        let mut items = Vec::new();
        for platform in platforms {
            let present = self.present(&target)?;
            let Some(manifest) = present.iter().find(|manifest| is_for(manifest, platform)) else {
                return Err(Error::NotFound(format!(
                    "failed to delete platform {platform} for image {}: image with reference {reference} was found but does \
                     not provide the specified platform ({platform})",
                    target.digest
                )));
            };
            if present.len() == 1 {
                let id = target.digest.to_string();
                items.extend(self.remove(&id, true, prune, uses).await?.items);
                return Ok(Removal { items });
            }
            let digest = manifest.descriptor.digest.clone();
            self.store.drop_manifests(std::slice::from_ref(&digest))?;
            items.push(DeleteItem { deleted: digest.to_string(), ..DeleteItem::default() });
        }
        self.collect_later();
        Ok(Removal { items })
    }

    /// The manifests of an image that are here; its own alone, if it is no index.
    fn present(&self, target: &Descriptor) -> Result<Vec<PlatformManifest>> {
        let manifests = self.store.manifests(target)?.into_iter();
        Ok(manifests.filter(|m| !m.descriptor.is_attestation() && m.content.is_some()).collect())
    }
}

/// Whether a manifest is exactly a platform's. The configuration knows better than the index, which may leave it out.
fn is_for(manifest: &PlatformManifest, platform: &Platform) -> bool {
    let of_config = manifest.content.as_ref().map(|content| content.config.platform());
    of_config.or_else(|| manifest.descriptor.platform.clone()).is_some_and(|own| platform.is(&own))
}
