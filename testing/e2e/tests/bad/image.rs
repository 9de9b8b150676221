//! Images for the registry: a real one, and made up ones.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tare_archive::{Entry, Kind, Writer};
use tare_testkit::install;

use super::Registry;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// `sha256:…`
pub fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A manifest and what it names.
#[derive(Debug, Clone)]
pub struct Image {
    pub manifest: Value,
    pub config: Vec<u8>,
    pub layer: Vec<u8>,
}

impl Image {
    /// busybox, from the mirror.
    pub fn busybox() -> Self {
        let manifest = fetch("manifests/1.29");
        let manifest: Value = serde_json::from_slice(&manifest).expect("a manifest");
        let blob = |descriptor: &Value| fetch(&format!("blobs/{}", descriptor["digest"].as_str().expect("a digest")));
        let (config, layer) = (blob(&manifest["config"]), blob(&manifest["layers"][0]));
        Self { manifest, config, layer }
    }

    /// Of a layer that is said to be something else when it is unpacked, or truly is.
    pub fn of(layer: Vec<u8>, diff_id: &str) -> Self {
        let config = json!({ "architecture": architecture(), "os": "linux",
            "rootfs": { "type": "layers", "diff_ids": [diff_id] } });
        let config = config.to_string().into_bytes();
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST,
            "config": { "mediaType": CONFIG, "digest": digest(&config), "size": config.len() },
            "layers": [{ "mediaType": LAYER, "digest": digest(&layer), "size": layer.len() }] });
        Self { manifest, config, layer }
    }

    /// The path of its layer.
    pub fn layer_path(&self) -> String {
        format!("blobs/{}", self.manifest["layers"][0]["digest"].as_str().expect("a digest"))
    }

    /// Gives it to a registry; the manifest's digest.
    pub fn put(&self, registry: &Registry, tag: &str) -> String {
        let of = |descriptor: &Value| format!("blobs/{}", descriptor["digest"].as_str().expect("a digest"));
        registry.put(of(&self.manifest["config"]), "application/octet-stream", self.config.clone());
        registry.put(self.layer_path(), "application/octet-stream", self.layer.clone());
        put_document(registry, tag, MANIFEST, &self.manifest.to_string())
    }
}

/// Gives a registry a manifest or index under a tag and its digest.
pub fn put_document(registry: &Registry, tag: &str, content_type: &str, text: &str) -> String {
    let digest = digest(text.as_bytes());
    for name in [tag, &digest] {
        registry.put(format!("manifests/{name}"), content_type, text.into());
    }
    digest
}

/// GOARCH of this machine.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// An archive of one file that is `size` zeros, packed, and the digest of the archive.
pub fn bomb(size: u64) -> (Vec<u8>, String) {
    let entry = Entry { size, ..Entry::new("zeros", Kind::File, 0o644) };
    let mut writer = Writer::new(Both { packed: GzEncoder::new(Vec::new(), Compression::best()), hash: Sha256::new() });
    writer.append_data(&entry, &mut std::io::repeat(0).take(size)).expect("an archive");
    let both = writer.finish().expect("an archive");
    let hex: String = both.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    (both.packed.finish().expect("gzip"), format!("sha256:{hex}"))
}

struct Both {
    packed: GzEncoder<Vec<u8>>,
    hash: Sha256,
}

impl std::io::Write for Both {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.packed.write_all(bytes)?;
        self.hash.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.packed.flush()
    }
}

/// Asks the mirror for a part of busybox.
fn fetch(path: &str) -> Vec<u8> {
    let server = install::mirror().trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(server).expect("the mirror");
    let head = format!("GET /v2/library/busybox/{path} HTTP/1.0\r\nHost: {server}\r\nAccept: {MANIFEST}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("the mirror listens");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the mirror answers");
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("HTTP");
    answer.split_off(at + 4)
}
