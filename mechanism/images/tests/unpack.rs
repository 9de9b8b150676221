//! Extraction of layers: faithful to good archives, deaf to bad ones.

mod common;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use common::{Fixture, Tar, names};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::io::Errno;
use tare_archive::{Entry, Kind, Reader, Time};
use tare_images::Error;
use tare_images::rootdir::RootDir;
use tare_images::unpack::{Options, unpack};

fn opaque(path: &Path) -> bool {
    let mut value = [0; 4];
    rustix::fs::getxattr(path, "trusted.overlay.opaque", &mut value[..]).is_ok_and(|n| &value[..n] == b"y")
}

fn whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_char_device() && m.rdev() == 0)
}

#[test]
fn everything_an_archive_says_is_kept() {
    let f = Fixture::new();
    let file = |path: &str, mode, uid| Entry { uid, gid: uid / 2, ..Entry::new(path, Kind::File, mode) };
    let mut caps = file("caps", 0o755, 0);
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    caps.xattrs = vec![
        (b"security.capability".to_vec(), capability.to_vec()),
        (b"user.note".to_vec(), b"line\nline".to_vec()),
        (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
        (b"unknown.namespace".to_vec(), b"x".to_vec()),
    ];
    let mut directory = Entry { uid: 5, ..Entry::new("d", Kind::Directory, 0o1777) };
    directory.mtime = Time { seconds: 1_000_000_000, nanoseconds: 0 };
    let layer = f
        .unpack(
            Tar::new()
                .entry(&Entry { gid: 7, ..Entry::new("./", Kind::Directory, 0o711) })
                .entry(&directory)
                .file("d/plain", "hello")
                .entry(&file("setuid", 0o6755, 1000))
                .entry(&caps)
                .link(Kind::HardLink, "d/same", "./d/plain")
                .symlink("absolute", "/d/plain")
                .entry(&Entry { device: (1, 3), uid: 3, ..Entry::new("null", Kind::CharDevice, 0o666) })
                .entry(&Entry { device: (7, 300), ..Entry::new("loop", Kind::BlockDevice, 0o660) })
                .entry(&Entry::new("pipe", Kind::Fifo, 0o622))
                .done(),
        )
        .unwrap();
    let diff = f.diff(&layer);
    let meta = |name: &str| fs::symlink_metadata(diff.join(name)).unwrap();
    assert_eq!((meta("").mode() & 0o7777, meta("").gid()), (0o711, 7));
    assert_eq!(layer.root, Some((0o711, 0, 7)));
    assert_eq!((meta("d").mode() & 0o7777, meta("d").uid(), meta("d").mtime()), (0o1777, 5, 1_000_000_000));
    assert_eq!(fs::read_to_string(diff.join("d/plain")).unwrap(), "hello");
    assert_eq!((meta("d/plain").mtime(), meta("d/plain").mtime_nsec()), (1_600_000_000, 7));
    assert_eq!((meta("d/plain").nlink(), meta("d/plain").ino()), (2, meta("d/same").ino()));
    assert_eq!((meta("setuid").mode() & 0o7777, meta("setuid").uid(), meta("setuid").gid()), (0o6755, 1000, 500));
    let xattr = |name: &str| {
        let mut value = [0u8; 64];
        rustix::fs::getxattr(diff.join("caps"), name, &mut value[..]).map(|n| value[..n].to_vec())
    };
    assert_eq!(xattr("security.capability").unwrap(), capability);
    assert_eq!(xattr("user.note").unwrap(), b"line\nline");
    assert!(xattr("trusted.overlay.opaque").is_err(), "an archive must not speak for overlayfs");
    assert_eq!(fs::read_link(diff.join("absolute")).unwrap(), Path::new("/d/plain"));
    assert_eq!((meta("null").rdev(), meta("null").mode() & 0o7777, meta("null").uid()), (0x103, 0o666, 3));
    assert_eq!(meta("loop").rdev(), rustix::fs::makedev(7, 300));
    assert!(meta("pipe").file_type().is_fifo() && meta("pipe").mode() & 0o7777 == 0o622);
    assert_eq!(layer.entries, 10);
    assert!(layer.implicit.is_empty());
}

#[test]
fn nothing_leaves_the_layer() {
    let f = Fixture::new();
    let outside = f.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let outside = outside.to_str().unwrap();
    // through links, with and without `..`: everything lands below the layer's own root
    let layer = f
        .unpack(
            Tar::new()
                .symlink("absolute", outside)
                .file("absolute/one", "1")
                .symlink("up", "../../../../../../../../../../../../etc")
                .file("up/two", "2")
                .symlink("self", ".")
                .file("self/three", "3")
                .file("/four", "4")
                .file("/../../five", "5")
                .done(),
        )
        .unwrap();
    let diff = f.diff(&layer);
    assert_eq!(names(Path::new(outside)), ["secret"]);
    assert!(!Path::new("/etc/two").exists() && !Path::new("/five").exists());
    assert_eq!(fs::read_to_string(diff.join("etc/two")).unwrap(), "2");
    assert_eq!(fs::read_to_string(diff.join(&outside[1..]).join("one")).unwrap(), "1");
    assert_eq!(fs::read_to_string(diff.join("three")).unwrap(), "3");
    assert_eq!(fs::read_to_string(diff.join("five")).unwrap(), "5");

    let secret = format!("{outside}/secret");
    for (archive, reason) in [
        (Tar::new().file("../x", ""), "outside"),
        (Tar::new().file("a/../../x", ""), "outside"),
        (Tar::new().link(Kind::HardLink, "x", "../../../outside/secret"), "outside"),
        (Tar::new().link(Kind::HardLink, "x", &secret), "ENOENT"),
        (Tar::new().symlink("l", outside).link(Kind::HardLink, "x", "l/secret"), "ENOENT"),
        (Tar::new().file(".wh..", ""), "whiteout"),
        (Tar::new().entry(&Entry { uid: 1 << 32, ..Entry::new("x", Kind::File, 0) }), "out of range"),
        (Tar::new().entry(&Entry::new("x", Kind::Other(b'Z'), 0)), "unknown type"),
        (Tar::new().file(&"n".repeat(300), ""), "ENAMETOOLONG"),
    ] {
        let error = f.unpack(archive.done()).unwrap_err();
        let text = match error.errno() {
            Some(e) if e == Errno::NOENT.raw_os_error() => "ENOENT".to_owned(),
            Some(e) if e == Errno::NAMETOOLONG.raw_os_error() => "ENAMETOOLONG".to_owned(),
            _ => error.to_string(),
        };
        assert!(text.contains(reason), "{error}");
    }
    assert_eq!(names(&f.directory.path().join("layers")).len(), 1, "failed layers leave nothing");
}

/// Build contexts are taken as a chroot would have them.
#[test]
fn names_that_lead_out_can_be_contained() {
    let outer = tempfile::tempdir().unwrap();
    let inner = outer.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let archive = Tar::new().file("../one", "1").file("a/../../../two", "2").file("/three", "3").symlink("up", "../..");
    let archive = archive.file("up/four", "4").done();
    let options = Options { contained: true, ..Options::default() };
    unpack(&mut Reader::new(archive.as_slice()), RootDir::open(&inner).unwrap(), options).unwrap();
    assert_eq!(names(outer.path()), ["inner"]);
    assert_eq!(names(&inner), ["four", "one", "three", "two", "up"]);
}

#[test]
fn a_hard_link_does_not_follow_a_link() {
    let f = Fixture::new();
    let layer = f.unpack(Tar::new().symlink("l", "/etc/shadow").link(Kind::HardLink, "copy", "l").done()).unwrap();
    assert_eq!(fs::read_link(f.diff(&layer).join("copy")).unwrap(), Path::new("/etc/shadow"));
}

#[test]
fn later_entries_replace_earlier_ones() {
    let f = Fixture::new();
    let layer = f
        .unpack(
            Tar::new()
                .dir("d", 0o755)
                .file("d/old", "old")
                .dir("d/sub", 0o700)
                .file("d", "now a file")
                .file("f", "file")
                .dir("f", 0o750)
                .file("f/inside", "x")
                .symlink("s", "/f")
                .file("s/through", "x")
                .dir("s", 0o711)
                .file("s/real", "x")
                .file("twice", "first")
                .file("twice", "second")
                .link(Kind::HardLink, "twice", "twice")
                .done(),
        )
        .unwrap();
    let diff = f.diff(&layer);
    assert_eq!(fs::read_to_string(diff.join("d")).unwrap(), "now a file");
    assert_eq!(names(&diff.join("f")), ["inside", "through"]);
    assert_eq!(names(&diff.join("s")), ["real"]);
    assert_eq!(fs::metadata(diff.join("s")).unwrap().permissions().mode() & 0o7777, 0o711);
    assert_eq!(fs::read_to_string(diff.join("twice")).unwrap(), "second");
}

#[test]
fn whiteouts_take_overlay_form() {
    let f = Fixture::new();
    let layer = f
        .unpack(
            Tar::new()
                .dir("a", 0o755)
                .file("a/.wh.gone", "")
                .file("b/.wh..wh..opq", "")
                .file("b/kept", "x")
                .file(".wh.file", "")
                .file("file", "new")
                .file(".wh.dir", "")
                .dir("dir", 0o755)
                .dir("late", 0o755)
                .file(".wh.late", "")
                .file("own", "x")
                .file(".wh.own", "")
                .file(".wh.deep", "")
                .file("deep/er/file", "x")
                .file(".wh..wh.plnk/1.2", "x")
                .done(),
        )
        .unwrap();
    let diff = f.diff(&layer);
    assert!(whiteout(&diff.join("a/gone")) && !opaque(&diff.join("a")));
    assert!(opaque(&diff.join("b")) && diff.join("b/kept").exists());
    assert_eq!(fs::read_to_string(diff.join("file")).unwrap(), "new");
    assert!(opaque(&diff.join("dir")) && opaque(&diff.join("late")), "made again: the old content must not show");
    assert_eq!(fs::read_to_string(diff.join("own")).unwrap(), "x", "a whiteout is about the layers below");
    assert!(opaque(&diff.join("deep")) && !opaque(&diff.join("deep/er")));
    assert!(!names(&diff).iter().any(|n| n.starts_with(".wh.")));
}

#[test]
fn compression_is_recognised() {
    let f = Fixture::new();
    let plain = Tar::new().file("x", &"data".repeat(100_000)).done();
    let expected = f.unpack(plain.clone()).unwrap();
    let mut gzip = tare_images::compression::gzip(Vec::new());
    std::io::Write::write_all(&mut gzip, &plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    for compressed in [&gzip, &zstd] {
        let layer = f.unpack(compressed.clone()).unwrap();
        assert_eq!(layer.diff_id, expected.diff_id);
    }
    let wrong = tare_reference::Digest::from_sha256(&[1; 32]);
    let other = Tar::new().file("y", "").done();
    let result = f.store.unpack_layer(std::io::Cursor::new(other), Some(&wrong));
    assert!(matches!(result, Err(Error::DigestMismatch { what: "layer", .. })));
    assert!(f.unpack(gzip[..gzip.len() - 40].to_vec()).is_err(), "cut off");
    // Recognised, and cut off.
    assert!(f.unpack(b"BZh91AY&SY".to_vec()).is_err());
}

#[test]
fn bytes_behind_the_archive_count_for_its_identity() {
    let f = Fixture::new();
    let plain = Tar::new().file("x", "1").done();
    let mut padded = plain.clone();
    padded.resize(padded.len() + 10_000, 0);
    let (one, two) = (f.unpack(plain).unwrap(), f.unpack(padded).unwrap());
    assert_ne!(one.diff_id, two.diff_id);
}

#[test]
fn deep_trees_are_fine() {
    let f = Fixture::new();
    let deep = "d/".repeat(200);
    let mut archive = Tar::new().file(&format!("{deep}leaf"), "x");
    // replacing the top removes all levels, without recursion
    archive = archive.file("d", "flat");
    let layer = f.unpack(archive.done()).unwrap();
    assert_eq!(fs::read_to_string(f.diff(&layer).join("d")).unwrap(), "flat");
    assert!(layer.implicit.is_empty());
}

/// Entries whose names meet often, and links that lead up and out.
fn any_entry(outside: &str) -> impl Strategy<Value = (Kind, String, String)> + use<> {
    let name = "(/|\\./)?(a|b|c|\\.wh\\.a|\\.wh\\.\\.wh\\.\\.opq|\\.\\.)(/(a|b|c|\\.wh\\.b|\\.\\.)){0,3}/?";
    let target = prop_oneof![
        "(\\.\\./){0,6}(a|b|etc|outside)(/(a|b|secret))?",
        "/(a|b|c)(/(a|b))?",
        Just(outside.to_owned()),
        Just(format!("{outside}/secret")),
    ];
    let kind = prop_oneof![
        3 => Just(Kind::File),
        3 => Just(Kind::Directory),
        3 => Just(Kind::Symlink),
        2 => Just(Kind::HardLink),
        1 => Just(Kind::CharDevice),
        1 => Just(Kind::Fifo),
    ];
    (kind, name, target)
}

#[test]
fn no_archive_reaches_outside() {
    let f = Fixture::new();
    let outside = f.directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "secret").unwrap();
    let entries = proptest::collection::vec(any_entry(outside.to_str().unwrap()), 1..25);
    let state = |path: &Path| {
        let meta = fs::metadata(path).unwrap();
        (meta.mode(), meta.uid(), meta.nlink(), meta.mtime(), meta.mtime_nsec(), meta.ctime_nsec())
    };
    let secret = outside.join("secret");
    let before = (state(&outside), state(&secret));
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let result = runner.run(&entries, |entries| {
        let mut archive = Tar::new();
        for (kind, name, target) in &entries {
            let link = if matches!(kind, Kind::Symlink | Kind::HardLink) { target.clone() } else { String::new() };
            let entry = Entry { link: link.into(), uid: 1234, mode: 0o4777, ..Entry::new(name.as_str(), *kind, 0) };
            archive = archive.entry(&entry);
        }
        // most fail somewhere, after having done something
        let layer = f.unpack(archive.done());
        prop_assert_eq!(names(&outside), ["secret"]);
        prop_assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
        prop_assert_eq!((state(&outside), state(&secret)), before);
        if let Ok(layer) = layer {
            let mount = f.store.mount_image(std::slice::from_ref(&layer.diff_id)).unwrap();
            drop(mount);
        }
        Ok(())
    });
    result.unwrap();
}
