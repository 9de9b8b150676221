//! When the machine is shut down, the daemon stops its containers as `docker stop` does; otherwise they outlive it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tare_testkit::{Client, Console, Engine, install};

/// What systemd says that the machine is doing.
fn machine_is(directory: &Path, state: &str) {
    fs::write(directory.join("systemctl"), format!("#!/bin/sh\n[ \"$1\" = is-system-running ] && echo {state}\n"))
        .and_then(|()| fs::set_permissions(directory.join("systemctl"), fs::Permissions::from_mode(0o755)))
        .expect("a program");
}

/// Waits for its signal, and ends with some words and 3.
fn patient(c: &Console, name: &str, options: &str) {
    let script = "trap \"echo clean; exit 3\" USR1; echo begin; while :; do sleep 0.1; done";
    c.ok(&format!("run -d --name {name} --stop-signal USR1 {options} busybox:1.29 sh -c '{script}'"));
    c.logged(name, "begin");
}

#[test]
fn containers_stop_with_the_machine() {
    let systemd = tempfile::Builder::new().prefix("tare-systemd-").tempdir().expect("directory");
    machine_is(systemd.path(), "running");
    let path = format!("{}:{}", systemd.path().display(), std::env::var("PATH").expect("a path"));
    let environment = vec![("PATH", path.into()), ("INVOCATION_ID", "1234".into())];
    let engine = Engine::start_with(&["--registry-mirror", install::mirror()], environment);
    let mut c = Console::of(Client::Tare, engine);
    patient(&c, "always", "--restart always");
    patient(&c, "unless", "--restart unless-stopped");
    patient(&c, "once", "");
    patient(&c, "deaf", "--stop-timeout 1");
    c.ok("exec deaf sh -c 'kill -STOP -1'");
    patient(&c, "by-hand", "--restart unless-stopped");
    c.ok("stop by-hand");

    // The daemon alone.
    let pids = "inspect --format {{.State.Pid}} always unless once deaf";
    let before = c.ok(pids);
    c.engine_mut().expect("an engine").stop();
    c.engine_mut().expect("an engine").resume();
    assert_eq!(c.ok(pids), before);

    machine_is(systemd.path(), "stopping");
    c.engine_mut().expect("an engine").stop();
    for pid in before.lines() {
        assert!(!Path::new("/proc").join(pid).exists(), "{pid} runs");
    }
    machine_is(systemd.path(), "running");
    c.engine_mut().expect("an engine").resume();
    for name in ["always", "unless"] {
        c.until(&format!("inspect --format {{{{.State.Status}}}} {name}"), |status| status == "running");
        assert!(c.logs(name).starts_with("begin\nclean\n"), "{}", c.logs(name));
    }
    let ends = "inspect --format '{{.State.Status}} {{.State.ExitCode}}'";
    assert_eq!(c.ok(&format!("{ends} once deaf by-hand")), "exited 3\nexited 137\nexited 3");
    assert_eq!(c.logs("once"), "begin\nclean\n");
}
