//! `tare oci` as other engines use a runtime. Needs root and a static busybox at `/bin/busybox` (Debian:
//! busybox-static).

mod common;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use common::Host;

fn groups(id: &str) -> usize {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().filter_map(Result::ok);
    let beside = hierarchies.filter(|entry| entry.path().join(id).exists()).count();
    beside + usize::from(Path::new("/sys/fs/cgroup").join(id).exists())
}

#[test]
fn a_life_in_steps() {
    let host = Host::new();
    let id = &host.id("life");
    host.config("echo started; sleep 1000", |_| {});
    let pid_file = host.directory.path().join("pid");
    host.create(id, &["--pid-file", pid_file.to_str().unwrap()]);
    let state = host.state(id);
    let pid = fs::read_to_string(&pid_file).unwrap();
    assert_eq!(state["status"], "created");
    assert_eq!(state["pid"].to_string(), pid);
    assert_eq!(state["id"].as_str(), Some(id.as_str()));
    assert_eq!(state["bundle"].as_str(), host.bundle().to_str());
    assert_eq!(fs::read_to_string(host.log(id)).unwrap(), "");
    assert!(groups(id) > 0);
    assert_eq!(host.fails(&["create", id]), (1, "error: container with given ID already exists\n".to_owned()));
    host.ok(&["start", id]);
    assert_eq!(host.status(id), "running");
    assert!(host.fails(&["start", id]).1.contains("cannot start an already running container"));
    let not_stopped = format!("error: cannot delete container {id} that is not stopped: running\n");
    assert_eq!(host.fails(&["delete", id]), (1, not_stopped));
    host.ok(&["kill", id, "KILL"]);
    host.wait(id);
    assert_eq!(fs::read_to_string(host.log(id)).unwrap(), "started\n");
    assert!(host.fails(&["kill", id]).1.contains("container not running"));
    assert!(host.fails(&["start", id]).1.contains("cannot start a container that has stopped"));
    host.ok(&["delete", id]);
    assert_eq!(host.fails(&["state", id]), (1, "error: container does not exist\n".to_owned()));
    host.ok(&["delete", "--force", id]);
    assert_eq!(groups(id), 0);
}

#[test]
fn a_created_container_can_be_deleted() {
    let host = Host::new();
    let id = &host.id("created");
    host.config("true", |_| {});
    host.create(id, &[]);
    host.ok(&["delete", id]);
    assert_eq!((host.ok(&["list", "-q"]).as_str(), groups(id)), ("", 0));
}

