//! Images as data: descriptors, indexes, manifests, configurations (OCI image-spec 1.1 and Docker's schema 2).
//!
//! Read leniently: registries and archives hold `null` where the specification wants lists, unknown fields are kept
//! where a value is written back. Own types, because Docker's fields are needed too (Healthcheck, Shell, OnBuild).

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use tare_reference::Digest;

/// Media types by what they mean.
pub mod media {
    /// OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI image configuration.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// OCI layer, uncompressed.
    pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    /// OCI layer, gzip.
    pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// OCI layer, zstd.
    pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// Docker manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker image configuration.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker layer, uncompressed.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker layer, zstd.
    pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

    /// Whether it names several manifests.
    pub fn is_index(media_type: &str) -> bool {
        matches!(media_type, OCI_INDEX | DOCKER_LIST)
    }

    /// Whether it is an image's manifest.
    pub fn is_manifest(media_type: &str) -> bool {
        matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
    }

    /// Whether it is an image's configuration (and not, say, a Helm chart's or a model's).
    pub fn is_config(media_type: &str) -> bool {
        matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
    }

    /// Whether it is a file system layer; non-distributable ("foreign") ones included.
    pub fn is_layer(media_type: &str) -> bool {
        media_type.starts_with("application/vnd.oci.image.layer.")
            || media_type.starts_with("application/vnd.docker.image.rootfs.")
    }
}

/// Points at content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    #[serde(default)]
    pub media_type: String,
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Places to get it from, for foreign layers.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free text.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What it runs on, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// For artifacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// Without annotations and platform.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// Whether it is a build attestation beside an image rather than an image.
    pub fn is_attestation(&self) -> bool {
        self.annotations.get("vnd.docker.reference.type").is_some_and(|t| t == "attestation-manifest")
            || self.platform.as_ref().is_some_and(|p| p.os == "unknown" && p.architecture == "unknown")
    }
}

/// What an image runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// GOARCH: `amd64`, `arm64`, `arm`…
    #[serde(default)]
    pub architecture: String,
    /// GOOS: `linux`.
    #[serde(default)]
    pub os: String,
    /// Windows build.
    #[serde(default, rename = "os.version", deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// `v7`, `v8`…
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Several manifests, one per platform.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    #[serde(default)]
    pub schema_version: u32,
    /// [`media::OCI_INDEX`] or [`media::DOCKER_LIST`].
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The manifests.
    #[serde(default, deserialize_with = "or_default")]
    pub manifests: Vec<Descriptor>,
    /// Free text.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// One image: its configuration and layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 2; 1 is the schema that Docker removed.
    pub schema_version: u32,
    /// [`media::OCI_MANIFEST`] or [`media::DOCKER_MANIFEST`].
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// The configuration.
    pub config: Descriptor,
    /// The layers as they are transferred (compressed).
    #[serde(default, deserialize_with = "or_default")]
    pub layers: Vec<Descriptor>,
    /// Free text.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An image's configuration file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// RFC 3339.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub created: String,
    /// Who made it.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// GOARCH.
    #[serde(default, deserialize_with = "or_default")]
    pub architecture: String,
    /// `v7`, `v8`…
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// GOOS.
    #[serde(default, deserialize_with = "or_default")]
    pub os: String,
    /// Windows build.
    #[serde(default, rename = "os.version", deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// Defaults for containers.
    #[serde(default, deserialize_with = "or_default")]
    pub config: Config,
    /// The layers' identities.
    #[serde(default, deserialize_with = "or_default")]
    pub rootfs: RootFs,
    /// How it was built, oldest first.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Docker's `Comment`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

impl ImageConfig {
    /// What it runs on.
    pub fn platform(&self) -> Platform {
        Platform {
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            os_version: self.os_version.clone(),
            variant: self.variant.clone(),
        }
    }
}

/// What containers of the image get unless told otherwise.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Config {
    /// `user[:group]`, names or numbers.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `80/tcp`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, serde_json::Value>,
    /// `NAME=value`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Prefix of the command; `None` is not the same as an empty list.
    #[serde(default, deserialize_with = "words", skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The command, or its arguments.
    #[serde(default, deserialize_with = "words", skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// Probe of the container's health.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Windows' command line is already quoted.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "std::ops::Not::not")]
    pub args_escaped: bool,
    /// Paths that get a volume.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, serde_json::Value>,
    /// Where the command starts.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Build instructions for images on top of this one.
    #[serde(default, deserialize_with = "words", skip_serializing_if = "Option::is_none")]
    pub on_build: Option<Vec<String>>,
    /// Free text.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Name or number.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// What runs shell-form commands.
    #[serde(default, deserialize_with = "words", skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
}

/// Docker's health check; durations in nanoseconds, 0 meaning the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", line]`; empty inherits.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two probes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// For one probe.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// In which failures do not count.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two probes in the start period.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: i64,
}

/// The identities of the layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layers, lowest first.
    #[serde(default, deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> RootFs {
        RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// One build step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// RFC 3339.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub created: String,
    /// The command.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who ran it.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Free text.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether it made no layer.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(n: &i64) -> bool {
    *n == 0
}

/// `null` reads as the default.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// A list, `null`, or a lone string (old images have `"Entrypoint": "/x"`).
fn words<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Many(Vec<String>),
        One(String),
    }
    Ok(Option::deserialize(d)?.map(|words| match words {
        Words::Many(words) => words,
        Words::One(word) => vec![word],
    }))
}

/// `Deserialize` of a whole document, with what it was in the error.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(what: &'static str, bytes: &[u8]) -> Result<T, crate::Error> {
    serde_json::from_slice(bytes).map_err(|e| crate::Error::Malformed { what, reason: e.to_string() })
}

/// Reads an image index or manifest list.
pub fn parse_index(bytes: &[u8]) -> Result<Index, crate::Error> {
    parse("image index", bytes)
}

/// Reads an image manifest.
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, crate::Error> {
    parse("image manifest", bytes)
}

/// Reads an image configuration.
pub fn parse_config(bytes: &[u8]) -> Result<ImageConfig, crate::Error> {
    parse("image configuration", bytes)
}
