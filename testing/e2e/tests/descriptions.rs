//! What lists and descriptions say: ports, mounts, sizes, links.

use tare_testkit::http::free_port;
use tare_testkit::{Console, with_both_clients};

with_both_clients!(port_filters, tmpfs_mounts, shared_sizes, renamed_links, early_mistakes, sizes_without_a_terminal);

fn port_filters(c: &Console) {
    let port = free_port();
    c.ok(&format!("run -d --name web -p {port}:80 --expose 81 busybox:1.29 sleep 1000"));
    let found = |filter: &str| c.ok(&format!("ps --format {{{{.Names}}}} --filter {filter}"));
    assert_eq!(found(&format!("publish={port}")), "web");
    assert_eq!(found("publish=80"), "");
    assert_eq!(found("publish=81"), "");
    assert_eq!(found("expose=80-81/tcp"), "web");
    assert_eq!(found("expose=81"), "web");
    assert_eq!(found(&format!("expose={port}")), "");
}

/// Those of `--tmpfs` are in the host configuration alone, as in Docker.
fn tmpfs_mounts(c: &Console) {
    c.ok("create --name box --mount type=tmpfs,target=/scratch --tmpfs /other busybox:1.29");
    let form = "{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}}{{end}}";
    assert_eq!(c.ok(&format!("inspect --format '{form}' box")), "tmpfs /scratch true");
}

fn shared_sizes(c: &Console) {
    c.ok("run --name box busybox:1.29 sh -c 'dd if=/dev/urandom of=/file bs=1024 count=64'");
    c.ok("commit box own/app");
    let (_, body) = c.request("GET /images/json?shared-size=1", "", "");
    let images: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let shared: Vec<_> = images.as_array().expect("a list").iter().map(|image| image["SharedSize"].as_i64()).collect();
    assert_eq!(shared.len(), 2, "{body}");
    assert!(shared.iter().all(|size| *size == shared[0] && size.is_some_and(|size| size > 0)), "{body}");
    let (_, body) = c.request("GET /images/json", "", "");
    assert!(!body.contains("\"SharedSize\":0") && body.contains("\"SharedSize\":-1"), "{body}");
    let tagged = c.ok("inspect --type image --format {{.Metadata.LastTagTime}} own/app");
    assert!(!tagged.starts_with("0001"), "{tagged}");
}

fn renamed_links(c: &Console) {
    c.ok("run -d --name db busybox:1.29 sleep 1000");
    c.ok("run -d --name web --link db:store busybox:1.29 sleep 1000");
    c.ok("rename db base");
    assert_eq!(c.ok("inspect --format '{{.HostConfig.Links}}' web"), "[/base:/web/store]");
}

/// What is found before the container's process is made has no words about the runtime before it.
fn early_mistakes(c: &Console) {
    for (options, text) in [
        ("-u nope", "unable to find user nope: no matching entries in passwd file"),
        ("-w /etc/passwd", "Cannot mkdir: /etc/passwd is not a directory"),
        ("--group-add 0 --group-add nope", "unable to find group nope: no matching entries in group file"),
    ] {
        let refused = c.fails(&format!("run --rm {options} busybox:1.29 true"), 125);
        assert!(refused.contains(&format!("Error response from daemon: {text}")), "{refused}");
    }
}

fn sizes_without_a_terminal(c: &Console) {
    c.ok("run -d --name box busybox:1.29 sleep 1000");
    let (status, body) = c.request("POST /containers/box/resize?h=30&w=100", "", "");
    assert_eq!(status, 200, "{body}");
}
