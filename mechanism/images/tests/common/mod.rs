//! Archives and images made by hand, and a directory that goes away.
#![allow(dead_code, reason = "each test file uses a part")]

use std::path::{Path, PathBuf};

use tare_archive::{Entry, Kind, Time, Writer};
use tare_images::oci::{Descriptor, ImageConfig, Manifest, RootFs, media};
use tare_images::{ImageStore, Layer};
use tare_reference::{Digest, Reference};

/// An archive under construction.
pub struct Tar(Writer<Vec<u8>>);

impl Tar {
    pub fn new() -> Tar {
        Tar(Writer::new(Vec::new()))
    }

    pub fn entry(mut self, entry: &Entry) -> Tar {
        self.0.append(entry).unwrap();
        self
    }

    pub fn dir(self, path: &str, mode: u32) -> Tar {
        self.entry(&Entry::new(path, Kind::Directory, mode))
    }

    pub fn file(mut self, path: &str, data: &str) -> Tar {
        let mut entry = Entry { size: data.len() as u64, ..Entry::new(path, Kind::File, 0o644) };
        entry.mtime = Time { seconds: 1_600_000_000, nanoseconds: 7 };
        self.0.append_data(&entry, &mut data.as_bytes()).unwrap();
        self
    }

    pub fn link(self, kind: Kind, path: &str, target: &str) -> Tar {
        self.entry(&Entry { link: target.into(), ..Entry::new(path, kind, 0o777) })
    }

    pub fn symlink(self, path: &str, target: &str) -> Tar {
        self.link(Kind::Symlink, path, target)
    }

    pub fn done(self) -> Vec<u8> {
        self.0.finish().unwrap()
    }
}

/// A store in a directory of its own.
pub struct Fixture {
    pub directory: tempfile::TempDir,
    pub store: ImageStore,
}

impl Fixture {
    pub fn new() -> Fixture {
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::open(directory.path()).unwrap();
        Fixture { directory, store }
    }

    pub fn unpack(&self, archive: Vec<u8>) -> tare_images::Result<std::sync::Arc<Layer>> {
        self.store.unpack_layer(std::io::Cursor::new(archive), None)
    }

    pub fn diff(&self, layer: &Layer) -> PathBuf {
        self.directory.path().join("layers").join(&layer.directory).join("diff")
    }

    /// An image of plain layers, published under `name` or as a dangling one.
    pub fn image(&self, name: Option<&str>, layers: &[Vec<u8>]) -> Digest {
        let target = self.target(layers, "amd64");
        let names: Vec<Reference> =
            name.map(|n| Reference::parse_normalized(n).unwrap().with_default_tag()).into_iter().collect();
        self.store.publish(&target, &names).unwrap();
        target.digest
    }

    pub fn target(&self, layers: &[Vec<u8>], architecture: &str) -> Descriptor {
        let mut diff_ids = Vec::new();
        let mut descriptors = Vec::new();
        for layer in layers {
            descriptors.push(self.store.write_blob(media::OCI_LAYER, layer).unwrap());
            diff_ids.push(self.unpack(layer.clone()).unwrap().diff_id.clone());
        }
        let config = ImageConfig {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            rootfs: RootFs { diff_ids, ..RootFs::default() },
            ..ImageConfig::default()
        };
        let config = self.store.write_blob(media::OCI_CONFIG, &serde_json::to_vec(&config).unwrap()).unwrap();
        let manifest = Manifest {
            schema_version: 2,
            media_type: media::OCI_MANIFEST.to_owned(),
            config,
            layers: descriptors,
            annotations: Default::default(),
        };
        self.store.write_blob(media::OCI_MANIFEST, &serde_json::to_vec(&manifest).unwrap()).unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // the directory must not go while the background thread works in it
        let _ = self.store.sync();
    }
}

/// Names of a directory's entries, sorted.
pub fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
