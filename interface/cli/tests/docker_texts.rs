//! What docker's client (29.8) prints for the same answers of a daemon, byte for byte; what it says of mistakes.

mod support;

use serde_json::{Value, json};
use support::{Answer, Daemon, Run, tare};

/// A daemon with one of everything.
fn daemon() -> Daemon {
    Daemon::start(|_, seen| {
        let (method, target) = seen.line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match (method, path) {
            ("GET", "/containers/json") => Answer::Json(200, containers()),
            ("GET", "/system/df") => Answer::Json(200, usage(query)),
            ("GET", "/events") => Answer::Body("application/json", Vec::new(), EVENT.as_bytes().to_vec()),
            ("GET", "/info") => Answer::Json(200, info()),
            ("GET", "/version") => Answer::Json(200, json!({"Version": "29.1.0", "ApiVersion": "1.55"})),
            ("GET", "/volumes/v") => {
                Answer::Json(200, json!({"Name": "v", "Driver": "local", "Labels": null, "Options": null}))
            }
            ("GET", "/containers/web/changes") => Answer::Json(200, json!([{"Path": "/a", "Kind": 1}])),
            ("GET", "/containers/web/json") => Answer::Json(200, json!({"NetworkSettings": {"Ports": {}}})),
            ("POST", "/networks/create") => Answer::Json(201, json!({"Id": "n1"})),
            _ => Answer::Json(404, json!({"message": "page not found"})),
        }
    })
}

fn containers() -> Value {
    let platform = json!({"os": "linux", "architecture": "arm64", "variant": "v8"});
    json!([
        {"Id": "a", "Names": ["/web"], "Image": "nginx", "Command": "nginx", "State": "running", "Status": "Up",
         "ImageManifestDescriptor": {"mediaType": "m", "digest": "d", "size": 1, "platform": platform}},
        {"Id": "b", "Names": ["/db"], "Image": "mysql", "Command": "mysqld", "State": "exited", "Status": "Exited"},
    ])
}

const EVENT: &str = r#"{"status":"start","id":"c","from":"nginx","Type":"container","Action":"start","Actor":{"ID":"c",
    "Attributes":{"name":"web","image":"nginx"}},"scope":"local","time":0,"timeNano":0}"#;

fn usage(query: &str) -> Value {
    let mut document = json!({
        "ImageUsage": {"ActiveCount": 0, "TotalCount": 2, "Reclaimable": 12, "TotalSize": 24},
        "ContainerUsage": {}, "VolumeUsage": {}, "BuildCacheUsage": {"TotalCount": 2, "TotalSize": 77},
    });
    if query.contains("verbose=1") {
        document["ImageUsage"]["Items"] = json!([
            {"Id": "sha256:f1", "RepoTags": ["nginx:1", "other:2"], "RepoDigests": ["nginx@sha256:aa"], "Size": 12},
            {"Id": "sha256:f2", "RepoTags": [], "RepoDigests": ["lost@sha256:bb"], "Size": 12},
        ]);
        let cache = |id: &str, used: Value| {
            json!({"ID": id, "Type": "regular", "Description": "step", "CreatedAt": "2024-05-06T07:08:09Z",
                "LastUsedAt": used, "Size": 77})
        };
        document["BuildCacheUsage"]["Items"] =
            json!([cache("late", json!("2024-05-07T07:08:09Z")), cache("never", Value::Null)]);
    }
    document
}

fn info() -> Value {
    json!({"Name": "host", "CDISpecDirs": ["/etc/cdi"], "DiscoveredDevices": [{"Source": "cdi", "ID": "x.com/gpu=0"}],
        "DefaultAddressPools": [{"Base": "10.0.0.0/8", "Size": 24}]})
}

fn shown(line: &[&str]) -> String {
    shown_with(&daemon(), line, "")
}

fn shown_with(daemon: &Daemon, line: &[&str], input: &'static str) -> String {
    let Run { code, out, err } = tare(daemon, line, input.as_bytes());
    let err = if err.is_empty() { err } else { format!("--- stderr\n{err}") };
    let code = if code == 0 { String::new() } else { format!("--- exit {code}\n") };
    format!("{out}{err}{code}")
}

#[test]
fn platforms_of_containers() {
    assert_eq!(shown(&["ps", "-a", "--format", "{{.Names}} {{.Platform}}"]), "web linux/arm64/v8\ndb <nil>\n");
    let json = shown(&["ps", "-a", "--format", "{{json .Platform}}"]);
    assert_eq!(json, "{\"architecture\":\"arm64\",\"os\":\"linux\",\"variant\":\"v8\"}\nnull\n");
}

