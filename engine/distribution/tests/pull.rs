//! Pulls: messages, sharing, interruption, refusal.

mod common;

use std::sync::atomic::Ordering;

use common::server::Faults;
use common::{Fixture, Messages, Server, compressed, noise, reference, remote, remote_index, tar};
use tare_distribution::{Error, Kind};
use tare_images::oci::{Descriptor, Platform};

fn amd64() -> String {
    Platform::host().architecture
}

/// The future must be fit for a task.
fn sendable<T: Send>(future: T) -> T {
    future
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_comes_with_dockers_messages() {
    let server = Server::start().await;
    let f = Fixture::with_hub(&format!("http://{}", server.address));
    let image = remote(&server, Some("1.0"), &amd64(), &[tar(&[("a", "1")]), tar(&[("b", &noise(1, 200_000))])]);
    let messages = Messages::default();
    let sink = messages.sink();
    let pulled = sendable(f.distribution.pull(&reference("busybox:1.0"), None, None, &sink)).await.unwrap();
    assert!(pulled.newer && pulled.id == image.target.digest);
    let (one, two) = (image.layers[0].short(), image.layers[1].short());
    let steps = messages.steps();
    assert_eq!(steps[0], "1.0: Pulling from library/busybox");
    assert_eq!(steps[1..3], [format!("{one}: Pulling fs layer"), format!("{two}: Pulling fs layer")]);
    for layer in [one, two] {
        let own: Vec<&str> = steps.iter().filter_map(|s| s.strip_prefix(&format!("{layer}: "))).collect();
        assert_eq!(own, ["Pulling fs layer", "Verifying Checksum", "Download complete", "Extracting", "Pull complete"]);
    }
    let end = [format!("Digest: {}", image.target.digest), "Status: Downloaded newer image for busybox:1.0".to_owned()];
    assert_eq!(steps[steps.len() - 2..], end);
    assert_eq!(f.file("busybox:1.0", "a").as_deref(), Some("1"));

    let messages = Messages::default();
    let sink = messages.sink();
    let again = f.distribution.pull(&reference("busybox:1.0"), None, None, &sink).await.unwrap();
    assert!(!again.newer);
    assert_eq!(
        messages.lines(),
        [
            "1.0: Pulling from library/busybox".to_owned(),
            end[0].clone(),
            "Status: Image is up to date for busybox:1.0".to_owned()
        ]
    );
    f.store.sync().unwrap();
    assert_eq!((f.count("ingest"), f.count("layers"), f.count("blobs/sha256")), (0, 3, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_shared_and_moved_names_leave_the_old_image() {
    let server = Server::start().await;
    let f = Fixture::new();
    let base = tar(&[("base", &noise(2, 50_000))]);
    let old = remote(&server, Some("latest"), &amd64(), &[base.clone(), tar(&[("v", "1")])]);
    let name = reference(&server.name("app"));
    f.distribution.pull(&name, None, None, &|_| {}).await.unwrap();
    let new = remote(&server, Some("latest"), &amd64(), &[base, tar(&[("v", "2")])]);
    let messages = Messages::default();
    let sink = messages.sink();
    f.distribution.pull(&name, None, None, &sink).await.unwrap();
    assert!(messages.lines().contains(&format!("{}: Already exists", new.layers[0].short())));
    assert_eq!(f.file(&server.name("app"), "v").as_deref(), Some("2"));
    assert!(f.store.image(&old.target.digest).unwrap().names.is_empty());
    assert_eq!(f.store.list().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_gives_the_platform_asked_for() {
    let server = Server::start().await;
    let f = Fixture::new();
    let mut manifests = Vec::new();
    for architecture in ["s390x", &amd64(), "arm"] {
        manifests.push(remote(&server, None, architecture, &[tar(&[("arch", architecture)])]).target);
    }
    let mut attestation =
        Descriptor::new("application/vnd.oci.image.manifest.v1+json", common::server::digest_of(b"x"), 1);
    attestation.platform =
        Some(Platform { os: "unknown".into(), architecture: "unknown".into(), ..Platform::default() });
    manifests.push(attestation);
    let id = remote_index(&server, "latest", manifests);
    let name = reference(&server.name("multi"));
    let pulled = f.distribution.pull(&name, None, None, &|_| {}).await.unwrap();
    assert_eq!(pulled.id, id, "the image is the index");
    assert_eq!(f.file(&server.name("multi"), "arch"), Some(amd64()));
    let s390x = Platform::parse("linux/s390x").unwrap();
    f.distribution.pull(&name, Some(&s390x), None, &|_| {}).await.unwrap();
    assert_eq!(f.store.resolve_platform(&name.to_string(), Some(&s390x)).unwrap().config.architecture, "s390x");
    let mips = Platform::parse("linux/mips64le").unwrap();
    let error = f.distribution.pull(&name, Some(&mips), None, &|_| {}).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().starts_with("no matching manifest for linux/mips64le in the manifest list entries: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_as_docker_does() {
    let server = Server::start().await;
    let f = Fixture::with_hub(&format!("http://{}", server.address));
    let pull = async |name: &str| f.distribution.pull(&reference(name), None, None, &|_| {}).await.unwrap_err();
    let error = pull("busybox:nope").await;
    let expected =
        "failed to resolve reference \"docker.io/library/busybox:nope\": docker.io/library/busybox:nope: not found";
    assert_eq!((error.to_string().as_str(), error.kind()), (expected, Kind::NotFound));
    assert_eq!(
        (pull("scratch").await.to_string().as_str(), pull("scratch").await.kind()),
        ("'scratch' is a reserved name", Kind::Forbidden)
    );
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = pull(&format!("{gone}/x")).await.to_string();
    assert!(
        error.starts_with(&format!(
            "failed to resolve reference \"{gone}/x:latest\": failed to do request: Head \"https://{gone}/v2/"
        )),
        "{error}"
    );
    assert!(error.ends_with("connect: connection refused"), "{error}");
    assert!(f.store.list().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_pull_leaves_only_what_can_be_resumed() {
    let server = Server::start().await;
    let f = Fixture::new();
    let layer = tar(&[("big", &noise(3, 3_000_000))]);
    let image = remote(&server, Some("latest"), &amd64(), std::slice::from_ref(&layer));
    let size = server.with(|s| s.blobs[&image.layers[0].to_string()].len());
    server.with(|s| s.faults = Faults { stall: Some((100, size / 2)), ..Faults::default() });
    let name = reference(&server.name("app"));
    {
        let messages = Messages::default();
        let sink = messages.sink();
        let mut pull = std::pin::pin!(f.distribution.pull(&name, None, None, &sink));
        let downloaded = || {
            let messages = messages.0.lock().unwrap();
            messages.iter().filter_map(|m| m.progress_detail.as_ref()).any(|d| d.current > 0)
        };
        while !downloaded() {
            tokio::select! {
                _ = &mut pull => panic!("the registry stalls"),
                () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {}
            }
        }
    }
    assert!(f.store.list().is_empty());
    server.with(|s| s.faults = Faults::default());
    // waits for the threads of the first to stop; a second one takes over where it was
    let messages = Messages::default();
    let sink = messages.sink();
    f.distribution.pull(&name, None, None, &sink).await.unwrap();
    assert_eq!(f.file(&server.name("app"), "big").map(|s| s.len()), Some(3_000_000));
    f.store.sync().unwrap();
    assert_eq!((f.count("ingest"), f.count("layers"), f.count("trash")), (0, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_fails_leaves_only_what_another_registry_could_not_do_better() {
    let server = Server::start().await;
    let f = Fixture::new();
    let (large, small) = (tar(&[("big", &noise(3, 3_000_000))]), tar(&[("small", "x")]));
    let image = remote(&server, Some("latest"), &amd64(), &[large, small]);
    let [large, small] = [0, 1].map(|n| image.layers[n].to_string());
    let (size, right) = server.with(|s| (s.blobs[&large].len(), s.blobs[&small].clone()));
    server.with(|s| {
        s.faults = Faults { stall: Some((100, size / 2)), ..Faults::default() };
        let mut wrong = right.to_vec();
        *wrong.last_mut().unwrap() ^= 1;
        s.blobs.insert(small.clone(), wrong.into());
    });
    let name = reference(&server.name("app"));
    let error = f.distribution.pull(&name, None, None, &|_| {}).await.unwrap_err();
    assert!(error.to_string().contains("digest"), "{error}");
    // At once: whoever was at work on it has been waited for.
    assert_eq!((f.count("ingest"), f.count("layers"), f.count("blobs/sha256")), (0, 0, 0));
    f.store.sync().unwrap();
    assert_eq!(f.count("trash"), 0);

    server.with(|s| {
        s.blobs.insert(small.clone(), right);
        s.faults = Faults { stall: Some((100, 100_000)), no_ranges: true, ..Faults::default() };
    });
    let error = f.distribution.pull(&name, None, None, &|_| {}).await.unwrap_err();
    assert!(!error.to_string().contains("digest"), "{error}");
    let part = f.directory.path().join("ingest").join(image.layers[0].hex());
    assert!(std::fs::metadata(&part).unwrap().len() > 0, "the stalled layer is kept");
    f.store.drop_interrupted(std::time::Duration::ZERO);
    assert!(!part.exists());
    server.with(|s| s.faults = Faults::default());
    f.distribution.pull(&name, None, None, &|_| {}).await.unwrap();
    assert_eq!(f.file(&server.name("app"), "small").as_deref(), Some("x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_of_the_same_layers_share_the_transfer() {
    let server = Server::start().await;
    let f = Fixture::new();
    let layers: Vec<Vec<u8>> = (0..4).map(|n| tar(&[("data", &noise(n, 300_000))])).collect();
    remote(&server, Some("latest"), &amd64(), &layers);
    remote(&server, Some("other"), &amd64(), &layers);
    server.with(|s| s.faults.delay = std::time::Duration::from_millis(50));
    let (one, two) = (reference(&server.name("app:latest")), reference(&server.name("app:other")));
    let pulls = [&one, &two, &one, &two].map(|name| f.distribution.pull(name, None, None, &|_| {}));
    for pulled in futures_util::future::join_all(pulls).await {
        pulled.unwrap();
    }
    // four layers and one configuration (both images have the same)
    assert_eq!(server.blob_requests.load(Ordering::SeqCst), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn lies_about_content_are_found_out() {
    let layer = tar(&[("a", "1")]);
    // a blob that is something else than its digest
    let server = Server::start().await;
    let f = Fixture::new();
    let image = remote(&server, Some("latest"), &amd64(), std::slice::from_ref(&layer));
    server.with(|s| {
        let blob = s.blobs.get_mut(&image.layers[0].to_string()).unwrap();
        let mut bytes = blob.to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        *blob = bytes.into();
    });
    let name = reference(&server.name("app"));
    let error = f.distribution.pull(&name, None, None, &|_| {}).await.unwrap_err();
    let told = |error: &Error| error.to_string().starts_with("failed commit on ref \"layer-sha256:");
    assert!(matches!(error, Error::Commit { content: "layer", difference: "digest", .. }) && told(&error), "{error}");
    // one that cannot even be unpacked is fetched to its end all the same: what is wrong must not be resumed
    server.with(|s| {
        let mut bytes = compressed(&layer);
        bytes[12] ^= 0x55;
        s.blobs.insert(image.layers[0].to_string(), bytes.into());
    });
    let error = f.distribution.pull(&name, None, None, &|_| {}).await.unwrap_err();
    assert!(matches!(error, Error::Commit { .. }) && told(&error), "{error}");
    f.store.sync().unwrap();
    assert_eq!((f.count("ingest"), f.count("layers"), f.count("blobs/sha256")), (0, 0, 0));
    server.with(|s| s.blobs.insert(image.layers[0].to_string(), compressed(&layer).into()));
    f.distribution.pull(&name, None, None, &|_| {}).await.unwrap();
    let f = Fixture::new();
    // a configuration that promises another layer
    let server = Server::start().await;
    let image = remote(&server, None, &amd64(), std::slice::from_ref(&layer));
    let (kind, bytes) = server.with(|s| s.manifests[&image.target.digest.to_string()].clone());
    let mut manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let config = format!(
        r#"{{"architecture":"{}","os":"linux","rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
        amd64(),
        "0".repeat(64)
    );
    manifest["config"]["size"] = config.len().into();
    manifest["config"]["digest"] = server.add_blob(config).to_string().into();
    server.add_manifest(Some("latest"), &kind, manifest.to_string());
    let error = f.distribution.pull(&reference(&server.name("app")), None, None, &|_| {}).await.unwrap_err();
    assert!(error.to_string().contains("unexpected layer digest"), "{error}");
    // more layers than the configuration knows
    let server = Server::start().await;
    manifest["layers"] = serde_json::json!([manifest["layers"][0], manifest["layers"][0]]);
    server.add_manifest(Some("latest"), &kind, manifest.to_string());
    let config: Descriptor = serde_json::from_value(manifest["config"].clone()).unwrap();
    server.with(|s| s.blobs.insert(config.digest.to_string(), bytes::Bytes::new()));
    let error = f.distribution.pull(&reference(&server.name("app")), None, None, &|_| {}).await.unwrap_err();
    assert!(matches!(error.kind(), Kind::Internal | Kind::Invalid), "{error}");
    assert!(f.store.list().is_empty());
    f.store.collect().unwrap();
    f.store.sync().unwrap();
    assert_eq!(f.count("layers"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tags_come_one_after_the_other() {
    let server = Server::start().await;
    let f = Fixture::new();
    for tag in ["a", "b", "c"] {
        remote(&server, Some(tag), &amd64(), &[tar(&[("tag", tag)])]);
    }
    let pulled = f.distribution.pull_all_tags(&reference(&server.name("app")), None, None, &|_| {}).await.unwrap();
    assert_eq!(pulled.len(), 3);
    assert_eq!(f.file(&server.name("app:b"), "tag").as_deref(), Some("b"));
}
