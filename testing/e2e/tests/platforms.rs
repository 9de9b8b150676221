//! Images for other machines than this one, and for several.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tare_archive::{Entry, Kind, Writer};
use tare_testkit::{Console, with_both_clients};

with_both_clients!(an_image_for_several_platforms, an_image_for_another_platform);

/// Two that are not this machine's everywhere.
const PLATFORMS: [&str; 2] = ["riscv64", "s390x"];

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// An archive of files.
fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (name, content) in files {
        let entry = Entry { size: content.len() as u64, ..Entry::new(name.as_str(), Kind::File, 0o644) };
        writer.append_data(&entry, &mut content.as_slice()).expect("an archive");
    }
    writer.finish().expect("an archive")
}

/// An OCI layout of an image `several` for [`PLATFORMS`], each with a file that names its platform.
fn several() -> Vec<u8> {
    let mut files = Vec::new();
    let mut put = |content: Vec<u8>, media: &str| {
        let (digest, size) = (digest(&content), content.len());
        files.push((format!("blobs/sha256/{}", &digest[7..]), content));
        json!({ "mediaType": format!("application/vnd.oci.image.{media}"), "digest": digest, "size": size })
    };
    let mut manifests = Vec::new();
    for architecture in PLATFORMS {
        let layer = archive(&[("platform".to_owned(), architecture.into())]);
        let config = json!({ "architecture": architecture, "os": "linux", "config": { "Cmd": ["x"] },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] } });
        let config = put(config.to_string().into(), "config.v1+json");
        let manifest = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": [put(layer, "layer.v1.tar")] });
        let mut descriptor = put(manifest.to_string().into(), "manifest.v1+json");
        descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
        manifests.push(descriptor);
    }
    let index = |manifests: &[Value]| json!({ "schemaVersion": 2, "manifests": manifests });
    let mut image = put(index(&manifests).to_string().into(), "index.v1+json");
    image["annotations"] = json!({ "io.containerd.image.name": "docker.io/library/several:latest" });
    files.push(("index.json".to_owned(), index(&[image]).to_string().into()));
    files.push(("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
    archive(&files)
}

fn an_image_for_several_platforms(c: &Console) {
    std::fs::write(c.path("several.tar"), several()).expect("a file");
    let load = |c: &Console, options: &str| c.ok(&format!("load -q {options} -i several.tar"));
    assert_eq!(load(c, ""), "Loaded image: several:latest");
    let [first, second] = PLATFORMS;
    for architecture in PLATFORMS {
        c.ok(&format!("create --platform linux/{architecture} --name of-{architecture} several"));
        c.ok(&format!("cp of-{architecture}:/platform taken"));
        assert_eq!(std::fs::read_to_string(c.path("taken")).expect("the file"), architecture);
        let manifest = "{{json .ImageManifestDescriptor.platform}}";
        let told = c.ok(&format!("inspect --format '{manifest}' of-{architecture}"));
        let told: Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!(told, json!({ "os": "linux", "architecture": architecture }));
    }
    let refused = c.fails("create --platform linux/mips64le --pull never several", 1);
    let words = "image with reference several was found but does not provide the specified platform (linux/mips64le)";
    assert!(refused.contains(words), "{refused}");
    // The image has an identity, and so has each platform's.
    let whole: Value = serde_json::from_str(&c.ok("image inspect several")).expect("JSON");
    assert!(whole[0]["Descriptor"]["platform"].is_null(), "{whole}");
    let line = format!("image inspect --platform linux/{second} several");
    let one: Value = serde_json::from_str(&c.ok(&line)).expect("JSON");
    assert_eq!(one[0]["Descriptor"]["platform"], json!({ "os": "linux", "architecture": second }));
    assert_eq!(one[0]["Descriptor"]["digest"], one[0]["Id"]);
    assert!(one[0]["Id"] != whole[0]["Id"] && one[0]["Architecture"] == second, "{one}");
    let refused = c.fails("image inspect --platform linux/mips64le several", 1);
    assert!(refused.contains("does not provide the specified platform (linux/mips64le)"), "{refused}");
    // One platform is saved by itself.
    c.ok(&format!("save --platform linux/{second} -o second.tar several"));
    c.ok(&format!("rm of-{first} of-{second}"));
    c.ok("rmi several");
    c.ok("load -q -i second.tar");
    assert_eq!(
        c.ok("image inspect --format '{{.Architecture}} {{.Id}}' several"),
        format!("{second} {}", text(&one[0]["Id"]))
    );
    c.fails(&format!("create --platform linux/{first} --pull never several"), 1);
    c.ok("rmi several");
    // And of an archive one is asked for: the other one does not stay.
    load(c, &format!("--platform linux/{second}"));
    c.fails(&format!("create --platform linux/{first} --pull never several"), 1);
    c.ok(&format!("create --platform linux/{second} --name of-{second} several"));
    c.ok(&format!("rm of-{second}"));
    let refused = c.fails("load -q --platform linux/mips64le -i several.tar", 1);
    assert!(refused.contains("doesn't provide the requested platform"), "{refused}");
    // One of two goes by itself, the last one with the image.
    load(c, "");
    let refused = c.fails(&format!("rmi --platform linux/{first} several"), 1);
    assert!(refused.contains("Content will be removed from all images referencing this variant."), "{refused}");
    // Whoever forces it is content when there is none.
    let refused = c.run("rmi --force --platform linux/mips64le several");
    assert!(refused.stderr.contains("does not provide the specified platform (linux/mips64le)"), "{refused}");
    let gone = c.ok(&format!("rmi --force --platform linux/{first} several"));
    assert!(gone.starts_with("Deleted: sha256:") && gone.lines().count() == 1, "{gone}");
    c.fails(&format!("create --platform linux/{first} --pull never several"), 1);
    assert_eq!(c.ok("image inspect --format {{.Architecture}} several"), second);
    let gone = c.ok(&format!("rmi --force --platform linux/{second} several"));
    assert!(gone.starts_with("Untagged: several:latest\nDeleted: sha256:"), "{gone}");
    c.fails("image inspect several", 1);
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn an_image_for_another_platform(c: &Console) {
    std::fs::write(c.path("root.tar"), archive(&[("x".to_owned(), b"x".to_vec())])).expect("a file");
    c.ok("import --platform linux/s390x root.tar other");
    assert_eq!(c.ok("image inspect --format '{{.Os}}/{{.Architecture}}' other"), "linux/s390x");
    let warned = c.run("create --name box other true");
    assert_eq!(warned.status, 0, "{warned}");
    assert!(warned.stderr.contains("The requested image's platform (linux/s390x) does not match"), "{warned}");
    let platform = "{{.ImageManifestDescriptor.platform.architecture}} {{.Platform}}";
    assert_eq!(c.ok(&format!("inspect --format '{platform}' box")), "s390x linux");
    // Of its platform is what is made of it.
    c.ok("commit box made");
    assert_eq!(c.ok("image inspect --format {{.Architecture}} made"), "s390x");
    c.ok("save --platform linux/s390x -o saved.tar other");
    assert!(c.fails("save --platform linux/riscv64 -o saved.tar other", 1).contains("does not provide the specified"));
}
