//! The terminal of a container: handed to whoever asked for it, or carried between it and our own.

use std::io::Write as _;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use rustix::process::Signal;
use rustix::stdio::stdin;
use rustix::termios::{
    OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use tare_sys::signalfd::SignalFd;

use super::create::wait;

/// Sends the master of a terminal to the Unix socket of a caller (`--console-socket`).
pub(super) fn send(path: &Path, master: BorrowedFd<'_>) -> anyhow::Result<()> {
    send_named(path, "the terminal", b"/dev/ptmx", master)
}

/// Sends the pidfd of a process to the Unix socket of a caller (`--pidfd-socket`).
pub(super) fn send_pidfd(path: &Path, pidfd: BorrowedFd<'_>) -> anyhow::Result<()> {
    send_named(path, "the pidfd", b"pidfd", pidfd)
}

fn send_named(path: &Path, object: &str, name: &[u8], fd: BorrowedFd<'_>) -> anyhow::Result<()> {
    let what = || format!("send {object} to `{}`", path.display());
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).with_context(what)?;
    let address = SocketAddrUnix::new(path).with_context(what)?;
    connect(&socket, &address).with_context(what)?;
    tare_sys::socket::send_with_fds(&socket, name, &[fd]).with_context(what)
}

/// Signals that are passed on to the container's process, and SIGWINCH.
pub(super) fn signals() -> anyhow::Result<SignalFd> {
    let passed = [
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::TERM,
        Signal::USR1,
        Signal::USR2,
        Signal::CONT,
        Signal::ALARM,
        Signal::WINCH,
    ];
    SignalFd::new(&passed.map(Signal::as_raw)).context("take over signals")
}

/// Stays with a process until its end: passes signals on, and carries its terminal. Returns its exit code.
pub(super) fn attend(
    pid: i32,
    pidfd: BorrowedFd<'_>,
    master: Option<OwnedFd>,
    signals: &SignalFd,
) -> anyhow::Result<i32> {
    let raw = master.as_ref().and_then(|_| Raw::new());
    let mut carried = master.map(Carried::new).transpose()?;
    loop {
        let mut fds = vec![PollFd::new(&pidfd, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        if let Some(carried) = &carried {
            fds.extend(carried.interests());
        }
        rustix::io::retry_on_intr(|| poll(&mut fds, None)).context("wait for the process")?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let is = |index: usize| ready.get(index).copied().unwrap_or_default();
        let ended = is(0);
        while let Some(signal) = signals.next().context("read signals")? {
            match &carried {
                Some(carried) if signal == Signal::WINCH.as_raw() => carried.resize(),
                // It may have ended meanwhile.
                _ => drop(tare_sys::kill::kill(pid, signal)),
            }
        }
        if let Some(carried) = &mut carried {
            carried.output()?;
            carried.input(is(3))?;
        }
        if ended {
            drop(raw);
            return wait(pidfd);
        }
    }
}

/// Our own terminal in raw mode; dropping it restores the mode.
struct Raw(Termios);

impl Raw {
    fn new() -> Option<Self> {
        if !isatty(stdin()) {
            return None;
        }
        let before = tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        // The container's writes bare newlines.
        raw.output_modes.insert(OutputModes::OPOST);
        tcsetattr(stdin(), OptionalActions::Flush, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.0);
    }
}

/// Bytes carried at a time: what the kernel's terminal buffers hold.
const BUFFER_BYTES: usize = 4096;

/// A terminal whose other side is our standard input and output.
struct Carried {
    master: OwnedFd,
    /// Input that the terminal has not taken yet. No more is read until it has.
    pending: Vec<u8>,
    input_ended: bool,
    output_ended: bool,
}

impl Carried {
    fn new(master: OwnedFd) -> anyhow::Result<Self> {
        fcntl_setfl(&master, OFlags::NONBLOCK).context("terminal")?;
        let carried = Self { master, pending: Vec::new(), input_ended: false, output_ended: false };
        carried.resize();
        Ok(carried)
    }

    /// The terminal first, standard input second.
    fn interests(&self) -> Vec<PollFd<'_>> {
        let mut master = if self.output_ended { PollFlags::empty() } else { PollFlags::IN };
        if !self.pending.is_empty() {
            master |= PollFlags::OUT;
        }
        let mut all = vec![PollFd::new(&self.master, master)];
        if self.output_ended {
            // A terminal that nobody has open any more is always ready.
            all.clear();
            all.push(PollFd::from_borrowed_fd(stdin(), PollFlags::empty()));
        }
        if self.pending.is_empty() && !self.input_ended {
            all.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
        }
        all
    }

    fn resize(&self) {
        if let Ok(size) = tcgetwinsize(stdin()) {
            let _ = tcsetwinsize(&self.master, size);
        }
    }

    fn output(&mut self) -> anyhow::Result<()> {
        let mut buffer = [0; BUFFER_BYTES];
        loop {
            match rustix::io::retry_on_intr(|| rustix::io::read(&self.master, &mut buffer)) {
                // EIO: the last process that had it open has closed it.
                Ok(0) | Err(Errno::IO) => {
                    self.output_ended = true;
                    return Ok(());
                }
                Ok(length) => {
                    let mut out = std::io::stdout();
                    let bytes = buffer.get(..length).unwrap_or_default();
                    out.write_all(bytes).and_then(|()| out.flush()).context("write standard output")?;
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(errno).context("read terminal"),
            }
        }
    }

    fn input(&mut self, readable: bool) -> anyhow::Result<()> {
        if self.pending.is_empty() && readable && !self.input_ended {
            let mut buffer = [0; BUFFER_BYTES];
            match rustix::io::read(stdin(), &mut buffer) {
                Ok(0) => self.input_ended = true,
                Ok(length) => self.pending.extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.input_ended = true,
            }
        }
        if self.pending.is_empty() {
            return Ok(());
        }
        match rustix::io::write(&self.master, &self.pending) {
            Ok(length) => drop(self.pending.drain(..length)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Nobody reads it any more.
            Err(Errno::IO) => self.pending.clear(),
            Err(errno) => return Err(errno).context("write terminal"),
        }
        Ok(())
    }
}
