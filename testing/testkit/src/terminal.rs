//! A program on a terminal: what is typed, what is shown.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::{PATIENCE, output};

/// Size of the terminal.
const SIZE: Winsize = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };

/// A program that runs on a terminal of its own, its controlling one.
#[derive(Debug)]
pub struct Terminal {
    command: String,
    child: Child,
    ours: File,
    /// Everything shown so far.
    seen: String,
    /// How much of it [`Terminal::expect`] has passed.
    passed: usize,
}

impl Terminal {
    /// Starts a program.
    ///
    /// # Panics
    /// When there is no terminal or no program.
    pub fn start(typed: &str, command: &Command) -> Self {
        let (ours, theirs) = open().unwrap_or_else(|error| panic!("open a terminal: {error}"));
        rustix::termios::tcsetwinsize(&ours, SIZE).unwrap_or_else(|error| panic!("size of the terminal: {error}"));
        // A session whose controlling terminal this is; --wait hands the status on.
        let mut wrapped = Command::new("setsid");
        wrapped.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args()).env("TERM", "xterm");
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        let end = || theirs.try_clone().unwrap_or_else(|error| panic!("dup: {error}"));
        wrapped.stdin(end()).stdout(end()).stderr(end());
        let child = wrapped.spawn().unwrap_or_else(|error| panic!("{typed}: {wrapped:?}: {error}"));
        drop(wrapped);
        drop(theirs);
        Self { command: typed.to_owned(), child, ours: ours.into(), seen: String::new(), passed: 0 }
    }

    /// Types.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn send(&mut self, text: &str) {
        self.ours.write_all(text.as_bytes()).unwrap_or_else(|error| panic!("{}: type {text:?}: {error}", self.command));
    }

    /// Waits until a text is shown after what was waited for before, and returns all that is shown up to its end.
    ///
    /// # Panics
    /// When the program ends or [`PATIENCE`] is over before.
    pub fn expect(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            let rest = &self.seen[self.passed..];
            if let Some(at) = rest.find(text) {
                let shown = rest[..at + text.len()].to_owned();
                self.passed += shown.len();
                return shown;
            }
            assert!(
                start.elapsed() < PATIENCE && self.read(),
                "{}: {text:?} was not shown:\n{}",
                self.command,
                self.seen
            );
        }
    }

    /// Waits for the end and returns the status.
    ///
    /// # Panics
    /// When [`PATIENCE`] is over before.
    pub fn wait(&mut self) -> i32 {
        let start = Instant::now();
        while self.read() {
            assert!(start.elapsed() < PATIENCE, "{}: does not end:\n{}", self.command, self.seen);
        }
        output::code(self.child.wait().unwrap_or_else(|error| panic!("{}: wait: {error}", self.command)))
    }

    /// Everything shown so far.
    pub fn seen(&self) -> &str {
        &self.seen
    }

    /// Reads what there is, or waits a moment for it; false at the end.
    fn read(&mut self) -> bool {
        let moment = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let mut ready = [PollFd::new(&self.ours, PollFlags::IN)];
        if !matches!(rustix::event::poll(&mut ready, Some(&moment)), Ok(1..)) {
            return true;
        }
        let mut bytes = [0; 4096];
        // The far end closed: EIO.
        let count = self.ours.read(&mut bytes).unwrap_or(0);
        self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
        count > 0
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Closing the terminal would do; a program that ignores that must not outlive the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn open() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let ours = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::grantpt(&ours)?;
    rustix::pty::unlockpt(&ours)?;
    let name = rustix::pty::ptsname(ours.as_fd(), Vec::new())?;
    let path = PathBuf::from(String::from_utf8_lossy(name.as_bytes()).into_owned());
    let theirs = rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((ours, theirs))
}

#[cfg(test)]
mod tests {
    use super::Terminal;
    use std::process::Command;

    #[test]
    fn a_conversation() {
        let mut command = Command::new("sh");
        command.args(["-c", "tty >/dev/null && read line && echo \"<$line>\"; stty size; exit 7"]);
        let mut terminal = Terminal::start("sh", &command);
        terminal.send("hello\n");
        assert_eq!(terminal.expect("<hello>"), "hello\r\n<hello>");
        terminal.expect("24 80");
        assert_eq!(terminal.wait(), 7);
    }

    #[test]
    fn it_is_the_controlling_terminal() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo ready; sleep 60"]);
        let mut terminal = Terminal::start("sh", &command);
        terminal.expect("ready");
        terminal.send("\u{3}");
        assert_eq!(terminal.wait(), 130);
    }
}
