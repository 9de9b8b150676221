//! Networks that containers are connected to and disconnected from, also while they run.

use tare_testkit::{Client, Console, with_both_clients};

with_both_clients!(
    a_server_of_names_comes_with_the_first_network,
    an_edited_resolv_conf_is_the_containers,
    default_routes_follow_the_networks
);

const SLEEP: &str = "busybox:1.29 sleep 1000";

fn address(c: &Console, network: &str, container: &str) -> String {
    c.ok(&format!("inspect --format {{{{.NetworkSettings.Networks.{network}.IPAddress}}}} {container}"))
}

fn file(c: &Console, container: &str, path: &str) -> String {
    c.ok(&format!("exec {container} cat {path}"))
}

/// Whether a name server, the container's own if it is empty, knows a name and by which address.
fn knows(c: &Console, container: &str, name: &str, server: &str, address: &str) -> bool {
    let output = c.run(&format!("exec {container} nslookup {name} {server}"));
    output.stdout.lines().any(|line| line.trim_end().ends_with(&format!(": {address}")))
}

fn a_server_of_names_comes_with_the_first_network(c: &Console) {
    c.ok("network create late");
    c.ok(&format!("run -d --name plain {SLEEP}"));
    c.ok(&format!("run -d --name user --network late {SLEEP}"));
    let before = file(c, "plain", "/etc/resolv.conf");
    assert!(before.contains("(legacy)") && !before.contains("127.0.0.11"), "{before}");
    c.ok("network connect --alias other late plain");
    let after = file(c, "plain", "/etc/resolv.conf");
    assert!(after.contains("\nnameserver 127.0.0.11\n") && after.contains("(internal resolver)"), "{after}");
    assert_eq!(after, file(c, "user", "/etc/resolv.conf"));
    let (own, user) = (address(c, "late", "plain"), address(c, "late", "user"));
    assert!(knows(c, "plain", "user", "", &user));
    assert!(knows(c, "plain", "plain", "", &own));
    assert!(knows(c, "user", "other", "", &own));
    // A short name's own line for each address.
    let id = c.ok("inspect --format {{.Config.Hostname}} plain");
    let hosts = file(c, "plain", "/etc/hosts");
    let lines: Vec<_> = hosts.lines().filter(|line| line.ends_with(&id)).collect();
    assert_eq!(lines, [format!("{}\t{id}", address(c, "bridge", "plain")), format!("{own}\t{id}")], "{hosts}");
    assert!(hosts.contains("\n::1\tlocalhost ip6-localhost ip6-loopback\n"), "{hosts}");
    // The server stays, and says what is left to say.
    c.ok("network disconnect late plain");
    assert_eq!(file(c, "plain", "/etc/resolv.conf"), after);
    assert!(!knows(c, "plain", "user", "", &user));
    assert!(!file(c, "plain", "/etc/hosts").contains(&own));
    c.ok("network connect late plain");
    assert!(knows(c, "plain", "user", "", &user));
    c.ok("network disconnect late plain");
    c.ok("restart -t 0 plain");
    assert_eq!(file(c, "plain", "/etc/resolv.conf"), before);
}

fn an_edited_resolv_conf_is_the_containers(c: &Console) {
    c.ok("network create late");
    c.ok(&format!("run -d --name plain {SLEEP}"));
    c.ok("exec plain sh -c 'echo \"# mine\" >>/etc/resolv.conf'");
    let edited = file(c, "plain", "/etc/resolv.conf");
    c.ok("network connect late plain");
    assert_eq!(file(c, "plain", "/etc/resolv.conf"), edited);
    assert!(knows(c, "plain", "plain", "127.0.0.11", &address(c, "late", "plain")));
    c.ok("restart -t 0 plain");
    assert!(file(c, "plain", "/etc/resolv.conf").contains("nameserver 127.0.0.11"));
}

