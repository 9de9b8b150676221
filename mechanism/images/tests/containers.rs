//! What happens to containers' files from outside: diff, export, commit, cp.

mod common;

use std::fs;
use std::io::Cursor;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use common::{Fixture, Tar, names};
use tare_archive::{Kind, Reader, Writer};
use tare_images::changes::changes;
use tare_images::copy::{PutOptions, get, put, stat};
use tare_images::export::{Naming, export, export_layer};
use tare_images::overlay::Durability;
use tare_images::rootdir::RootDir;
use tare_images::{Error, RwLayer};

fn path(mount: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()))
}

struct Container {
    fixture: Fixture,
    layer: RwLayer,
    mount: OwnedFd,
}

impl Container {
    fn new() -> Container {
        let fixture = Fixture::new();
        let id = fixture.image(
            Some("app"),
            &[
                Tar::new()
                    .dir("etc", 0o755)
                    .file("etc/a", "a")
                    .file("etc/b", "b")
                    .dir("lib", 0o755)
                    .file("lib/x", "x")
                    .dir("lib/sub", 0o755)
                    .file("lib/sub/y", "y")
                    .symlink("bin", "lib")
                    .done(),
                Tar::new().file("etc/.wh.b", "").dir("tmp", 0o1777).done(),
            ],
        );
        let image = fixture.store.image(&id).unwrap();
        let layer = fixture.store.create_rw_layer("c", image.diff_ids()).unwrap();
        let mount = fixture.store.mount_rw_layer("c", Durability::Durable).unwrap();
        Container { fixture, layer, mount }
    }

    fn root(&self) -> PathBuf {
        path(&self.mount)
    }

    fn dir(&self) -> RootDir {
        RootDir::from_fd(self.mount.try_clone().unwrap())
    }

    fn diff(&self) -> Vec<String> {
        let lowers = self.fixture.store.rw_layer_lowers("c").unwrap();
        let found = changes(&self.layer.upper, &lowers).unwrap();
        found.iter().map(|c| format!("{} {}", ["C", "A", "D"][c.kind as usize], c.path.display())).collect()
    }

    /// Something that extraction must not touch.
    fn outside(&self) -> PathBuf {
        let outside = self.fixture.directory.path().join("outside");
        fs::create_dir_all(&outside).unwrap();
        outside
    }
}

fn listing(archive: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(archive);
    let mut lines = Vec::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let link = String::from_utf8_lossy(&entry.link).into_owned();
        let kind = match entry.kind {
            Kind::Symlink => format!(" -> {link}"),
            Kind::HardLink => format!(" = {link}"),
            _ => String::new(),
        };
        lines.push(format!("{}{kind}", String::from_utf8_lossy(&entry.path)));
    }
    lines
}

#[test]
fn diff_tells_changes_apart() {
    let c = Container::new();
    assert!(c.diff().is_empty());
    let root = c.root();
    fs::write(root.join("etc/a"), "changed").unwrap();
    fs::write(root.join("etc/new"), "").unwrap();
    fs::write(root.join("etc/b"), "back again").unwrap();
    fs::create_dir(root.join("tmp/dir")).unwrap();
    fs::write(root.join("tmp/dir/file"), "").unwrap();
    fs::remove_file(root.join("lib/x")).unwrap();
    // read but not changed
    fs::set_permissions(root.join("lib/sub"), fs::metadata(root.join("lib/sub")).unwrap().permissions()).unwrap();
    assert_eq!(
        c.diff(),
        [
            "C /etc",
            "C /etc/a",
            "A /etc/b",
            "A /etc/new",
            "C /lib",
            "D /lib/x",
            "C /tmp",
            "A /tmp/dir",
            "A /tmp/dir/file"
        ]
    );
}

#[test]
fn diff_sees_through_opaque_directories() {
    let c = Container::new();
    let root = c.root();
    fs::remove_dir_all(root.join("lib")).unwrap();
    fs::create_dir(root.join("lib")).unwrap();
    fs::write(root.join("lib/x"), "other").unwrap();
    assert_eq!(c.diff(), ["C /lib", "D /lib/sub", "C /lib/x"]);
    fs::remove_dir_all(root.join("etc")).unwrap();
    assert_eq!(c.diff(), ["D /etc", "C /lib", "D /lib/sub", "C /lib/x"]);
}

