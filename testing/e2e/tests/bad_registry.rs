//! Registries that drop connections, lie about sizes and digests, stall, and do not stop: a pull says what is wrong, leaves
//! nothing that is, and the next one from a registry that behaves succeeds.

mod bad;

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use bad::image::{self, Image, digest, put_document};
use bad::{Fault, Registry, Request, answer};
use serde_json::{Value, json};
use tare_testkit::{Client, Console, eventually, with_both_clients, within_patience};

with_both_clients!(
    what_breaks_off_is_taken_up_again,
    trouble_that_passes_is_waited_for,
    lies_are_found_out,
    documents_that_lie_are_found_out,
    what_has_no_end_is_ended,
    who_does_not_let_in_is_not_asked_forever,
    credentials_stay_at_home,
    a_silent_registry_keeps_nobody_who_leaves,
);

/// A registry with an image under `latest`, the image, and the line that pulls it.
fn registry() -> (Registry, Image, String) {
    let registry = Registry::start();
    let image = Image::busybox();
    image.put(&registry, "latest");
    let pull = format!("pull {}/app:latest", registry.address);
    (registry, image, pull)
}

/// Whether a request is for a blob that is as long as the layer.
fn is_layer(image: &Image) -> impl Fn(&Request) -> bool + Send + Sync + 'static {
    let line = format!("GET /v2/app/{}", image.layer_path());
    move |request| request.line == line
}

/// The engine has no image, and nothing that one could be made of.
fn has_nothing(c: &Console) {
    assert_eq!(c.ok("images --quiet --all"), "");
    let Some(engine) = c.engine() else { return };
    let left = || ["ingest", "layers", "blobs/sha256", "trash"].map(|part| engine.stored(&format!("images/{part}")));
    assert!(within_patience(|| left().iter().all(Vec::is_empty)), "{:?}", left());
}

/// The image can be pulled, and runs.
fn pulls(c: &Console, registry: &Registry, pull: &str) {
    registry.behave();
    c.ok(pull);
    assert_eq!(c.ok(&format!("run --rm {} echo well", pull.trim_start_matches("pull "))), "well");
    c.ok(&format!("rmi {}", pull.trim_start_matches("pull ")));
    has_nothing(c);
}

fn what_breaks_off_is_taken_up_again(c: &Console) {
    let (registry, image, pull) = registry();
    let (layer, half) = (is_layer(&image), image.layer.len() / 2);
    let first = is_layer(&image);
    // In the middle of everything: manifest, configuration, layer; and before the answer.
    registry.misbehave(move |request| match (layer(request), request.earlier) {
        (true, 0) => Some(Fault::Cut(half)),
        (true, 1) => Some(Fault::Cut(1000)),
        (false, 0) => Some(Fault::Cut(20)),
        (_, 2) => Some(Fault::Close),
        _ => None,
    });
    c.ok(&pull);
    let ranges: Vec<String> = registry.log().into_iter().filter(|r| first(r)).map(|r| r.range).collect();
    assert_eq!(ranges[0], "");
    assert!(ranges.len() >= 3 && ranges[1].starts_with("bytes=") && !ranges[1].starts_with("bytes=0"), "{ranges:?}");
    c.ok(&format!("rmi {}/app:latest", registry.address));

    // It never gets beyond the half: the pull fails, and what it has is there for the next one.
    let layer = is_layer(&image);
    registry.misbehave(move |request| {
        let fault = if request.range.is_empty() { Fault::Cut(half) } else { Fault::Cut(0) };
        layer(request).then_some(fault)
    });
    let said = c.fails(&pull, 1);
    assert!(said.contains("failed to copy: unexpected EOF"), "{said}");
    assert_eq!(c.ok("images --quiet --all"), "");
    registry.behave();
    c.ok(&pull);
    let log = registry.log();
    let asked: Vec<&Request> = log.iter().filter(|r| first(r)).collect();
    assert!(asked.len() == 1 && asked[0].range.starts_with("bytes="), "{asked:?}");
    pulls(c, &registry, &pull);
}

fn trouble_that_passes_is_waited_for(c: &Console) {
    let (registry, image, pull) = registry();
    let layer = is_layer(&image);
    registry.misbehave(move |request| match request.earlier {
        0 => Some(answer("500 Internal Server Error", "", "oh")),
        1 if layer(request) => Some(answer("429 Too Many Requests", "Retry-After: 1\r\n", "")),
        1 => Some(answer("503 Service Unavailable", "", "")),
        _ => None,
    });
    c.ok(&pull);
    c.ok(&format!("rmi {}/app:latest", registry.address));
    for (status, headers, said, times) in [
        ("500 Internal Server Error", "", "unexpected status from HEAD request to", 5),
        ("429 Too Many Requests", "", "toomanyrequests: slow down", 1),
        // Nobody waits an hour without being told.
        ("429 Too Many Requests", "Retry-After: 3600\r\n", "toomanyrequests: slow down", 1),
    ] {
        let error = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}"#;
        registry.misbehave(move |_| Some(answer(status, headers, error)));
        let all = c.fails(&pull, 1);
        assert!(all.contains("Error response from daemon: ") || all.contains("error"), "{all}");
        assert!(all.contains(said) || all.contains("unexpected status from GET"), "{all}");
        let log = registry.log();
        let most = log.iter().map(|request| request.earlier + 1).max();
        assert_eq!(most, Some(times), "{log:#?}");
    }
    pulls(c, &registry, &pull);
}