#[test]
fn run_returns_the_exit_code_and_leaves_nothing() {
    let host = Host::new();
    let id = &host.id("run");
    host.config("echo out; echo err >&2; exit 7", |_| {});
    let output = host.run(&["run", id]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (b"out\n".as_slice(), b"err\n".as_slice()));
    host.config("kill -9 $$", |config| {
        // The init of a process namespace is spared from its own signals.
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    assert_eq!(host.run(&["run", id]).status.code(), Some(137));
    assert_eq!((host.ok(&["list", "-q"]).as_str(), groups(id)), ("", 0));
}

#[test]
fn signals_are_passed_on_to_what_runs_in_the_foreground() {
    let host = Host::new();
    let id = &host.id("signal");
    host.config("trap 'echo got; exit 3' TERM; echo ready; while true; do sleep 0.01; done", |_| {});
    let mut run = host.command(&["run", id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = run.stdout.take().unwrap();
    output.read_exact(&mut [0; 6]).unwrap();
    tare_sys::kill::kill(run.id().cast_signed(), 15).unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!((rest.as_str(), run.wait().unwrap().code()), ("got\n", Some(3)));
}

#[test]
fn errors_leave_nothing_and_go_to_the_log() {
    let host = Host::new();
    let id = &host.id("error");
    host.config("true", |config| config["process"]["args"] = json!(["nonexistent"]));
    let log = host.directory.path().join("log");
    let path = log.to_str().unwrap();
    let message = r#"exec: "nonexistent": executable file not found in $PATH"#;
    let (code, text) = host.fails(&["--log", path, "--log-format", "json", "create", id]);
    assert_eq!((code, text.as_str()), (1, format!("error: {message}\n").as_str()));
    let line: Value = serde_json::from_str(&fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!((line["level"].as_str(), line["msg"].as_str()), (Some("error"), Some(message)));
    assert_eq!((host.ok(&["list", "-q"]).as_str(), groups(id)), ("", 0));
    for (bad, message) in [("a/b", "invalid container ID format"), ("", "invalid container ID format")] {
        assert!(host.fails(&["create", bad]).1.contains(message));
    }
    assert!(host.fails(&["--systemd-cgroup", "list"]).1.contains("--systemd-cgroup: not supported"));
    assert!(host.fails(&["create", "--bundle", "/nonexistent", id]).1.contains("find bundle `/nonexistent`"));
}

#[test]
fn exec() {
    let host = Host::new();
    let id = &host.id("exec");
    host.config("sleep 1000", |config| {
        // On cgroup v1 `spec` has none.
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "cgroup");
        namespaces.push(json!({"type": "cgroup"}));
    });
    host.create(id, &[]);
    host.ok(&["start", id]);
    let text = "echo $A; id -u; id -G; echo $PWD; grep -c tare-oci /proc/self/cgroup; exit 5";
    let options = ["-u", "7:8", "-g", "9", "-e", "A=b", "--cwd", "/etc"];
    let output = host.run(&[&["exec"], &options[..], &[id, "sh", "-c", text]].concat());
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stdout).unwrap().as_str()),
        (Some(5), "b\n7\n8 9\n/etc\n0\n")
    );
    let (code, message) = host.fails(&["exec", id, "nonexistent"]);
    assert_eq!((code, message.contains("executable file not found")), (255, true));
    let process = host.directory.path().join("process.json");
    let json = json!({"args": ["sh", "-c", "echo from file; sleep 1000"], "cwd": "/", "env": ["PATH=/bin"]});
    fs::write(&process, json.to_string()).unwrap();
    let pid_file = host.directory.path().join("pid");
    let (process, pid) = (process.to_str().unwrap(), pid_file.to_str().unwrap());
    let mut detached = host.command(&["exec", "-d", "-p", process, "--pid-file", pid, id]);
    assert!(detached.stdout(File::create(host.log("exec")).unwrap()).status().unwrap().success());
    let pids: Vec<i32> = serde_json::from_str(&host.ok(&["ps", "--format", "json", id])).unwrap();
    assert!(pids.contains(&fs::read_to_string(&pid_file).unwrap().parse().unwrap()));
    host.ok(&["delete", "--force", id]);
    assert_eq!(fs::read_to_string(host.log("exec")).unwrap(), "from file\n");
}

#[test]
fn pause_resume_update_and_statistics() {
    let host = Host::new();
    let id = &host.id("pause");
    host.config("sleep 1000", |_| {});
    host.create(id, &[]);
    host.ok(&["start", id]);
    host.ok(&["pause", id]);
    assert_eq!(host.status(id), "paused");
    assert!(host.fails(&["exec", id, "true"]).1.contains("cannot exec in a paused container"));
    host.ok(&["resume", id]);
    assert_eq!(host.status(id), "running");
    assert!(host.fails(&["resume", id]).1.contains("container not paused"));
    host.ok(&["update", "--pids-limit", "17", id]);
    let mut update = host.command(&["update", "-r", "-", id]).stdin(Stdio::piped()).spawn().unwrap();
    update.stdin.take().unwrap().write_all(br#"{"memory":{"limit":33554432}}"#).unwrap();
    assert!(update.wait().unwrap().success());
    let stats: Value = serde_json::from_str(&host.ok(&["events", "--stats", id])).unwrap();
    assert_eq!((stats["type"].as_str(), stats["id"].as_str()), (Some("stats"), Some(id.as_str())));
    assert_eq!(stats["data"]["pids"], json!({"current": 1, "limit": 17}));
    assert_eq!(stats["data"]["memory"]["usage"]["limit"], 33_554_432);
    let list = host.ok(&["list"]);
    assert!(list.starts_with("ID ") && list.lines().any(|line| line.starts_with(id.as_str())), "{list}");
    host.ok(&["kill", "--all", id, "KILL"]);
    host.wait(id);
}

/// Receives the master of a terminal and reads all that it shows.
fn console(listener: &UnixListener) -> String {
    let (socket, _) = listener.accept().unwrap();
    let (length, fds) = tare_sys::socket::recv_with_fds(&socket, &mut [0; 64]).unwrap();
    assert!(length > 0);
    let mut bytes = Vec::new();
    let _ = File::from(fds.into_iter().next().unwrap()).read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn terminals_go_to_the_console_socket() {
    let host = Host::new();
    let id = &host.id("terminal");
    host.config("tty; stty size", |config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["consoleSize"] = json!({"height": 5, "width": 9});
    });
    let path = host.directory.path().join("console");
    let listener = UnixListener::bind(&path).unwrap();
    let path = path.to_str().unwrap();
    host.create(id, &["--console-socket", path]);
    let reader = std::thread::spawn(move || console(&listener));
    host.ok(&["start", id]);
    assert_eq!(reader.join().unwrap(), "/dev/pts/0\r\n5 9\r\n");
    host.wait(id);
    host.config("true", |_| {});
    assert!(
        host.fails(&["create", "--console-socket", path, &host.id("none")]).1.contains("cannot use console socket")
    );
}

#[test]
fn a_terminal_in_the_foreground() {
    let host = Host::new();
    let id = &host.id("foreground");
    host.config("read line; echo \"got $line\"; tty; exit 4", |config| config["process"]["terminal"] = json!(true));
    let mut run = host.command(&["run", id]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    run.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    let output = run.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap().replace("\r\n", "\n");
    assert_eq!((text.as_str(), output.status.code()), ("hello\ngot hello\n/dev/pts/0\n", Some(4)));
}

#[test]
fn descriptors_are_passed_on_as_asked() {
    let host = Host::new();
    let id = &host.id("fds");
    host.config("ls /proc/self/fd; echo $LISTEN_FDS", |_| {});
    // More than there are: none is made up.
    assert_eq!(host.ok(&["run", "--preserve-fds", "100", id]), "0\n1\n2\n3\n\n");
    let script = format!(
        "exec 3</dev/null 4</dev/null; LISTEN_FDS=1 exec {} oci --root {} run --preserve-fds 1 {id}",
        env!("CARGO_BIN_EXE_tare"),
        host.directory.path().join("state").display()
    );
    let output = Command::new("sh").args(["-c", &script]).current_dir(host.bundle()).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "0\n1\n2\n3\n4\n5\n1\n");
}

#[test]
fn hooks_and_their_state() {
    let host = Host::new();
    let id = &host.id("hooks");
    let log = host.directory.path().join("hooks");
    let hook =
        |name: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("echo {name} >> {}", log.display())]}]);
    host.config("true", |config| {
        for name in ["createRuntime", "poststart", "poststop"] {
            config["hooks"][name] = hook(name);
        }
        config["annotations"] = json!({"a": "b"});
    });
    host.create(id, &[]);
    assert_eq!(host.state(id)["annotations"], json!({"a": "b"}));
    host.ok(&["start", id]);
    host.wait(id);
    host.ok(&["delete", id]);
    assert_eq!(fs::read_to_string(log).unwrap(), "createRuntime\npoststart\npoststop\n");
}