#[test]
fn a_committed_layer_makes_the_same_tree() {
    let c = Container::new();
    let root = c.root();
    fs::write(root.join("etc/new"), "new").unwrap();
    fs::hard_link(root.join("etc/new"), root.join("etc/same")).unwrap();
    fs::remove_file(root.join("etc/a")).unwrap();
    fs::remove_dir_all(root.join("lib")).unwrap();
    fs::create_dir(root.join("lib")).unwrap();
    fs::write(root.join("lib/z"), "z").unwrap();
    rustix::fs::setxattr(root.join("lib/z"), "user.k", b"v\nv", rustix::fs::XattrFlags::empty()).unwrap();
    std::os::unix::net::UnixListener::bind(root.join("tmp/socket")).unwrap();
    let mut writer = Writer::new(Vec::new());
    export_layer(&RootDir::open(&c.layer.upper).unwrap(), &mut writer).unwrap();
    let archive = writer.finish().unwrap();
    assert_eq!(
        listing(&archive),
        ["etc/", "etc/.wh.a", "etc/new", "etc/same = etc/new", "lib/", "lib/.wh..wh..opq", "lib/z", "tmp/"]
    );
    let f = &c.fixture;
    let mut layers = f.store.resolve("app").unwrap().diff_ids().to_vec();
    layers.push(f.unpack(archive).unwrap().diff_id.clone());
    let merged = f.store.mount_image(&layers).unwrap();
    let again = path(&merged);
    assert_eq!(names(&again), ["bin", "etc", "lib", "tmp"], "mount points are the container's, not the image's");
    assert_eq!(names(&again.join("etc")), ["new", "same"]);
    assert_eq!(names(&again.join("lib")), ["z"]);
    assert_eq!(fs::metadata(again.join("etc/new")).unwrap().nlink(), 2);
    let mut value = [0u8; 8];
    assert_eq!(rustix::fs::getxattr(again.join("lib/z"), "user.k", &mut value[..]), Ok(3));
}

#[test]
fn export_is_the_whole_tree() {
    let c = Container::new();
    fs::write(c.root().join("etc/new"), "new").unwrap();
    let mut writer = Writer::new(Vec::new());
    export(&c.dir(), b"", &Naming::default(), &mut writer).unwrap();
    let archive = writer.finish().unwrap();
    assert_eq!(
        listing(&archive),
        [
            ".dockerenv",
            "bin -> lib",
            "dev/",
            "dev/console",
            "dev/pts/",
            "dev/shm/",
            "etc/",
            "etc/a",
            "etc/hostname",
            "etc/hosts",
            "etc/mtab -> /proc/mounts",
            "etc/new",
            "etc/resolv.conf",
            "lib/",
            "lib/sub/",
            "lib/sub/y",
            "lib/x",
            "proc/",
            "sys/",
            "tmp/"
        ]
    );
}

#[test]
fn paths_are_described_as_docker_does() {
    let c = Container::new();
    let root = c.dir();
    let of = |p: &str| stat(&root, p).unwrap();
    let etc = of("/etc");
    assert_eq!((etc.name.as_str(), etc.mode, etc.link_target.as_str()), ("etc", 1 << 31 | 0o755, ""));
    assert_eq!((of("etc/a").size, of("etc/a").mode), (1, 0o644));
    let link = of("/bin");
    assert_eq!((link.mode & (1 << 27), link.link_target.as_str()), (1 << 27, "/lib"));
    assert_eq!(of("/bin/").mode, 1 << 31 | 0o755, "a trailing slash follows");
    assert_eq!(of("/bin/x").name, "x", "directories on the way are followed");
    assert_eq!(of("/tmp").mode, 1 << 31 | 1 << 20 | 0o777);
    assert_eq!((of("/").name.as_str(), of("/etc/.").name.as_str()), ("/", "."));
    assert_eq!(of("../../etc").name, "etc");
    symlink("no/../where", c.root().join("tmp/dangling")).unwrap();
    let dangling = of("/tmp/dangling");
    assert_eq!((dangling.mode & (1 << 27), dangling.link_target.as_str()), (1 << 27, "/tmp/where"));
    assert!(matches!(stat(&root, "/tmp/dangling/"), Err(Error::NoPath(_))));
    assert!(matches!(stat(&root, "/nope"), Err(Error::NoPath(p)) if p == "/nope"));
    assert!(matches!(stat(&root, "/etc/a/"), Err(Error::NoDirectory(_))));
}

#[test]
fn links_lead_nowhere_outside() {
    let c = Container::new();
    let outside = c.outside();
    fs::write(outside.join("secret"), "secret").unwrap();
    symlink(&outside, c.root().join("tmp/absolute")).unwrap();
    symlink("../../../../../../../..", c.root().join("tmp/up")).unwrap();
    symlink("loop", c.root().join("tmp/loop")).unwrap();
    let root = c.dir();
    assert!(matches!(stat(&root, "/tmp/absolute/secret"), Err(Error::NoPath(_))));
    assert_eq!(stat(&root, "/tmp/up/etc/a").unwrap().size, 1, "up stops at the container's root");
    assert!(stat(&root, "/tmp/loop/x").is_err());
    let archive = Tar::new().file("planted", "x").done();
    let result = put(c.dir(), "/tmp/absolute", Cursor::new(archive.clone()), PutOptions::default());
    assert!(matches!(result, Err(Error::NoPath(_))));
    put(c.dir(), "/tmp/up", Cursor::new(archive), PutOptions::default()).unwrap();
    assert_eq!(fs::read_to_string(c.root().join("planted")).unwrap(), "x");
    assert_eq!(names(&outside), ["secret"]);
}

