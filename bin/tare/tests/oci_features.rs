//! Parts of the runtime specification that the engine itself does not use. Needs root and a static busybox at
//! `/bin/busybox` (Debian: busybox-static).

mod common;

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Signal, pidfd_send_signal};
use serde_json::{Value, json};

use common::Host;

fn proc_mount() -> Value {
    json!([{"destination": "/proc", "type": "proc", "source": "proc"}])
}

#[test]
fn a_user_namespace_can_be_joined() {
    let host = Host::new();
    let (first, second) = (&host.id("owner"), &host.id("guest"));
    host.config("sleep 1000", |config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1000}]);
        config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 0, "size": 1000}]);
        config["mounts"] = proc_mount();
    });
    host.create(first, &[]);
    let path = format!("/proc/{}/ns/user", host.state(first)["pid"]);
    let number = fs::read_link(&path).unwrap();
    host.config("ls -l /proc/self/ns/user; cat /proc/self/uid_map; echo $$", |config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user", "path": path}));
        config["mounts"] = proc_mount();
    });
    let output = host.ok(&["run", second]);
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].ends_with(number.to_str().unwrap()), "{output}");
    assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), ["0", "0", "1000"]);
    assert_eq!(lines[2], "1");
    host.ok(&["delete", "--force", first]);
    // What cannot be joined is said as such.
    host.config("true", |config| {
        let missing = json!({"type": "user", "path": "/nonexistent"});
        config["linux"]["namespaces"].as_array_mut().unwrap().push(missing);
    });
    assert_eq!(host.fails(&["run", second]), (1, "error: open namespace `/nonexistent`: ENOENT\n".to_owned()));
}

#[test]
fn a_mount_namespace_can_be_the_hosts_or_another() {
    let host = Host::new();
    let (own, shared) = (&host.id("hosts"), &host.id("joined"));
    host.config("ls -l /proc/self/ns/mnt", |config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().retain(|namespace| namespace["type"] != "mount");
        config["linux"]["maskedPaths"] = json!([]);
        config["linux"]["readonlyPaths"] = json!([]);
        config["mounts"] = proc_mount();
    });
    let output = host.ok(&["run", own]);
    // What it mounted stays, as it does for everybody who mounts something on the host.
    let rootfs = host.bundle().join("rootfs");
    let unmounted = std::process::Command::new("umount").args(["-R", "-l"]).arg(&rootfs).status().unwrap();
    assert!(unmounted.success());
    let number = fs::read_link("/proc/self/ns/mnt").unwrap();
    assert!(output.trim_end().ends_with(number.to_str().unwrap()), "{output}");

    let mut holder = std::process::Command::new("unshare").args(["-m", "sleep", "1000"]).spawn().unwrap();
    let path = format!("/proc/{}/ns/mnt", holder.id());
    // Until it has its own.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while fs::read_link(&path).unwrap() == number {
        assert!(std::time::Instant::now() < deadline);
        std::thread::yield_now();
    }
    let joined = fs::read_link(&path).unwrap();
    host.config("ls -l /proc/self/ns/mnt; cat /data/x", |config| {
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "mount" {
                namespace["path"] = json!(path);
            }
        }
        config["mounts"] = json!([
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/data", "type": "bind", "source": "data", "options": ["bind"]},
        ]);
    });
    fs::create_dir(host.bundle().join("data")).unwrap();
    fs::write(host.bundle().join("data/x"), "seen\n").unwrap();
    let output = host.ok(&["run", shared]);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].ends_with(joined.to_str().unwrap()), "{output}");
    assert_eq!(lines[1], "seen");
}

