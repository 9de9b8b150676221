//! What programs that read the API find: fields, empty or null, and sentences, as Docker's own engine answers the same requests.

use serde_json::{Value, json};
use tare_testkit::{Console, with_both_clients};

with_both_clients!(
    attach_by_websocket,
    networks_after_the_end,
    samples,
    creations,
    lists,
    refused_creations,
    refused_networks,
    refused_parameters,
    failed_starts_and_disconnects,
    handshakes,
    volumes_that_are_there,
    logs_before_a_start,
    values_of_another_type,
    kernel_memory
);

const JSON: &str = "Content-Type: application/json\r\n";

fn get(c: &Console, line: &str) -> Value {
    let (status, body) = c.request(&format!("GET {line}"), "", "");
    assert_eq!(status, 200, "{line}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{line}: {error} in {body}"))
}

/// Nothing but output is in the frames of a websocket: there is no other stream to be told apart.
fn attach_by_websocket(c: &Console) {
    c.ok("run --name box busybox:1.29 echo said");
    let head = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let (status, frames) = c.request("GET /containers/box/attach/ws?logs=1&stdout=1", head, "");
    assert_eq!(status, 101, "{frames}");
    assert!(frames.contains("\u{5}said\n"), "{frames:?}");
}

/// The IDs of networks stay when their addresses have gone; those of the host's network are told, too.
fn networks_after_the_end(c: &Console) {
    c.ok("network create own");
    c.ok("run -d --name box --network own busybox:1.29 sleep 1000");
    c.ok("run -d --name hosted --network host busybox:1.29 sleep 1000");
    c.ok("create --name fresh busybox:1.29 true");
    let id = |container: &str, network: &str| {
        let settings = get(c, &format!("/containers/{container}/json"))["NetworkSettings"]["Networks"][network].clone();
        settings["NetworkID"].as_str().expect("an ID").to_owned()
    };
    let own = c.ok("network inspect --format {{.Id}} own");
    assert_eq!(id("box", "own"), own);
    c.ok("stop -t 0 box hosted");
    assert_eq!(id("box", "own"), own);
    assert_eq!(id("hosted", "host"), c.ok("network inspect --format {{.Id}} host"));
    assert_eq!(id("fresh", "bridge"), "");
    let listed = get(c, "/containers/json?all=1&filters={%22name%22:[%22box%22]}");
    assert_eq!(listed[0]["NetworkSettings"]["Networks"]["own"]["NetworkID"], json!(own), "{listed}");
}

/// Control groups v1 have no word for "no limit", and lists without entries.
fn samples(c: &Console) {
    c.ok("run -d --name box busybox:1.29 sleep 1000");
    c.ok("run -d --name few --pids-limit 5 busybox:1.29 sleep 1000");
    let of = |name: &str| get(c, &format!("/containers/{name}/stats?stream=0&one-shot=1"));
    let (sample, limited) = (of("box"), of("few"));
    assert_eq!(limited["pids_stats"]["limit"], 5, "{limited}");
    if get(c, "/info")["CgroupVersion"] == "1" {
        assert_eq!(sample["pids_stats"], json!({"current": 1}), "{sample}");
        assert_eq!(sample["blkio_stats"]["io_merged_recursive"], json!([]), "{sample}");
    } else {
        assert_eq!(sample["pids_stats"], json!({"current": 1, "limit": u64::MAX}), "{sample}");
        assert_eq!(sample["blkio_stats"]["io_merged_recursive"], Value::Null, "{sample}");
    }
}

