//! The client against registries that work, refuse and misbehave.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use common::{Faults, Protection, Server, digest_of};
use tare_reference::{Digest, Reference};
use tare_registry::{Access, Config, Credentials, Error, Registry, Repository, Upload};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn config() -> Config {
    Config {
        certificates: Vec::new(),
        backoff: Duration::from_millis(1),
        stall: Duration::from_millis(300),
        ..Config::default()
    }
}

fn reference(name: &str) -> Reference {
    Reference::parse_normalized(name).unwrap()
}

fn repository(server: &Server, access: Access) -> Repository {
    Registry::new(config()).repository(&reference(&server.name("app")), None, access)
}

fn login(user: &str, password: &str) -> Option<Credentials> {
    Some(Credentials { username: user.to_owned(), password: password.to_owned(), ..Credentials::default() })
}

async fn fetch(repository: &Repository, digest: &Digest, size: usize, offset: u64) -> Result<Vec<u8>, Error> {
    let mut blob = repository.blob(digest, size as u64, offset);
    let mut all = Vec::new();
    while let Some(chunk) = blob.chunk().await? {
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

/// Where nobody listens.
fn unused_address() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from((i * 2_654_435_761) >> 13 & 0xff).unwrap()).collect()
}

#[tokio::test]
async fn tags_are_resolved_and_manifests_verified() {
    let server = Server::start().await;
    let body = r#"{"schemaVersion":2}"#;
    let digest = server.add_manifest(Some("v1"), MANIFEST, body);
    let repository = repository(&server, Access::Pull);
    let resolved = repository.resolve("v1").await.unwrap();
    assert_eq!((resolved.digest.clone(), resolved.size), (digest.clone(), body.len() as u64));
    assert_eq!(resolved.media_type, MANIFEST);
    let document = repository.manifest(digest.as_str()).await.unwrap();
    assert_eq!((document.bytes, document.media_type.as_str()), (Bytes::from(body), MANIFEST));
    // https was tried once; after that the registry is known to speak plain HTTP
    let log = server.log();
    assert_eq!(log, ["HEAD /v2/app/manifests/v1".to_owned(), format!("GET /v2/app/manifests/{digest}")]);

    let missing = repository.resolve("nope").await.unwrap_err();
    assert_eq!(missing.to_string(), format!("{}/app:nope: not found", server.address));
    server.with(|s| s.faults.no_digest = true);
    assert_eq!(repository.resolve("v1").await.unwrap().digest, digest);
    server.with(|s| {
        let (kind, _) = s.manifests[&digest.to_string()].clone();
        s.manifests.insert(digest.to_string(), (kind, Bytes::from_static(b"{}")));
    });
    let error = repository.manifest(digest.as_str()).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
}

