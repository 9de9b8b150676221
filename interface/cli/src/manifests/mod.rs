//! Lists of manifests, one image's name for several platforms, as they are put together by hand: kept in docker's own store
//! ([`store`]) until they are pushed ([`remote`]).

pub mod remote;
pub mod store;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tare_reference::{Digest, Reference};

use crate::error::CliError;
use crate::output::inspect::{compact, indent_by};

/// Media types of manifests and lists, Docker's and OCI's.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// See [`DOCKER_MANIFEST`].
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// See [`DOCKER_MANIFEST`].
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// See [`DOCKER_MANIFEST`].
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image's manifest, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its name, with the tag or digest that it was found by.
    pub reference: Reference,
    /// What it is.
    pub descriptor: Descriptor,
    /// Its text, which the digest is of.
    pub raw: Vec<u8>,
}

/// What a manifest is and what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// One of the media types.
    pub media_type: String,
    /// Of the text.
    pub digest: Digest,
    /// Bytes of the text.
    pub size: u64,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// Where an image runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`
    #[serde(default)]
    pub architecture: String,
    /// `linux`
    #[serde(default)]
    pub os: String,
    /// Windows' version.
    #[serde(default, rename = "os.version", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    /// What Windows has to offer.
    #[serde(default, rename = "os.features", skip_serializing_if = "Vec::is_empty")]
    pub os_features: Vec<String>,
    /// `v7`
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// A list as registries have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Docker's or OCI's, by its first manifest.
    pub media_type: &'static str,
    /// Its text.
    pub text: String,
}

/// A name with a tag or a digest: the tag is `latest` unless it says something else.
pub fn reference(text: &str) -> Result<Reference, CliError> {
    let parsed = Reference::parse_normalized(text).map_err(|error| CliError::new(error.to_string()))?;
    Ok(parsed.with_default_tag())
}

impl List {
    /// The list of some manifests, for a repository.
    pub fn of(manifests: &[Manifest], target: &Reference) -> Result<List, CliError> {
        let first = manifests.first().map(|manifest| manifest.descriptor.media_type.as_str());
        let media_type = if first == Some(OCI_MANIFEST) { OCI_INDEX } else { DOCKER_LIST };
        let mut entries = Vec::new();
        for manifest in manifests {
            let (source, target) = (manifest.reference.domain(), target.domain());
            if source != target {
                return Err(CliError::new(format!(
                    "cannot use source images from a different registry than the target image: {source} != {target}"
                )));
            }
            entries.push(Entry::of(&manifest.descriptor));
        }
        Ok(List { media_type, text: text(media_type, &entries) })
    }
}

/// A list's entry, its fields in docker's order: the digest of the list depends on it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    media_type: &'a str,
    size: u64,
    digest: &'a Digest,
    platform: Platform,
}

impl Entry<'_> {
    fn of(descriptor: &Descriptor) -> Entry<'_> {
        Entry {
            media_type: &descriptor.media_type,
            size: descriptor.size,
            digest: &descriptor.digest,
            platform: descriptor.platform.clone().unwrap_or_default(),
        }
    }
}

/// The text of a list, laid out as docker does.
fn text(media_type: &str, entries: &[Entry<'_>]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Document<'a> {
        schema_version: u32,
        media_type: &'a str,
        manifests: &'a [Entry<'a>],
    }
    let document = Document { schema_version: 2, media_type, manifests: entries };
    let compact = serde_json::to_vec(&document).unwrap_or_default();
    indent_by("   ", &compact)
}