fn creations(c: &Console) {
    c.ok("create --name silent --log-driver none busybox:1.29 true");
    // An interface to talk to itself is all that there is.
    let (status, said) = c.request(
        "POST /containers/create?name=cut",
        JSON,
        r#"{"Image":"busybox:1.29","Cmd":["ls","/sys/class/net"],"NetworkDisabled":true,"HostConfig":{"PublishAllPorts":true}}"#,
    );
    assert_eq!(status, 201, "{said}");
    assert_eq!(c.ok("start -a cut"), "lo");
    assert_eq!(get(c, "/containers/cut/json")["NetworkSettings"]["Networks"], json!({}));
    c.ok("create --name wide --pid host busybox:1.29 true");
    c.ok("create --name labelled --privileged --security-opt label=level:s0 busybox:1.29 true");
    c.ok("run -d --name checked --health-cmd true --health-interval 1h busybox:1.29 sleep 1000");
    let host = |name: &str| get(c, &format!("/containers/{name}/json"))["HostConfig"].clone();
    assert_eq!(host("silent")["LogConfig"], json!({"Type": "none", "Config": {}}));
    assert_eq!(host("silent")["SecurityOpt"], Value::Null);
    assert_eq!(host("wide")["SecurityOpt"], json!(["label=disable"]));
    assert_eq!(host("labelled")["SecurityOpt"], json!(["label=level:s0"]));
    let oom = if get(c, "/info")["CgroupVersion"] == "1" { json!(false) } else { Value::Null };
    assert_eq!(host("silent")["OomKillDisable"], oom);
    let health = get(c, "/containers/checked/json")["State"]["Health"].clone();
    assert_eq!(health["Log"], json!([]), "{health}");
    assert_eq!(get(c, "/info")["Plugins"]["Network"], json!(["bridge", "host", "macvlan", "null"]));
    assert_eq!(get(c, "/networks/bridge")["Options"]["com.docker.network.driver.mtu"], "1500");
}

/// What was asked for is in descriptions, not in lists.
fn lists(c: &Console) {
    c.ok("network create own");
    c.ok("run -d --name box --network own --network-alias other busybox:1.29 sleep 1000");
    let listed = get(c, "/containers/json")[0]["NetworkSettings"]["Networks"]["own"].clone();
    let described = get(c, "/containers/box/json")["NetworkSettings"]["Networks"]["own"].clone();
    assert_eq!((&listed["Aliases"], &listed["DNSNames"]), (&Value::Null, &Value::Null), "{listed}");
    assert_eq!(described["Aliases"], json!(["other"]), "{described}");
    assert_eq!(listed["IPAddress"], described["IPAddress"], "{listed}");
}

