//! What the daemon is told at its start, as dockerd is.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::Command;

use serde_json::{Value, json};
use tare_testkit::{Client, Console, Engine, eventually, install};

fn info(c: &Console, form: &str) -> String {
    c.ok(&format!("info --format '{{{{{form}}}}}'"))
}

/// A proxy that refuses everything; and its URL. What it is asked for comes out of the thread, a line at a time.
fn proxy() -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (sender, asked) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).expect("a request");
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    (url, asked)
}

/// Flags win over the environment; what is said of either shows no password.
#[test]
fn proxies() {
    let (url, asked) = proxy();
    let environment =
        vec![("HTTPS_PROXY", "http://me:secret@from-env.invalid".into()), ("no_proxy", "x.invalid".into())];
    let engine = Engine::start_with(&["--https-proxy", &url, "--no-proxy", "example.com"], environment);
    let c = Console::of(Client::Tare, engine);
    assert_eq!(info(&c, ".HTTPSProxy"), url);
    assert_eq!(info(&c, ".NoProxy"), "example.com");
    c.fails("pull example.org:5000/some/image", 1);
    let line = asked.recv_timeout(std::time::Duration::from_secs(60)).expect("a request to the proxy");
    assert!(line.starts_with("CONNECT example.org:5000 "), "{line}");
    let engine = c.engine().expect("an engine");
    let said = engine.said();
    let warned = "level=warning msg=\"overriding existing proxy variable with value from configuration\"";
    assert_eq!(said.matches(warned).count(), 2, "{said}");
    assert!(said.contains("old-value=\"http://xxxxx:xxxxx@from-env.invalid\"") && !said.contains("secret"), "{said}");
    engine.reload(&json!({"proxies": {"http-proxy": "http://me:secret@proxy"}}).to_string());
    eventually("the file to be read", || engine.said().contains("Reloaded configuration").then_some(()));
    let said = engine.said();
    assert!(said.contains("http://xxxxx:xxxxx@proxy") && !said.contains("secret"), "{said}");
    assert!(said.contains("proxies cannot be changed while the daemon runs"), "{said}");
}

/// An engine keeps the ID in its file, which may be somebody's choice; its log is in JSON if that is wanted.
#[test]
fn the_id_and_the_log() {
    let mut c = Console::of(Client::Tare, Engine::start(&["--log-format", "json", "--log-level", "debug"]));
    let id = info(&c, ".ID");
    let engine = c.engine_mut().expect("an engine");
    let file = engine.data_root().join("engine-id");
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), id);
    for line in engine.said().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(line["msg"].is_string() && line["level"].is_string() && line["time"].is_string(), "{line}");
    }
    for line in ["Max Concurrent Downloads: 3", "Max Concurrent Uploads: 5"] {
        assert!(engine.said().contains(&format!("\"level\":\"debug\",\"msg\":\"{line}\"")), "{}", engine.said());
    }
    engine.stop();
    std::fs::write(&file, "mine").expect("the file");
    engine.set_options(&[]);
    engine.resume();
    let plain = |line: &str| line.starts_with("time=\"20") && line.contains("\" level=info msg=\"API listen on ");
    eventually("a line", || engine.said().lines().any(plain).then_some(()));
    assert_eq!(info(&c, ".ID"), "mine");
}

/// Containers on the default bridge may have another gateway than the bridge.
#[test]
fn another_gateway() {
    let options =
        ["--bip", "10.221.0.1/24", "--default-gateway", "10.221.0.254", "--registry-mirror", install::mirror()];
    let c = Console::of(Client::Tare, Engine::start(&options));
    let ipam = c.ok("network inspect --format '{{json .IPAM.Config}}' bridge");
    let ipam: Value = serde_json::from_str(&ipam).expect("JSON");
    assert_eq!(
        ipam,
        json!([{ "Subnet": "10.221.0.0/24", "Gateway": "10.221.0.1",
            "AuxiliaryAddresses": {"DefaultGatewayIPv4": "10.221.0.254"} }])
    );
    let routes = c.ok("run --rm busybox:1.29 ip route");
    assert!(routes.contains("default via 10.221.0.254 "), "{routes}");
    // The same for networks that say so.
    c.ok("network create --subnet 10.222.0.0/24 --aux-address DefaultGatewayIPv4=10.222.0.9 own");
    let routes = c.ok("run --rm --network own busybox:1.29 ip route");
    assert!(routes.contains("default via 10.222.0.9 "), "{routes}");
}

