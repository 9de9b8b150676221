//! What people get wrong, and what they are told: Docker's texts and statuses.

use std::net::TcpListener;

use tare_testkit::http::free_port;
use tare_testkit::{Console, with_both_clients};

with_both_clients!(
    names_and_references,
    prefixes,
    images,
    registries,
    commands,
    users,
    ports_of_containers,
    ports_of_the_host,
    stopped_containers,
    filters,
    requests,
);

/// The complaint holds a text.
#[track_caller]
fn holds(complaint: &str, text: &str) {
    assert!(complaint.contains(text), "{text:?} is not in\n{complaint}");
}

fn names_and_references(c: &Console) {
    let refused = c.fails("create --name ? busybox:1.29", 1);
    holds(&refused, "Invalid container name (?), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    for command in ["start", "stop", "rm", "pause", "logs", "kill", "restart", "wait", "top", "port"] {
        let refused = c.fails(&format!("{command} nobody"), 1);
        holds(&refused, "No such container: nobody");
    }
    holds(&c.fails("rename nobody somebody", 1), "No such container: nobody");
    holds(
        &c.fails("tag busybox:1.29 sha256:x", 1),
        "refusing to create an ambiguous tag using digest algorithm as name",
    );
    let (status, body) = c.request("DELETE /images/busybox:1.29?platforms=%7B%22os%22%3A%22linux%22%7D", "", "");
    assert_eq!(status, 400, "{body}");
    holds(&c.fails("exec nobody true", 1), "No such container: nobody");
    c.ok("create --name somebody busybox:1.29");
    let same = "Renaming a container with the same name as its current name";
    holds(&c.fails("rename somebody somebody", 1), same);
}

/// Among 17 IDs two begin with the same digit.
fn prefixes(c: &Console) {
    let ids: Vec<String> = (0..17).map(|_| c.ok("create busybox:1.29")).collect();
    let twice = |digit: &char| ids.iter().filter(|id| id.starts_with(*digit)).count() > 1;
    let digit = ('0'..='9').chain('a'..='f').find(twice).expect("a digit that is there twice");
    holds(&c.fails(&format!("start {digit}"), 1), &format!("multiple IDs found with provided prefix: {digit}"));
}

fn images(c: &Console) {
    holds(
        &c.fails("run Busybox", 125),
        "invalid reference format: repository name (library/Busybox) must be lowercase",
    );
    holds(&c.fails("run --pull never nothing:here", 125), "No such image: nothing:here");
    holds(&c.fails("rmi nothing:here", 1), "No such image: nothing:here");
    let id = c.ok("create dockerinaction/ch2_agent");
    holds(
        &c.fails("rmi dockerinaction/ch2_agent", 1),
        &format!("container {} is using its referenced image", &id[..12]),
    );
}

fn registries(c: &Console) {
    let refused = c.fails("pull 127.0.0.1:1/nothing", 1);
    holds(&refused, "connection refused");
    let mirror = tare_testkit::install::mirror().trim_start_matches("http://");
    holds(&c.fails(&format!("pull {mirror}/library/busybox:nothing"), 1), "not found");
    c.ok(&format!("pull -q {mirror}/library/busybox:1.29"));
}

fn commands(c: &Console) {
    for (command, status, text) in [
        ("nothing", 127, "exec: \"nothing\": executable file not found in $PATH"),
        ("/nothing", 127, "exec: \"/nothing\": stat /nothing: no such file or directory"),
        ("/etc/passwd", 126, "exec: \"/etc/passwd\": permission denied"),
        ("/etc", 126, "exec: \"/etc\": is a directory"),
    ] {
        holds(&c.fails(&format!("run --rm busybox:1.29 {command}"), status), text);
    }
    c.ok("run -d --name up busybox:1.29 sleep 1000");
    for (command, status) in [("nothing", 127), ("/etc/passwd", 126), ("sh -c 'exit 9'", 9)] {
        c.fails(&format!("exec up {command}"), status);
    }
    let refused = c.run("exec -w relative up true");
    assert_eq!(refused.status, 128, "{refused}");
    holds(&refused.stdout, "OCI runtime exec failed: exec failed: Cwd must be an absolute path");
    let refused = c.fails("kill -s 99 up", 1);
    holds(&refused, "cannot kill container: up: the linux daemon does not support signal 99");
    holds(&c.fails("network connect nonet nobox", 1), "No such container: nobox");
    holds(&c.fails("search --limit 1000 x", 1), "limit 1000 is outside the range of [1, 100]");
    c.fails("run --rm busybox:1.29 sh -c 'exit 42'", 42);
    c.fails("run --no-such-option busybox:1.29", 125);
}

