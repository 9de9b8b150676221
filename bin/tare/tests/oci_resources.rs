//! Limits, groups and what is said about them. Needs root and a static busybox at `/bin/busybox` (Debian:
//! busybox-static).

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;

use serde_json::json;

use common::Host;

#[test]
fn the_number_of_processes() {
    let host = Host::new();
    let id = &host.id("pids");
    host.config("read x", |config| config["linux"]["resources"]["pids"] = json!({"limit": 0}));
    host.create(id, &[]);
    let limit = || {
        let line = host.ok(&["events", "--stats", id]);
        serde_json::from_str::<serde_json::Value>(&line).unwrap()["data"]["pids"]["limit"].clone()
    };
    // The process itself is the least there can be.
    assert_eq!(limit(), 1);
    for (option, expected) in [("12", 12), ("-1", 0), ("0", 1)] {
        host.ok(&["update", "--pids-limit", option, id]);
        assert_eq!(limit(), expected, "{option}");
    }
    let error = host.fails(&["update", "--l3-cache-schema", "L3:0=f", id]).1;
    assert_eq!(error, "error: --l3-cache-schema: not supported, Intel RDT is not used\n");
    host.ok(&["delete", "--force", id]);
    host.config("true", |config| config["linux"]["intelRdt"] = json!({"closID": "x"}));
    assert!(host.fails(&["run", id]).1.contains("linux.intelRdt: not supported"));
}

