//! A terminal on standard input: raw while a container has it, as before afterwards, whatever happens. A process of its own,
//! because it has one standard input.

mod support;

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, tcgetattr};
use serde_json::json;
use support::{Answer, Daemon, tare_with};
use tare_cli::streams::input::Input;
use tare_cli::streams::terminal::Raw;

/// A new terminal: the side that types, and the one that is typed to.
fn terminal() -> (File, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    (master.into(), slave.into())
}

fn echoes() -> bool {
    tcgetattr(rustix::stdio::stdin()).unwrap().local_modes.contains(LocalModes::ECHO)
}

fn modes(termios: &Termios) -> impl PartialEq + std::fmt::Debug + use<> {
    (termios.input_modes, termios.output_modes, termios.local_modes, termios.control_modes)
}

fn container(
    on_start: impl Fn(&Daemon) + Send + Sync + 'static,
    start: impl Fn() -> Answer + Send + Sync + 'static,
) -> Daemon {
    Daemon::start(move |daemon, seen| match seen.line.as_str() {
        "POST /containers/create" => Answer::Json(201, json!({"Id": "c1", "Warnings": []})),
        line if line.contains("/attach?") => {
            Answer::Takeover { after: "started", output: b"bye\r\n".to_vec(), read_input: false, then: "ended" }
        }
        line if line.contains("/wait?") => Answer::Later("waited", json!({"StatusCode": 0})),
        "POST /containers/c1/start" => {
            on_start(daemon);
            start()
        }
        line if line.contains("/resize?") => Answer::Nothing,
        _ => Answer::Json(404, json!({"message": "unexpected"})),
    })
}

#[test]
fn raw_mode_comes_and_goes() {
    let (keyboard, slave) = terminal();
    rustix::stdio::dup2_stdin(&slave).unwrap();
    let before = modes(&tcgetattr(rustix::stdio::stdin()).unwrap());
    let restored = || assert_eq!(modes(&tcgetattr(rustix::stdio::stdin()).unwrap()), before);

    // The user leaves. (First: the thread that reads what is typed outlives its run.)
    let typed = std::sync::Mutex::new(keyboard);
    let leaves = move |_: &Daemon| typed.lock().unwrap().write_all(b"ls\x10\x11").unwrap();
    let run = tare_with(&container(leaves, || Answer::Nothing), &["run", "-it", "busybox"], Input::stdin());
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, "", ""));
    restored();

    // The container ends.
    let ends = |daemon: &Daemon| {
        assert!(!echoes());
        daemon.set("started");
        daemon.set("waited");
    };
    let run = tare_with(&container(ends, || Answer::Nothing), &["run", "-it", "busybox"], Input::stdin());
    assert_eq!((run.code, run.out.as_str()), (0, "bye\r\n"));
    restored();

    // It does not start.
    let refused = || Answer::Json(500, json!({"message": "no"}));
    let run = tare_with(&container(|_| assert!(!echoes()), refused), &["run", "-it", "busybox"], Input::stdin());
    assert_eq!(run.code, 125);
    restored();

    // The client fails in a way that nobody thought of.
    let panicked = std::panic::catch_unwind(|| {
        let raw = Raw::enter().unwrap();
        assert!(!echoes());
        // As in a program that is aborted: nothing is dropped.
        std::mem::forget(raw);
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    restored();
}
