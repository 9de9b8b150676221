//! What a container's process is: user, privileges, filter, streams; and errors of its command.

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use common::{Bundle, Output, pipes, run, script, spec, try_run, wait, with};
use serde_json::json;
use tare_runtime::{Error, ErrorKind, HookKind, Launch, Stdio, create};

fn failure(bundle: &Bundle, args: &[&str]) -> (ErrorKind, String) {
    let error = try_run(bundle, &spec(args)).unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn errors_of_the_command_are_dockers() {
    let bundle = Bundle::new();
    fs::write(bundle.root().join("bin/plain"), "").unwrap();
    fs::create_dir(bundle.root().join("bin/directory")).unwrap();
    let not_found = |text: &str| (ErrorKind::NotFound, text.to_owned());
    let permission = |text: &str| (ErrorKind::Permission, text.to_owned());
    assert_eq!(failure(&bundle, &["foo"]), not_found(r#"exec: "foo": executable file not found in $PATH"#));
    assert_eq!(failure(&bundle, &["/x"]), not_found(r#"exec: "/x": stat /x: no such file or directory"#));
    assert_eq!(failure(&bundle, &["./x/y"]), not_found(r#"exec: "./x/y": stat ./x/y: no such file or directory"#));
    assert_eq!(failure(&bundle, &["/etc"]), permission(r#"exec: "/etc": is a directory"#));
    assert_eq!(failure(&bundle, &["/etc/passwd"]), permission(r#"exec: "/etc/passwd": permission denied"#));
    assert_eq!(
        failure(&bundle, &["/etc/passwd/x"]),
        permission(r#"exec: "/etc/passwd/x": stat /etc/passwd/x: not a directory"#)
    );
    // What is in PATH but cannot be executed does not count.
    assert_eq!(failure(&bundle, &["plain"]), not_found(r#"exec: "plain": executable file not found in $PATH"#));
    assert_eq!(failure(&bundle, &["directory"]), not_found(r#"exec: "directory": executable file not found in $PATH"#));
    assert_eq!(failure(&bundle, &[""]), not_found(r#"exec: "": executable file not found in $PATH"#));
    let relative = with(spec(&["busybox"]), json!({"process": {"env": ["PATH=bin"]}}));
    let error = try_run(&bundle, &relative).unwrap_err();
    assert_eq!(error.to_string(), r#"exec: "busybox": cannot run executable found relative to current directory"#);
    assert_eq!(failure(&bundle, &[]).1, "process.args: empty");
}

#[test]
fn a_program_that_is_none_says_so_itself() {
    let bundle = Bundle::new();
    for (name, content, message) in [
        ("garbage", "no program", "exec /bin/garbage: exec format error\n"),
        ("script", "#!/missing\n", "exec /bin/script: no such file or directory\n"),
    ] {
        let path = bundle.root().join("bin").join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let Output { code, stderr, .. } = try_run(&bundle, &spec(&[name])).unwrap();
        assert_eq!((code, stderr.as_str()), (255, message));
    }
}

#[test]
fn working_directories() {
    let bundle = Bundle::new();
    let private = bundle.root().join("private");
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, PermissionsExt::from_mode(0o700)).unwrap();
    let cwd = |path: &str| with(script("pwd"), json!({"process": {"cwd": path, "user": {"uid": 33}}}));
    // Entered before the privilege to do so is given up.
    assert_eq!(run(&bundle, &cwd("/private")), "/private\n");
    let error = |path: &str| try_run(&bundle, &cwd(path)).unwrap_err().to_string();
    assert_eq!(error("/etc/passwd"), r#"chdir to cwd ("/etc/passwd") set in config.json failed: not a directory"#);
    assert_eq!(error("relative"), "Cwd must be an absolute path");
}

#[test]
fn no_descriptor_of_the_host_is_a_working_directory() {
    let bundle = Bundle::new();
    let host = File::open("/").unwrap();
    // A descriptor that is not close-on-exec, as if the caller had leaked it.
    let leaked = rustix::io::dup(&host).unwrap();
    assert!(leaked.as_raw_fd() < 200);
    for number in 0..200 {
        for path in [format!("/proc/self/fd/{number}"), format!("/proc/thread-self/fd/{number}/.")] {
            let spec = with(script("ls"), json!({"process": {"cwd": path}}));
            let error = try_run(&bundle, &spec).unwrap_err().to_string();
            assert!(error.contains("working directory") || error.contains("cwd"), "{error}");
        }
    }
}

#[test]
fn only_the_standard_streams_are_open() {
    let bundle = Bundle::new();
    let _leaked = rustix::io::dup(File::open("/").unwrap()).unwrap();
    // The last one is the listing's own.
    assert_eq!(run(&bundle, &spec(&["ls", "/proc/self/fd"])), "0\n1\n2\n3\n");
}

#[test]
fn preserved_descriptors() {
    let bundle = Bundle::new();
    let file = bundle.path().join("file");
    fs::write(&file, "content").unwrap();
    let open = || OwnedFd::from(File::open(&file).unwrap());
    let spec = script("cat <&3; cat <&4; ls /proc/self/fd | tr '\\n' ' '");
    let (stdio, pipes) = pipes();
    let launch = Launch { stdio, preserve_fds: vec![open(), open()], ..Launch::new("test", bundle.path(), &spec) };
    let init = create(launch).unwrap().start().unwrap();
    assert_eq!(pipes.finish(&init).stdout, "contentcontent0 1 2 3 4 5 ");
}

fn capabilities(names: &[&str]) -> serde_json::Value {
    json!({"bounding": names, "effective": names, "permitted": names, "inheritable": [], "ambient": []})
}

/// Replaces what [`with`] would append to.
fn replaced(mut spec: tare_oci_runtime::Spec, capabilities: serde_json::Value) -> tare_oci_runtime::Spec {
    spec.process.as_mut().unwrap().capabilities = serde_json::from_value(capabilities).unwrap();
    spec
}

#[test]
fn capabilities_of_root_and_others() {
    let bundle = Bundle::new();
    let text = "grep -E '^Cap' /proc/self/status | cut -f2";
    let caps = capabilities(&["CAP_CHOWN", "CAP_KILL", "CAP_NO_SUCH"]);
    let bits = "0000000000000021";
    let none = "0000000000000000";
    let root = run(&bundle, &replaced(script(text), caps.clone()));
    assert_eq!(root.lines().collect::<Vec<_>>(), [none, bits, bits, bits, none]);
    // Another user loses them with execve.
    let user = json!({"process": {"user": {"uid": 33, "gid": 34}}});
    let other = run(&bundle, &replaced(with(script(text), user.clone()), caps.clone()));
    assert_eq!(other.lines().collect::<Vec<_>>(), [none, none, none, bits, none]);
    // Unless they are ambient.
    let mut ambient = caps;
    ambient["inheritable"] = json!(["CAP_KILL"]);
    ambient["ambient"] = json!(["CAP_KILL"]);
    let other = run(&bundle, &replaced(with(script(text), user), ambient));
    let kill = "0000000000000020";
    assert_eq!(other.lines().collect::<Vec<_>>(), [kill, kill, kill, bits, kill]);
}

#[test]
fn no_new_privileges() {
    let bundle = Bundle::new();
    let text = "grep NoNewPrivs /proc/self/status | cut -f2";
    assert_eq!(run(&bundle, &script(text)), "0\n");
    assert_eq!(run(&bundle, &with(script(text), json!({"process": {"noNewPrivileges": true}}))), "1\n");
}

#[test]
fn system_call_filters() {
    let bundle = Bundle::new();
    let text = "mkdir /tmp/x 2>&1; grep -E '^Seccomp:' /proc/self/status | cut -f2; test -d /tmp/x || echo none";
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]});
    for no_new_privileges in [false, true] {
        let extra = json!({
            "process": {"noNewPrivileges": no_new_privileges, "user": {"uid": 33}},
            "linux": {"seccomp": seccomp},
        });
        let output = run(&bundle, &with(script(text), extra));
        assert_eq!(output, "mkdir: can't create directory '/tmp/x': No space left on device\n2\nnone\n");
    }
    // Where a process is may be secret to itself; the runtime has looked before.
    let getcwd = json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}]}}});
    run(&bundle, &with(script("true"), getcwd));
    let unknown = json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_X"}}});
    let error = try_run(&bundle, &with(script(text), unknown)).unwrap_err();
    assert_eq!(error.to_string(), "seccomp: unknown seccomp action `SCMP_ACT_X`");
}

#[test]
fn a_filter_that_lets_nothing_run_is_an_error() {
    let bundle = Bundle::new();
    let extra = json!({"linux": {"seccomp": {"defaultAction": "SCMP_ACT_KILL_PROCESS"}}});
    let error = try_run(&bundle, &with(script("true"), extra)).unwrap_err();
    assert_eq!(error.to_string(), "the process was ended by signal 31 while it was prepared");
}

#[test]
fn users() {
    let bundle = Bundle::new();
    let text = "id; echo $HOME";
    let user = |user: serde_json::Value| run(&bundle, &with(script(text), json!({"process": {"user": user}})));
    assert_eq!(user(json!({})), "uid=0(root) gid=0(root)\n/root\n");
    assert_eq!(
        user(json!({"uid": 33, "gid": 34, "additionalGids": [44, 7]})),
        "uid=33(web) gid=34(web) groups=7,44(extra)\n/home/web\n"
    );
    assert_eq!(user(json!({"uid": 99})), "uid=99 gid=0(root)\n/\n");
    assert_eq!(user(json!({"username": "web"})), "uid=33(web) gid=34(web) groups=34(web),44(extra)\n/home/web\n");
    assert_eq!(user(json!({"username": "web:extra"})), "uid=33(web) gid=44(extra) groups=44(extra)\n/home/web\n");
    // Of several the last one counts, and an empty one is none.
    let twice = json!({"process": {"env": ["HOME=/override", "HOME="]}});
    assert!(run(&bundle, &with(script(text), twice)).ends_with("\n/root\n"));
    let unknown = with(script(text), json!({"process": {"user": {"username": "nobody"}}}));
    let error = try_run(&bundle, &unknown).unwrap_err();
    assert_eq!(error.to_string(), "unable to find user nobody: no matching entries in passwd file");
}

#[test]
fn another_user_can_open_its_streams_again() {
    let bundle = Bundle::new();
    let spec =
        with(script("echo out > /dev/stdout; echo err > /dev/stderr"), json!({"process": {"user": {"uid": 33}}}));
    let output = try_run(&bundle, &spec).unwrap();
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (0, "out\n", "err\n"));
}

/// What a terminal shows until its last process is gone.
fn read_all(master: OwnedFd) -> String {
    let mut bytes = Vec::new();
    // The end of a terminal is EIO.
    let _ = File::from(master).read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}

#[test]
fn a_terminal() {
    let bundle = Bundle::new();
    let text = "tty; stty size; stat -c '%u %a' /dev/pts/0; echo console > /dev/console; stat -c %t:%T /dev/console; \
                ls -1 /dev/pts; cut -d' ' -f6,7 /proc/self/stat; ls -1 /proc/self/fd";
    let spec = with(script(text), json!({"process": {"user": {"uid": 33}}}));
    let stdio = Stdio::Terminal { size: Some((24, 100)), raw_newlines: false };
    let mut init = create(Launch { stdio, ..Launch::new("test", bundle.path(), &spec) }).unwrap().start().unwrap();
    let output = read_all(init.console.take().unwrap());
    assert_eq!(wait(&init.pidfd), 0);
    insta::assert_snapshot!(output, @"
    /dev/pts/0
    24 100
    33 620
    console
    88:0
    0
    ptmx
    1 34816
    0
    1
    2
    3
    ");
}

#[test]
fn the_terminal_multiplexer_must_be_one() {
    let bundle = Bundle::new();
    let mut spec = script("true");
    spec.mounts.retain(|mount| mount.kind != "devpts" && mount.destination.to_str() != Some("/dev"));
    fs::create_dir_all(bundle.root().join("dev/pts")).unwrap();
    fs::write(bundle.root().join("dev/pts/ptmx"), "").unwrap();
    let stdio = Stdio::Terminal { size: None, raw_newlines: false };
    let error = create(Launch { stdio, ..Launch::new("test", bundle.path(), &spec) }).err().unwrap();
    assert_eq!(error.to_string(), "open terminal multiplexer `/dev/pts/ptmx`: ENODEV");
}

#[test]
fn a_created_container_waits() {
    let bundle = Bundle::new();
    let spec = script("echo started");
    let (stdio, mut pipes) = pipes();
    let created = create(Launch { stdio, ..Launch::new("test", bundle.path(), &spec) }).unwrap();
    let command = fs::read(format!("/proc/{}/cmdline", created.init.pid)).unwrap();
    assert!(!command.starts_with(b"sh\0"));
    assert_eq!(created.init.start_time, tare_runtime::start_time(created.init.pid).unwrap());
    let mut buffer = [0; 16];
    rustix::fs::fcntl_setfl(&pipes.stdout, rustix::fs::OFlags::NONBLOCK).unwrap();
    assert_eq!(pipes.stdout.read(&mut buffer).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    rustix::fs::fcntl_setfl(&pipes.stdout, rustix::fs::OFlags::empty()).unwrap();
    let init = created.start().unwrap();
    assert_eq!(pipes.finish(&init).stdout, "started\n");
}

#[test]
fn dropping_a_created_container_ends_it() {
    let bundle = Bundle::new();
    let spec = script("echo started");
    let (stdio, mut pipes) = pipes();
    let created = create(Launch { stdio, ..Launch::new("test", bundle.path(), &spec) }).unwrap();
    let pid = created.init.pid;
    drop(created);
    let mut output = String::new();
    pipes.stdout.read_to_string(&mut output).unwrap();
    assert_eq!(output, "");
    let gone = |error: Error| error.kind() == ErrorKind::State;
    assert!(tare_runtime::start_time(pid).is_err_and(gone));
}

#[test]
fn another_process_can_start_it_through_a_fifo() {
    let bundle = Bundle::new();
    let path = bundle.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let fifo = File::options().read(true).write(true).open(&path).unwrap();
    let spec = script("echo started");
    let (stdio, pipes) = pipes();
    let launch = Launch { stdio, start_fifo: Some(fifo.into()), ..Launch::new("test", bundle.path(), &spec) };
    let init = create(launch).unwrap().detach();
    fs::write(&path, "x").unwrap();
    assert_eq!(pipes.finish(&init).stdout, "started\n");
}

#[test]
fn hooks_run_in_their_places() {
    let bundle = Bundle::new();
    let log = bundle.path().join("log");
    let hook = |name: &str, more: &str| {
        let script = format!("cat > /dev/null; echo {name} >> {}; {more}", log.display());
        json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]})
    };
    let rootfs = bundle.root();
    let in_container =
        json!({"path": "/bin/sh", "args": ["sh", "-c", "cat > /state; echo $X > /hook"], "env": ["X=y"]});
    // The host's programs, but the container's mounts, beginning at its root.
    let look = format!("test -c {}/dev/null && test -c dev/null && hostname >> {}", rootfs.display(), log.display());
    let extra = json!({"hooks": {
        "prestart": [hook("prestart", "")],
        "createRuntime": [hook("createRuntime", "")],
        "createContainer": [hook("createContainer", &look)],
        "startContainer": [in_container, {"path": "/bin/sh", "args": ["sh", "-c", "echo $HOME $PATH >> /hook"]}],
        "poststart": [hook("poststart", "")],
        "poststop": [hook("poststop", "exit 1"), hook("poststop again", "")],
    }});
    let spec = with(script("cat /hook; cat /state"), extra);
    let output = run(&bundle, &spec);
    let [first, second, state] = output.splitn(3, '\n').collect::<Vec<_>>().try_into().unwrap();
    let state: serde_json::Value = serde_json::from_str(state).unwrap();
    // One without an environment has the process's.
    assert_eq!((first, second), ("y", "/root /usr/local/bin:/usr/bin:/bin"));
    assert_eq!((state["id"].as_str(), state["status"].as_str()), (Some("test"), Some("created")));
    let path = log;
    let log = fs::read_to_string(&path).unwrap();
    let state = tare_oci_runtime::State::default();
    tare_runtime::run_hooks(HookKind::Poststart, &spec, &state, None).unwrap();
    let error = tare_runtime::run_hooks(HookKind::Poststop, &spec, &state, None).unwrap_err();
    assert_eq!(error.to_string(), "error running poststop hook #0: `/bin/sh`: exit status 1");
    assert_eq!(
        fs::read_to_string(&path).unwrap().lines().skip(4).collect::<Vec<_>>(),
        ["poststart", "poststop", "poststop again"]
    );
    assert_eq!(log, "prestart\ncreateRuntime\ncreateContainer\nbox\n");
}

#[test]
fn a_failing_hook_fails_the_container() {
    let bundle = Bundle::new();
    let error = |hook: serde_json::Value| {
        let spec = with(script("true"), json!({"hooks": {"createRuntime": [hook]}}));
        try_run(&bundle, &spec).unwrap_err().to_string()
    };
    let text = "echo reason >&2; exit 3";
    assert_eq!(
        error(json!({"path": "/bin/sh", "args": ["sh", "-c", text]})),
        "error running createRuntime hook #0: `/bin/sh`: exit status 3: reason"
    );
    assert_eq!(
        error(json!({"path": "/nonexistent"})),
        "error running createRuntime hook #0: `/nonexistent`: exit status 126: ENOENT"
    );
    let endless = json!({"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1});
    assert_eq!(error(endless), "error running createRuntime hook #0: `/bin/sleep`: killed after 1 s");
}

#[test]
fn a_chroot_instead_of_a_pivot() {
    let bundle = Bundle::new();
    let spec = script("ls / | grep -c etc; cat /proc/self/mountinfo | cut -d' ' -f5 | head -1");
    let (stdio, pipes) = pipes();
    let launch = Launch { stdio, no_pivot: true, ..Launch::new("test", bundle.path(), &spec) };
    let init = create(launch).unwrap().start().unwrap();
    let output = pipes.finish(&init);
    assert_eq!((output.code, output.stdout.as_str()), (0, "1\n/\n"), "{output:?}");
}

#[test]
fn ignored_signals_and_masks_are_not_passed_on() {
    let bundle = Bundle::new();
    let output = run(&bundle, &script("grep -E '^Sig(Blk|Ign)' /proc/self/status | cut -f2"));
    assert_eq!(output, "0000000000000000\n0000000000000000\n");
}
