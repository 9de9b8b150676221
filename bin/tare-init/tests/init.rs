//! The init with real processes; it does not need to be process 1.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// When a test gives up waiting for something that must come.
const PATIENCE: Duration = Duration::from_secs(30);

const INIT: &str = env!("CARGO_BIN_EXE_tare-init");

fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn code(words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(INIT).args(words).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A running init with a script.
struct Init {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Init {
    fn start(script: &str) -> Self {
        let mut process = Command::new(INIT)
            .args(["--", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn signal(&self, signal: i32) {
        tare_sys::kill::kill(self.process.id().cast_signed(), signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        eventually("the init ends", || self.process.try_wait().unwrap())
    }
}

/// The fourth and fifth field of a process's `stat`: its parent and its group.
fn parent_and_group(pid: &str) -> Option<(u32, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace().skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[test]
fn ends_as_the_command_does() {
    assert_eq!(code(&["--", "sh", "-c", "exit 7"]), (Some(7), String::new()));
    assert_eq!(code(&["sh", "-c", "exit 255"]).0, Some(255));
    assert_eq!(code(&["--", "/bin/true"]).0, Some(0));
    assert_eq!(code(&["--", "sh", "-c", "kill -9 $$"]).0, Some(137));
}

#[test]
fn commands_that_cannot_be_run() {
    let (code_, text) = code(&["--", "no-such-command"]);
    assert_eq!((code_, text.as_str()), (Some(127), "docker-init: exec no-such-command: ENOENT\n"));
    assert_eq!(code(&["--", "/no/such"]).0, Some(127));
    let (code_, text) = code(&["--", "/etc/passwd"]);
    assert_eq!((code_, text.as_str()), (Some(126), "docker-init: exec /etc/passwd: EACCES\n"));
    assert_eq!(code(&["--"]), (Some(1), "docker-init: no command is given: EINVAL\n".to_owned()));
}

#[test]
fn signals_reach_the_command() {
    let mut init = Init::start("trap 'exit 5' USR1; trap 'echo hup' HUP; echo ready; while :; do sleep 0.01; done");
    assert_eq!(init.line(), "ready");
    init.signal(1);
    assert_eq!(init.line(), "hup");
    init.signal(10);
    assert_eq!(init.wait().code(), Some(5));
    // By default they end it: SIGTERM, and a real-time signal.
    for signal in [15, 40] {
        let mut init = Init::start("echo ready; exec sleep 1000");
        assert_eq!(init.line(), "ready");
        init.signal(signal);
        assert_eq!(init.wait().code(), Some(128 + signal));
    }
}

#[test]
fn orphans_are_adopted_and_reaped() {
    let mut init = Init::start("(sleep 1000 & echo $!); read line");
    let orphan = init.line();
    let own = init.process.id();
    eventually("the orphan is adopted", || parent_and_group(&orphan).filter(|(parent, _)| *parent == own));
    tare_sys::kill::kill(orphan.parse().unwrap(), 9).unwrap();
    eventually("the orphan is reaped", || parent_and_group(&orphan).is_none().then_some(()));
    drop(init.process.stdin.take());
    assert_eq!(init.wait().code(), Some(1));
}

#[test]
fn the_command_has_a_group_and_clean_signals() {
    let mut init = Init::start("echo $$; grep -E '^Sig(Blk|Ign)' /proc/self/status; read line");
    let pid = init.line();
    assert_eq!(parent_and_group(&pid).unwrap(), (init.process.id(), pid.parse().unwrap()));
    assert_eq!([init.line(), init.line()], ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000"]);
    drop(init.process.stdin.take());
    init.wait();
}

#[test]
fn the_command_gets_the_terminal() {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let path = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
    let terminal = || fs::File::options().read(true).write(true).open(&path).unwrap();
    let mut process = Command::new("setsid")
        .args(["--ctty", "--wait", INIT, "--", "sh", "-c", "read line; echo got $line"])
        .stdin(terminal())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    fs::File::from(controller.try_clone().unwrap()).write_all(b"hello\n").unwrap();
    // A process in the background would be stopped by reading.
    eventually("the command ends", || process.try_wait().unwrap());
    let mut text = String::new();
    process.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "got hello\n");
}