#[test]
fn disk_usage() {
    let raw = shown(&["system", "df", "-v", "--format", "raw"]);
    let images = raw.split("type: Build Cache\n").next().unwrap();
    assert!(images.starts_with("type: Image\nrepository: nginx\ntag: 1\ndigest: \nimage_id: sha256:f1\n"), "{images}");
    assert!(images.contains("\n\ntype: Image\nrepository: <none>\ntag: <none>\ndigest: \nimage_id: sha256:f2\n"));
    let ids: Vec<&str> = raw.lines().filter_map(|line| line.strip_prefix("build_cache_id: ")).collect();
    assert_eq!(ids, ["never", "late"]);
    let used: Vec<&str> = raw.lines().filter_map(|line| line.strip_prefix("last_used_at: ")).collect();
    assert_eq!(used, ["", "2024-05-07 07:08:09 +0000 UTC"]);
    let caches = shown(&["system", "df", "-v", "--format", r"{{range .BuildCache}}{{.ID}} {{.CreatedAt}}|{{end}}"]);
    assert_eq!(caches, "never 2024-05-06 07:08:09 +0000 UTC|late 2024-05-06 07:08:09 +0000 UTC|");
    insta::assert_snapshot!(shown(&["system", "df", "--format", "{{.Nope}}"]), @r#"
    --- stderr
    template parsing error: template: :1:2: executing "" at <.Nope>: can't evaluate field Nope in type *formatter.diskUsageImagesContext
    --- exit 1
    "#);
}

#[test]
fn events_are_written_anew() {
    let json = "{\"Type\":\"container\",\"Action\":\"start\",\"Actor\":{\"ID\":\"c\",\"Attributes\":{\"image\":\"nginx\",\
                \"name\":\"web\"}},\"scope\":\"local\"}\n";
    let line = ["events", "--since", "1", "--until", "2", "--format"];
    let with = |format: &'static str| shown(&[line.as_slice(), &[format]].concat());
    assert_eq!(with("json"), json);
    assert_eq!(with("{{json .}}"), json);
    assert_eq!(with("{{.Actor.Attributes.image}} {{.Time}}"), "nginx 0\n");
    insta::assert_snapshot!(with("{{.Status}}"), @r#"
    --- stderr
    Error parsing format: template: :1:2: executing "" at <.Status>: can't evaluate field Status in type *events.Message
    --- exit 64
    "#);
}

#[test]
fn info_and_version() {
    let text = shown(&["info"]);
    assert!(text.contains(" CDI spec directories:\n  /etc/cdi\n Discovered Devices:\n  cdi: x.com/gpu=0\n Swarm:"));
    assert_eq!(shown(&["info", "--format", "{{.DefaultAddressPools}}"]), "[{10.0.0.0/8 24}]\n");
    insta::assert_snapshot!(shown(&["info", "--format", "{{.Nope}}"]), @r#"

    --- stderr
    template: :1:2: executing "" at <.Nope>: can't evaluate field Nope in type system.dockerInfo
    --- exit 1
    "#);
    insta::assert_snapshot!(shown(&["version", "--format", "{{.Server.Nope}}"]), @r#"

    --- stderr
    template: version:1:9: executing "version" at <.Server.Nope>: can't evaluate field Nope in type *system.serverVersion
    --- exit 1
    "#);
    insta::assert_snapshot!(shown(&["version", "--format", "{{.ID"]), @r"
    --- stderr
    template parsing error: template: version:1: unclosed action
    --- exit 64
    ");
}

#[test]
fn what_is_null_stays_null() {
    assert_eq!(shown(&["volume", "inspect", "-f", "{{json .Labels}} {{len .Options}}", "v"]), "null 0\n");
}

#[test]
fn a_no_is_no_mistake() {
    let daemon = daemon();
    let asked = shown_with(&daemon, &["volume", "prune"], "n\n");
    let question = "WARNING! This will remove anonymous local volumes not used by at least one container.\nAre you sure \
                    you want to continue? [y/N] ";
    assert_eq!(asked, question);
    assert!(!daemon.lines().contains("prune"));
}

#[test]
fn mistakes() {
    let cases: &[(&[&str], &str)] = &[
        (&["rename", "", "x"], "failed to rename container: invalid container name or ID: value is empty"),
        (&["rename", "web", " "], "failed to rename container: new name cannot be blank"),
        (&["port", "web", "abc"], "invalid port 'abc': invalid syntax"),
        (&["context", "use"], "accepts 1 arg(s), received 0"),
        (
            &["export", "-o", "/nosuch/dir/x", "web"],
            "failed to export container: invalid output path: stat /nosuch/dir: no such file or directory",
        ),
        (
            &["export", "-o", "/dev/null/x", "web"],
            "failed to export container: invalid output path: stat /dev/null: not a directory",
        ),
        (&["save", "-o", "/tmp", "x"], "failed to save image: cannot write to a directory"),
        (&["save", "-o", "/dev/null", "x"], "failed to save image: cannot write to a character device file"),
    ];
    for (line, text) in cases {
        assert_eq!(shown(line), format!("--- stderr\n{text}\n--- exit 1\n"), "{line:?}");
    }
}