#[test]
fn a_pidfd_is_handed_out() {
    let host = Host::new();
    let id = &host.id("pidfd");
    host.config("sleep 1000", |_| {});
    let path = host.directory.path().join("pidfd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let receive = || -> OwnedFd {
        let (socket, _) = listener.accept().unwrap();
        tare_sys::socket::recv_with_fds(&socket, &mut [0; 64]).unwrap().1.pop().unwrap()
    };
    host.create(id, &["--pidfd-socket", path.to_str().unwrap()]);
    let init = receive();
    // Polite signals end a container that waits for its start, though it is the first in its namespace.
    assert_eq!(host.status(id), "created");
    pidfd_send_signal(init.as_fd(), Signal::TERM).unwrap();
    host.wait(id);
    host.ok(&["delete", id]);

    host.create(id, &[]);
    host.ok(&["start", id]);
    // The test's own output would stay open in it.
    let mut exec = host.command(&["exec", "-d", "--pidfd-socket", path.to_str().unwrap(), id, "sleep", "1000"]);
    assert!(exec.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let other = receive();
    assert_eq!(host.ok(&["ps", "-f", "json", id]).matches(',').count(), 1);
    pidfd_send_signal(other.as_fd(), Signal::KILL).unwrap();
    assert_eq!(host.status(id), "running");
    let nowhere = host.fails(&["exec", "-d", "--pidfd-socket", "/nonexistent", id, "sleep", "1000"]);
    assert!(nowhere.1.starts_with("error: send the pidfd to `/nonexistent`"), "{nowhere:?}");
    host.ok(&["delete", "--force", id]);
}

#[test]
fn memory_comes_from_where_the_policy_says() {
    if !Path::new("/proc/self/numa_maps").exists() {
        return;
    }
    let host = Host::new();
    let id = &host.id("numa");
    let policy = |policy: Value| {
        host.config("cat /proc/self/numa_maps", |config| {
            config["linux"]["memoryPolicy"] = policy;
            config["mounts"] = proc_mount();
        });
    };
    policy(json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}));
    assert!(host.ok(&["run", id]).contains(" bind=static:0 "));
    policy(json!({"mode": "INTERLEAVE", "nodes": "0"}));
    assert_eq!(host.fails(&["run", id]), (1, "error: invalid memory policy mode `INTERLEAVE`\n".to_owned()));
}

#[test]
fn cpus_are_the_cgroups_to_say_and_execs_own() {
    let host = Host::new();
    let id = &host.id("cpus");
    let list = "grep Cpus_allowed_list /proc/self/status";
    host.config("sleep 1000", |config| {
        config["process"]["execCPUAffinity"] = json!({"final": "0"});
        config["mounts"] = proc_mount();
    });
    let taskset = |args: &[&str]| {
        let mut command = std::process::Command::new("taskset");
        command.args(["-c", "0"]).arg(host.program()).args(["oci", "--root"]);
        command.arg(host.directory.path().join("state")).args(args).current_dir(host.bundle());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let all = own.lines().find(|line| line.starts_with("Cpus_allowed_list:")).unwrap();
    host.create(id, &[]);
    host.ok(&["start", id]);
    let init = fs::read_to_string(format!("/proc/{}/status", host.state(id)["pid"])).unwrap();
    assert!(init.lines().any(|line| line == all), "the init takes no notice of it");
    assert_eq!(host.ok(&["exec", id, "sh", "-c", list]), "Cpus_allowed_list:\t0\n");
    host.ok(&["delete", "--force", id]);
    host.config(list, |config| config["mounts"] = proc_mount());
    assert_eq!(taskset(&["run", id]).trim_end(), all);
}

#[test]
fn a_terminal_that_is_carried_has_plain_newlines() {
    let host = Host::new();
    let id = &host.id("newline");
    host.config("echo a; echo b", |config| config["process"]["terminal"] = json!(true));
    // /dev/pts is among the mounts of the specification.
    assert_eq!(host.ok(&["run", id]), "a\nb\n");
}

#[test]
fn a_group_that_is_frozen_takes_nobody() {
    let host = Host::new();
    let id = &host.id("frozen");
    let unified = Path::new("/sys/fs/cgroup/cgroup.procs").exists();
    let (base, file, value) = if unified {
        ("/sys/fs/cgroup", "cgroup.freeze", "1")
    } else {
        ("/sys/fs/cgroup/freezer", "freezer.state", "FROZEN")
    };
    let group = Path::new(base).join(id);
    fs::create_dir(&group).unwrap();
    fs::write(group.join(file), value).unwrap();
    // As its own, and above it.
    for path in [format!("/{id}"), format!("/{id}/a/b")] {
        host.config("true", |config| config["linux"]["cgroupsPath"] = json!(path));
        let expected = (1, format!("error: container's cgroup unexpectedly frozen: `{path}`\n"));
        assert_eq!(host.fails(&["run", id]), expected);
        assert_eq!(host.fails(&["create", id]), expected);
        assert_eq!(host.ok(&["list", "-q"]), "");
    }
    // It is not ours to remove, and nothing was made in it.
    fs::remove_dir(&group).unwrap();
}

#[test]
fn ambient_capabilities_that_cannot_be_raised_are_told() {
    let host = Host::new();
    host.config("grep CapAmb /proc/self/status", |config| {
        config["process"]["capabilities"]["inheritable"] = json!(["CAP_KILL"]);
        config["process"]["capabilities"]["ambient"] = json!(["CAP_KILL", "CAP_CHOWN"]);
    });
    let output = host.run(&["run", &host.id("ambient")]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "CapAmb:\t0000000000000020\n");
    let said = "warning: can't raise ambient capability CAP_CHOWN: operation not permitted\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), said);
}
