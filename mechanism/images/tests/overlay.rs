//! Layers put together by the kernel.

mod common;

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use common::{Fixture, Tar, names};
use tare_archive::{Entry, Kind};
use tare_images::overlay::Durability;

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
    let mount = f.store.mount_rw_layer("c1", Durability::Durable).unwrap();
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
fn volatile_mounts_follow_each_other() {
    let f = Fixture::new();
    let id = f.image(Some("app"), &stack());
    let layer = f.store.create_rw_layer("c1", f.store.image(&id).unwrap().diff_ids()).unwrap();
    for durability in [Durability::Volatile, Durability::Volatile, Durability::Durable] {
        let mount = f.store.mount_rw_layer("c1", durability).unwrap();
        // the kernel's mark, which would forbid the next mount
        let marked = layer.work.join("work/incompat/volatile").exists();
        assert_eq!(marked, durability == Durability::Volatile && lowerdir_append());
        let file = path(&mount).join("etc/counted");
        let before = fs::read_to_string(&file).unwrap_or_default();
        fs::write(&file, before + "x").unwrap();
    }
    assert_eq!(fs::read_to_string(layer.upper.join("etc/counted")).unwrap(), "xxx");
}

/// Whether the kernel takes options of an overlay one by one, since 6.8.
fn lowerdir_append() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(8))
}

#[test]
fn odd_stacks_mount() {
    let f = Fixture::new();
    let empty = f.image(Some("scratch-like"), &[]);
    f.store.create_rw_layer("c0", f.store.image(&empty).unwrap().diff_ids()).unwrap();
    let mount = f.store.mount_rw_layer("c0", Durability::Durable).unwrap();
    assert_eq!(names(&path(&mount)), [".dockerenv", "dev", "etc", "proc", "sys"]);

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

#[test]
fn mount_points_are_there_and_look_like_the_images() {
    let f = Fixture::new();
    let id = f.image(
        Some("app"),
        &[Tar::new()
            .entry(&Entry { gid: 5, ..Entry::new("etc", Kind::Directory, 0o711) })
            .symlink("etc/resolv.conf", "../run/resolv.conf")
            .file("etc/hosts", "the image's own")
            .file("etc/kept", "x")
            .symlink("proc", "/elsewhere")
            .dir("dev", 0o700)
            .done()],
    );
    let image = f.store.image(&id).unwrap();
    let layer = f.store.create_rw_layer("c1", image.diff_ids()).unwrap();
    let mount = f.store.mount_rw_layer("c1", Durability::Durable).unwrap();
    let root = path(&mount);
    let meta = |p: &str| fs::symlink_metadata(root.join(p)).unwrap();
    assert_eq!((meta("etc").mode() & 0o7777, meta("etc").gid(), meta("dev").mode() & 0o7777), (0o711, 5, 0o700));
    for file in ["etc/resolv.conf", "etc/hosts", "etc/hostname", ".dockerenv", "dev/console"] {
        assert!(meta(file).is_file() && meta(file).len() == 0, "{file}");
    }
    assert!(meta("proc").is_dir() && meta("sys").is_dir() && meta("dev/shm").is_dir());
    assert_eq!(fs::read_to_string(root.join("etc/kept")).unwrap(), "x");
    let lowers = f.store.rw_layer_lowers("c1").unwrap();
    assert!(tare_images::changes::changes(&layer.upper, &lowers).unwrap().is_empty());
}

#[test]
fn layers_made_for_a_container_outlive_the_process() {
    let f = Fixture::new();
    let id = f.image(Some("app"), &[Tar::new().file("x", "").done()]);
    let diff_ids = f.store.image(&id).unwrap().diff_ids().to_vec();
    // as in a store of an earlier version, which did not make them with the image
    f.store.sync().unwrap();
    let own = f.store.layer(&diff_ids[0]).unwrap().directory.clone();
    let layers = f.directory.path().join("layers");
    names(&layers).iter().filter(|n| **n != own).for_each(|n| fs::remove_dir_all(layers.join(n)).unwrap());
    let again = tare_images::ImageStore::open(f.directory.path()).unwrap();
    again.create_rw_layer("c1", &diff_ids).unwrap();
    again.remove(&id).unwrap();
    again.collect().unwrap();
    again.sync().unwrap();
    let third = tare_images::ImageStore::open(f.directory.path()).unwrap();
    drop(third.mount_rw_layer("c1", Durability::Durable).unwrap());
    third.sync().unwrap();
}
