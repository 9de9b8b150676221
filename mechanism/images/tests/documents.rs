//! Documents read leniently, platforms chosen, names kept.

use proptest::prelude::*;
use tare_images::names::{decode, encode};
use tare_images::oci::{Descriptor, Platform, media, parse_config, parse_index, parse_manifest};
use tare_images::{BadPlatform, ImageRecord};
use tare_reference::{Digest, Reference};

fn platform(s: &str) -> Platform {
    Platform::parse(s).unwrap()
}

#[test]
fn old_and_careless_configurations_are_read() {
    let config = parse_config(
        br#"{"architecture":"amd64","os":"linux","created":null,"container":"x","docker_version":"1",
        "config":{"Env":null,"Cmd":null,"Entrypoint":"/x","Volumes":null,"Labels":null,"ExposedPorts":{"80/tcp":{}},
        "Memory":0,"OnBuild":[],"Healthcheck":{"Test":["NONE"]},"User":null},
        "rootfs":{"type":"layers"},"history":null,"variant":null}"#,
    )
    .unwrap();
    assert_eq!(config.config.entrypoint.as_deref(), Some(["/x".to_owned()].as_slice()));
    assert_eq!((config.config.cmd, config.config.env.len(), config.rootfs.diff_ids.len()), (None, 0, 0));
    assert_eq!(config.config.healthcheck.unwrap().test, ["NONE"]);
    assert!(parse_config(b"{}").is_ok() && parse_config(br#"{"config":null,"rootfs":null}"#).is_ok());
    for bad in [r#"{"rootfs":{"diff_ids":["sha256:x"]}}"#, r#"{"config":3}"#, "", "null", "3"] {
        assert!(parse_config(bad.as_bytes()).is_err(), "{bad}");
    }
    let manifest = parse_manifest(br#"{"schemaVersion":2,"config":{"digest":"md5:x","size":1},"layers":[]}"#);
    assert_eq!(
        manifest.unwrap_err().to_string(),
        "invalid image manifest: unsupported digest algorithm: \"md5:x\" at line 1 column 45"
    );
}

#[test]
fn platforms_are_parsed_and_normalised() {
    for (given, expected) in [
        ("linux/amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("aarch64", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("armhf", "linux/arm/v7"),
        ("Linux/AMD64/v2", "linux/amd64/v2"),
        ("windows/amd64", "windows/amd64"),
    ] {
        assert_eq!(platform(given).to_string(), expected);
    }
    assert_eq!(platform("linux").os, "linux");
    let error = |s: &str| Platform::parse(s).unwrap_err();
    assert_eq!(error("foo").to_string(), "\"foo\": unknown operating system or architecture: invalid argument");
    assert!(matches!(error("a/b/c/d"), BadPlatform::Specifier(_)));
    assert!(matches!(error("linux/a b"), BadPlatform::Specifier(_)));
    assert!(matches!(error(""), BadPlatform::Specifier(_)));
}

#[test]
fn the_nearest_platform_is_chosen() {
    let of = |platforms: &[&str]| -> Vec<Descriptor> {
        let describe = |(i, p): (usize, &&str)| {
            let mut descriptor =
                Descriptor::new(media::OCI_MANIFEST, Digest::from_sha256(&[u8::try_from(i).unwrap(); 32]), 1);
            let mut parts = p.split('/');
            let mut next = || parts.next().unwrap_or_default().to_owned();
            let (os, architecture, variant) = (next(), next(), next());
            descriptor.platform = Some(Platform { os, architecture, variant, ..Platform::default() });
            descriptor
        };
        platforms.iter().enumerate().map(describe).collect()
    };
    let choose = |wanted: &str, offered: &[&str]| {
        let offered = of(offered);
        platform(wanted).select(&offered).map(|d| d.platform.clone().unwrap().to_string())
    };
    let some = |s: &str| Some(s.to_owned());
    assert_eq!(choose("linux/amd64", &["unknown/unknown", "linux/386", "linux/amd64"]), some("linux/amd64"));
    assert_eq!(choose("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"]), some("linux/arm64/v8"));
    assert_eq!(choose("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm64"]), some("linux/arm/v6"));
    assert_eq!(choose("linux/arm/v6", &["linux/arm/v7"]), None, "newer instructions do not run");
    assert_eq!(choose("linux/arm64", &["linux/arm/v7"]), some("linux/arm/v7"));
    assert_eq!(choose("linux/amd64", &["linux/amd64/v3"]), None);
    assert_eq!(choose("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2"]), some("linux/amd64/v2"));
    assert_eq!(choose("linux/amd64", &["windows/amd64"]), None);
    let mut unnamed = of(&["linux/s390x", "linux/s390x"]);
    unnamed[1].platform = None;
    assert_eq!(platform("linux/amd64").select(&unnamed), Some(&unnamed[1]), "better than nothing");
}

#[test]
fn names_survive_the_index() {
    let target = Descriptor::new(media::OCI_INDEX, Digest::from_sha256(&[7; 32]), 42);
    let record = |name: Option<&str>| ImageRecord {
        name: name.map(|n| Reference::parse_normalized(n).unwrap()),
        target: target.clone(),
        updated: "2026-01-02T03:04:05Z".to_owned(),
        parent: name.map(|_| Digest::from_sha256(&[8; 32])),
    };
    let records = [record(Some("busybox:1.36")), record(None), record(Some("x.org/a/b:t"))];
    let bytes = encode(&records).unwrap();
    assert_eq!(decode(&bytes).unwrap(), records);
    // any tool for OCI layouts can read it
    let index = parse_index(&bytes).unwrap();
    assert_eq!(index.manifests[0].annotations["org.opencontainers.image.ref.name"], "1.36");
    assert_eq!(index.manifests[0].annotations["io.containerd.image.name"], "docker.io/library/busybox:1.36");
    assert!(decode(b"").is_err());
}

proptest! {
    #[test]
    fn documents_never_panic(text in "[\\[\\]{}\":,a-z0-9]{0,60}", noise in proptest::collection::vec(any::<u8>(), 0..60)) {
        for bytes in [text.as_bytes(), &noise] {
            let _ = (parse_index(bytes), parse_manifest(bytes), parse_config(bytes), decode(bytes));
        }
        let _ = Platform::parse(&text);
    }
}
