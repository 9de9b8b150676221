//! Log drivers that send lines elsewhere: syslog, GELF, the journal.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tare_testkit::{Client, Console, install};

/// Longest wait for a message.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A server for what comes over TCP, a line each.
fn listen(listener: TcpListener) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
    });
    lines
}

fn next(lines: &Receiver<String>) -> String {
    lines.recv_timeout(TIMEOUT).expect("a line")
}

#[test]
fn syslog_gets_every_line() {
    let mut c = Console::new(Client::Tare);
    if c.engine().is_none() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its number").port();
    let options = format!(
        "--log-driver syslog --log-opt syslog-address=tcp://127.0.0.1:{port} --log-opt syslog-format=rfc5424 \
         --log-opt syslog-facility=local1 --log-opt tag={{{{.Name}}}}/{{{{.ImageName}}}}"
    );
    // A destination that is not there is an error of the start, as in Docker.
    drop(listener);
    let refused = c.fails(&format!("run --name away {options} busybox:1.29 echo x"), 125);
    assert!(refused.contains("failed to initialize logging driver: dial tcp 127.0.0.1:"), "{refused}");
    assert!(refused.contains("connect: connection refused"), "{refused}");
    c.ok("rm away");
    let lines = listen(TcpListener::bind(("127.0.0.1", port)).expect("the same port"));
    c.ok(&format!(
        "run -d --name box {options} busybox:1.29 sh -c 'echo one; echo two >&2; while ! [ -e /go ]; do sleep 0.1; done; \
         echo three; sleep 1000'"
    ));
    let first = [next(&lines), next(&lines)];
    let said = |priority: u8, text: &str| {
        first.iter().any(|line| line.starts_with(&format!("<{priority}>1 ")) && line.ends_with(&format!(" - {text}")))
    };
    assert!(said(17 * 8 + 6, "one") && said(17 * 8 + 3, "two"), "{first:?}");
    assert!(first.iter().all(|line| line.contains(" box/busybox:1.29 ")), "{first:?}");
    // They can be read here, too; the shown driver is the asked one.
    assert_eq!(c.run("logs box").stdout.trim(), "one");
    assert_eq!(c.ok("inspect -f '{{.HostConfig.LogConfig.Type}} {{.LogPath}}' box").trim(), "syslog");
    // What is written while there is no engine is sent by the next one, and nothing twice that was noted.
    std::thread::sleep(Duration::from_millis(500));
    let pid: i32 = c.ok("inspect -f '{{.State.Pid}}' box").parse().expect("a number");
    c.engine_mut().expect("an engine").kill();
    fs::write(format!("/proc/{pid}/root/go"), "").expect("a file");
    std::thread::sleep(Duration::from_millis(500));
    c.engine_mut().expect("an engine").resume();
    let third = next(&lines);
    assert!(third.ends_with(" - three"), "{third}");
    // The last words of one that removes itself are waited for.
    c.ok(&format!("run --rm --name last {options} busybox:1.29 echo four"));
    let fourth = next(&lines);
    assert!(fourth.ends_with(" - four"), "{fourth}");
    c.ok("rm -f box");
}

