//! Manifests and lists of registries, found and stored over the distribution protocol: the daemon has no part in it.

use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tare_reference::{Digest, Reference};
use tare_registry::{Access, Config, Credentials, Document, Error, Registry, Repository, Upload};

use super::{DOCKER_LIST, DOCKER_MANIFEST, Descriptor, List, Manifest, OCI_INDEX, OCI_MANIFEST, Platform};
use crate::cli::Cli;
use crate::credentials::{key, lookup};
use crate::error::CliError;

/// What a name stands for.
pub enum Found {
    /// An image for one platform.
    Manifest(Box<Manifest>),
    /// Images for several.
    List(Vec<Descriptor>),
}

/// The part of a manifest that names its configuration.
#[derive(Deserialize)]
struct Configured {
    config: Blob,
}

#[derive(Deserialize)]
struct Blob {
    digest: Digest,
    size: u64,
}

/// A registry, as a user sees it.
pub struct Remote<'a> {
    cli: &'a Cli,
    registry: Registry,
}

impl<'a> Remote<'a> {
    /// The registry of `reference`; `insecure`: without TLS, or with a certificate that nobody vouches for.
    pub fn of(cli: &'a Cli, reference: &Reference, insecure: bool) -> Remote<'a> {
        let insecure = if insecure { vec![reference.domain().to_owned()] } else { Vec::new() };
        Remote { cli, registry: Registry::new(Config { insecure, ..Config::default() }) }
    }

    async fn repository(&self, reference: &Reference, access: Access) -> Result<Repository, CliError> {
        let found = lookup(self.cli.config()?, key(reference.domain())).await?;
        let credentials = found.map(|found| Credentials {
            username: found.username,
            password: found.password,
            identity_token: found.identity_token,
            registry_token: found.registry_token,
        });
        Ok(self.registry.repository(reference, credentials, access))
    }

    /// What `reference` stands for.
    pub async fn find(&self, reference: &Reference) -> Result<Found, CliError> {
        let repository = self.repository(reference, Access::Pull).await?;
        let document = repository.manifest(&name_of(reference)).await.map_err(|error| failed(reference, &error))?;
        match document.media_type.as_str() {
            DOCKER_LIST | OCI_INDEX => Ok(Found::List(entries(&document.bytes)?)),
            DOCKER_MANIFEST | OCI_MANIFEST => {
                let manifest = described(&repository, reference, document, None).await?;
                Ok(Found::Manifest(Box::new(manifest)))
            }
            other => Err(CliError::new(format!("{reference} is not a manifest: {other}"))),
        }
    }

    /// An image for one platform.
    pub async fn manifest(&self, reference: &Reference) -> Result<Manifest, CliError> {
        match self.find(reference).await? {
            Found::Manifest(manifest) => Ok(*manifest),
            Found::List(_) => Err(CliError::new(format!("{reference} is a manifest list"))),
        }
    }

    /// The manifests that a list names.
    pub async fn members(&self, list: &Reference, entries: &[Descriptor]) -> Result<Vec<Manifest>, CliError> {
        let repository = self.repository(list, Access::Pull).await?;
        let mut manifests = Vec::new();
        for entry in entries {
            let name = list.with_digest(entry.digest.clone());
            let document = repository.manifest(entry.digest.as_str()).await.map_err(|error| failed(&name, &error))?;
            let platform = Some(entry.platform.clone().unwrap_or_default());
            manifests.push(described(&repository, &name, document, platform).await?);
        }
        Ok(manifests)
    }

    /// Makes what a manifest consists of, and itself, a part of another repository of the same registry.
    pub async fn copy(&self, manifest: &Manifest, target: &Reference) -> Result<Reference, CliError> {
        let repository = self.repository(target, Access::Push).await?;
        let is_windows = manifest.descriptor.platform.as_ref().is_some_and(|platform| platform.os == "windows");
        for digest in manifest.blobs()? {
            let source = manifest.reference.name_only().with_digest(digest.clone());
            let begun = repository.begin_upload(&digest, Some(&manifest.reference.name_only())).await;
            let wrong = |error: &Error| CliError::new(format!("failed to mount blob {source} to {target}: {error}"));
            match begun.map_err(|error| wrong(&error))? {
                // Windows' own layers are nobody's to copy, and are fetched from elsewhere.
                Upload::Wanted(_) if !is_windows => {
                    return Err(CliError::new(format!("error mounting {source} to {target}")));
                }
                _ => {}
            }
        }
        let name = target.name_only().with_digest(manifest.descriptor.digest.clone());
        let bytes = Bytes::from(manifest.raw.clone());
        put(&repository, &name, &manifest.descriptor.media_type, bytes).await?;
        Ok(name)
    }

    /// Stores a list; gives its digest.
    pub async fn put(&self, target: &Reference, list: &List) -> Result<Digest, CliError> {
        let repository = self.repository(target, Access::Push).await?;
        put(&repository, target, list.media_type, Bytes::from(list.text.clone())).await
    }
}

async fn put(repository: &Repository, name: &Reference, media_type: &str, bytes: Bytes) -> Result<Digest, CliError> {
    let digest = Digest::from_sha256(&Sha256::digest(&bytes).into());
    let stored = repository.put_manifest(&name_of(name), media_type, bytes).await;
    stored.map_err(|error| CliError::new(format!("failed to put manifest {name}: {error}")))?;
    Ok(digest)
}

/// The tag, else the digest, that a registry finds it by.
fn name_of(reference: &Reference) -> String {
    let digest = reference.digest().map(Digest::as_str);
    digest.or(reference.tag()).unwrap_or_default().to_owned()
}

/// Why there is no such manifest: registries do not tell those who may not read that there is one.
fn failed(reference: &Reference, error: &Error) -> CliError {
    match error {
        Error::NotFound(_) | Error::PullDenied(_) | Error::Unauthorized(_) | Error::NoBasicCredentials => {
            CliError::new(format!("no such manifest: {reference}"))
        }
        other => CliError::new(other.to_string()),
    }
}

/// The entries of a list.
fn entries(text: &[u8]) -> Result<Vec<Descriptor>, CliError> {
    #[derive(Deserialize)]
    struct Entries {
        manifests: Vec<Descriptor>,
    }
    let list: Entries = serde_json::from_slice(text).map_err(|error| CliError::new(error.to_string()))?;
    Ok(list.manifests)
}

/// A manifest with the platform that is known of it, else that of its configuration.
async fn described(
    repository: &Repository,
    reference: &Reference,
    document: Document,
    platform: Option<Platform>,
) -> Result<Manifest, CliError> {
    let platform = match platform {
        Some(platform) => platform,
        None => {
            let wrong = |error: serde_json::Error| CliError::new(error.to_string());
            let Configured { config } = serde_json::from_slice(&document.bytes).map_err(wrong)?;
            let content = repository.document(&config.digest, config.size).await;
            let content = content.map_err(|error| failed(reference, &error))?;
            serde_json::from_slice(&content).map_err(wrong)?
        }
    };
    Ok(Manifest {
        reference: reference.clone(),
        descriptor: Descriptor {
            media_type: document.media_type,
            size: document.bytes.len() as u64,
            digest: document.digest,
            platform: Some(platform),
        },
        raw: document.bytes.to_vec(),
    })
}