#[test]
fn a_poststart_hook_that_fails_ends_the_container() {
    let host = Host::new();
    let (started, run) = (&host.id("poststart"), &host.id("poststart-run"));
    host.config("sleep 1000", |config| {
        config["hooks"]["poststart"] = json!([{"path": "/bin/true"}, {"path": "/bin/false"}, {"path": "/nonexistent"}]);
    });
    let failed = (1, "error: error running poststart hook #1: `/bin/false`: exit status 1\n".to_owned());
    host.create(started, &[]);
    assert_eq!(host.fails(&["start", started]), failed);
    assert_eq!(host.status(started), "stopped");
    host.ok(&["delete", started]);
    assert_eq!(host.fails(&["run", run]), failed);
    assert!(host.fails(&["state", run]).1.contains("container does not exist"));
    assert_eq!(groups(run), 0);
}

#[test]
fn a_path_that_is_masked_twice_has_one_mask() {
    let host = Host::new();
    let id = &host.id("masked");
    host.config("grep -c ' /etc ' /proc/mounts", |config| {
        config["linux"]["maskedPaths"] = json!(["/etc", "/etc/"]);
        config["mounts"] = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
    });
    fs::create_dir_all(host.bundle().join("rootfs/etc")).unwrap();
    assert_eq!(host.ok(&["run", id]), "1\n");
}

#[test]
fn signal_0_asks_whether_it_runs() {
    let host = Host::new();
    let id = &host.id("zero");
    host.config("sleep 1000", |_| {});
    host.create(id, &[]);
    host.ok(&["start", id]);
    host.ok(&["kill", id, "0"]);
    host.ok(&["kill", id, "KILL"]);
    host.wait(id);
    assert_eq!(host.fails(&["kill", id, "0"]), (1, "error: container not running\n".to_owned()));
}

#[test]
fn what_it_says_of_itself() {
    let host = Host::new();
    let version = host.ok(&["-v"]);
    assert_eq!(version, host.ok(&["--version"]));
    assert_eq!(version.lines().map(|line| line.split(' ').next().unwrap()).collect::<Vec<_>>(), ["tare", "spec:"]);
    assert!(Command::new(host.program()).args(["oci", "list", "-q"]).output().unwrap().status.success());
    assert_eq!(
        host.fails(&["--root", "/nonexistent", "list"]),
        (1, "error: list `/nonexistent`: No such file or directory (os error 2)\n".to_owned())
    );
    // Nobody reads what it prints: an error, and no panic.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let unread = host.command(&["features"]).stdout(writer).output().unwrap();
    assert_eq!((unread.status.code(), unread.stderr.starts_with(b"error: write standard output: ")), (Some(1), true));
    let features: Value = serde_json::from_str(&host.ok(&["features"])).unwrap();
    let options = features["mountOptions"].as_array().unwrap();
    assert!(options.contains(&json!("rro")) && options.contains(&json!("rbind")));
    assert_eq!(features["linux"]["cgroup"]["v2"], true);
    host.config("true", |_| {});
    let again = host.fails(&["spec", "--bundle", host.bundle().to_str().unwrap()]);
    assert!(again.1.contains("config.json`"), "{again:?}");
}