#[test]
fn gelf_and_what_cannot_be() {
    let c = Console::new(Client::Tare);
    if c.engine().is_none() {
        return;
    }
    let server = UdpSocket::bind("127.0.0.1:0").expect("a port");
    server.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    let address = server.local_addr().expect("its number");
    let options = format!(
        "--log-driver gelf --log-opt gelf-address=udp://{address} --log-opt gelf-compression-type=none --label app=shop \
         --log-opt labels=app --log-opt cache-disabled=true"
    );
    c.ok(&format!("run -d --name box {options} busybox:1.29 sh -c 'echo hello; sleep 1000'"));
    let mut buffer = [0; 4096];
    let count = server.recv(&mut buffer).expect("a message");
    let document: serde_json::Value = serde_json::from_slice(&buffer[..count]).expect("JSON");
    assert_eq!((&document["short_message"], &document["_app"]), (&"hello".into(), &"shop".into()), "{document}");
    assert_eq!(document["_container_name"], "box");
    let refused = c.fails("logs box", 1);
    assert!(refused.contains("configured logging driver does not support reading"), "{refused}");
    for (line, said) in [
        ("--log-driver gelf", "gelf-address is a required parameter"),
        ("--log-driver syslog --log-opt syslog-facility=x", "invalid syslog facility"),
        ("--log-driver syslog --log-opt max-size=1m", "unknown log opt 'max-size' for syslog log driver"),
        ("--log-driver journald --log-opt x=y", "unknown log opt 'x' for journald log driver"),
        ("--log-driver splunk", "logger: no log driver named 'splunk' is registered"),
        ("--log-opt labels-regex=(", "error parsing regexp"),
        ("--log-opt tag={{.Nope}}", "can't evaluate field Nope in type *logger.Info"),
    ] {
        let refused = c.fails(&format!("create {line} busybox:1.29"), 1);
        assert!(refused.contains(said), "{line}: {refused}");
    }
}

/// An engine whose containers could not be logged does not start.
#[test]
fn the_engines_own_options() {
    let roots = tempfile::tempdir().expect("a directory");
    let path = |name: &str| roots.path().join(name).display().to_string();
    let daemon = |options: &[&str]| {
        let mut command = Command::new(install::dist().join("tare"));
        let host = format!("unix://{}", path("sock"));
        command.args([
            "daemon",
            "-H",
            &host,
            "--bridge",
            "none",
            "--data-root",
            &path("data"),
            "--exec-root",
            &path("exec"),
        ]);
        let output = command.args(["--pidfile", &path("pid")]).args(options).output().expect("the daemon");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (options, why) in [
        (&["--log-driver", "splunk"][..], "failed to set log opts: logger: no log driver named 'splunk' is registered"),
        (
            &["--log-driver", "syslog", "--log-opt", "syslog-facility=x"],
            "failed to set log opts: invalid syslog facility",
        ),
        (&["--log-opt", "no=1"], "failed to set log opts: unknown log opt 'no' for json-file log driver"),
    ] {
        let (started, said) = daemon(options);
        assert!(!started && said.contains(why), "{options:?}: {said}");
    }
}

#[test]
fn the_journal() {
    let c = Console::new(Client::Tare);
    if c.engine().is_none() {
        return;
    }
    let socket = Path::new("/run/systemd/journal/socket");
    if socket.exists() {
        // This machine has one: whoever may read it sees the line.
        c.ok("run --rm --name journalled --log-driver journald busybox:1.29 echo kept");
        return;
    }
    let refused = c.fails("run --rm --log-driver journald busybox:1.29 true", 125);
    assert!(refused.contains("failed to initialize logging driver: journald is not enabled on this host"), "{refused}");
    let made = !Path::new("/run/systemd").exists();
    fs::create_dir_all("/run/systemd/journal").expect("a directory");
    let journal = UnixDatagram::bind(socket).expect("a socket");
    journal.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    c.ok("run -d --name journalled --log-driver journald -e A=b --log-opt env=A busybox:1.29 sh -c 'echo kept; sleep 1000'");
    let mut buffer = [0; 4096];
    let count = journal.recv(&mut buffer);
    let _ = fs::remove_file(socket);
    let _ = fs::remove_dir("/run/systemd/journal");
    if made {
        let _ = fs::remove_dir("/run/systemd");
    }
    let text = String::from_utf8_lossy(&buffer[..count.expect("an entry")]).into_owned();
    for field in ["MESSAGE=kept", "PRIORITY=6", "CONTAINER_NAME=journalled", "A=b"] {
        assert!(text.lines().any(|line| line == field), "{field}: {text}");
    }
}
