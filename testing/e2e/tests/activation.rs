//! A daemon that a service manager starts: it listens on the sockets it gets, says when it is ready, and containers
//! outlive its restart while clients wait at the sockets.

use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};

use tare_testkit::{Engine, Output, ServiceManager, eventually, install};

struct Host {
    directory: tempfile::TempDir,
    tcp: String,
}

impl Host {
    fn new() -> (Self, ServiceManager) {
        let directory = tempfile::Builder::new().prefix("tare-activation-").tempdir().expect("directory");
        let unix = UnixListener::bind(directory.path().join("activated.sock")).expect("socket");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("socket");
        let notify = directory.path().join("notify.sock");
        let host = Self { tcp: format!("tcp://{}", tcp.local_addr().expect("address")), directory };
        let datagrams = UnixDatagram::bind(&notify).expect("socket");
        let sockets = [("tare.socket", unix.into()), ("remote", tcp.into())];
        (host, ServiceManager { sockets, notify: (notify, datagrams) })
    }

    fn unix(&self) -> String {
        format!("unix://{}", self.directory.path().join("activated.sock").display())
    }

    fn types(&self, host: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(install::docker());
        command.args(["-H", host]).args(arguments).env("DOCKER_CONFIG", self.directory.path());
        Output::of(&format!("docker {arguments:?}"), &mut command)
    }
}

fn mirrored(options: &[&'static str]) -> Vec<&'static str> {
    [&["--registry-mirror", install::mirror()], options].concat()
}

#[test]
fn the_service_managers_sockets_are_listened_on() {
    let (host, manager) = Host::new();
    let mut engine = Engine::activated(manager, &mirrored(&["-H", "fd://", "--debug"]));
    assert_eq!(engine.notified(), "READY=1");
    for address in [host.unix(), host.tcp.clone()] {
        let output = host.types(&address, &["version", "--format", "{{.Server.Os}}"]);
        assert_eq!((output.status, output.stdout.as_str()), (0, "linux\n"), "{output}");
    }
    let output = host.types(&host.unix(), &["run", "-d", "--name", "sleeper", "busybox:1.29", "sleep", "1000"]);
    assert_eq!(output.status, 0, "{output}");
    assert_eq!(host.types(&host.unix(), &["info", "--format", "{{.Debug}}"]).stdout, "true\n");
    // The daemon is replaced. Who asks meanwhile waits: the socket is there all the time.
    engine.stop();
    assert_eq!(engine.notified(), "STOPPING=1");
    let mut asking = Command::new(install::docker());
    asking.args(["-H", &host.unix(), "inspect", "--format", "{{.State.Running}} {{.State.Pid}}", "sleeper"]);
    let asking = asking.stdout(Stdio::piped()).spawn().expect("docker");
    engine.resume();
    assert_eq!(engine.notified(), "READY=1");
    let answer = asking.wait_with_output().expect("docker");
    let answer = String::from_utf8(answer.stdout).expect("a text");
    let (running, pid) = answer.trim().split_once(' ').expect("two words");
    assert_eq!(running, "true");
    assert!(Path::new("/proc").join(pid).exists());
    assert_eq!(host.types(&host.tcp, &["rm", "-f", "sleeper"]).status, 0);
}

#[test]
fn one_socket_by_number_or_name() {
    for (which, refused) in [("fd://4", true), ("fd://remote", true), ("fd://tare.socket", false)] {
        let (host, manager) = Host::new();
        let engine = Engine::activated(manager, &["-H", which]);
        assert_eq!(engine.notified(), "READY=1");
        let asked = if refused { &host.tcp } else { &host.unix() };
        assert_eq!(host.types(asked, &["version"]).status, 0, "{which}");
    }
}

#[test]
fn sockets_that_are_not_there_are_missed() {
    let (host, _) = Host::new();
    let path = |name: &str| host.directory.path().join(name);
    // Nothing else of this daemon's is made before its sockets are there.
    let daemon = |variables: &str, which: &str| {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("exec 3<&0; {variables} exec \"$@\"")).arg("sh");
        command.arg(install::dist().join("tare")).args(["daemon", "-H", which]);
        command.arg("--data-root").arg(path("data")).arg("--exec-root").arg(path("exec"));
        let listening = UnixListener::bind(path("listening.sock")).expect("socket");
        std::fs::remove_file(path("listening.sock")).expect("socket");
        command.stdin(Stdio::from(std::os::fd::OwnedFd::from(listening)));
        let output = Output::of(which, &mut command);
        assert_eq!(output.status, 1, "{output}");
        assert!(!path("data").exists(), "{output}");
        output.stderr
    };
    let none = "failed to load listeners: no sockets found via socket activation: make sure the service was started by systemd\n";
    assert_eq!(daemon("", "fd://"), none);
    // Meant for another process.
    assert_eq!(daemon("LISTEN_FDS=1 LISTEN_PID=1", "fd://"), none);
    let one = "LISTEN_FDS=1 LISTEN_PID=$$";
    assert_eq!(
        daemon(one, "fd://5"),
        "failed to load listeners: too few socket activated files passed in by systemd\n"
    );
    assert_eq!(
        daemon(one, "fd://nobody"),
        "failed to load listeners: failed to parse systemd fd address: should be a number: nobody\n"
    );
    let refused = daemon("exec 3</dev/null; LISTEN_FDS=1 LISTEN_PID=$$", "fd://");
    assert!(
        refused.starts_with("failed to load listeners: failed to listen on systemd activated file: fd 3: "),
        "{refused}"
    );
}

/// With the program that systemd itself has for trying this.
#[test]
fn systemd_socket_activate_starts_it() {
    const ACTIVATE: &str = "/usr/bin/systemd-socket-activate";
    if !Path::new(ACTIVATE).exists() {
        println!("skipped: there is no {ACTIVATE} here");
        return;
    }
    let (host, _) = Host::new();
    let socket = host.directory.path().join("systemd.sock");
    let exec_root = tempfile::Builder::new().prefix("tare-").tempdir_in("/run").expect("directory");
    let data_root = host.directory.path().join("data");
    let names = tare_testkit::leftovers::Names::new(&[host.directory.path(), exec_root.path()], &data_root);
    let mut command = Command::new(ACTIVATE);
    command.arg("--listen").arg(&socket).arg("--fdname=tare.socket");
    command.arg(install::dist().join("tare")).args(["daemon", "-H", "fd://", "--bridge", "none", "--data-root"]);
    command.arg(&data_root).arg("--exec-root").arg(exec_root.path()).arg("--config-file").arg("/dev/null");
    let mut daemon = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("systemd-socket-activate");
    eventually("the socket", || socket.exists().then_some(()));
    // The first connection starts the daemon, which is the same process.
    let output = host.types(&format!("unix://{}", socket.display()), &["version", "--format", "{{.Server.Os}}"]);
    let pid = i32::try_from(daemon.id()).ok().and_then(rustix::process::Pid::from_raw).expect("process ID");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("signal the daemon");
    daemon.wait().expect("the daemon");
    let gone = tare_testkit::within_patience(|| names.traces() == tare_testkit::leftovers::Traces::default());
    names.remove();
    assert_eq!((output.status, output.stdout.as_str()), (0, "linux\n"), "{output}");
    assert!(gone);
}
