//! The init of containers that ask for one (`--init`): `docker-init -- COMMAND [ARGUMENT…]`, mounted into them.
//!
//! It runs the command in a process group of its own, which gets the terminal if there is one, passes all signals on to
//! it, reaps whatever becomes its child, and ends as the command does: with its exit code, or 128 and the number of the
//! signal that ended it. When it is process 1, all that is left of the container ends with it.
#![forbid(unsafe_code)]

mod command;

use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, set_child_subreaper, wait};
use tare_sys::signalfd::SignalFd;

use crate::command::Command;

/// Exit code when the command could not be run for want of something; Docker's init's.
const FAILED: u8 = 1;
/// Added to the number of a signal, it tells of a death by it.
const SIGNAL_BASE: u8 = 128;
/// The largest signal number.
const LAST_SIGNAL: i32 = 64;

fn main() -> ExitCode {
    match run() {
        Ok(code) => ExitCode::from(code),
        Err((step, errno)) => {
            command::complain(&[step, ": ", tare_sys::errno::name(errno.raw_os_error())]);
            ExitCode::from(FAILED)
        }
    }
}

/// A step that has failed.
type Failure = (&'static str, Errno);

fn run() -> Result<u8, Failure> {
    let mut arguments = std::env::args_os().skip(1).peekable();
    arguments.next_if(|argument| argument == "--");
    let command = Command::new(arguments).ok_or(("no command is given", Errno::INVAL))?;
    // Before there is a child, or the first signals would be lost.
    let signals = SignalFd::new(&signals()).map_err(|error| ("signalfd", errno(&error)))?;
    // Where it is not process 1, orphans would become the children of another.
    set_child_subreaper(Some(getpid())).map_err(|errno| ("prctl", errno))?;
    let child = command.start()?;
    loop {
        match poll(&mut [PollFd::new(&signals, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(("poll", errno)),
        }
        while let Some(signal) = signals.next().map_err(|error| ("read signal", errno(&error)))? {
            if signal != Signal::CHILD.as_raw() {
                // It may have ended, which the next signal tells; until it is reaped the number is its.
                let _ = tare_sys::kill::kill(child, signal);
            } else if let Some(code) = reap(child) {
                return Ok(code);
            }
        }
    }
}

/// Reaps all children that have ended; how the command ended, if it has.
fn reap(command: i32) -> Option<u8> {
    let mut code = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if Some(pid) == Pid::from_raw(command) {
            code = Some(exit_code(status));
        }
    }
    code
}

fn exit_code(status: WaitStatus) -> u8 {
    let byte = |number: i32| u8::try_from(number).unwrap_or(u8::MAX);
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => byte(code),
        (None, Some(signal)) => SIGNAL_BASE.saturating_add(byte(signal)),
        (None, None) => SIGNAL_BASE,
    }
}

/// All signals but those that cannot be blocked, that tell of an error of our own, and that are the C library's.
fn signals() -> Vec<i32> {
    const LIBRARY: [i32; 2] = [32, 33];
    let own = [
        Signal::KILL,
        Signal::STOP,
        Signal::FPE,
        Signal::ILL,
        Signal::SEGV,
        Signal::BUS,
        Signal::ABORT,
        Signal::TRAP,
        Signal::SYS,
    ];
    (1..=LAST_SIGNAL)
        .filter(|signal| !LIBRARY.contains(signal) && !own.iter().any(|own| own.as_raw() == *signal))
        .collect()
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
