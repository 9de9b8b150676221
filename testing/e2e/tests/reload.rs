//! The daemon's configuration file is read again on SIGHUP.

use std::time::SystemTime;

use serde_json::{Value, json};
use tare_testkit::{Client, Console, Engine, eventually, install};

/// An engine whose registry comes with its file, if at all.
fn console(client: Client, options: &[&str]) -> Console {
    Console::of(client, Engine::start(options))
}

/// Has the file read again, and waits until the daemon has said what came of it.
fn reload(c: &Console, settings: &str, answer: &str) {
    let engine = c.engine().expect("an engine");
    let count = || engine.said().matches(answer).count();
    let before = count();
    engine.reload(settings);
    eventually(answer, || (count() > before).then_some(()));
}

fn info(c: &Console, form: &str) -> Value {
    serde_json::from_str(&c.ok(&format!("info --format '{{{{json {form}}}}}'"))).expect("JSON")
}

/// What reloads were told, oldest first.
fn told(c: &Console) -> Vec<Value> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
    let until = format!("{}.{:09}", now.as_secs(), now.subsec_nanos());
    let form = "--filter type=daemon --filter event=reload --format '{{json .}}'";
    let events = c.ok(&format!("events --since 1h --until {until} {form}"));
    let events = events.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    events.inspect(|event: &Value| assert_eq!(event["Type"], "daemon")).map(|event| event["Actor"].clone()).collect()
}

const DONE: &str = "Reloaded configuration";
const FAILED: &str = "Error reloading configuration";

fn settings_change(client: Client) {
    let c = console(client, &[]);
    assert_eq!(info(&c, ".RegistryConfig.Mirrors"), json!([]));
    let mirror = install::mirror();
    let file = json!({
        "registry-mirrors": [mirror], "insecure-registries": ["10.1.2.3/8", "r.example:5000"], "labels": ["a=b"],
        "debug": true, "max-concurrent-downloads": 1, "default-shm-size": "1m", "mtu": 1400,
    });
    reload(&c, &file.to_string(), DONE);
    assert!(c.engine().expect("an engine").said().contains("mtu cannot be changed while the daemon runs"));
    assert_eq!((info(&c, ".Labels"), info(&c, ".Debug")), (json!(["a=b"]), json!(true)));
    let slash = format!("{mirror}/");
    assert_eq!(
        info(&c, ".RegistryConfig"),
        json!({
            "InsecureRegistryCIDRs": ["10.0.0.0/8", "::1/128", "127.0.0.0/8"],
            "IndexConfigs": {
                "docker.io": {"Name": "docker.io", "Mirrors": [slash], "Secure": true, "Official": true},
                "r.example:5000": {"Name": "r.example:5000", "Mirrors": [], "Secure": false, "Official": false},
            },
            "Mirrors": [slash],
        })
    );
    let text = c.ok("info");
    let shown = format!(
        " Insecure Registries:\n  r.example:5000\n  10.0.0.0/8\n  ::1/128\n  127.0.0.0/8\n Registry Mirrors:\n  {slash}\n"
    );
    assert!(text.contains(&shown), "{text}");
    c.ok("pull -q busybox:1.29");
    assert_eq!(c.ok("run --rm busybox:1.29 sh -c 'df -k /dev/shm | tail -1 | tr -s \" \" | cut -d\" \" -f2'"), "1024");
    // What the file no longer names stays, but for the limits of transfers.
    reload(&c, "{}", DONE);
    assert_eq!((info(&c, ".Labels"), info(&c, ".Debug")), (json!(["a=b"]), json!(true)));
    assert_eq!(info(&c, ".RegistryConfig.Mirrors"), json!([slash]));
    let [first, second] = told(&c).try_into().expect("two events");
    assert_eq!(first["ID"], info(&c, ".ID"));
    let mut attributes = json!({
        "name": info(&c, ".Name"), "debug": "true", "labels": "[\"a=b\"]", "max-concurrent-downloads": "1",
        "max-concurrent-uploads": "5", "max-download-attempts": "5", "shutdown-timeout": "15", "features": "map[]",
        "insecure-registries": "[\"10.1.2.3/8\",\"r.example:5000\"]", "registry-mirrors": format!("[\"{mirror}\"]"),
        "default-shm-size": "1048576", "default-ipc-mode": "private", "live-restore": "true", "runtimes": "",
        "default-runtime": "tare", "default-cgroupns-mode": first["Attributes"]["default-cgroupns-mode"],
    });
    assert_eq!(first["Attributes"], attributes);
    attributes["max-concurrent-downloads"] = json!("3");
    assert_eq!(second["Attributes"], attributes);
}

#[test]
fn settings_change_for_tare() {
    settings_change(Client::Tare);
}

#[test]
fn settings_change_for_docker() {
    settings_change(Client::Docker);
}

/// Whatever is wrong with the file, everything stays as it is.
#[test]
fn mistakes_change_nothing() {
    let c = console(Client::Tare, &["--label", "from=flag", "--max-concurrent-downloads", "7"]);
    let engine = c.engine().expect("an engine");
    for (file, why) in [
        ("{", "EOF while parsing an object"),
        (r#"{"nope": 1}"#, "the following directives don't match any configuration option: nope"),
        (
            r#"{"debug": true, "labels": ["a=b"]}"#,
            "the following directives are specified both as a flag and in the configuration file: labels: (from flag: \
             [from=flag], from file: [a=b])",
        ),
        (
            r#"{"debug": true, "registry-mirrors": ["m:5000"]}"#,
            "file configuration validation failed: invalid mirror: no scheme specified for \"m:5000\"",
        ),
        (r#"{"debug": true, "live-restore": false}"#, "live-restore cannot be turned off"),
        (r#"{"debug": true, "bip": "10.0.0.1"}"#, "file configuration validation failed: invalid --bip \"10.0.0.1\""),
    ] {
        reload(&c, file, FAILED);
        let said = engine.said();
        let last = said.lines().rfind(|line| line.contains(FAILED)).expect("the daemon's answer");
        // The message is in quotation marks.
        assert!(last.contains(&why.replace('"', "\\\"")), "{last}");
    }
    assert_eq!((info(&c, ".Labels"), info(&c, ".Debug")), (json!(["from=flag"]), json!(false)));
    assert_eq!(told(&c), [Value::Null; 0]);
    // The flag still holds after the file was right again.
    reload(&c, r#"{"debug": true}"#, DONE);
    assert_eq!(info(&c, ".Debug"), json!(true));
    assert_eq!(told(&c)[0]["Attributes"]["max-concurrent-downloads"], "7");
    assert_eq!(told(&c)[0]["Attributes"]["labels"], "[\"from=flag\"]");
}
