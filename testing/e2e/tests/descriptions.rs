//! What lists and descriptions say: ports, mounts, sizes, links.

use tare_testkit::http::free_port;
use tare_testkit::{Console, with_both_clients};

with_both_clients!(
    port_filters,
    tmpfs_mounts,
    capabilities,
    shared_sizes,
    tags_twice,
    manifests,
    what_is_not_asked_for,
    renamed_links,
    early_mistakes,
    sizes_without_a_terminal,
);

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

/// As they were given, whatever the spelling: who describes containers compares it (Ansible). They take effect all the same.
fn capabilities(c: &Console) {
    c.ok("pull --quiet busybox:1.29");
    let body = r#"{"Image":"busybox:1.29","Cmd":["sh","-c","grep CapEff /proc/self/status; chown 1 /tmp"],
        "HostConfig":{"CapAdd":["sys_time"],"CapDrop":["Cap_Chown"]}}"#;
    let (status, said) = c.request("POST /containers/create?name=able", "Content-Type: application/json\r\n", body);
    assert_eq!(status, 201, "{said}");
    let form = "{{json .HostConfig.CapAdd}} {{json .HostConfig.CapDrop}}";
    assert_eq!(c.ok(&format!("inspect --format '{form}' able")), r#"["sys_time"] ["Cap_Chown"]"#);
    let output = c.run("start -a able");
    assert_eq!(output.status, 1, "{output}");
    // Docker's default ones, 0xa80425fb, without bit 0 (CAP_CHOWN) and with bit 25 (CAP_SYS_TIME).
    assert_eq!(output.stdout.trim_end(), "CapEff:\t00000000aa0425fa", "{output}");
}

fn shared_sizes(c: &Console) {
    c.ok("run --name box busybox:1.29 sh -c 'dd if=/dev/urandom of=/file bs=1024 count=64'");
    c.ok("commit box own/app");
    // What it was committed on is told under each of its names, and after they have moved on.
    c.ok("tag own/app own/other");
    for name in ["own/app", "own/other"] {
        let parent = c.ok(&format!("image inspect --format {{{{.Parent}}}} {name}"));
        assert_eq!(parent, c.ok("inspect --format {{.Image}} box"), "{name}");
    }
    c.ok("rmi own/other");
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

/// A tag of its own takes the place of the one in the name: SDKs that have both send both.
fn tags_twice(c: &Console) {
    c.ok("create --name box busybox:1.29");
    for (request, status) in [
        ("POST /images/busybox:1.29/tag?repo=own/app:old&tag=new", 201),
        ("POST /commit?container=box&repo=own/made:old&tag=new", 201),
        ("POST /images/busybox:1.29/tag?repo=own/app&tag=%24", 400),
    ] {
        let (answer, body) = c.request(request, "", "");
        assert_eq!(answer, status, "{request}: {body}");
    }
    // There is none: the name is what counts.
    let (_, told) = c.request("POST /images/127.0.0.1:1/own/app:old/push?tag=new", "", "");
    assert!(told.contains("tag does not exist: 127.0.0.1:1/own/app:new"), "{told}");
    let names = c.ok("images --format {{.Repository}}:{{.Tag}} own/*");
    let mut names: Vec<_> = names.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["own/app:new", "own/made:new"]);
}

/// What `image ls --tree` and newer clients' lists are made of.
fn manifests(c: &Console) {
    let id = c.ok("run -d busybox:1.29 sleep 1000");
    let (_, body) = c.request("GET /images/json?manifests=1", "", "");
    let list: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let (_, body) = c.request("GET /images/busybox:1.29/json?manifests=1", "", "");
    let inspected: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(list[0]["Manifests"], inspected["Manifests"], "{body}");
    let manifests = inspected["Manifests"].as_array().expect("manifests");
    let own = manifests.iter().find(|manifest| manifest["Available"] == true).expect("one that is here");
    assert_eq!((&own["Kind"], &own["ID"]), (&"image".into(), &own["Descriptor"]["digest"]), "{body}");
    assert_eq!(own["ImageData"]["Containers"], serde_json::json!([id]), "{body}");
    assert_eq!(own["ImageData"]["Platform"]["os"], "linux", "{body}");
    let size = |value: &serde_json::Value| value.as_i64().filter(|size| *size > 0).expect("a size");
    assert_eq!(
        size(&own["Size"]["Content"]) + size(&own["ImageData"]["Size"]["Unpacked"]),
        size(&own["Size"]["Total"])
    );
    assert!(!c.request("GET /images/json", "", "").1.contains("Manifests"));
}

/// What an SDK leaves out is empty or null where it is so in Docker: programs look into it without asking.
fn what_is_not_asked_for(c: &Console) {
    let create = |name: &str, body: &str| {
        let head = "Content-Type: application/json\r\n";
        let (status, said) = c.request(&format!("POST /containers/create?name={name}"), head, body);
        assert_eq!(status, 201, "{said}");
    };
    c.ok("pull busybox:1.29");
    create("bare", r#"{"Image":"busybox:1.29"}"#);
    let (_, body) = c.request("GET /containers/json?all=1", "", "");
    assert!(body.contains(r#""Labels":{}"#), "{body}");
    assert_eq!(c.ok("inspect --format '{{json .Config.Labels}}' bare"), "{}");
    assert_eq!(c.request("GET /containers/bare/changes", "", "").1, "null");
    // An empty entrypoint takes the image's away; its command stays.
    c.ok("commit --change 'ENTRYPOINT [\"echo\"]' --change 'CMD [\"true\"]' bare both");
    create("without", r#"{"Image":"both","Entrypoint":[]}"#);
    assert_eq!(c.ok("inspect --format '{{.Path}} {{.Args}}' without"), "true []");
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