#[test]
fn what_is_got_has_the_names_docker_gives() {
    let c = Container::new();
    let root = c.dir();
    let of = |p: &str| {
        let mut archive = Vec::new();
        get(&root, p, &mut archive).unwrap();
        listing(&archive)
    };
    assert_eq!(of("/lib"), ["lib/", "lib/sub/", "lib/sub/y", "lib/x"]);
    assert_eq!(of("/lib/sub/y"), ["y"]);
    assert_eq!(of("/bin"), ["bin -> lib"]);
    assert_eq!(of("/bin/"), ["bin/", "bin/sub/", "bin/sub/y", "bin/x"]);
    assert_eq!(of("/lib/."), ["./", "./sub/", "./sub/y", "./x"]);
    assert_eq!(of("/bin/sub/../x"), ["x"]);
    assert_eq!(of("/")[..3], ["/", "/.dockerenv", "/bin -> lib"]);
}

#[test]
fn put_replaces_and_merges() {
    let c = Container::new();
    let archive = Tar::new()
        .dir("sub", 0o700)
        .file("sub/new", "new")
        .file("x", "replaced")
        .file(".wh.sub", "not a whiteout here")
        .symlink("link", "/etc")
        .file("link/through", "x")
        .done();
    put(c.dir(), "/bin", Cursor::new(archive), PutOptions { owner: Some((12, 34)), ..PutOptions::default() }).unwrap();
    let lib = c.root().join("lib");
    assert_eq!(names(&lib), [".wh.sub", "link", "sub", "x"]);
    assert_eq!(names(&lib.join("sub")), ["new", "y"]);
    assert_eq!(fs::read_to_string(lib.join("x")).unwrap(), "replaced");
    let meta = fs::metadata(lib.join("sub")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (12, 34, 0o700));
    assert!(c.root().join("etc/through").exists(), "links in the archive lead inside the container");
    assert!(matches!(
        put(c.dir(), "/etc/a", Cursor::new(Tar::new().done()), PutOptions::default()),
        Err(Error::NotADirectory)
    ));
}

#[test]
fn put_can_keep_directories_directories() {
    let c = Container::new();
    let strict = PutOptions { no_overwrite_dir_non_dir: true, ..PutOptions::default() };
    let text = |archive: Tar, to: &str| put(c.dir(), to, Cursor::new(archive.done()), strict).unwrap_err().to_string();
    assert_eq!(
        text(Tar::new().file("sub", ""), "/lib"),
        "cannot overwrite directory \"/lib/sub\" with non-directory \"/lib\""
    );
    assert_eq!(
        text(Tar::new().dir("x", 0o755), "/lib"),
        "cannot overwrite non-directory \"/lib/x\" with directory \"/lib\""
    );
    put(c.dir(), "/lib", Cursor::new(Tar::new().file("x", "ok").dir("sub", 0o755).done()), strict).unwrap();
    // without it a file does replace a directory
    put(c.dir(), "/lib", Cursor::new(Tar::new().file("sub", "file").done()), PutOptions::default()).unwrap();
    assert!(Path::new(&c.root().join("lib/sub")).is_file());
}

#[test]
fn a_volume_starts_with_what_the_image_has() {
    let c = Container::new();
    let f = &c.fixture;
    let id = f.image(
        Some("data"),
        &[Tar::new()
            .entry(&tare_archive::Entry {
                uid: 70,
                gid: 71,
                ..tare_archive::Entry::new("data", Kind::Directory, 0o2750)
            })
            .file("data/file", "x")
            .dir("data/sub", 0o700)
            .symlink("link", "/data")
            .done()],
    );
    let image = f.store.image(&id).unwrap();
    for path in ["/data", "/link/", "link"] {
        let volume = tempfile::tempdir().unwrap();
        f.store.copy_up(image.diff_ids(), Path::new(path), volume.path()).unwrap();
        assert_eq!(names(volume.path()), ["file", "sub"]);
        let meta = fs::metadata(volume.path()).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o2750, 70, 71));
    }
    let volume = tempfile::tempdir().unwrap();
    f.store.copy_up(image.diff_ids(), Path::new("/nope"), volume.path()).unwrap();
    f.store.copy_up(image.diff_ids(), Path::new("/data/file"), volume.path()).unwrap();
    assert!(names(volume.path()).is_empty());
}
