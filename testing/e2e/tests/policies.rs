//! What restart policies do when the engine ends, when it crashes, and when the machine is switched off.

use tare_testkit::{Client, Console, engine::Remains, eventually};

/// A console on an engine of ours; nothing of this can be asked of a daemon that somebody else started.
fn console() -> Option<Console> {
    let console = Console::new(Client::Tare);
    console.engine().is_some().then_some(console)
}

/// Every policy, with a container that runs (`NAME-up`) and one that was stopped by hand (`NAME-down`); and containers
/// that ended by themselves.
const POLICIES: [(&str, &str); 5] = [
    ("none", "no"),
    ("failure", "on-failure"),
    ("counted", "on-failure:5"),
    ("always", "always"),
    ("unless", "unless-stopped"),
];

fn start_all(c: &Console) {
    for (name, policy) in POLICIES {
        c.ok(&format!("run -d --name {name}-up --restart {policy} busybox:1.29 sh -c 'echo run; exec sleep 1000'"));
        c.ok(&format!("run -d --name {name}-down --restart {policy} busybox:1.29 sh -c 'echo run; exec sleep 1000'"));
        c.ok(&format!("stop -t 0 {name}-down"));
    }
    c.ok("run -d --name done --restart on-failure busybox:1.29 true");
    c.ok("run -d --name failed --restart no busybox:1.29 false");
    c.ok("create --name never --restart always busybox:1.29 sleep 1000");
    for ended in ["done", "failed"] {
        c.until(&format!("inspect --format {{{{.State.Status}}}} {ended}"), |state| state == "exited");
    }
}

/// The states of all containers, once they are as expected.
fn become_(c: &Console, expected: &[(&str, &str)]) {
    let seen = || expected.iter().map(|(name, _)| (*name, c.state(name))).collect::<Vec<_>>();
    let right = || seen().iter().zip(expected).all(|(seen, expected)| seen.1 == expected.1);
    assert!(tare_testkit::within_patience(right), "{:?}\n{expected:?}", seen());
}

/// Docker's rules: what was stopped by hand comes back with `always` only; what never started does not start.
const STOPPED: [(&str, &str); 8] = [
    ("none-down", "exited"),
    ("failure-down", "exited"),
    ("counted-down", "exited"),
    ("always-down", "running"),
    ("unless-down", "exited"),
    ("done", "exited"),
    ("failed", "exited"),
    ("never", "created"),
];

const RUNNING: [(&str, &str); 5] = [
    ("none-up", "running"),
    ("failure-up", "running"),
    ("counted-up", "running"),
    ("always-up", "running"),
    ("unless-up", "running"),
];

/// Containers outlive their engine; only what was stopped is decided anew.
fn engine_goes(end: impl Fn(&mut Console)) {
    let Some(mut c) = console() else { return };
    start_all(&c);
    let pids = |c: &Console| RUNNING.map(|(name, _)| c.ok(&format!("inspect --format {{{{.State.Pid}}}} {name}")));
    let before = pids(&c);
    end(&mut c);
    become_(&c, &[&RUNNING[..], &STOPPED[..]].concat());
    assert_eq!(pids(&c), before, "what runs goes on");
    for (name, policy) in POLICIES {
        assert_eq!(c.logs(&format!("{name}-up")), "run\n", "{policy}");
    }
    // Started by hand, it is not stopped by hand any more.
    c.ok("start unless-down");
    c.ok("stop -t 0 always-down");
    end(&mut c);
    become_(&c, &[("unless-down", "running"), ("always-down", "running")]);
}

#[test]
fn the_engine_is_stopped() {
    engine_goes(|c| {
        let engine = c.engine_mut().expect("an engine");
        engine.stop();
        engine.resume();
    });
}

#[test]
fn the_engine_crashes() {
    engine_goes(|c| {
        let engine = c.engine_mut().expect("an engine");
        engine.kill();
        engine.resume();
    });
}

/// Everything ends at once, without a word.
fn machine_goes(remains: Remains) {
    let Some(mut c) = console() else { return };
    start_all(&c);
    let engine = c.engine_mut().expect("an engine");
    engine.switch_off(remains);
    engine.resume();
    let up = [
        ("none-up", "exited"),
        // It did not end with status 0.
        ("failure-up", "running"),
        ("counted-up", "running"),
        ("always-up", "running"),
        ("unless-up", "running"),
    ];
    become_(&c, &[&up[..], &STOPPED[..]].concat());
    assert_ne!(c.ok("inspect --format {{.State.ExitCode}} none-up"), "0");
    for name in ["failure-up", "counted-up", "always-up", "unless-up"] {
        c.until(&format!("logs {name}"), |logs| logs == "run\nrun");
    }
    assert_eq!(c.ok("exec always-up echo here"), "here");
    assert_eq!(c.ok("ps --quiet --filter status=running").lines().count(), 5);
}

#[test]
fn the_machine_crashes_and_leaves_its_mounts() {
    machine_goes(Remains::Mounts);
}

#[test]
fn the_machine_is_started_anew() {
    machine_goes(Remains::Disk);
}

/// Whoever is linked to another, or lives in another's network, starts after it, however their names sort and whenever
/// they were made.
fn dependencies(remains: Remains) {
    let Some(mut c) = console() else { return };
    c.ok("run -d --name z-mailer --restart always dockerinaction/ch2_mailer");
    c.ok("run -d --name y-web --restart always nginx:latest");
    c.until("exec y-web cat /proc/net/tcp", |sockets| sockets.contains(":0050 00000000:0000 0A"));
    let links = "--link y-web:insideweb --link z-mailer:insidemailer";
    let watch = "while true; do wget -q -O - http://insideweb/ | grep -o Welcome; sleep 0.2; done";
    c.ok(&format!("run -d --name b-watcher --restart always {links} busybox:1.29 sh -c '{watch}'"));
    let visit = "while true; do wget -q -O - http://127.0.0.1/ | grep -o Welcome; sleep 0.2; done";
    c.ok(&format!("run -d --name a-guest --restart always --net container:y-web busybox:1.29 sh -c '{visit}'"));
    c.ok("run -d --name c-watcher --restart always --link b-watcher:b busybox:1.29 sleep 1000");
    for name in ["a-guest", "b-watcher"] {
        c.logged(name, "Welcome");
    }
    let engine = c.engine_mut().expect("an engine");
    engine.switch_off(remains);
    engine.resume();
    let all = ["a-guest", "b-watcher", "c-watcher", "y-web", "z-mailer"];
    become_(&c, &all.map(|name| (name, "running")));
    let address = c.ok("inspect --format {{.NetworkSettings.Networks.bridge.IPAddress}} y-web");
    let environment = c.ok("exec b-watcher env");
    assert!(environment.contains(&format!("INSIDEWEB_PORT_80_TCP_ADDR={address}\n")), "{environment}");
    let started = |name: &str| c.ok(&format!("inspect --format {{{{.State.StartedAt}}}} {name}"));
    for (first, second) in
        [("y-web", "a-guest"), ("y-web", "b-watcher"), ("z-mailer", "b-watcher"), ("b-watcher", "c-watcher")]
    {
        assert!(started(first) < started(second), "{first} {second}");
    }
    for name in ["a-guest", "b-watcher"] {
        eventually("somebody who still sees the server", || {
            c.ok(&format!("logs --since {} {name}", started(name))).contains("Welcome").then_some(())
        });
    }
}

#[test]
fn links_decide_the_order_after_a_crash() {
    dependencies(Remains::Mounts);
}

#[test]
fn links_decide_the_order_at_the_start_of_the_machine() {
    dependencies(Remains::Disk);
}
