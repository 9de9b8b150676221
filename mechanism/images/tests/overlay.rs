//! Layers put together by the kernel.

mod common;

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use common::{Fixture, Tar, names};
use tare_archive::{Entry, Kind};

/// A detached mount can be looked into through its descriptor.
fn path(mount: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()))
}

fn stack() -> [Vec<u8>; 3] {
    [
        Tar::new()
            .entry(&Entry { gid: 9, ..Entry::new("./", Kind::Directory, 0o750) })
            .dir("tmp", 0o1777)
            .dir("etc", 0o755)
            .file("etc/old", "old")
            .file("etc/changed", "1")
            .dir("var", 0o755)
            .file("var/hidden", "x")
            .done(),
        // no entries for tmp and etc: their attributes come from below
        Tar::new().file("tmp/new", "x").file("etc/.wh.old", "").file("etc/changed", "2").done(),
        Tar::new().dir("var", 0o700).file("var/.wh..wh..opq", "").file("var/shown", "x").done(),
    ]
}

#[test]
fn layers_unpacked_apart_add_up() {
    let f = Fixture::new();
    let id = f.image(Some("app"), &stack());
    let image = f.store.image(&id).unwrap();
    let mount = f.store.mount_image(image.diff_ids()).unwrap();
    let root = path(&mount);
    assert_eq!(names(&root.join("etc")), ["changed"]);
    assert_eq!(fs::read_to_string(root.join("etc/changed")).unwrap(), "2");
    assert_eq!(names(&root.join("var")), ["shown"]);
    assert_eq!(fs::metadata(root.join("tmp")).unwrap().mode() & 0o7777, 0o1777, "not the implied directory's mode");
    assert!(fs::write(root.join("x"), "").is_err(), "an image is read-only");
    f.store.sync().unwrap();
    f.store.collect().unwrap();
    assert_eq!(f.store.lower_dirs(image.diff_ids()).unwrap().len(), 4, "three layers and one of attributes");
}

#[test]
fn containers_write_to_their_own() {
    let f = Fixture::new();
    let id = f.image(Some("app"), &stack());
    let image = f.store.image(&id).unwrap();
    let layer = f.store.create_rw_layer("c1", image.diff_ids()).unwrap();
    let mount = f.store.mount_rw_layer("c1").unwrap();
    let root = path(&mount);
    let meta = fs::metadata(&root).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.gid()), (0o750, 9), "the image's root directory");
    fs::write(root.join("etc/mine"), "x").unwrap();
    fs::remove_file(root.join("etc/changed")).unwrap();
    assert_eq!(names(&layer.upper.join("etc")), ["changed", "mine"]);
    drop(mount);
    f.store.remove_rw_layer("c1").unwrap();
    f.store.remove_rw_layer("c1").unwrap();
    assert!(!layer.upper.exists());
}

#[test]
fn odd_stacks_mount() {
    let f = Fixture::new();
    let empty = f.image(Some("scratch-like"), &[]);
    f.store.create_rw_layer("c0", f.store.image(&empty).unwrap().diff_ids()).unwrap();
    let mount = f.store.mount_rw_layer("c0").unwrap();
    assert!(names(&path(&mount)).is_empty());

    // the same layer twice, and one without entries
    let [first, second, _] = stack();
    let id = f.image(Some("twice"), &[first.clone(), Tar::new().done(), second, first]);
    let image = f.store.image(&id).unwrap();
    let mount = f.store.mount_image(image.diff_ids()).unwrap();
    assert_eq!(fs::read_to_string(path(&mount).join("etc/changed")).unwrap(), "1");
    assert_eq!(names(&path(&mount).join("etc")), ["changed", "old"]);

    let single = f.image(Some("one"), &[Tar::new().file("x", "").done()]);
    let mount = f.store.mount_image(f.store.image(&single).unwrap().diff_ids()).unwrap();
    assert_eq!(names(&path(&mount)), ["x"]);
}

#[test]
fn nothing_is_mounted_on_the_host() {
    let f = Fixture::new();
    let id = f.image(Some("app"), &stack());
    let mount = f.store.mount_image(f.store.image(&id).unwrap().diff_ids()).unwrap();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(f.directory.path().to_str().unwrap()));
    drop(mount);
}

#[test]
fn the_upper_root_mode_is_the_images() {
    let f = Fixture::new();
    let id = f.image(Some("plain"), &[Tar::new().file("x", "").done()]);
    let layer = f.store.create_rw_layer("c1", f.store.image(&id).unwrap().diff_ids()).unwrap();
    assert_eq!(fs::metadata(&layer.upper).unwrap().permissions().mode() & 0o7777, 0o755);
    assert!(f.store.create_rw_layer("c1", &[]).is_err(), "one each");
}