/// A bridge that is gone at the end.
struct Bridge(String);

impl Bridge {
    fn new(addresses: &[&str]) -> Self {
        let bridge = Self(format!("ub{}", std::process::id()));
        bridge.ip("link add {} type bridge");
        bridge.ip("link set {} up");
        for address in addresses {
            bridge.ip(&format!("address add {address} dev {{}}"));
        }
        bridge
    }

    fn ip(&self, line: &str) -> String {
        let line = line.replace("{}", &self.0);
        let output = Command::new("ip").args(line.split(' ')).output().expect("ip");
        assert!(output.status.success(), "ip {line}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.ip("link delete {}");
    }
}

/// A bridge of the user's: containers get addresses of its network, and it stays as it was when the daemon has gone.
#[test]
fn a_bridge_of_the_users() {
    let bridge = Bridge::new(&["10.223.16.88/20", "10.224.0.1/24"]);
    let mirror = install::mirror();
    let mut c = Console::of(Client::Tare, Engine::start(&["--registry-mirror", mirror, "--bridge", &bridge.0]));
    let ipam = "network inspect --format '{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}} {{.IPRange}}{{end}}' bridge";
    assert_eq!(c.ok(ipam), "10.223.16.0/20 10.223.16.88 ");
    let inside = c.ok("run --rm busybox:1.29 sh -c 'ip route; ping -c 1 -w 20 10.224.0.1'");
    assert!(inside.contains("default via 10.223.16.88 ") && inside.contains("1 packets received"), "{inside}");
    let engine = c.engine_mut().expect("an engine");
    engine.stop();
    engine.set_options(&["--registry-mirror", mirror, "--bridge", &bridge.0, "--fixed-cidr", "10.224.0.128/25"]);
    engine.resume();
    assert_eq!(c.ok(ipam), "10.224.0.0/24 10.224.0.1 10.224.0.128/25");
    assert!(c.ok("run --rm busybox:1.29 ip addr show eth0").contains(" 10.224.0.128/24 "));
    c.engine_mut().expect("an engine").stop();
    let left = bridge.ip("-4 -brief address show dev {}");
    assert!(left.contains("10.223.16.88/20 10.224.0.1/24"), "{left}");
    // Another one again, and its own is made.
    let engine = c.engine_mut().expect("an engine");
    engine.set_options(&["--registry-mirror", mirror]);
    engine.resume();
    let name = c.ok("network inspect --format '{{index .Options \"com.docker.network.bridge.name\"}}' bridge");
    assert_ne!(name, bridge.0);
    assert!(c.ok("run --rm busybox:1.29 ip route").contains("default via "));
}

/// Ports of the API are the daemon's, and its name servers are for everybody.
#[test]
fn ports_of_the_api_and_name_servers() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a port").to_string();
    let host = format!("tcp://{free}");
    let options =
        ["-H", &host, "--dns", "10.9.8.7", "--dns-search", "example.com", "--registry-mirror", install::mirror()];
    let c = Console::of(Client::Tare, Engine::start(&options));
    let refused = c.fails(&format!("run --rm -p {free}:80 busybox:1.29 true"), 125);
    assert!(refused.contains(&format!("Bind for {free} failed: port is already allocated")), "{refused}");
    let resolv = c.ok("run --rm --network host busybox:1.29 cat /etc/resolv.conf");
    assert!(resolv.contains("nameserver 10.9.8.7\n") && resolv.contains("search example.com"), "{resolv}");
    // Whose network another one's neighbour is in.
    c.ok("run -d --name first busybox:1.29 sleep 1000");
    c.ok("run -d --name second --network container:first busybox:1.29 sleep 1000");
    let hostname = c.ok("exec first hostname");
    assert_eq!(c.ok("run --rm --network container:second busybox:1.29 cat /etc/hostname"), hostname);
}
