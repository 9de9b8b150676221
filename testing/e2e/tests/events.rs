//! Events: what is told of containers, their networks and volumes, and of images.

use std::time::SystemTime;

use tare_testkit::{Console, with_both_clients};

with_both_clients!(
    a_run,
    a_restart,
    failed_starts,
    execs,
    checks,
    an_end_that_has_been,
    commits_and_names,
    builds,
    image_filter
);

/// The time in Docker's notation of moments.
fn now() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970").as_nanos();
    format!("{}.{:09}", now / 1_000_000_000, now % 1_000_000_000)
}

/// What has happened since a time, one a line, in the given form.
fn events(c: &Console, since: &str, options: &str, form: &str) -> Vec<String> {
    let until = now();
    let text = c.ok(&format!("events --since {since} --until {until} {options} --format '{form}'"));
    text.lines().map(str::to_owned).collect()
}

const WHAT: &str = "{{.Type}} {{.Action}}";

fn a_run(c: &Console) {
    let since = now();
    let id = c.ok("run -d --name box -v data:/data -v /cache busybox:1.29 true");
    c.ok("wait box");
    c.ok("rm -v box");
    let told = events(c, &since, "", WHAT);
    let wanted = [
        "volume create",
        "container create",
        "volume mount",
        "network connect",
        "container start",
        "network disconnect",
        "volume unmount",
        "container die",
        "volume destroy",
        "container destroy",
    ];
    for what in wanted {
        assert!(told.iter().any(|line| line == what), "{what} is not in {told:?}");
    }
    let form = "{{.Actor.ID}} {{.Action}} {{.Actor.Attributes.container}} {{.Actor.Attributes.destination}}";
    // An end alone asks for all that is known.
    let all = c.ok(&format!("events --until {} --filter container={id} --format '{{{{.Action}}}}'", now()));
    assert!(all.lines().any(|line| line == "destroy"), "{all}");
    let mounts = events(c, &since, "--filter volume=data", form);
    assert!(mounts.contains(&format!("data mount {id} /data")), "{mounts:?}");
    assert!(mounts.iter().any(|line| line.starts_with(&format!("data unmount {id}"))), "{mounts:?}");
}

/// A restart is told as what it does, then as itself.
fn a_restart(c: &Console) {
    c.ok("run -d --name box busybox:1.29 sleep 1000");
    let since = now();
    c.ok("restart -t 0 box");
    let told = events(c, &since, "--filter container=box --filter type=container", "{{.Action}}");
    assert_eq!(told, ["kill", "kill", "die", "stop", "start", "restart"]);
    c.ok("stop -t 0 box");
    let since = now();
    c.ok("restart box");
    let told = events(c, &since, "--filter container=box --filter type=container", "{{.Action}}");
    assert_eq!(told, ["start", "restart"]);
}

/// What a start that fails took is given back, and told.
fn failed_starts(c: &Console) {
    let since = now();
    c.fails("run --name box -v data:/data busybox:1.29 nothing", 127);
    let told = events(c, &since, "", WHAT);
    let wanted = ["volume mount", "network connect", "network disconnect", "volume unmount"];
    for what in wanted {
        assert_eq!(told.iter().filter(|line| *line == what).count(), 1, "{what} in {told:?}");
    }
    assert!(!told.iter().any(|line| line == "container start"), "{told:?}");
}

fn execs(c: &Console) {
    c.ok("run -d --name box busybox:1.29 sleep 1000");
    let since = now();
    c.fails("exec box nothing", 127);
    let told = events(c, &since, "--filter container=box", "{{.Action}}");
    // With the space before arguments that are not there, as Docker tells it.
    assert!(told.contains(&"exec_create: nothing ".to_owned()), "{told:?}");
    assert!(told.contains(&"exec_start: nothing ".to_owned()), "{told:?}");
}

fn checks(c: &Console) {
    let since = now();
    c.ok("run -d --name box --health-cmd true --health-interval 100ms busybox:1.29 sleep 1000");
    c.until("inspect --format {{.State.Health.Status}} box", |status| status == "healthy");
    let told = events(c, &since, "--filter container=box", "{{.Action}}");
    for what in ["exec_create: /bin/sh -c true", "exec_start: /bin/sh -c true", "exec_die"] {
        assert!(told.iter().any(|line| line == what), "{what} is not in {told:?}");
    }
}

/// What happens while an end that has been is asked for is not told.
fn an_end_that_has_been(c: &Console) {
    c.ok("run -d --name chatty busybox:1.29 sleep 1000");
    let until = now();
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            for _ in 0..10 {
                c.ok("pause chatty");
                c.ok("unpause chatty");
            }
        });
        while !busy.is_finished() {
            let told = c.ok(&format!("events --until {until} --filter container=chatty --format '{{{{.Action}}}}'"));
            assert!(told.contains("start") && !told.contains("pause"), "{told}");
        }
    });
}

fn commits_and_names(c: &Console) {
    c.ok("run -d --name box busybox:1.29 sleep 1000");
    let since = now();
    let id = c.ok("commit box own/app:1");
    let told = events(c, &since, "", WHAT);
    let wanted = ["container pause", "container unpause", "image create", "image tag", "container commit"];
    assert_eq!(told, wanted);
    let form = "{{.Action}} {{.Actor.ID}} {{.Actor.Attributes.name}}";
    let since = now();
    c.ok("tag own/app:1 own/app:2");
    c.ok("rmi own/app:1");
    c.ok("rmi own/app:2");
    let told = events(c, &since, "", form);
    let wanted = [
        format!("tag {id} own/app:2"),
        format!("untag {id} own/app:1"),
        format!("untag {id} own/app:2"),
        format!("delete {id} {id}"),
    ];
    assert_eq!(told, wanted);
    let since = now();
    let busybox = c.ok("inspect --type image --format {{.Id}} busybox:1.29");
    c.ok(&format!("save -o {} busybox:1.29", c.path("saved.tar").display()));
    c.ok(&format!("load -q -i {}", c.path("saved.tar").display()));
    assert_eq!(events(c, &since, "", form), [format!("save {busybox} {busybox}"), format!("load {busybox} {busybox}")]);
}

/// A build tells of the images of its steps, and of names.
fn builds(c: &Console) {
    std::fs::create_dir_all(c.path("context")).unwrap();
    std::fs::write(c.path("context/Dockerfile"), "FROM busybox:1.29\nLABEL of=builds\nENV A=b\n").unwrap();
    let since = now();
    c.ok("build --no-cache -t own/built context");
    assert_eq!(events(c, &since, "--filter type=image", WHAT), ["image create", "image create", "image tag"]);
}

/// An image without a tag means all its tags, and its containers.
fn image_filter(c: &Console) {
    let since = now();
    c.ok("run --name box busybox:1.29 true");
    for name in ["busybox", "busybox:1.29"] {
        let told = events(c, &since, &format!("--filter image={name}"), "{{.Action}}");
        assert!(told.contains(&"start".to_owned()), "{name}: {told:?}");
    }
    assert!(events(c, &since, "--filter image=busy", "{{.Action}}").is_empty());
}
