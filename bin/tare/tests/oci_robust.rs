//! `tare oci` when something has been killed, or others do things at the same time. Needs root and a static busybox at
//! `/bin/busybox` (Debian: busybox-static).

mod common;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use common::Host;

const KILL: i32 = 9;

fn group_exists(id: &str) -> bool {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().filter_map(Result::ok);
    hierarchies.map(|entry| entry.path()).chain(["/sys/fs/cgroup".into()]).any(|path| path.join(id).exists())
}

fn hook(script: &str) -> Value {
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
}

/// Waits for a process to write its ID to a file.
fn pid(path: &Path) -> i32 {
    loop {
        if let Some(pid) = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()) {
            return pid;
        }
        std::thread::yield_now();
    }
}

#[test]
fn poststart_hooks_follow_a_start_container_hook_that_fails() {
    let host = Host::new();
    let id = &host.id("failing");
    let log = host.directory.path().join("hooks");
    let note = |name: &str| hook(&format!("echo {name} >> {}", log.display()));
    host.config("true", |config| {
        config["hooks"] =
            json!({"startContainer": hook("exit 3"), "poststart": note("poststart"), "poststop": note("poststop")});
    });
    for create in [true, false] {
        if create {
            host.create(id, &[]);
        }
        let (code, error) = host.fails(&[if create { "start" } else { "run" }, id]);
        assert_eq!(
            (code, error.as_str()),
            (1, "error: error running startContainer hook #0: `/bin/sh`: exit status 3\n")
        );
        assert_eq!(fs::read_to_string(&log).unwrap(), "poststart\npoststop\n");
        assert!(!group_exists(id) && host.ok(&["list", "-q"]).is_empty());
        fs::remove_file(&log).unwrap();
    }
}

#[test]
fn a_container_whose_init_was_killed() {
    let host = Host::new();
    let (running, created) = (&host.id("running"), &host.id("created"));
    host.config("sleep 1000", |_| {});
    host.create(running, &[]);
    host.ok(&["start", running]);
    host.create(created, &[]);
    for id in [running, created] {
        let pid = i32::try_from(host.state(id)["pid"].as_i64().unwrap()).unwrap();
        tare_sys::kill::kill(pid, KILL).unwrap();
        host.wait(id);
        assert_eq!(host.state(id)["pid"], 0);
        assert_eq!(host.ok(&["ps", "--format", "json", id]), "[]\n");
        for command in ["start", "pause", "resume", "kill", "update", "events"] {
            assert_eq!(host.fails(&[command, id]).0, 1, "{command}");
        }
        assert_eq!(host.fails(&["exec", id, "true"]), (255, "error: cannot exec in a stopped container\n".to_owned()));
        host.ok(&["kill", "--all", id, "KILL"]);
        assert!(host.ok(&["list"]).contains("stopped"));
        host.ok(&["delete", id]);
        assert!(!group_exists(id));
    }
}

#[test]
fn of_two_starts_at_once_one_starts() {
    let host = Host::new();
    let id = &host.id("twice");
    let log = host.directory.path().join("hooks");
    host.config("sleep 1000", |config| {
        config["root"]["readonly"] = json!(false);
        config["hooks"] = json!({
            "startContainer": hook("echo start >> /hooks; sleep 0.2"),
            "poststart": hook(&format!("echo poststart >> {}", log.display())),
        });
    });
    host.create(id, &[]);
    let starts = [(); 3].map(|()| host.command(&["start", id]).stderr(Stdio::piped()).spawn().unwrap());
    let outputs = starts.map(|start| start.wait_with_output().unwrap());
    let failed: Vec<_> = outputs.iter().filter(|output| !output.status.success()).collect();
    assert_eq!(failed.len(), 2, "{outputs:?}");
    for output in failed {
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("cannot start an already running container"), "{error}");
    }
    assert_eq!(fs::read_to_string(host.bundle().join("rootfs/hooks")).unwrap(), "start\n");
    assert_eq!(fs::read_to_string(log).unwrap(), "poststart\n");
    assert_eq!(host.status(id), "running");
}

#[test]
fn a_start_that_was_killed_leaves_a_running_container() {
    let host = Host::new();
    let id = &host.id("fifo");
    host.config("sleep 1000", |_| {});
    host.create(id, &[]);
    host.ok(&["start", id]);
    // Between the release and the removal of the FIFO.
    let fifo = host.directory.path().join("state").join(id).join("exec.fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert_eq!(host.status(id), "running");
    assert!(host.fails(&["start", id]).1.contains("cannot start an already running container"));
}

#[test]
fn a_creation_that_was_killed_can_be_cleared_away() {
    let host = Host::new();
    let id = &host.id("half");
    let path = host.directory.path().join("hook");
    host.config("true", |config| {
        config["hooks"]["createRuntime"] = hook(&format!("echo $$ > {}; exec sleep 1000", path.display()));
    });
    let mut create = host.command(&["create", id]).stdout(Stdio::null()).spawn().unwrap();
    let hook = pid(&path);
    assert!(group_exists(id));
    for options in [&["delete", id][..], &["delete", "--force", id]] {
        assert_eq!(host.fails(options), (1, "error: container is being created or deleted\n".to_owned()));
    }
    assert_eq!(host.fails(&["start", id]).1, "error: container does not exist\n");
    create.kill().unwrap();
    create.wait().unwrap();
    tare_sys::kill::kill(hook, KILL).unwrap();
    assert_eq!(host.ok(&["list"]).lines().count(), 1);
    assert_eq!(host.fails(&["delete", id]), (1, "error: container does not exist\n".to_owned()));
    host.ok(&["delete", "--force", id]);
    assert!(!group_exists(id));
    host.config("echo again", |_| {});
    assert_eq!(host.ok(&["run", id]), "again\n");
}

#[test]
fn of_two_deletions_at_once_one_runs_the_hooks() {
    let host = Host::new();
    let id = &host.id("gone");
    let log = host.directory.path().join("hooks");
    host.config("sleep 1000", |config| {
        config["hooks"]["poststop"] = hook(&format!("echo poststop >> {}", log.display()));
    });
    host.create(id, &[]);
    host.ok(&["start", id]);
    let deletions = [(); 3].map(|()| host.command(&["delete", "--force", id]).spawn().unwrap());
    for mut deletion in deletions {
        assert!(deletion.wait().unwrap().success());
    }
    assert_eq!(fs::read_to_string(log).unwrap(), "poststop\n");
}

#[test]
fn a_paused_container_can_be_killed() {
    let host = Host::new();
    let id = &host.id("paused");
    host.config("sleep 1000", |_| {});
    host.create(id, &[]);
    host.ok(&["start", id]);
    host.ok(&["pause", id]);
    host.ok(&["kill", id, "KILL"]);
    host.wait(id);
    host.ok(&["delete", id]);
}

#[test]
fn what_cannot_be_read_is_told_and_hides_nothing_else() {
    let host = Host::new();
    let (bad, good) = (&host.id("bad"), &host.id("good"));
    host.config("sleep 1000", |_| {});
    host.create(good, &[]);
    let directory = host.directory.path().join("state").join(bad);
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("state.json"), "{").unwrap();
    for options in [&["list"][..], &["list", "-q"]] {
        let output = host.run(options);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains(good.as_str()));
        assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("load container {bad}: ")));
    }
}
