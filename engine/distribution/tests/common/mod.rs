//! A store, a registry in memory, and images made by hand.
#![allow(dead_code, reason = "each test file uses a part")]

#[path = "../../../../mechanism/registry/tests/common/mod.rs"]
pub mod server;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tare_archive::{Entry, Kind, Writer};
use tare_distribution::{Distribution, Settings};
use tare_docker_api::stream::JsonMessage;
use tare_images::ImageStore;
use tare_images::compression::gzip;
use tare_images::oci::{Descriptor, ImageConfig, Index, Manifest, Platform, RootFs, media};
use tare_reference::{Digest, Reference};
use tare_registry::{Config, Registry};

pub use server::Server;

/// A store of its own with the use cases on top.
pub struct Fixture {
    pub directory: tempfile::TempDir,
    pub store: ImageStore,
    pub distribution: Distribution,
}

impl Fixture {
    pub fn new() -> Fixture {
        Fixture::with_hub("http://127.0.0.1:1")
    }

    /// With a registry for docker.io.
    pub fn with_hub(hub: &str) -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::open(directory.path()).unwrap();
        let config = Config {
            certificates: Vec::new(),
            backoff: Duration::from_millis(1),
            stall: Duration::from_millis(500),
            hub: hub.to_owned(),
            ..Config::default()
        };
        let distribution = Distribution::new(store.clone(), Registry::new(config), Settings::default());
        Fixture { directory, store, distribution }
    }

    pub fn count(&self, part: &str) -> usize {
        std::fs::read_dir(self.directory.path().join(part)).unwrap().count()
    }

    /// Looks into an image.
    pub fn file(&self, image: &str, path: &str) -> Option<String> {
        use std::os::fd::AsRawFd;
        let image = self.store.resolve(image).unwrap();
        let mount = self.store.mount_image(image.diff_ids()).unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd())).join(path);
        std::fs::read_to_string(path).ok()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // the directory must not go while the background thread works in it
        let _ = self.store.sync();
    }
}

pub fn reference(name: &str) -> Reference {
    Reference::parse_normalized(name).unwrap()
}

/// Keeps messages as `id: status` lines.
#[derive(Clone, Default)]
pub struct Messages(pub Arc<Mutex<Vec<JsonMessage>>>);

impl Messages {
    pub fn sink(&self) -> impl Fn(JsonMessage) + Send + Sync + 'static {
        let messages = self.0.clone();
        move |message| messages.lock().unwrap().push(message)
    }

    pub fn lines(&self) -> Vec<String> {
        let messages = self.0.lock().unwrap();
        let lines = messages.iter().map(|m| match (m.id.as_str(), m.stream.as_str()) {
            ("", "") => m.status.clone(),
            ("", stream) => stream.trim_end().to_owned(),
            (id, _) => format!("{id}: {}", m.status),
        });
        lines.collect()
    }

    /// Without those whose number depends on the time.
    pub fn steps(&self) -> Vec<String> {
        let mut lines = self.lines();
        lines.retain(|line| !line.ends_with(": Downloading") && !line.ends_with(": Pushing") && !line.is_empty());
        lines
    }
}

pub fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (path, data) in files {
        let entry = Entry { size: data.len() as u64, ..Entry::new(*path, Kind::File, 0o644) };
        writer.append_data(&entry, &mut data.as_bytes()).unwrap();
    }
    writer.finish().unwrap()
}

pub fn compressed(plain: &[u8]) -> Vec<u8> {
    let mut encoder = gzip(Vec::new());
    std::io::Write::write_all(&mut encoder, plain).unwrap();
    encoder.finish().unwrap()
}

/// Text that does not compress away.
pub fn noise(seed: u32, length: usize) -> String {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        char::from(b' ' + u8::try_from(state % 90).unwrap())
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// An image on the registry: layers compressed as in real ones.
pub struct Remote {
    pub target: Descriptor,
    pub layers: Vec<Digest>,
    pub diff_ids: Vec<Digest>,
}

pub fn remote(server: &Server, tag: Option<&str>, architecture: &str, layers: &[Vec<u8>]) -> Remote {
    let mut descriptors = Vec::new();
    let mut diff_ids = Vec::new();
    for layer in layers {
        diff_ids.push(server::digest_of(layer));
        let packed = compressed(layer);
        let size = packed.len() as u64;
        descriptors.push(Descriptor::new(media::OCI_LAYER_GZIP, server.add_blob(packed), size));
    }
    let config = ImageConfig {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        rootfs: RootFs { diff_ids: diff_ids.clone(), ..RootFs::default() },
        ..ImageConfig::default()
    };
    let config = serde_json::to_vec(&config).unwrap();
    let size = config.len() as u64;
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::OCI_MANIFEST.to_owned(),
        config: Descriptor::new(media::OCI_CONFIG, server.add_blob(config), size),
        layers: descriptors.clone(),
        annotations: Default::default(),
    };
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let size = bytes.len() as u64;
    let mut target = Descriptor::new(media::OCI_MANIFEST, server.add_manifest(tag, media::OCI_MANIFEST, bytes), size);
    target.platform =
        Some(Platform { architecture: architecture.to_owned(), os: "linux".to_owned(), ..Platform::default() });
    Remote { target, layers: descriptors.into_iter().map(|d| d.digest).collect(), diff_ids }
}

pub fn remote_index(server: &Server, tag: &str, manifests: Vec<Descriptor>) -> Digest {
    let index = Index { schema_version: 2, media_type: media::OCI_INDEX.to_owned(), manifests, ..Index::default() };
    server.add_manifest(Some(tag), media::OCI_INDEX, serde_json::to_vec(&index).unwrap())
}