fn users(c: &Console) {
    let refused = c.fails("run --rm --user nosuchuser busybox:1.29 true", 125);
    holds(&refused, "unable to find user nosuchuser: no matching entries in passwd file");
    c.ok("run -d --name up busybox:1.29 sleep 1000");
    for (user, text) in [
        ("nosuchuser:1", "unable to find user nosuchuser: no matching entries in passwd file"),
        ("1:nosuchgroup", "unable to find group nosuchgroup: no matching entries in group file"),
    ] {
        holds(&c.fails(&format!("exec -u {user} up true"), 1), text);
        let (status, body) = c.request(
            "POST /containers/up/exec",
            "Content-Type: application/json\r\n",
            &format!(r#"{{"Cmd":["true"],"User":"{user}"}}"#),
        );
        assert_eq!(status, 400, "{body}");
    }
    assert_eq!(c.ok("exec -u 12:34 up id"), "uid=12 gid=34 groups=34");
    assert_eq!(c.ok("run --rm --user nobody busybox:1.29 id -u"), "65534");
    assert_eq!(c.ok("run --rm --user 12:34 busybox:1.29 id"), "uid=12 gid=34 groups=34");
}

fn ports_of_containers(c: &Console) {
    let port = free_port();
    c.ok(&format!("run -d --name first -p {port}:80 busybox:1.29 sleep 1000"));
    assert_eq!(c.ok("port first 80/tcp").lines().next(), Some(format!("0.0.0.0:{port}").as_str()));
    let refused = c.fails(&format!("run -d --name second -p {port}:80 busybox:1.29 sleep 1000"), 125);
    holds(&refused, &format!(":{port} failed: port is already allocated"));
    assert_eq!(c.state("second"), "created");
    c.ok("rm -f first");
    c.ok("start second");
}

fn ports_of_the_host(c: &Console) {
    let taken = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = taken.local_addr().expect("its number").port();
    let refused = c.fails(&format!("run -d --name blocked -p {port}:80 busybox:1.29 sleep 1000"), 125);
    holds(&refused, "address already in use");
    assert_eq!(c.state("blocked"), "created");
    drop(taken);
    c.ok("start blocked");
}

fn stopped_containers(c: &Console) {
    let id = c.ok("create --name still busybox:1.29");
    holds(&c.fails("exec still true", 1), &format!("container {id} is not running"));
    holds(&c.fails("pause still", 1), &format!("container {id} is not running"));
    holds(&c.fails("top still", 1), &format!("container {id} is not running"));
    holds(&c.fails("unpause still", 1), &format!("Container {id} is not paused"));
    c.ok("run -d --name moving busybox:1.29 sleep 1000");
    c.ok("pause moving");
    holds(&c.fails("pause moving", 1), "is already paused");
    holds(&c.fails("exec moving true", 1), "is paused, unpause the container before exec");
    holds(&c.fails("start moving", 1), "cannot start a paused container, try unpause instead");
}

fn filters(c: &Console) {
    holds(&c.fails("ps --filter nonsense=1", 1), "invalid filter 'nonsense'");
    holds(&c.fails("images --filter nonsense=1", 1), "invalid filter 'nonsense'");
    holds(&c.fails("ps --filter status=nonsense", 1), "invalid filter 'status=nonsense'");
}

/// What no client sends.
fn requests(c: &Console) {
    let json = "Content-Type: application/json\r\n";
    for (line, head, body, status) in [
        ("POST /v1.44/containers/create", json, "{", 400),
        ("POST /v1.44/containers/create", json, "[]", 400),
        ("POST /v1.44/containers/create", json, "", 400),
        ("POST /v1.44/containers/create", "Content-Type: text/plain\r\n", "{}", 400),
        ("GET /v1.44/nonsense", "", "", 404),
        ("GET /v1.44/containers/nobody/json", "", "", 404),
        ("GET /v9.99/version", "", "", 400),
        ("GET /v1.44/containers/json?filters=nonsense", "", "", 400),
    ] {
        let (answer, text) = c.request(line, head, body);
        assert_eq!(answer, status, "{line} {body:?}: {text}");
        let message = serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["message"].clone();
        assert!(message.as_str().is_some_and(|message| !message.is_empty()), "{line}: {text}");
    }
    // The daemon goes on, and reads no more than it must.
    let large = format!("{{\"Image\":\"{}\"}}", "x".repeat(32 << 20));
    let (status, _) = c.request("POST /v1.44/containers/create", json, &large);
    assert!((400..500).contains(&status), "{status}");
    assert_eq!(c.request("GET /_ping", "", "").0, 200);
}
