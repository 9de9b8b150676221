//! Further processes in a running container.

mod common;

use std::fs::{self, File};
use std::io::Read;

use common::{Bundle, Running, spec, wait, with};
use serde_json::json;
use tare_runtime::{CgroupPlace, ErrorKind, ExecTarget, Stdio, exec};

#[test]
fn it_runs_in_every_namespace() {
    let bundle = Bundle::new();
    let container = Running::new(
        &bundle,
        with(
            spec(&[]),
            json!({"linux": {"namespaces": [{"type": "time"}],
        "timeOffsets": {"boottime": {"secs": 1000}}}}),
        ),
    );
    let names = ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time"];
    let text = format!(
        "for n in {}; do readlink /proc/self/ns/$n; done; hostname; readlink /proc/1/exe; pwd",
        names.join(" ")
    );
    let output = container.exec(&bundle, &text);
    let mut lines = output.lines();
    for name in names {
        let expected = fs::read_link(format!("/proc/{}/ns/{name}", container.init.pid)).unwrap();
        assert_eq!(lines.next().unwrap(), expected.to_str().unwrap(), "{name}");
    }
    assert_eq!(lines.collect::<Vec<_>>(), ["box", "/bin/busybox", "/"]);
    // This process has come back.
    let own = fs::read_link("/proc/thread-self/ns/pid_for_children").unwrap();
    assert_eq!(own, fs::read_link("/proc/thread-self/ns/pid").unwrap());
}

#[test]
fn it_has_its_own_user_directory_and_privileges() {
    let bundle = Bundle::new();
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]});
    let container = Running::new(&bundle, with(spec(&[]), json!({"linux": {"seccomp": seccomp}})));
    let text = "id; pwd; echo $HOME $X; \
                grep -E '^(CapPrm|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; mkdir /tmp/x; \
                ls /proc/self/fd; umask";
    let mut process = container.process(&["sh", "-c", text]);
    process.user.username = "web".to_owned();
    process.cwd = "/tmp".into();
    process.env.push("X=y".to_owned());
    process.no_new_privileges = true;
    let output = container.try_exec(&bundle, &process).unwrap();
    insta::assert_snapshot!(output.stdout, @"
    uid=33(web) gid=34(web) groups=34(web),44(extra)
    /tmp
    /home/web y
    CapPrm:	0000000000000000
    CapBnd:	00000000000400eb
    NoNewPrivs:	1
    Seccomp:	2
    0
    1
    2
    3
    0022
    ");
    assert_eq!(output.stderr, "mkdir: can't create directory '/tmp/x': No space left on device\n");
}

#[test]
fn errors_are_those_of_the_container() {
    let bundle = Bundle::new();
    let container = Running::new(&bundle, spec(&[]));
    let error = |args: &[&str]| {
        let error = container.try_exec(&bundle, &container.process(args)).unwrap_err();
        (error.kind(), error.to_string())
    };
    let foo = r#"exec: "foo": executable file not found in $PATH"#.to_owned();
    assert_eq!(error(&["foo"]), (ErrorKind::NotFound, foo));
    assert_eq!(error(&["/etc"]), (ErrorKind::Permission, r#"exec: "/etc": is a directory"#.to_owned()));
    let mut process = container.process(&["true"]);
    process.cwd = "/nowhere".into();
    let cwd = container.try_exec(&bundle, &process).unwrap_err();
    assert_eq!(cwd.to_string(), r#"chdir to cwd ("/nowhere") set in config.json failed: no such file or directory"#);
    process.user.username = "x".to_owned();
    let user = container.try_exec(&bundle, &process).unwrap_err();
    assert_eq!(user.to_string(), "unable to find user x: no matching entries in passwd file");
}

#[test]
fn no_descriptor_of_the_host_is_a_working_directory() {
    let bundle = Bundle::new();
    let container = Running::new(&bundle, spec(&[]));
    let _leaked = rustix::io::dup(File::open("/").unwrap()).unwrap();
    for number in 0..100 {
        let mut process = container.process(&["true"]);
        process.cwd = format!("/proc/self/fd/{number}").into();
        let error = container.try_exec(&bundle, &process).unwrap_err().to_string();
        assert!(error.starts_with("chdir to cwd"), "{error}");
    }
}

#[test]
fn a_terminal_of_the_containers_own() {
    let bundle = Bundle::new();
    let container = Running::new(&bundle, spec(&[]));
    let process = container.process(&["sh", "-c", "tty; stty size; readlink /proc/self/fd/2; echo x > /dev/tty"]);
    let stdio = Stdio::Terminal { size: Some((5, 7)), raw_newlines: false };
    let mut init = exec(&container.target(&bundle), &process, stdio).unwrap();
    let mut bytes = Vec::new();
    let _ = File::from(init.console.take().unwrap()).read_to_end(&mut bytes);
    assert_eq!(wait(&init.pidfd), 0);
    assert_eq!(String::from_utf8(bytes).unwrap(), "/dev/pts/0\r\n5 7\r\n/dev/pts/0\r\nx\r\n");
}

#[test]
fn it_joins_the_cgroup() {
    let directory = std::path::PathBuf::from(format!("/sys/fs/cgroup/pids/tare-runtime-exec-{}", std::process::id()));
    fs::create_dir(&directory).unwrap();
    let bundle = Bundle::new();
    let container = Running::new(&bundle, spec(&[]));
    let place = [directory.clone()];
    let target = ExecTarget { cgroup: CgroupPlace::Join(&place), ..container.target(&bundle) };
    let (stdio, pipes) = common::pipes();
    let process = container.process(&["grep", "pids", "/proc/self/cgroup"]);
    let init = exec(&target, &process, stdio).unwrap();
    let output = pipes.finish(&init).stdout;
    fs::remove_dir(&directory).unwrap();
    // Seen from the container's cgroup namespace, which is rooted in the caller's group.
    assert!(output.contains("tare-runtime-exec"), "{output}");
}

#[test]
fn a_container_that_has_ended() {
    let bundle = Bundle::new();
    let container = Running::new(&bundle, spec(&[]));
    rustix::process::pidfd_send_signal(&container.init.pidfd, rustix::process::Signal::KILL).unwrap();
    let mut fds = [rustix::event::PollFd::new(&container.init.pidfd, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut fds, None).unwrap();
    let error = container.try_exec(&bundle, &container.process(&["true"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State);
}

#[test]
fn a_container_in_a_user_namespace() {
    let bundle = Bundle::new();
    let extra = json!({"linux": {
        "namespaces": [{"type": "user"}],
        "uidMappings": [{"containerID": 0, "hostID": 100_000, "size": 1000}],
        "gidMappings": [{"containerID": 0, "hostID": 100_000, "size": 1000}],
    }});
    for path in [bundle.path().to_owned(), bundle.root()] {
        std::os::unix::fs::chown(path, Some(100_000), Some(100_000)).unwrap();
    }
    let container = Running::new(&bundle, with(spec(&[]), extra));
    let text = "id -u; awk '{print $2}' /proc/self/uid_map; grep CapBnd /proc/self/status";
    assert_eq!(container.exec(&bundle, text), "0\n100000\nCapBnd:\t00000000000400eb\n");
}