#[test]
fn events_come_in_the_order_that_readers_expect() {
    let host = Host::new();
    let id = &host.id("events");
    host.config("sleep 1000", |_| {});
    host.create(id, &[]);
    host.ok(&["start", id]);
    let mut events = host.command(&["events", "--interval", "10ms", id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        let line = lines.next().unwrap().unwrap();
        assert!(line.starts_with(&format!(r#"{{"type":"stats","id":"{id}","data":{{"#)), "{line}");
    }
    host.ok(&["delete", "--force", id]);
    // Its end is theirs.
    assert!(lines.all(|line| line.is_ok()));
    assert!(events.wait().unwrap().success());
}

#[test]
fn running_out_of_memory_is_an_event_while_the_container_goes_on() {
    let host = Host::new();
    let id = &host.id("hungry");
    host.config("sleep 1000", |config| {
        config["linux"]["resources"]["memory"] = json!({"limit": 32 << 20, "swap": 32 << 20});
    });
    host.create(id, &[]);
    host.ok(&["start", id]);
    let mut events = host.command(&["events", "--interval", "10ms", id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains("stats"));
    let killed = host.command(&["exec", id, "sh", "-c", "x=xxxxxxxx; while :; do x=$x$x; done"]).status().unwrap();
    assert_eq!(killed.code(), Some(137));
    let oom = format!(r#"{{"type":"oom","id":"{id}"}}"#);
    assert!(lines.any(|line| line == oom));
    assert_eq!(host.state(id)["status"], "running");
    host.ok(&["delete", "--force", id]);
    assert_eq!(lines.filter(|line| *line == oom).count(), 0);
    assert!(events.wait().unwrap().success());
}

#[test]
fn a_process_in_a_group_below_the_containers() {
    let host = Host::new();
    let id = &host.id("groups");
    host.config("sleep 1000", |_| {});
    host.create(id, &[]);
    host.ok(&["start", id]);
    let error = |group: &str| {
        let (code, error) = host.fails(&["exec", "--cgroup", group, id, "true"]);
        assert_eq!(code, 255);
        error
    };
    assert!(error("..").contains("bad sub cgroup path"));
    assert!(error("whaaat:/").contains("unknown controller whaaat"));
    let missing = error("missing");
    assert!(missing.contains(" adding pid ") && missing.contains("No such file or directory"), "{missing}");
    let v1 = Path::new("/sys/fs/cgroup/memory");
    let own = host.ok(&["exec", "--cgroup", "/", id, "cat", "/proc/self/cgroup"]);
    let pid = host.state(id)["pid"].to_string();
    assert_eq!(fs::read_to_string(Path::new("/proc").join(pid).join("cgroup")).unwrap(), own);
    // Beside hierarchies of v1, that of v2 is joined where others look for it.
    let unified = !v1.is_dir() || Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists();
    let joined = |line: &&str| !line.starts_with("0::") || unified;
    assert!(own.lines().filter(joined).all(|line| line.ends_with(id.as_str())), "{own}");
    if !v1.is_dir() {
        return;
    }
    let group = own.lines().find_map(|line| line.split_once(":memory:/")).unwrap().1;
    fs::create_dir(v1.join(group).join("sub")).unwrap();
    let below = host.ok(&["exec", "--cgroup", "memory:sub", id, "cat", "/proc/self/cgroup"]);
    for line in below.lines().filter(joined) {
        let group = if line.contains(":memory:") { format!("{id}/sub") } else { id.clone() };
        assert!(line.ends_with(&group), "{line}");
    }
}

#[test]
fn the_flags_of_a_filter_are_said_on_request() {
    let host = Host::new();
    let id = &host.id("flags");
    for (flags, number) in [
        (json!(null), 4),
        (json!([]), 0),
        (json!(["SECCOMP_FILTER_FLAG_LOG"]), 2),
        (json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"]), 6),
    ] {
        host.config("true", |config| {
            config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags});
        });
        let output = host.run(&["--debug", "run", id]);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && text.contains(&format!("\"seccomp filter flags: {number}\"")), "{text}");
        assert_eq!(String::from_utf8(host.run(&["run", id]).stderr).unwrap(), "");
    }
    host.config("true", |config| {
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_X"]});
    });
    assert!(host.fails(&["run", id]).1.contains("unknown seccomp flag `SECCOMP_FILTER_FLAG_X`"));
}

#[test]
fn what_is_done_is_said_on_request() {
    let host = Host::new();
    let id = &host.id("debug");
    let log = host.directory.path().join("log");
    let said = |args: &[&str]| {
        let _ = fs::remove_file(&log);
        let options = ["--debug", "--log", log.to_str().unwrap(), "--log-format", "json"];
        // A container in the background keeps its output.
        let mut command = host.command(&[&options, args].concat());
        assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
        let text = fs::read_to_string(&log).unwrap();
        let line = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
        text.lines().map(line).all(|line| line["level"] == "debug" && line["time"].is_string()).then_some(text).unwrap()
    };
    host.config("sleep 1000", |_| {});
    let text = said(&["run", "--detach", id]);
    let pid = host.state(id)["pid"].to_string();
    for part in ["nsexec container setup", &format!("child process in init(): {pid}"), "init: closing the pipe"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let text = said(&["exec", id, "true"]);
    for part in [&format!("nsexec container setup: namespaces of {pid}"), "child process in init(): ", "about to exec"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_start_container_hook_is_one_of_the_containers_processes() {
    let host = Host::new();
    let id = &host.id("hook");
    let kill = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_KILL"}]});
    let hook = |script: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    // Its own entry of /proc is there, and nothing is open but its streams and that.
    let script =
        "test $(readlink /proc/self/ns/pid) = $(readlink /proc/1/ns/pid) && test $(ls /proc/self/fd | wc -l) = 4";
    for applet in ["test", "readlink", "wc", "pwd"] {
        std::os::unix::fs::symlink("busybox", host.bundle().join("rootfs/bin").join(applet)).unwrap();
    }
    host.config("echo started", |config| config["hooks"]["startContainer"] = hook(script));
    assert_eq!(host.ok(&["run", id]), "started\n");
    host.config("echo started", |config| {
        config["hooks"]["startContainer"] = hook("exec pwd");
        config["linux"]["seccomp"] = kill.clone();
    });
    for (create, command) in [(false, "run"), (true, "start")] {
        if create {
            host.create(id, &[]);
        }
        let error = host.fails(&[command, id]).1;
        assert!(error.contains("error running startContainer hook") && error.contains("bad system call"), "{error}");
    }
}
