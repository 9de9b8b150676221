//! Archives made to write where they should not. What can be in one, in all its forms: mechanism/images/tests,
//! `unpack.rs`; here all the ways by which one comes in.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tare_archive::{Entry, Kind, Writer};
use tare_testkit::{Client, Console};

/// An archive of files and links (`name`, what is in it) as it is sent.
struct Archive(Writer<Vec<u8>>);

impl Archive {
    fn new() -> Self {
        Self(Writer::new(Vec::new()))
    }

    fn file(mut self, name: &str, data: &str) -> Self {
        let entry = Entry { size: data.len() as u64, ..Entry::new(name, Kind::File, 0o644) };
        self.0.append_data(&entry, &mut data.as_bytes()).expect("an entry");
        self
    }

    fn link(mut self, kind: Kind, name: &str, target: &str) -> Self {
        self.0.append(&Entry { link: target.into(), ..Entry::new(name, kind, 0o777) }).expect("an entry");
        self
    }

    /// All of it is text, the zeros too.
    fn done(self) -> String {
        String::from_utf8(self.0.finish().expect("an archive")).expect("text")
    }
}

/// A directory of the host that nobody may write to.
struct Outside(PathBuf);

impl Outside {
    fn new(c: &Console) -> Self {
        let path = c.path("outside");
        fs::create_dir(&path).expect("a directory");
        fs::write(path.join("secret"), "of the host").expect("a file");
        Self(path)
    }

    /// Archives that try to get there, each with whether it may be accepted: what they write lies inside, then.
    fn attacks(&self) -> Vec<(&'static str, bool, String)> {
        let path = self.0.display().to_string();
        let up = format!("../../../../../../../../../../..{path}");
        let (symlink, hard) = (Kind::Symlink, Kind::HardLink);
        vec![
            ("link", true, Archive::new().link(symlink, "l", &path).file("l/new", "attack").done()),
            ("link up", true, Archive::new().link(symlink, "l", &up).file("l/new", "attack").done()),
            (
                "link to link",
                true,
                Archive::new().link(symlink, "a", &path).link(symlink, "b", "a").file("b/new", "attack").done(),
            ),
            (
                "link to a file",
                true,
                Archive::new().link(symlink, "l", &format!("{path}/secret")).file("l", "attack").done(),
            ),
            ("dots", false, Archive::new().file(&format!("{up}/new"), "attack").done()),
            ("dots inside", false, Archive::new().file(&format!("a/../{up}/new"), "attack").done()),
            ("absolute", true, Archive::new().file(&format!("{path}/new"), "attack").done()),
            ("hard link", false, Archive::new().link(hard, "h", &format!("{path}/secret")).file("h", "attack").done()),
            ("hard link up", false, Archive::new().link(hard, "h", &format!("{up}/secret")).file("h", "attack").done()),
            (
                "hard link by link",
                false,
                Archive::new().link(symlink, "l", &path).link(hard, "h", "l/secret").file("h", "attack").done(),
            ),
            ("whiteout", true, Archive::new().link(symlink, "l", &path).file("l/.wh.secret", "").done()),
            ("opaque", true, Archive::new().link(symlink, "l", &path).file("l/.wh..wh..opq", "").done()),
        ]
    }

    fn assert_untouched(&self, attack: &str) {
        let names: Vec<_> =
            fs::read_dir(&self.0).expect("a directory").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["secret"], "{attack}");
        assert_eq!(fs::read_to_string(self.0.join("secret")).expect("a file"), "of the host", "{attack}");
    }
}

fn console() -> Option<Console> {
    let console = Console::new(Client::Tare);
    console.engine().is_some().then_some(console)
}

#[test]
fn imported_archives() {
    let Some(c) = console() else { return };
    let (outside, file) = (Outside::new(&c), c.path("attack.tar"));
    for (attack, may, archive) in outside.attacks() {
        fs::write(&file, archive).expect("a file");
        let imported = c.run(&format!("import {} attack:latest", file.display()));
        assert!(may || imported.status != 0, "{attack}: {imported}");
        outside.assert_untouched(attack);
    }
}

/// An image whose only layer is the archive, as `docker save` writes it.
fn image(layer: &str) -> String {
    let digest: String = Sha256::digest(layer).iter().map(|byte| format!("{byte:02x}")).collect();
    let config =
        r#"{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["sha256:DIFF"]}}"#;
    let config = config.replace("DIFF", &digest);
    let manifest = r#"[{"Config":"config.json","RepoTags":["attack:latest"],"Layers":["layer.tar"]}]"#;
    Archive::new().file("config.json", &config).file("layer.tar", layer).file("manifest.json", manifest).done()
}

#[test]
fn loaded_archives() {
    let Some(c) = console() else { return };
    let (outside, file) = (Outside::new(&c), c.path("attack.tar"));
    let mut loaded = 0;
    for (attack, may, archive) in outside.attacks() {
        fs::write(&file, image(&archive)).expect("a file");
        let output = c.run(&format!("load -i {}", file.display()));
        assert!(may || output.status != 0, "{attack}: {output}");
        loaded += usize::from(output.status == 0);
        outside.assert_untouched(attack);
    }
    assert!(loaded > 0, "nothing of this is an image");
    // The archive around the image: its own names lead nowhere either, and a file of the host is no part of an image.
    let secret = outside.0.join("secret").display().to_string();
    let manifest =
        |config: &str, layer: &str| format!(r#"[{{"Config":"{config}","RepoTags":null,"Layers":["{layer}"]}}]"#);
    for (attack, archive) in [
        ("config by link", Archive::new().link(Kind::Symlink, "c", &secret).file("manifest.json", &manifest("c", "c"))),
        ("config by path", Archive::new().file("manifest.json", &manifest(&secret, &secret))),
        ("config by dots", Archive::new().file("manifest.json", &manifest(&format!("../../../../..{secret}"), "x"))),
    ] {
        fs::write(&file, archive.done()).expect("a file");
        let refused = c.run(&format!("load -i {}", file.display()));
        assert_ne!(refused.status, 0, "{attack}: {refused}");
        assert!(!refused.stderr.contains("of the host"), "{attack}: {refused}");
        outside.assert_untouched(attack);
    }
}

#[test]
fn archives_copied_into_containers() {
    let Some(c) = console() else { return };
    let outside = Outside::new(&c);
    c.ok("run -d --name box busybox:1.29 sleep 1000");
    c.ok(&format!("exec box ln -s {} /link", outside.0.display()));
    for (attack, may, archive) in outside.attacks() {
        c.ok(&format!("exec box sh -c 'rm -rf /tmp/*; mkdir -p {}'", outside.0.display()));
        for path in ["/tmp", "/link", "/proc/1/root/tmp", "/proc/1/cwd/tmp"] {
            let line = format!("PUT /v1.45/containers/box/archive?path={path}");
            let (status, answer) = c.request(&line, "Content-Type: application/x-tar\r\n", &archive);
            assert!(status == 200 || status >= 400, "{attack}: {answer}");
            assert!(may || status != 200, "{attack}: {answer}");
            assert!(status != 200 || !path.starts_with("/proc"), "{attack}: {path}");
            outside.assert_untouched(attack);
        }
    }
    assert!(!Path::new("/tmp/l").exists() && !Path::new("/tmp/h").exists());
}