fn creation(host: &str) -> String {
    format!(r#"{{"Image":"busybox:1.29","HostConfig":{{{host}}}}}"#)
}

/// Each request is refused with its status and its sentence.
#[track_caller]
fn refused(c: &Console, requests: &[(&str, String, u16, &str)]) {
    let mut wrong = Vec::new();
    for (line, body, status, text) in requests {
        let (found, answer) = c.request(line, JSON, body);
        let message = serde_json::from_str::<Value>(&answer).unwrap_or_default()["message"].clone();
        if found != *status || message != *text {
            wrong.push(format!("{line} {body}\n  wanted {status} {text:?}\n  found {found} {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn refused_creations(c: &Console) {
    let body = creation;
    c.ok("run -d --name box busybox:1.29 sleep 1000");
    refused(
        c,
        &[
            ("POST /containers/create", body(r#""ExtraHosts":["zz"]"#), 400, r#"bad format for add-host: "zz""#),
            (
                "POST /containers/create",
                body(r#""ExtraHosts":["h:zz"]"#),
                400,
                r#"invalid IP address in add-host: "zz""#,
            ),
            (
                "POST /containers/create",
                body(r#""Dns":["zz"]"#),
                400,
                r#"invalid JSON: ParseAddr("zz"): unable to parse IP"#,
            ),
            (
                "POST /containers/create",
                body(r#""CpuRealtimePeriod":1000,"CpuRealtimeRuntime":2000"#),
                400,
                "cpu real-time runtime cannot be higher than cpu real-time period",
            ),
            (
                "POST /containers/create",
                body(r#""IOMaximumIOps":1"#),
                400,
                "invalid option: QoS maximum IOPs configuration is not supported on linux",
            ),
            (
                "POST /containers/box/exec",
                r#"{"Cmd":["x"],"DetachKeys":"zzz"}"#.into(),
                500,
                "Invalid escape keys (zzz) provided",
            ),
            (
                "POST /containers/create",
                r#"{"Image":"busybox:1.29","NetworkingConfig":{"EndpointsConfig":{"bridge":{"Aliases":["a"]}}}}"#
                    .into(),
                400,
                "invalid config for network bridge: invalid endpoint settings:\nnetwork-scoped aliases are only supported for \
             user-defined networks",
            ),
        ],
    );
}

fn refused_networks(c: &Console) {
    c.ok("pull -q busybox:1.29");
    let subnet = |more: &str| format!(r#"{{"Name":"two","IPAM":{{"Config":[{{"Subnet":"10.79.0.0/24",{more}}}]}}}}"#);
    refused(
        c,
        &[
            ("POST /networks/create", "{}".into(), 400, "invalid name: name is empty"),
            (
                "POST /networks/create",
                subnet(r#""Gateway":"10.80.0.1""#),
                400,
                "invalid network config:\ninvalid gateway 10.80.0.1: parent subnet 10.79.0.0/24 doesn't contain this address",
            ),
            (
                "POST /networks/create",
                subnet(r#""IPRange":"10.80.0.0/25""#),
                400,
                "invalid network config:\ninvalid ip-range 10.80.0.0/25: parent subnet 10.79.0.0/24 doesn't contain ip-range",
            ),
            (
                "POST /networks/create",
                subnet(r#""AuxiliaryAddresses":{"a":"10.80.0.1"}"#),
                400,
                "invalid network config:\ninvalid auxiliary address a: parent subnet 10.79.0.0/24 doesn't contain this address",
            ),
            (
                "POST /build?buildargs=zz",
                String::new(),
                400,
                "error reading build args: invalid character 'z' looking for beginning of value",
            ),
        ],
    );
}

fn refused_parameters(c: &Console) {
    c.ok("pull -q busybox:1.29");
    refused(
        c,
        &[
            (
                "GET /containers/json?filters={%22is-task%22:[%22zz%22]}",
                String::new(),
                400,
                "invalid filter 'is-task=[zz]'",
            ),
            ("GET /images/search?term=a&limit=200", String::new(), 400, "limit 200 is outside the range of [1, 100]"),
            (
                "GET /images/busybox:1.29/json?platform=zz",
                String::new(),
                400,
                "failed to parse platform: invalid character 'z' looking for beginning of value",
            ),
        ],
    );
}

fn failed_starts_and_disconnects(c: &Console) {
    let body = creation;
    c.ok("run -d --name box busybox:1.29 sleep 1000");
    c.ok("network create own");
    let id = c.ok("inspect --format {{.Id}} box");
    let (status, answer) = c.request("POST /networks/own/disconnect", JSON, r#"{"Container":"box"}"#);
    assert_eq!(
        (status, answer),
        (500, json!({"message": format!("container {id} is not connected to network own")}).to_string())
    );
    let device = r#""Devices":[{"PathOnHost":"/dev/zzz","PathInContainer":"/dev/x","CgroupPermissions":"rwm"}]"#;
    let (status, answer) = c.request("POST /containers/create?name=odd", JSON, &body(device));
    assert_eq!(status, 201, "{answer}");
    let (status, answer) = c.request("POST /containers/odd/start", "", "");
    assert_eq!(status, 500, "{answer}");
    assert_eq!(get(c, "/containers/odd/json")["State"]["ExitCode"], 128);
}

/// A websocket that is none, or not of this version, in the words of Go's package.
fn handshakes(c: &Console) {
    c.ok("run -d --name box busybox:1.29 sleep 1000");
    let (connection, upgrade) = ("Connection: keep-alive, Upgrade\r\n", "Upgrade: websocket\r\n");
    let (key, version) = ("Sec-WebSocket-Key: abc\r\n", "Sec-WebSocket-Version: 13\r\n");
    let ask = |head: &[&str]| c.request("GET /containers/box/attach/ws?stream=1&stdout=1", &head.concat(), "");
    let refused = |head: &[&str]| {
        let (status, said) = ask(head);
        assert_eq!(status, 400, "{said}");
        said
    };
    assert_eq!(refused(&[connection, key, version]), "not websocket protocol");
    assert_eq!(refused(&[upgrade, key, version]), "not websocket protocol");
    assert_eq!(refused(&[connection, upgrade, version]), "mismatch challenge/response");
    assert_eq!(refused(&[connection, upgrade, key]), "missing or bad WebSocket Version");
    assert_eq!(
        refused(&[connection, upgrade, key, "Sec-WebSocket-Version: 8\r\n"]),
        "missing or bad WebSocket Version"
    );
    assert_eq!(refused(&[connection, upgrade, key, version, "Sec-WebSocket-Protocol: a, b\r\n"]), "");
    assert_eq!(c.request("GET /containers/nope/attach/ws", "", "").0, 404);
}

/// A volume that is there is what is made, whatever options are given.
fn volumes_that_are_there(c: &Console) {
    c.ok("pull busybox:1.29");
    let make = |body: &str| c.request("POST /volumes/create", JSON, body);
    let options = |body: &str| {
        let (status, said) = make(body);
        assert_eq!(status, 201, "{said}");
        serde_json::from_str::<Value>(&said).expect("JSON")["Options"].clone()
    };
    let given = json!({"type": "tmpfs", "device": "tmpfs"});
    assert_eq!(options(r#"{"Name":"data"}"#), Value::Null);
    assert_eq!(options(r#"{"Name":"data","DriverOpts":{"type":"tmpfs","device":"tmpfs"}}"#), Value::Null);
    assert_eq!(options(r#"{"Name":"data","DriverOpts":{"bad":"x"}}"#), Value::Null);
    assert_eq!(options(r#"{"Name":"opts","DriverOpts":{"type":"tmpfs","device":"tmpfs"}}"#), given);
    assert_eq!(options(r#"{"Name":"opts","DriverOpts":{"type":"none","device":"/","o":"bind"}}"#), given);
    let body = r#"{"Image":"busybox:1.29","HostConfig":{"Mounts":[{"Type":"volume","Source":"opts","Target":"/x",
        "VolumeOptions":{"DriverConfig":{"Name":"local","Options":{"type":"none"}}}}]}}"#;
    assert_eq!(c.request("POST /containers/create", JSON, body).0, 201);
    let (status, said) = make(r#"{"Driver":"nope"}"#);
    let name = said.split([' ', ':']).find(|word| word.len() == 64).expect("a name of its own");
    let expected = format!(r#"create {name}: error looking up volume plugin nope: plugin \"nope\" not found"#);
    assert!(status == 404 && said.contains(&expected), "{said}");
}

/// A log has no place before it is opened.
fn logs_before_a_start(c: &Console) {
    c.ok("create --name box busybox:1.29 true");
    c.ok("create --name bad busybox:1.29 nope");
    let place = |name: &str| c.ok(&format!("inspect --format {{{{.LogPath}}}} {name}"));
    assert_eq!(place("box"), "");
    c.ok("start --attach box");
    c.fails("start bad", 1);
    for name in ["box", "bad"] {
        assert!(place(name).ends_with("-json.log"), "{name}");
    }
}

/// Limits of the kernel's memory are kept as they are said; the first had gone with API 1.42.
fn kernel_memory(c: &Console) {
    c.ok("pull busybox:1.29");
    let body =
        r#"{"Image":"busybox:1.29","Cmd":["true"],"HostConfig":{"KernelMemory":9000000,"KernelMemoryTCP":4096000}}"#;
    for (version, expected) in [("1.41", json!([9_000_000, 4_096_000])), ("1.44", json!([null, 4_096_000]))] {
        let (status, said) = c.request(&format!("POST /v{version}/containers/create?name=v{version}"), JSON, body);
        assert_eq!(status, 201, "{said}");
        let host = get(c, &format!("/containers/v{version}/json"))["HostConfig"].clone();
        assert_eq!(json!([host["KernelMemory"], host["KernelMemoryTCP"]]), expected, "{version}");
        c.ok(&format!("start --attach v{version}"));
    }
}

/// A value of another type is told by its field.
fn values_of_another_type(c: &Console) {
    for (path, body, expected) in [
        (
            "/containers/create",
            r#"{"HostConfig":{"Memory":"a"}}"#,
            "string into Go struct field .HostConfig.Memory of type int64",
        ),
        ("/networks/create", r#"{"Name":5}"#, "number into Go struct field CreateRequest.Name of type string"),
        (
            "/volumes/create",
            r#"{"Labels":"x"}"#,
            "string into Go struct field CreateOptions.Labels of type map[string]string",
        ),
        ("/containers/x/exec", r#"{"Cmd":"x"}"#, "string into Go struct field ExecOptions.Cmd of type []string"),
        (
            "/containers/x/update",
            r#"{"CpuShares":"x"}"#,
            "string into Go struct field UpdateConfig.CpuShares of type int64",
        ),
    ] {
        let (status, said) = c.request(&format!("POST {path}"), JSON, body);
        let expected = format!(r#"{{"message":"invalid JSON: json: cannot unmarshal {expected}"}}"#);
        assert_eq!((status, said.trim()), (400, expected.as_str()), "{path}");
    }
}
