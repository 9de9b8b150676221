//! What a command did.

use std::fmt;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::{PATIENCE, PAUSE};

/// A command that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// As it was typed.
    pub command: String,
    /// Its exit status; 128 and the signal's number when a signal ended it, as shells have it.
    pub status: i32,
    /// Everything it printed.
    pub stdout: String,
    /// Everything it complained about.
    pub stderr: String,
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.command)?;
        writeln!(f, "--- stdout\n{}\n--- stderr\n{}\n--- status {}", self.stdout, self.stderr, self.status)
    }
}

impl Output {
    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it cannot be started or hangs.
    pub fn of(typed: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{typed}: {command:?}: {error}"));
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap_or_else(|error| panic!("{typed}: wait: {error}")) {
                break status;
            }
            if start.elapsed() > PATIENCE {
                // It may end in this very moment.
                let _ = child.kill();
                let _ = child.wait();
                panic!("{typed}: did not end in {PATIENCE:?}\n{}{}", stdout.text(), stderr.text());
            }
            std::thread::sleep(PAUSE / 10);
        };
        Self { command: typed.to_owned(), status: code(status), stdout: stdout.text(), stderr: stderr.text() }
    }
}

/// The status as shells have it.
pub(crate) fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// A stream that is read while the command runs: a full pipe would stop it.
struct Collected(Option<std::thread::JoinHandle<Vec<u8>>>);

fn collect(stream: Option<impl Read + Send + 'static>) -> Collected {
    Collected(stream.map(|mut stream| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            // What was read before an error is shown; the status says the rest.
            let _ = stream.read_to_end(&mut bytes);
            bytes
        })
    }))
}

impl Collected {
    fn text(self) -> String {
        let bytes = self.0.and_then(|thread| thread.join().ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::Output;
    use std::process::Command;

    #[test]
    fn everything_is_seen() {
        let output = Output::of("x", Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"]));
        assert_eq!((output.status, output.stdout.as_str(), output.stderr.as_str()), (3, "out\n", "err\n"));
    }

    #[test]
    fn signals_have_statuses() {
        assert_eq!(Output::of("x", Command::new("sh").args(["-c", "kill -9 $$"])).status, 137);
    }
}
