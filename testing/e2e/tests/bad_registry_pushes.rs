//! Pushes to registries that refuse, break off, lie and stall: what is wrong is said, the image stays, and a registry that
//! behaves gets it whole.

mod bad;

use bad::image::{Image, digest};
use bad::{Fault, Registry, answer};
use serde_json::json;
use tare_testkit::{Client, Console, eventually, with_both_clients};

with_both_clients!(
    what_breaks_off_is_sent_again,
    refusals_are_told,
    uploads_elsewhere_get_no_credentials,
    a_silent_registry_keeps_nobody_who_leaves,
);

/// A registry, an image that is here under its name, and the line that pushes it.
fn registry(c: &Console) -> (Registry, Image, String) {
    let (registry, image) = (Registry::start(), Image::busybox());
    let name = format!("{}/app:latest", registry.address);
    c.ok("pull busybox:1.29");
    c.ok(&format!("tag busybox:1.29 {name}"));
    (registry, image, format!("push {name}"))
}

/// It can be pushed, and all of it arrives.
fn pushes(c: &Console, registry: &Registry, image: &Image, push: &str) {
    registry.behave();
    c.ok(push);
    assert_eq!(registry.has(&image.layer_path()), Some(image.layer.clone()));
    let manifest = registry.has("manifests/latest").expect("the manifest");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&manifest).expect("JSON"), image.manifest);
}

fn what_breaks_off_is_sent_again(c: &Console) {
    let (registry, image, push) = registry(c);
    registry.misbehave(|request| match request.earlier {
        0 if request.line.starts_with("POST") => Some(Fault::Close),
        0 => Some(answer("500 Internal Server Error", "", "oh")),
        _ => None,
    });
    c.ok(&push);
    assert_eq!(registry.has(&image.layer_path()), Some(image.layer.clone()));
    assert!(registry.has("manifests/latest").is_some());
    pushes(c, &registry, &image, &push);
}

fn refusals_are_told(c: &Console) {
    let (registry, image, push) = registry(c);
    let basic = "WWW-Authenticate: Basic realm=\"x\"\r\n";
    let bearer = format!("WWW-Authenticate: Bearer realm=\"http://{}/token\"\r\n", registry.address);
    let code = |code: &str, text: &str| format!(r#"{{"errors":[{{"code":"{code}","message":"{text}"}}]}}"#);
    let denied = "push access denied, repository does not exist or may require authorization: server message: ";
    for (start, fault, said) in [
        ("HEAD", answer("401 Unauthorized", basic, ""), "no basic auth credentials"),
        ("HEAD", answer("401 Unauthorized", bearer, ""), "404 Not Found"),
        ("POST", answer("401 Unauthorized", "", ""), denied),
        ("POST", answer("403 Forbidden", "", code("DENIED", "not you")), "server message: denied: not you"),
        ("POST", answer("202 Accepted", "", ""), "no Location header"),
        ("POST", answer("202 Accepted", "Location: http://:x/\r\n", ""), "invalid upload location"),
        ("POST", answer("202 Accepted", "Location: file:///etc/passwd\r\n", ""), ""),
        ("POST", answer("500 Internal Server Error", "", "oh"), "500 Internal Server Error: oh"),
        ("PUT /v2/x/blobs", answer("400 Bad Request", "", code("DIGEST_INVALID", "no")), "digest invalid: no"),
        ("PUT /v2/x/blobs", answer("413 Payload Too Large", "", ""), "413 Payload Too Large"),
        (
            "PUT /v2/x/blobs",
            answer("307 Temporary Redirect", "Location: /v2/x/blobs/uploads/2\r\n", ""),
            "307 Temporary Redirect",
        ),
        (
            "PUT /v2/app/manifests",
            answer("400 Bad Request", "", code("MANIFEST_INVALID", "no")),
            "manifest invalid: no",
        ),
        ("PUT /v2/app/manifests", Fault::Endless(String::new(), b'x'), ""),
        ("PUT /v2/app/manifests", Fault::Close, "EOF"),
    ] {
        let shown = format!("{start} {fault:?}");
        registry.misbehave(move |request| request.line.starts_with(start).then(|| fault.clone()));
        let output = c.run(&push);
        // An answer that never ends was a success all the same.
        let is_success = shown.contains("Endless");
        assert_eq!(output.status == 0, is_success, "{shown}: {output}");
        assert!((output.stdout.clone() + &output.stderr).contains(said), "{shown}: {output}");
        assert!(registry.log().len() < 60, "{shown}: {}", registry.log().len());
    }
    pushes(c, &registry, &image, &push);
}

fn uploads_elsewhere_get_no_credentials(c: &Console) {
    let (registry, image, push) = registry(c);
    let elsewhere = Registry::start();
    std::fs::create_dir_all(c.path("config")).expect("configuration");
    let auths = json!({ "auths": { registry.address.clone(): { "auth": "bWU6c2VjcmV0" } } });
    std::fs::write(c.path("config/config.json"), auths.to_string()).expect("configuration");
    let to = elsewhere.address.clone();
    registry.misbehave(move |request| match request.authorization.as_str() {
        "Basic bWU6c2VjcmV0" if request.line.starts_with("POST") => {
            Some(answer("202 Accepted", format!("Location: http://{to}/v2/x/blobs/uploads/1\r\n"), ""))
        }
        "Basic bWU6c2VjcmV0" => None,
        _ => Some(answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", "")),
    });
    c.ok(&push);
    let log = elsewhere.log();
    assert_eq!(log.len(), 2, "configuration and layer: {log:?}");
    assert!(log.iter().all(|request| request.authorization.is_empty()), "{log:?}");
    assert_eq!(elsewhere.has(&image.layer_path()), Some(image.layer.clone()));
    assert_eq!(elsewhere.has(&format!("blobs/{}", digest(&image.config))), Some(image.config.clone()));
}

fn a_silent_registry_keeps_nobody_who_leaves(c: &Console) {
    let (registry, image, push) = registry(c);
    for start in ["HEAD", "POST", "PUT /v2/x/blobs", "PUT /v2/app/manifests"] {
        registry.misbehave(move |request| request.line.starts_with(start).then_some(Fault::Stall(None)));
        let mut terminal = c.terminal(&push);
        eventually("the registry to be asked", || registry.log().into_iter().find(|r| r.line.starts_with(start)));
        terminal.send("\u{3}");
        let status = terminal.wait();
        // The docker client says 0 to that, now and then.
        assert!(status != 0 || c.client() == Client::Docker, "{}", terminal.seen());
        eventually("the engine to leave", || registry.gone().into_iter().find(|line| line.starts_with(start)));
        // It has not lost its patience, which would look the same.
        assert!(c.engine().is_none_or(|engine| !engine.said().contains("timeout awaiting")));
    }
    pushes(c, &registry, &image, &push);
}
