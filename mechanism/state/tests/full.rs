//! The store on a file system without a free byte.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tare_state::{Change, Error, Kind, Store};

/// A small file system of its own, gone at the end.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(directory.path());
        assert!(mount.status().unwrap().success());
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state.db")
    }

    /// Takes every block there is.
    fn fill(&self) {
        let mut file = File::create(self.0.path().join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        assert_eq!(free(self.0.path()), 0);
    }

    fn clear(&self) {
        std::fs::remove_file(self.0.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn free(path: &Path) -> u64 {
    rustix::fs::statvfs(path).unwrap().f_bavail
}

fn put(key: &str, body: &str) -> Vec<Change> {
    vec![Change::Put(Kind::Container, key.to_owned(), body.to_owned())]
}

fn body(length: usize) -> String {
    "x".repeat(length)
}

#[test]
fn a_full_disk_takes_changes_and_deletions_but_no_new_documents() {
    let disk = Disk::new();
    let store = Store::open(&disk.path()).unwrap();
    for n in 0..100 {
        store.write_sync(put(&n.to_string(), &body(3000))).unwrap();
    }
    disk.fill();
    // More than the log has room for, many times.
    for round in 0..20 {
        for n in 0..100 {
            store.write_sync(put(&n.to_string(), &body(3000 + round))).unwrap();
        }
    }
    let added = (100..10_000).find(|n| match store.write_sync(put(&n.to_string(), &body(3000))) {
        Ok(()) => false,
        Err(error) => {
            assert!(matches!(error, Error::Full), "{error}");
            assert!(error.to_string().ends_with("no space left on device"), "{error}");
            true
        }
    });
    assert!(added.is_some(), "the reserve is not for new documents");
    for n in 0..100 {
        store.write_sync(put(&n.to_string(), &body(3500))).unwrap();
    }
    drop(store);
    let store = Store::open(&disk.path()).unwrap();
    assert!(matches!(store.write_sync(put("new", &body(3000))), Err(Error::Full)));
    let known = store.load(Kind::Container).unwrap();
    assert!(known.len() > 99 && known.iter().filter(|(_, text)| text.len() == 3500).count() == 100);
    for (key, _) in known {
        store.write_sync(vec![Change::Delete(Kind::Container, key)]).unwrap();
    }
    assert!(store.load(Kind::Container).unwrap().is_empty());
    assert_eq!(free(disk.0.path()), 0);
    // What was deleted has made room, if no more.
    store.write_sync(put("new", &body(3000))).unwrap();
    disk.clear();
    for n in 0..100 {
        store.write_sync(put(&n.to_string(), &body(6000))).unwrap();
    }
}

#[test]
fn one_that_is_too_much_does_not_take_others_with_it() {
    let disk = Disk::new();
    let store = Store::open(&disk.path()).unwrap();
    for n in 0..100 {
        store.write_sync(put(&n.to_string(), &body(1000))).unwrap();
    }
    disk.fill();
    std::thread::scope(|scope| {
        let store = &store;
        for n in 0..100 {
            scope.spawn(move || {
                store.write_sync(vec![Change::Delete(Kind::Container, n.to_string())]).unwrap();
                assert!(matches!(store.write_sync(put(&format!("large {n}"), &body(2_000_000))), Err(Error::Full)));
            });
        }
    });
    assert!(store.load(Kind::Container).unwrap().is_empty());
}

#[test]
fn a_large_document_has_the_whole_disk() {
    let disk = Disk::new();
    let store = Store::open(&disk.path()).unwrap();
    store.write_sync(put("large", &body(1_500_000))).unwrap();
    drop(store);
    let store = Store::open(&disk.path()).unwrap();
    assert_eq!(store.load(Kind::Container).unwrap()[0].1.len(), 1_500_000);
}