impl Manifest {
    /// Everything that is known about it, as compact JSON: what the store keeps and `inspect -v` shows.
    pub fn document(&self) -> String {
        // Neither can fail: they are texts and numbers.
        let reference = serde_json::to_string(&self.reference).unwrap_or_default();
        let descriptor = serde_json::to_string(&self.descriptor).unwrap_or_default();
        let raw = STANDARD.encode(&self.raw);
        let key = if self.descriptor.media_type == OCI_MANIFEST { "OCIManifest" } else { "SchemaV2Manifest" };
        let own = compact(&self.raw);
        format!(r#"{{"Ref":{reference},"Descriptor":{descriptor},"Raw":"{raw}","{key}":{own}}}"#)
    }

    /// Digests of all blobs that it refers to.
    pub fn blobs(&self) -> Result<Vec<Digest>, CliError> {
        let document: Value = serde_json::from_slice(&self.raw).map_err(|error| CliError::new(error.to_string()))?;
        let layers = document.get("layers").and_then(Value::as_array).into_iter().flatten();
        let digests =
            document.get("config").into_iter().chain(layers).filter_map(|entry| entry.get("digest")?.as_str());
        digests.map(|text| Digest::parse(text).map_err(|error| CliError::new(error.to_string()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Docker's own example.
    const RAW: &str = r#"{
   "schemaVersion": 2,
   "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
   "config": {
      "mediaType": "application/vnd.docker.container.image.v1+json",
      "size": 1520,
      "digest": "sha256:7328f6f8b41890597575cbaadc884e7386ae0acc53b747401ebce5cf0d624560"
   },
   "layers": [
      {
         "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
         "size": 1990402,
         "digest": "sha256:88286f41530e93dffd4b964e1db22ce4939fffa4a4c665dab8591fbab03d4926"
      }
   ]
}"#;

    pub(super) fn example(name: &str) -> Manifest {
        Manifest {
            reference: reference(name).unwrap(),
            descriptor: Descriptor {
                media_type: DOCKER_MANIFEST.to_owned(),
                digest: Digest::parse("sha256:1072e499f3f655a032e88542330cf75b02e7bdf673278f701d7ba61629ee3ebe")
                    .unwrap(),
                size: 528,
                platform: Some(Platform {
                    architecture: "arm".to_owned(),
                    os: "freebsd".to_owned(),
                    os_version: "1".to_owned(),
                    os_features: vec!["feature1".to_owned()],
                    variant: "v7".to_owned(),
                }),
            },
            raw: RAW.as_bytes().to_vec(),
        }
    }

    #[test]
    fn documents_have_dockers_form() {
        insta::assert_snapshot!(indent_by("\t", example("example.com/alpine:3.0").document().as_bytes()), @r#"
        {
        	"Ref": "example.com/alpine:3.0",
        	"Descriptor": {
        		"mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        		"digest": "sha256:1072e499f3f655a032e88542330cf75b02e7bdf673278f701d7ba61629ee3ebe",
        		"size": 528,
        		"platform": {
        			"architecture": "arm",
        			"os": "freebsd",
        			"os.version": "1",
        			"os.features": [
        				"feature1"
        			],
        			"variant": "v7"
        		}
        	},
        	"Raw": "ewogICAic2NoZW1hVmVyc2lvbiI6IDIsCiAgICJtZWRpYVR5cGUiOiAiYXBwbGljYXRpb24vdm5kLmRvY2tlci5kaXN0cmlidXRpb24ubWFuaWZlc3QudjIranNvbiIsCiAgICJjb25maWciOiB7CiAgICAgICJtZWRpYVR5cGUiOiAiYXBwbGljYXRpb24vdm5kLmRvY2tlci5jb250YWluZXIuaW1hZ2UudjEranNvbiIsCiAgICAgICJzaXplIjogMTUyMCwKICAgICAgImRpZ2VzdCI6ICJzaGEyNTY6NzMyOGY2ZjhiNDE4OTA1OTc1NzVjYmFhZGM4ODRlNzM4NmFlMGFjYzUzYjc0NzQwMWViY2U1Y2YwZDYyNDU2MCIKICAgfSwKICAgImxheWVycyI6IFsKICAgICAgewogICAgICAgICAibWVkaWFUeXBlIjogImFwcGxpY2F0aW9uL3ZuZC5kb2NrZXIuaW1hZ2Uucm9vdGZzLmRpZmYudGFyLmd6aXAiLAogICAgICAgICAic2l6ZSI6IDE5OTA0MDIsCiAgICAgICAgICJkaWdlc3QiOiAic2hhMjU2Ojg4Mjg2ZjQxNTMwZTkzZGZmZDRiOTY0ZTFkYjIyY2U0OTM5ZmZmYTRhNGM2NjVkYWI4NTkxZmJhYjAzZDQ5MjYiCiAgICAgIH0KICAgXQp9",
        	"SchemaV2Manifest": {
        		"schemaVersion": 2,
        		"mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        		"config": {
        			"mediaType": "application/vnd.docker.container.image.v1+json",
        			"size": 1520,
        			"digest": "sha256:7328f6f8b41890597575cbaadc884e7386ae0acc53b747401ebce5cf0d624560"
        		},
        		"layers": [
        			{
        				"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
        				"size": 1990402,
        				"digest": "sha256:88286f41530e93dffd4b964e1db22ce4939fffa4a4c665dab8591fbab03d4926"
        			}
        		]
        	}
        }
        "#);
    }

    #[test]
    fn lists_have_dockers_form() {
        let mut manifest = example("example.com/alpine:3.0");
        manifest.descriptor.platform =
            Some(Platform { architecture: "amd64".to_owned(), os: "linux".to_owned(), ..Platform::default() });
        let list = List::of(&[manifest.clone()], &reference("example.com/list:v1").unwrap()).unwrap();
        assert_eq!(list.media_type, DOCKER_LIST);
        insta::assert_snapshot!(list.text, @r#"
        {
           "schemaVersion": 2,
           "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
           "manifests": [
              {
                 "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                 "size": 528,
                 "digest": "sha256:1072e499f3f655a032e88542330cf75b02e7bdf673278f701d7ba61629ee3ebe",
                 "platform": {
                    "architecture": "amd64",
                    "os": "linux"
                 }
              }
           ]
        }
        "#);
        let error = List::of(&[manifest.clone()], &reference("list").unwrap()).unwrap_err().message;
        assert_eq!(
            error,
            "cannot use source images from a different registry than the target image: example.com != docker.io"
        );
        manifest.descriptor.media_type = OCI_MANIFEST.to_owned();
        assert_eq!(List::of(&[manifest], &reference("example.com/x").unwrap()).unwrap().media_type, OCI_INDEX);
    }

    #[test]
    fn blobs_are_configuration_and_layers() {
        let found: Vec<String> = example("x").blobs().unwrap().iter().map(|digest| digest.short().to_owned()).collect();
        assert_eq!(found, ["7328f6f8b418", "88286f41530e"]);
    }
}