#[tokio::test]
async fn schema_1_is_refused_and_unhelpful_types_are_seen_through() {
    let server = Server::start().await;
    let repository = repository(&server, Access::Pull);
    server.add_manifest(Some("old"), "application/vnd.docker.distribution.manifest.v1+prettyjws", "{}");
    server.add_manifest(Some("older"), "application/json", r#"{"schemaVersion":1}"#);
    for tag in ["old", "older"] {
        let error = repository.resolve(tag).await.unwrap_err().to_string();
        let expected = format!("Suggest the author of {}/app:{tag} to upgrade the image", server.address);
        assert!(error.starts_with("Docker Image Format v1 and Docker Image manifest version 2, schema 1"), "{error}");
        assert!(error.contains(&expected), "{error}");
    }
    server.add_manifest(Some("plain"), "text/plain", r#"{"schemaVersion":2,"manifests":[]}"#);
    assert_eq!(repository.resolve("plain").await.unwrap().media_type, INDEX);
    server.add_manifest(Some("junk"), "text/html", "<html>");
    assert!(matches!(repository.resolve("junk").await, Err(Error::Malformed { .. })));
}

#[tokio::test]
async fn every_page_of_tags_is_read() {
    let server = Server::start().await;
    for tag in ["a", "b", "c", "d", "e"] {
        server.add_manifest(Some(tag), MANIFEST, tag);
    }
    assert_eq!(repository(&server, Access::Pull).tags().await.unwrap(), ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn tokens_are_fetched_once() {
    let server = Server::start().await;
    let digest = server.add_manifest(Some("v1"), MANIFEST, r#"{"schemaVersion":2}"#);
    server.with(|s| s.protection = Protection::Token { login: None, refused: Default::default() });
    let registry = Registry::new(config());
    let repository = registry.repository(&reference(&server.name("app")), None, Access::Pull);
    repository.resolve("v1").await.unwrap();
    repository.manifest(digest.as_str()).await.unwrap();
    let again = registry.repository(&reference(&server.name("app")), None, Access::Pull);
    again.resolve("v1").await.unwrap();
    let log = server.log();
    assert_eq!(log.iter().filter(|l| l.contains("/token")).count(), 1, "{log:#?}");
    let request = log.iter().find(|l| l.contains("/token")).unwrap();
    assert!(request.starts_with("GET /token?service=test&scope=repository%3Aapp%3Apull"), "{request}");
    assert_eq!(log.iter().filter(|l| l.starts_with("HEAD")).count(), 3, "one refusal, then straight through");
}

#[tokio::test]
async fn credentials_are_posted_and_refusals_are_told() {
    let server = Server::start().await;
    server.add_manifest(Some("v1"), MANIFEST, r#"{"schemaVersion":2}"#);
    let refused = ["anonymous".to_owned()].into();
    server.with(|s| s.protection = Protection::Token { login: Some("u:p".to_owned()), refused });
    let registry = Registry::new(config());
    let name = reference(&server.name("app"));
    let of = |credentials| registry.repository(&name, credentials, Access::Pull);
    of(login("u", "p")).resolve("v1").await.unwrap();
    assert!(server.log().iter().any(|l| l.starts_with("POST /token")));
    let refresh = Credentials { identity_token: "good".to_owned(), ..Credentials::default() };
    of(Some(refresh)).resolve("v1").await.unwrap();
    let expected = format!(
        "pull access denied for {}/app, repository does not exist or may require 'docker login'",
        server.address
    );
    for credentials in [None, login("u", "wrong")] {
        assert_eq!(of(credentials).resolve("v1").await.unwrap_err().to_string(), expected);
    }
    let push = registry.repository(&name, login("u", "wrong"), Access::Push);
    let error = push.begin_upload(&digest_of(b"x"), None).await.err().unwrap();
    assert!(matches!(error, Error::PushDenied(_)), "{error}");
}

#[tokio::test]
async fn basic_authentication_works() {
    let server = Server::start().await;
    server.add_manifest(Some("v1"), MANIFEST, r#"{"schemaVersion":2}"#);
    server.with(|s| s.protection = Protection::Basic("u:p".to_owned()));
    let registry = Registry::new(config());
    let name = reference(&server.name("app"));
    registry.repository(&name, login("u", "p"), Access::Pull).resolve("v1").await.unwrap();
    let error = registry.repository(&name, None, Access::Pull).resolve("v1").await.unwrap_err();
    assert_eq!(error.to_string(), "authorization failed: no basic auth credentials");
    let error = registry.repository(&name, login("u", "x"), Access::Pull).resolve("v1").await.unwrap_err();
    assert!(matches!(error, Error::PullDenied(_)), "{error}");
    let address = server.address.to_string();
    assert_eq!(registry.login(&address, &login("u", "p").unwrap()).await.unwrap(), "");
    let error = registry.login(&address, &login("u", "x").unwrap()).await.unwrap_err().to_string();
    assert!(error.ends_with("/v2/\": unauthorized: authentication required"), "{error}");
}

#[tokio::test]
async fn login_gives_an_identity_token() {
    let server = Server::start().await;
    server.with(|s| s.protection = Protection::Token { login: Some("u:p".to_owned()), refused: Default::default() });
    let registry = Registry::new(config());
    let address = format!("http://{}/", server.address);
    assert_eq!(registry.login(&address, &login("u", "p").unwrap()).await.unwrap(), "good");
    let error = registry.login(&address, &login("u", "x").unwrap()).await.unwrap_err().to_string();
    assert_eq!(error, format!("Get \"http://{}/v2/\": unauthorized: incorrect username or password", server.address));
}

#[tokio::test]
async fn an_absent_registry_is_named() {
    let gone = unused_address();
    let repository = Registry::new(config()).repository(&reference(&format!("{gone}/app")), None, Access::Pull);
    let error = repository.resolve("v1").await.unwrap_err().to_string();
    let expected = format!(
        "failed to do request: Head \"https://{gone}/v2/app/manifests/v1\": dial tcp {gone}: connect: connection refused"
    );
    assert_eq!(error, expected);
    let repository = Registry::new(config()).repository(&reference("no.such.host.invalid/app"), None, Access::Pull);
    let error = repository.resolve("v1").await.unwrap_err().to_string();
    assert!(error.contains("Head \"https://no.such.host.invalid/v2/app/manifests/v1\": dial tcp: lookup "), "{error}");
}

#[tokio::test]
async fn broken_transfers_are_resumed() {
    let data = noise(300_000);
    let faults = [
        Faults { cut: Some((3, 50_000)), ..Faults::default() },
        Faults { stall: Some((1, 70_000)), ..Faults::default() },
        Faults { errors: 3, ..Faults::default() },
        Faults { cut: Some((2, 100_000)), no_ranges: true, ..Faults::default() },
        // progress resets the count of attempts
        Faults { cut: Some((12, 20_000)), ..Faults::default() },
    ];
    for (i, fault) in faults.into_iter().enumerate() {
        let server = Server::start().await;
        let digest = server.add_blob(data.clone());
        server.with(|s| s.faults = fault);
        let repository = repository(&server, Access::Pull);
        assert!(fetch(&repository, &digest, data.len(), 0).await.unwrap() == data, "fault {i}");
        assert!(fetch(&repository, &digest, data.len(), 1234).await.unwrap() == data[1234..], "fault {i}");
    }
}

#[tokio::test]
async fn hopeless_transfers_end() {
    let data = noise(1000);
    for (fault, attempts) in [
        (Faults { errors: 100, ..Faults::default() }, 5),
        (Faults { cut: Some((100, 0)), ..Faults::default() }, 5),
        (Faults { length: 1, ..Faults::default() }, 1),
        (Faults { length: -1, ..Faults::default() }, 1),
    ] {
        let server = Server::start().await;
        let digest = server.add_blob(data.clone());
        server.with(|s| s.faults = fault);
        let error = fetch(&repository(&server, Access::Pull), &digest, data.len(), 0).await.unwrap_err();
        assert_eq!(server.blob_requests.load(Ordering::SeqCst), attempts, "{error}");
    }
    let server = Server::start().await;
    let error = fetch(&repository(&server, Access::Pull), &digest_of(b"x"), 1, 0).await.unwrap_err();
    assert!(matches!(error, Error::NotFound(_)), "{error}");
}

#[tokio::test]
async fn who_drips_is_given_up_and_who_takes_long_is_not() {
    let data = noise(5000);
    let server = Server::start().await;
    let digest = server.add_blob(data.clone());
    server.with(|s| s.faults.drip = Some(Duration::from_millis(20)));
    let error = fetch(&repository(&server, Access::Pull), &digest, data.len(), 0).await.unwrap_err();
    assert_eq!(error.to_string(), "failed to copy: less than 1024 bytes in 300ms");
    assert_eq!(server.blob_requests.load(Ordering::SeqCst), 5);
    // an upload of which something goes all the time, for longer than anyone may be silent
    let repository = repository(&server, Access::Push);
    let (whole, digest) = (noise(10), digest_of(&noise(10)));
    let bytes = whole.into_iter().map(|byte| Bytes::from(vec![byte]));
    let content = futures_util::stream::unfold(bytes, |mut bytes| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        bytes.next().map(|byte| (Ok(byte), bytes))
    });
    let Upload::Wanted(place) = repository.begin_upload(&digest, None).await.unwrap() else { panic!() };
    repository.upload(place, &digest, 10, content).await.unwrap();
    assert_eq!(server.with(|s| s.blobs[&digest.to_string()].len()), 10);
}

#[tokio::test]
async fn trouble_that_passes_is_waited_for() {
    let server = Server::start().await;
    let repository = repository(&server, Access::Pull);
    let error = |after: Option<u64>| Error::TooManyRequests {
        message: "slow down".to_owned(),
        after: after.map(Duration::from_secs),
    };
    for (error, left) in [(error(None), 0), (error(Some(0)), 4), (error(Some(3600)), 0), (Error::NoBasicCredentials, 0)]
    {
        let mut attempts = repository.attempts();
        let mut count = 0;
        while attempts.pause_after(error.clone()).await.is_ok() {
            count += 1;
        }
        assert_eq!(count, left, "{error}");
    }
}

#[tokio::test]
async fn large_blobs_are_fetched_in_parts() {
    let data = noise(20 << 20);
    for no_ranges in [false, true] {
        let server = Server::start().await;
        let digest = server.add_blob(data.clone());
        server.with(|s| {
            s.faults = Faults { cut: Some((2, 1 << 20)), no_ranges, ..Faults::default() };
        });
        let config = Config { split_above: 1 << 20, ..config() };
        let repository = Registry::new(config).repository(&reference(&server.name("app")), None, Access::Pull);
        assert!(fetch(&repository, &digest, data.len(), 5).await.unwrap() == data[5..]);
        assert!(server.blob_requests.load(Ordering::SeqCst) >= 3);
    }
}

#[tokio::test]
async fn redirects_lose_the_authorization() {
    let (server, elsewhere) = (Server::start().await, Server::start().await);
    let data = noise(5000);
    let digest = server.add_blob(data.clone());
    elsewhere.add_blob(data.clone());
    server.with(|s| {
        s.protection = Protection::Token { login: None, refused: Default::default() };
        s.faults.redirect = Some(format!("http://{}/v2/x/blobs/", elsewhere.address));
    });
    assert!(fetch(&repository(&server, Access::Pull), &digest, data.len(), 0).await.unwrap() == data);
    assert!(server.with(|s| s.log.last().unwrap().1));
    assert_eq!(elsewhere.with(|s| s.log.clone()), [(format!("GET /v2/x/blobs/{digest}"), false)]);
}

#[tokio::test]
async fn mirrors_come_first_and_may_fail() {
    let (mirror, hub) = (Server::start().await, Server::start().await);
    let digest = hub.add_manifest(Some("latest"), MANIFEST, r#"{"schemaVersion":2}"#);
    let gone = unused_address();
    let config = Config {
        mirrors: vec![format!("http://{gone}"), format!("http://{}/", mirror.address)],
        hub: format!("http://{}", hub.address),
        ..config()
    };
    let repository = Registry::new(config).repository(&reference("busybox"), login("u", "p"), Access::Pull);
    assert_eq!(repository.resolve("latest").await.unwrap().digest, digest);
    assert_eq!(mirror.log(), ["HEAD /v2/library/busybox/manifests/latest?ns=docker.io"]);
    assert_eq!(hub.log(), ["HEAD /v2/library/busybox/manifests/latest"]);
    mirror.add_manifest(Some("latest"), MANIFEST, r#"{"schemaVersion":2}"#);
    repository.resolve("latest").await.unwrap();
    assert_eq!(hub.log().len(), 1, "a mirror that has it is enough");
    let error = repository.resolve("nope").await.unwrap_err();
    assert_eq!(error.to_string(), "docker.io/library/busybox:nope: not found", "the hub's word counts");
}

#[tokio::test]
async fn blobs_and_manifests_are_pushed() {
    let server = Server::start().await;
    let (known, mounted, new) = (server.add_blob("known"), digest_of(b"mounted"), digest_of(b"new!"));
    server.with(|s| s.mountable.insert(mounted.to_string()));
    let repository = repository(&server, Access::Push);
    let other = reference(&server.name("other"));
    assert!(matches!(repository.begin_upload(&known, None).await.unwrap(), Upload::Exists));
    assert!(matches!(repository.begin_upload(&mounted, Some(&other)).await.unwrap(), Upload::Mounted));
    let content = || futures_util::stream::iter([Ok(Bytes::from_static(b"ne")), Ok(Bytes::from_static(b"w!"))]);
    let Upload::Wanted(place) = repository.begin_upload(&new, Some(&other)).await.unwrap() else { panic!() };
    repository.upload(place, &new, 4, content()).await.unwrap();
    assert_eq!(server.with(|s| s.blobs[&new.to_string()].clone()), "new!");
    let Upload::Wanted(place) = repository.begin_upload(&digest_of(b"else"), None).await.unwrap() else { panic!() };
    let error = repository.upload(place, &digest_of(b"else"), 4, content()).await.unwrap_err().to_string();
    assert!(error.contains("400 Bad Request: digest invalid: provided digest did not match"), "{error}");
    repository.put_manifest("v1", MANIFEST, Bytes::from_static(b"{}")).await.unwrap();
    assert_eq!(server.with(|s| s.tags["v1"].clone()), digest_of(b"{}").to_string());
}

#[tokio::test]
async fn networks_are_insecure_by_address() {
    let config = Config { insecure: vec!["10.0.0.0/8".to_owned(), "reg.example:5000".to_owned()], ..config() };
    for insecure in ["localhost:5000", "127.0.0.1", "127.8.8.8:1", "[::1]:5000", "10.1.2.3:5000", "reg.example:5000"] {
        assert!(config.is_insecure(insecure), "{insecure}");
    }
    for secure in ["docker.io", "11.0.0.1", "reg.example", "localhost.example", "[::2]:5000"] {
        assert!(!config.is_insecure(secure), "{secure}");
    }
}

#[tokio::test]
async fn loopback_may_have_any_certificate_and_certs_d_is_read() {
    let server = Server::start_tls().await;
    let digest = server.add_manifest(Some("v1"), MANIFEST, r#"{"schemaVersion":2}"#);
    let repository = repository(&server, Access::Pull);
    assert_eq!(repository.resolve("v1").await.unwrap().digest, digest);
    let config = Config { hub: format!("https://{}", server.address), ..config() };
    let authority = tempfile::tempdir().unwrap();
    let of_host = authority.path().join(server.address.to_string());
    std::fs::create_dir(&of_host).unwrap();
    std::fs::write(of_host.join("ca.crt"), "not a certificate").unwrap();
    let config = Config { certificates: vec![authority.path().to_owned()], ..config };
    let hub = Registry::new(config.clone()).repository(&reference("busybox"), None, Access::Pull);
    let error = hub.resolve("v1").await.unwrap_err().to_string();
    assert!(error.ends_with("ca.crt: no certificate in it"), "{error}");
    std::fs::write(of_host.join("ca.crt"), include_str!("common/localhost.crt")).unwrap();
    std::fs::write(of_host.join("client.cert"), include_str!("common/localhost.crt")).unwrap();
    let hub = Registry::new(config.clone()).repository(&reference("busybox"), None, Access::Pull);
    let error = hub.resolve("v1").await.unwrap_err().to_string();
    assert!(
        error.starts_with("missing key ") && error.ends_with("CA certificates must use the extension .crt"),
        "{error}"
    );
    std::fs::write(of_host.join("client.key"), include_str!("common/localhost.key")).unwrap();
    let hub = Registry::new(config).repository(&reference("busybox"), None, Access::Pull);
    assert_eq!(hub.resolve("v1").await.unwrap().digest, digest);
}

#[tokio::test]
async fn search_asks_the_registry_in_the_term() {
    let server = Server::start().await;
    let registry = Registry::new(config());
    let found = registry.search(&format!("{}/some thing", server.address), 3, None).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].name.as_str(), found[0].star_count, found[0].is_official), ("library/thing", 7, true));
    assert_eq!(server.log(), ["GET /v1/search?q=some+thing&n=3"]);
}
