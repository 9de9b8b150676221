//! Where a build goes, with buildx: into a directory, an archive, a registry. The cases for directories and archives of files
//! pass against any of Docker's engines; the others want one with the image store of containerd, as version 29 has it.

mod bad;
mod buildx;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use bad::image::Image;
use bad::{Registry, answer};
use buildx::Buildx;
use serde_json::json;
use tare_testkit::Output;

const FILES: &str = "FROM busybox:1.29 AS made\n\
    RUN mkdir -p /out/deep/empty && echo text >/out/deep/file && chmod 750 /out/deep/file && chown 7:8 /out/deep/file \
    && ln -s deep/file /out/link && ln /out/deep/file /out/hard && : >/out/none && touch -d @1500000000 /out/deep/file \
    && mkdir /out/deep.d && seq 1 100000 >/out/deep.d/long\n\
    FROM scratch\nCOPY --from=made /out /\n";

#[test]
fn files_go_into_a_directory() {
    let b = Buildx::new();
    b.files(&[("Dockerfile", FILES), ("out/kept", "k")]);
    let said = b.ok("build --progress plain --output out .");
    assert!(said.contains("exporting to client directory") || b.c.engine().is_none(), "{said}");
    assert!(said.contains("copying files"), "{said}");
    let out = |name: &str| b.c.path(&format!("context/out/{name}"));
    assert_eq!(fs::read_to_string(out("deep/file")).expect("file"), "text\n");
    assert_eq!(fs::read_to_string(out("kept")).expect("what was there stays"), "k");
    assert_eq!(fs::read_to_string(out("deep.d/long")).expect("file").lines().count(), 100_000);
    assert_eq!(fs::read_link(out("link")).expect("link").to_str(), Some("deep/file"));
    let file = fs::metadata(out("deep/file")).expect("metadata");
    assert_eq!((file.permissions().mode() & 0o777, file.mtime()), (0o750, 1_500_000_000));
    assert_eq!(file.ino(), fs::metadata(out("hard")).expect("metadata").ino());
    assert!(out("deep/empty").is_dir() && out("none").is_file());
    // No image comes of it.
    assert_eq!(b.c.ok("images --quiet --filter dangling=true"), "");
}

#[test]
fn files_go_into_an_archive() {
    let b = Buildx::new();
    b.files(&[("Dockerfile", FILES)]);
    let said = b.ok("build --progress plain --output type=tar,dest=out.tar .");
    assert!(said.contains("sending tarball") && said.contains(" done\n"), "{said}");
    let listed = Output::of("tar", std::process::Command::new("tar").arg("tvf").arg(b.c.path("context/out.tar")));
    assert_eq!(listed.status, 0, "{listed}");
    for line in ["-rwxr-x--- 7/8", "deep/file", "link -> deep/file", "deep/empty/"] {
        assert!(listed.stdout.contains(line), "{line} in {listed}");
    }
    // `-` is standard output.
    let piped = b.run("build --quiet --output - .");
    assert!(piped.status == 0 && piped.stdout.len() > 500_000, "{} {}", piped.status, piped.stderr);
}

#[test]
fn images_go_into_archives() {
    let b = Buildx::new();
    b.files(&[("Dockerfile", "FROM busybox:1.29\nRUN echo archived >/f\nCMD cat /f\n")]);
    for kind in ["docker", "oci"] {
        b.ok(&format!("build --output type={kind},dest={kind}.tar -t archived:{kind} ."));
        assert_eq!(b.c.ok(&format!("images --quiet archived:{kind}")), "", "only the archive has the name");
        b.c.ok(&format!("load --input {}", b.c.path(&format!("context/{kind}.tar")).display()));
        assert_eq!(b.c.ok(&format!("run --rm archived:{kind}")), "archived");
    }
    // Where nothing says where, it is an image here.
    b.ok("buildx build --load -t loaded .");
    assert_eq!(b.c.ok("run --rm loaded"), "archived");
}

#[test]
fn registries_ask_for_the_clients_credentials() {
    let b = Buildx::new();
    let registry = Registry::start();
    let host = registry.address.clone();
    Image::busybox().put(&registry, "private");
    let asks = || answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", "");
    registry.misbehave(move |request| (request.authorization != "Basic bWU6c2VjcmV0").then(asks));
    b.files(&[("Dockerfile", &format!("FROM {host}/base:private\nRUN echo of mine >/f\n"))]);
    let build = format!("build --push -t {host}/made:tagged .");
    let said = b.fails(&build);
    assert!(said.contains("401 Unauthorized") || said.contains("no basic auth credentials"), "{said}");
    assert!(registry.has("manifests/tagged").is_none());
    let auths = json!({ "auths": { host.clone(): { "auth": "bWU6c2VjcmV0" } } });
    fs::write(b.c.path("config/config.json"), auths.to_string()).expect("configuration");
    b.ok(&build);
    let manifest = registry.has("manifests/tagged").expect("the manifest");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    for layer in manifest["layers"].as_array().expect("layers") {
        let path = format!("blobs/{}", layer["digest"].as_str().expect("a digest"));
        assert!(registry.has(&path).is_some(), "{path} of {manifest}");
    }
    // Nothing of it is kept here for others.
    fs::remove_file(b.c.path("config/config.json")).expect("configuration");
    b.c.ok(&format!("rmi {host}/made:tagged {host}/base:private"));
    b.fails(&build);
}

#[test]
fn what_an_exporter_has_not_is_named() {
    let b = Buildx::new();
    if b.c.engine().is_none() {
        // BuildKit has it.
        return;
    }
    b.files(&[("Dockerfile", "FROM busybox:1.29\n")]);
    for (output, why) in [
        ("type=image,name=x,compression=zstd", "compression=zstd of the exporter \"moby\""),
        ("type=image,name=x,annotation.a=b", "annotation.a=b of the exporter \"moby\""),
        ("type=oci,dest=out,tar=false", "tar=false of the exporter \"oci\""),
        ("type=image,name=x,rewrite-timestamp=true", "rewrite-timestamp=true of the exporter \"moby\""),
    ] {
        let said = b.fails(&format!("build --output {output} ."));
        assert!(said.contains(&format!("{why} is not supported by this engine")), "{output}: {said}");
    }
}