fn lies_are_found_out(c: &Console) {
    let (registry, image, pull) = registry();
    let manifest = image.put(&registry, "latest");
    let (layer, wrong) = (image.layer_path(), digest(b"wrong"));
    let flipped = |at: usize| {
        let mut bytes = image.layer.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let text = image.manifest.to_string();
    let of_layer = digest(&image.layer);
    let commit =
        |what: &str, digest: &str| format!("failed commit on ref \"{what}-{digest}\": unexpected commit digest");
    // The layer's bytes, early, and at the very end.
    let mut lies: Vec<(&str, String, Vec<u8>, String)> = vec![
        ("early", layer.clone(), flipped(20), commit("layer", &of_layer)),
        ("late", layer.clone(), flipped(image.layer.len() - 1), commit("layer", &of_layer)),
        ("manifest", format!("manifests/{manifest}"), format!("{text} ").into(), commit("manifest", &manifest)),
    ];
    let shorter = image.layer[..image.layer.len() - 1].to_vec();
    lies.push(("shorter", layer.clone(), shorter, "failed to copy: ".to_owned()));
    lies.push(("longer", layer, [&image.layer[..], b"x"].concat(), "failed to copy: ".to_owned()));
    for (name, path, bytes, said) in lies {
        image.put(&registry, "latest");
        registry.put(path, image::MANIFEST, bytes);
        let all = c.fails(&pull, 1);
        assert!(all.contains(&said), "{name}: {all}");
        if name != "shorter" && name != "longer" {
            has_nothing(c);
        }
    }
    image.put(&registry, "latest");
    // What the head of the answer says about a manifest.
    let heads = [
        (wrong.clone(), text.len(), format!("{wrong}: not found")),
        (
            manifest.clone(),
            text.len() + 1,
            format!("unexpected commit size {}, expected {}", text.len(), text.len() + 1),
        ),
    ];
    for (digest, length, said) in heads {
        registry.misbehave(move |request| {
            let head = format!("Content-Type: {}\r\nDocker-Content-Digest: {digest}\r\n", image::MANIFEST);
            let body = vec![b' '; length];
            (request.line.starts_with("HEAD")).then(|| answer("200 OK", head, body))
        });
        let all = c.fails(&pull, 1);
        assert!(all.contains(&said), "{all}");
    }
    has_nothing(c);
    pulls(c, &registry, &pull);
}

fn documents_that_lie_are_found_out(c: &Console) {
    let (registry, image, pull) = registry();
    let manifest = image.put(&registry, "latest");
    let text = image.manifest.to_string();
    let changed = |change: fn(&mut Value)| {
        let mut manifest = image.manifest.clone();
        change(&mut manifest);
        manifest.to_string()
    };
    // What the manifest says about others.
    let nested = format!("{{\"x\":{}", "[".repeat(100_000));
    let layers = |count: usize| {
        let mut manifest = image.manifest.clone();
        manifest["layers"] = Value::Array(vec![manifest["layers"][0].clone(); count]);
        manifest.to_string()
    };
    for (tag, text, said) in [
        ("size", changed(|m| m["layers"][0]["size"] = json!(7)), "failed to copy: "),
        ("huge", changed(|m| m["layers"][0]["size"] = json!(1_u64 << 60)), "failed to copy: "),
        ("negative", changed(|m| m["layers"][0]["size"] = json!(-1)), "invalid image manifest"),
        ("algorithm", changed(|m| m["layers"][0]["digest"] = json!("md5:00")), "invalid image manifest"),
        ("path", changed(|m| m["layers"][0]["digest"] = json!("sha256:../../../etc/passwd")), "invalid image manifest"),
        ("config", changed(|m| m["config"]["size"] = json!(1_u64 << 40)), "image configuration exceeds"),
        ("more", layers(2), "manifest has 2 layers, configuration 1"),
        ("many", layers(20_000), "max depth exceeded"),
        ("nested", nested, "invalid manifest"),
        ("words", "what?".to_owned(), "invalid manifest"),
        ("empty", String::new(), "invalid manifest"),
    ] {
        put_document(&registry, tag, image::MANIFEST, &text);
        let all = c.fails(&pull.replace(":latest", &format!(":{tag}")), 1);
        assert!(all.contains(said), "{tag}: {all}");
    }
    // Indexes of indexes of indexes.
    let platform = json!({ "os": "linux", "architecture": image::architecture() });
    let (mut inner, mut size) = (manifest, text.len());
    for _ in 0..6 {
        let descriptor = json!({ "mediaType": image::INDEX, "digest": inner, "size": size, "platform": platform });
        let text = json!({ "schemaVersion": 2, "mediaType": image::INDEX, "manifests": [descriptor] }).to_string();
        (inner, size) = (put_document(&registry, "deep", image::INDEX, &text), text.len());
    }
    let all = c.fails(&pull.replace(":latest", ":deep"), 1);
    assert!(all.contains("indexes nested too deep"), "{all}");
    has_nothing(c);
    pulls(c, &registry, &pull);
}

fn what_has_no_end_is_ended(c: &Console) {
    let (registry, image, pull) = registry();
    let Some(engine) = c.engine() else { return };
    let proc = |file: &str| format!("/proc/{}/{file}", engine.pid());
    c.fails(&pull.replace(":latest", ":warm"), 1);
    // From here on the highest use of memory is counted anew.
    std::fs::write(proc("clear_refs"), "5").expect("clear_refs");
    let kind = format!("Content-Type: {}\r\n", image::MANIFEST);
    for (start, said) in
        [("GET /v2/app/manifests/", "manifest exceeds 8388608 bytes"), ("GET /v2/app/blobs/", "failed")]
    {
        for byte in [b' ', b'['] {
            let kind = kind.clone();
            registry
                .misbehave(move |request| request.line.starts_with(start).then(|| Fault::Endless(kind.clone(), byte)));
            let all = c.fails(&pull, 1);
            assert!(all.contains(said), "{all}");
        }
    }
    registry.behave();
    // Much out of little: a file that is not what was said; and a window that no layer needs.
    let (packed, diff_id) = image::bomb(512 << 20);
    assert!(packed.len() < 1 << 20);
    Image::of(packed, &digest(diff_id.as_bytes())).put(&registry, "bomb");
    let all = c.fails(&pull.replace(":latest", ":bomb"), 1);
    assert!(all.contains("unexpected layer digest"), "{all}");
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    Image::of(window.to_vec(), &diff_id).put(&registry, "window");
    let all = c.fails(&pull.replace(":latest", ":window"), 1);
    assert!(all.contains("failed to extract layer"), "{all}");
    let status = std::fs::read_to_string(proc("status")).expect("status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).expect("VmHWM");
    assert!(peak < 160 << 10, "{peak} kB");
    drop(image);
    has_nothing(c);
    pulls(c, &registry, &pull);
}

fn who_does_not_let_in_is_not_asked_forever(c: &Console) {
    let (registry, _, pull) = registry();
    let address = registry.address.clone();
    let denied =
        format!("pull access denied for {address}/app, repository does not exist or may require 'docker login'");
    let bearer = |rest: &str| format!("WWW-Authenticate: Bearer realm=\"http://{address}/token\"{rest}\r\n");
    // Tokens that are never enough; answers of the token server that are none.
    for (challenge, token, said) in [
        (bearer(""), answer("200 OK", "", r#"{"token":"t"}"#), denied.as_str()),
        (bearer(",error=\"insufficient_scope\""), answer("200 OK", "", r#"{"token":"t"}"#), &denied),
        (bearer(""), answer("200 OK", "", "<html>"), "invalid token answer"),
        (bearer(""), answer("200 OK", "", "{}"), "authorization server did not include a token"),
        (bearer(""), answer("200 OK", "", "[".repeat(100_000)), "invalid token answer"),
        (bearer(""), answer("200 OK", "", r#"{"token":"a\r\nEvil: yes"}"#), "invalid token answer"),
        (bearer(""), answer("403 Forbidden", "", "no"), &denied),
        (bearer(""), answer("500 Internal Server Error", "", "no"), "500 Internal Server Error"),
        (bearer(""), Fault::Endless(String::new(), b'x'), "token answer exceeds 1048576 bytes"),
        (bearer(""), Fault::Close, "EOF"),
        ("WWW-Authenticate: Bearer realm=\"::\"\r\n".to_owned(), Fault::Close, "invalid token answer"),
        (
            "WWW-Authenticate: Basic realm=\"x\"\r\n".to_owned(),
            Fault::Close,
            "authorization failed: no basic auth credentials",
        ),
        ("WWW-Authenticate: Negotiate\r\n".to_owned(), Fault::Close, &denied),
        (String::new(), Fault::Close, &denied),
    ] {
        let shown = format!("{challenge:?} {token:?}");
        registry.misbehave(move |request| match request.line.starts_with("GET /token") {
            true => Some(token.clone()),
            false => Some(answer("401 Unauthorized", challenge.clone(), "")),
        });
        let all = c.fails(&pull, 1);
        assert!(all.contains(said), "{shown:.200}: {all}");
        assert!(registry.log().len() < 20, "{}", registry.log().len());
    }
    // In circles, and out of HTTP.
    for (to, said) in [("/v2/app/blobs/circle", "stopped after 10 redirects"), ("ftp://127.0.0.1/", "")] {
        registry.misbehave(move |_| Some(answer("307 Temporary Redirect", format!("Location: {to}\r\n"), "")));
        let all = c.fails(&pull, 1);
        assert!(all.contains(said), "{all}");
        assert!(registry.log().len() < 40, "{}", registry.log().len());
    }
    has_nothing(c);
    pulls(c, &registry, &pull);
}

fn credentials_stay_at_home(c: &Console) {
    let (registry, image, pull) = registry();
    let elsewhere = Registry::start();
    image.put(&elsewhere, "latest");
    std::fs::create_dir_all(c.path("config")).expect("configuration");
    let auths = json!({ "auths": { registry.address.clone(): { "auth": "bWU6c2VjcmV0" } } });
    std::fs::write(c.path("config/config.json"), auths.to_string()).expect("configuration");
    let to = elsewhere.address.clone();
    registry.misbehave(move |request| match request.authorization.as_str() {
        "Basic bWU6c2VjcmV0" if request.line.starts_with("GET /v2/app/blobs/") => {
            let path = request.line.trim_start_matches("GET ");
            Some(answer("307 Temporary Redirect", format!("Location: http://{to}{path}\r\n"), ""))
        }
        "Basic bWU6c2VjcmV0" => None,
        _ => Some(answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", "")),
    });
    c.ok(&pull);
    let log = elsewhere.log();
    assert_eq!(log.len(), 2, "configuration and layer: {log:?}");
    assert!(log.iter().all(|request| request.authorization.is_empty()), "{log:?}");
    c.ok(&format!("rmi {}/app:latest", registry.address));
    // Whoever it is that asks for them.
    elsewhere.misbehave(|_| Some(answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", "")));
    let all = c.fails(&pull, 1);
    assert!(all.contains("pull access denied for "), "{all}");
    assert!(elsewhere.log().iter().all(|request| request.authorization.is_empty()), "{:?}", elsewhere.log());
}

fn a_silent_registry_keeps_nobody_who_leaves(c: &Console) {
    let (registry, image, pull) = registry();
    let half = image.layer.len() / 2;
    for (start, stall) in [
        ("HEAD /v2/app/manifests/", None),
        ("GET /v2/app/manifests/", Some(5)),
        ("GET /v2/app/blobs/", None),
        ("GET /v2/app/blobs/", Some(half)),
    ] {
        registry.misbehave(move |request| request.line.starts_with(start).then_some(Fault::Stall(stall)));
        let mut terminal = c.terminal(&pull);
        eventually("the registry to be asked", || registry.log().into_iter().find(|r| r.line.starts_with(start)));
        terminal.send("\u{3}");
        let status = terminal.wait();
        // The docker client says 0 to that, now and then.
        assert!(status != 0 || c.client() == Client::Docker, "{}", terminal.seen());
        eventually("the engine to leave", || registry.gone().into_iter().find(|line| line.starts_with(start)));
        // It has not lost its patience, which would look the same.
        let asked = registry.log().iter().filter(|r| r.line.starts_with(start) && r.earlier > 0).count();
        assert_eq!(asked, 0, "{:#?}", registry.log());
    }
    // A client that is gone without a word.
    let Some(engine) = c.engine() else { return };
    registry.misbehave(|request| request.line.starts_with("HEAD").then_some(Fault::Stall(None)));
    let mut stream = UnixStream::connect(engine.host().trim_start_matches("unix://")).expect("the engine");
    let name = format!("{}/app", registry.address);
    let request = format!("POST /images/create?fromImage={name}&tag=latest HTTP/1.1\r\nHost: d\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the engine listens");
    eventually("the registry to be asked", || registry.log().into_iter().next());
    drop(stream);
    eventually("the engine to leave", || registry.gone().into_iter().next());
    assert!(!engine.said().contains("timeout awaiting"), "{}", engine.said());
    pulls(c, &registry, &pull);
}

#[test]
fn a_registry_that_says_nothing_is_given_up() {
    let c = &Console::new(Client::Docker);
    let (registry, _, pull) = registry();
    registry.misbehave(|request| request.line.starts_with("HEAD").then_some(Fault::Stall(None)));
    let all = c.fails(&pull, 1);
    assert!(all.contains("net/http: timeout awaiting response headers"), "{all}");
    pulls(c, &registry, &pull);
}
