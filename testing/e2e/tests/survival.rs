//! Containers do not notice what happens to the daemon, and it knows afterwards what happened to them.

use tare_testkit::{Client, Console, PAUSE};

/// Prints a line every few milliseconds.
const COUNTER: &str = "sh -c 'i=0; while true; do i=$((i+1)); echo line $i; sleep 0.01; done'";

/// A console on an engine of ours; nothing of this can be asked of a daemon that somebody else started.
fn console() -> Option<Console> {
    let console = Console::new(Client::Tare);
    console.engine().is_some().then_some(console)
}

#[test]
fn a_killed_daemon_finds_its_containers_again() {
    let Some(mut c) = console() else { return };
    c.ok(&format!("run -d --name counter busybox:1.29 {COUNTER}"));
    c.ok("run -d --name sleeper busybox:1.29 sleep 1000");
    c.ok("run -d --name short busybox:1.29 sh -c 'sleep 0.5; exit 5'");
    c.ok("run -d --name terminal -t busybox:1.29 sh -c 'while true; do echo tick; sleep 0.1; done'");
    c.ok("create --name waiting busybox:1.29 true");
    c.logged("counter", "line 10\n");
    let pid = |c: &Console, name: &str| c.ok(&format!("inspect --format {{{{.State.Pid}}}} {name}"));
    let before = (pid(&c, "counter"), pid(&c, "sleeper"), pid(&c, "terminal"));
    for round in 0..3 {
        let engine = c.engine_mut().expect("an engine");
        engine.kill();
        // Something happens while nobody looks.
        std::thread::sleep(PAUSE * (1 + round * 20));
        engine.resume();
        assert_eq!((pid(&c, "counter"), pid(&c, "sleeper"), pid(&c, "terminal")), before);
        for name in ["counter", "sleeper", "terminal"] {
            assert_eq!(c.state(name), "running");
        }
        assert_eq!(c.state("waiting"), "created");
    }
    assert_eq!(c.ok("wait short"), "5");
    assert_eq!(c.ok("exec sleeper echo here"), "here");
    c.ok("stop -t 0 counter");
    let logs = c.logs("counter");
    for (index, line) in logs.lines().enumerate() {
        assert_eq!(line, format!("line {}", index + 1), "a line is lost or there twice");
    }
    assert!(logs.lines().count() > 30, "{logs}");
}

/// Has the processes of a container stand still, as the daemon does for a pause or a commit.
fn freeze(pid: &str) {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the groups of a process");
    let path = |prefix: &str| groups.lines().find_map(|line| line.split_once(prefix)).map(|(_, path)| path.to_owned());
    let (file, value) = match path(":freezer:") {
        Some(path) => (format!("/sys/fs/cgroup/freezer{path}/freezer.state"), "FROZEN"),
        None => (format!("/sys/fs/cgroup{}/cgroup.freeze", path("0::").expect("a group")), "1"),
    };
    std::fs::write(&file, value).unwrap_or_else(|error| panic!("{file}: {error}"));
}

#[test]
fn only_what_was_paused_stands_still_afterwards() {
    let Some(mut c) = console() else { return };
    let pid = |c: &Console, name: &str| c.ok(&format!("inspect --format {{{{.State.Pid}}}} {name}"));
    c.ok(&format!("run -d --name committed busybox:1.29 {COUNTER}"));
    for name in ["paused", "killed"] {
        c.ok(&format!("run -d --name {name} busybox:1.29 sleep 1000"));
        c.ok(&format!("pause {name}"));
    }
    let (committed, killed) = (pid(&c, "committed"), pid(&c, "killed"));
    c.engine_mut().expect("an engine").kill();
    // What a daemon leaves behind that ends during a commit, and one that ends while it removes by force.
    freeze(&committed);
    let mut kill = std::process::Command::new("kill");
    let sent = tare_testkit::Output::of("kill", kill.args(["-KILL", &killed]));
    assert_eq!(sent.status, 0, "{sent}");
    c.engine_mut().expect("an engine").resume();
    assert_eq!(c.state("committed"), "running");
    let lines = c.logs("committed").lines().count();
    c.logged("committed", &format!("line {}\n", lines + 10));
    assert_eq!(c.ok("wait killed"), "137");
    assert_eq!(c.state("paused"), "paused");
    c.ok("unpause paused");
    assert_eq!(c.ok("exec paused echo here"), "here");
}

#[test]
fn a_daemon_that_is_stopped_leaves_containers_running() {
    let Some(mut c) = console() else { return };
    c.ok(
        "run -d --name sleeper -p 0:80 busybox:1.29 sh -c 'mkdir /w; echo served >/w/index.html; httpd -f -p 80 -h /w'",
    );
    let port = c.ok("port sleeper 80/tcp").lines().next().expect("a line").to_owned();
    let port = port.rsplit(':').next().expect("a port").to_owned();
    let fetch = |what: &str| {
        let url = format!("http://127.0.0.1:{port}/");
        let mut curl = std::process::Command::new("curl");
        let output = tare_testkit::Output::of(
            what,
            curl.args(["--silent", "--show-error", "--retry", "5", "--retry-all-errors", &url]),
        );
        assert_eq!(output.stdout, "served\n", "{output}");
    };
    fetch("with the daemon");
    c.engine_mut().expect("an engine").stop();
    fetch("without it");
    c.engine_mut().expect("an engine").resume();
    fetch("with the next one");
    assert_eq!(c.state("sleeper"), "running");
}

#[test]
fn two_engines_do_not_know_each_other() {
    let (Some(one), Some(two)) = (console(), console()) else { return };
    one.ok("run -d --name same busybox:1.29 sleep 1000");
    two.ok("run -d --name same busybox:1.29 sleep 1000");
    let address = |c: &Console| c.ok("inspect --format {{.NetworkSettings.Networks.bridge.IPAddress}} same");
    assert_ne!(address(&one), address(&two));
    one.remove_all();
    drop(one);
    assert_eq!(two.state("same"), "running");
    assert_eq!(two.ok("exec same echo here"), "here");
}

#[test]
fn engines_that_start_at_once_do_not_take_each_others_bridges() {
    if std::env::var_os("TARE_REFERENCE").is_some() {
        return;
    }
    std::thread::scope(|scope| {
        for _ in 0..6 {
            // Panics when it does not start, or leaves anything behind.
            scope.spawn(|| drop(tare_testkit::Engine::start(&[])));
        }
    });
}