fn default_routes_follow_the_networks(c: &Console) {
    for name in ["ark", "zoo", "inside --internal"] {
        c.ok(&format!("network create {name}"));
    }
    let gateway =
        |name: &str| c.ok(&format!("network inspect --format '{{{{(index .IPAM.Config 0).Gateway}}}}' {name}"));
    let via = |container: &str| {
        let routes = c.ok(&format!("exec {container} ip route"));
        let line = routes.lines().find(|line| line.starts_with("default")).map(str::to_owned);
        line.and_then(|line| line.split_whitespace().nth(2).map(str::to_owned)).unwrap_or_default()
    };
    let interface = |container: &str, network: &str| {
        let address = address(c, network, container);
        let all = c.ok(&format!("exec {container} ip -o -4 addr"));
        let line = all.lines().find(|line| line.contains(&format!(" {address}/"))).expect("a line").to_owned();
        line.split_whitespace().nth(1).expect("a name").to_owned()
    };
    // By name, whichever was asked for first; a rank goes before.
    c.ok(&format!("run -d --name first --network zoo --network ark --network inside {SLEEP}"));
    assert_eq!(via("first"), gateway("ark"));
    assert_eq!([interface("first", "ark"), interface("first", "zoo")], ["eth0", "eth2"]);
    c.ok(&format!("run -d --name second --network name=zoo,gw-priority=1 --network ark {SLEEP}"));
    assert_eq!(via("second"), gateway("zoo"));
    assert_eq!([interface("second", "ark"), interface("second", "zoo")], ["eth0", "eth1"]);
    // And while it runs.
    c.ok(&format!("run -d --name third --network inside {SLEEP}"));
    assert_eq!(via("third"), "");
    c.ok("network connect zoo third");
    assert_eq!(via("third"), gateway("zoo"));
    c.ok("network connect ark third");
    assert_eq!(via("third"), gateway("ark"));
    c.ok("network connect --gw-priority 5 bridge third");
    assert_eq!(via("third"), gateway("bridge"));
    c.ok("network disconnect bridge third");
    assert_eq!(via("third"), gateway("ark"));
    c.ok("network disconnect ark third");
    c.ok("network disconnect zoo third");
    assert_eq!(via("third"), "");
}

/// How a stored sandbox tells the file that was written from one that the user has changed.
fn fingerprint(sandbox: &std::path::Path) -> String {
    let text = std::fs::read_to_string(sandbox).expect("the sandbox");
    let (_, number) = text.split_once("\"resolv_conf\":").expect("a fingerprint");
    number.chars().take_while(char::is_ascii_digit).collect()
}

/// What a daemon was doing when it was killed, the next one does.
#[test]
fn names_survive_daemons() {
    let mut c = Console::new(Client::Tare);
    if c.engine().is_none() {
        return;
    }
    c.ok("network create late");
    c.ok(&format!("run -d --name plain {SLEEP}"));
    c.ok(&format!("run -d --name user --network late {SLEEP}"));
    let id = c.ok("inspect --format {{.Id}} plain");
    let data = c.engine().expect("an engine").data_root();
    let sandbox = c.engine().expect("an engine").exec_root().join("containers").join(&id).join("sandbox.json");
    let resolv_conf = data.join("containers").join(&id).join("resolv.conf");
    let read = || std::fs::read_to_string(&resolv_conf).expect("the file");
    let (legacy, written) = (read(), fingerprint(&sandbox));
    c.ok("network connect late plain");
    let user = address(&c, "late", "user");
    c.engine_mut().expect("an engine").kill();
    c.engine_mut().expect("an engine").resume();
    assert!(knows(&c, "plain", "user", "", &user));
    let embedded = read();
    // As if it had been killed before the server was there, and before it had written down that it was.
    for text in [&legacy, &embedded] {
        c.engine_mut().expect("an engine").kill();
        let stored = std::fs::read_to_string(&sandbox).expect("the sandbox");
        assert!(stored.contains("\"names\":true"), "{stored}");
        let stored = stored.replace("\"names\":true", "\"names\":false").replace(&fingerprint(&sandbox), &written);
        std::fs::write(&sandbox, stored).expect("written");
        std::fs::write(&resolv_conf, text).expect("written");
        c.engine_mut().expect("an engine").resume();
        assert!(knows(&c, "plain", "user", "127.0.0.11", &user));
        assert_eq!(read(), embedded);
    }
    c.ok("network disconnect late plain");
    assert!(!knows(&c, "plain", "user", "127.0.0.11", &user));
}
