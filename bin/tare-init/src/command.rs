//! Starting the command.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, setpgid};
use rustix::stdio::{stderr, stdin};
use rustix::termios::tcsetpgrp;
use tare_sys::process::{Child, Strings, clone};

use crate::Failure;

/// Where a command without a slash is looked for when the environment does not say; `execvp(3)`'s.
const PATH: &str = "/bin:/usr/bin";
/// Exit codes of the shell: there is no such command, and it cannot be executed.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// A command with all that executing it takes, because the child must not allocate.
pub(crate) struct Command {
    name: String,
    /// Paths to try in turn.
    paths: Vec<CString>,
    arguments: Strings,
    environment: Strings,
}

/// Writes a line to standard error.
pub(crate) fn complain(words: &[&str]) {
    for part in ["docker-init: "].iter().chain(words).chain(&["\n"]) {
        // There is no one else to tell.
        let _ = rustix::io::write(stderr(), part.as_bytes());
    }
}

impl Command {
    /// `None`: there are no words, or a NUL in one.
    pub(crate) fn new(words: impl Iterator<Item = OsString>) -> Option<Self> {
        let words: Vec<_> = words.collect();
        let name = words.first()?.clone();
        let paths = paths(name.as_bytes())?;
        let environment = std::env::vars_os().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        });
        Some(Self {
            name: name.to_string_lossy().into_owned(),
            paths,
            arguments: strings(words.into_iter())?,
            environment: strings(environment)?,
        })
    }

    /// Starts it and returns its process ID.
    pub(crate) fn start(&self) -> Result<i32, Failure> {
        let go = eventfd(0, EventfdFlags::CLOEXEC).map_err(|errno| ("eventfd", errno))?;
        let child = clone(0, None, |child| {
            let waited = retry_on_intr(|| rustix::io::read(&go, &mut [0; 8]));
            if waited.is_err() {
                return NOT_EXECUTABLE;
            }
            self.execute(child)
        })
        .map_err(|errno| ("clone", errno))?;
        let group = Pid::from_raw(child.pid);
        setpgid(group, group).map_err(|errno| ("setpgid", errno))?;
        if let Some(group) = group {
            // By us, who have the terminal as long as nobody else has, not by a background process. Mostly there is none.
            let _ = tcsetpgrp(stdin(), group);
        }
        rustix::io::write(&go, &1_u64.to_ne_bytes()).map_err(|errno| ("write", errno))?;
        Ok(child.pid)
    }

    /// Executes the first path that can be executed; returns an exit code if there is none.
    fn execute(&self, child: &Child) -> i32 {
        let mut reason = Errno::NOENT;
        for path in &self.paths {
            match child.execute(path, &self.arguments, &self.environment) {
                Errno::NOENT | Errno::NOTDIR => {}
                // Another one may be good; if not, this is what to say.
                Errno::ACCESS => reason = Errno::ACCESS,
                errno => {
                    reason = errno;
                    break;
                }
            }
        }
        complain(&["exec ", &self.name, ": ", tare_sys::errno::name(reason.raw_os_error())]);
        if reason == Errno::NOENT { NOT_FOUND } else { NOT_EXECUTABLE }
    }
}

/// A name with a slash is a path; another is looked for as `execvp(3)` does. `None`: there is a NUL in it.
fn paths(name: &[u8]) -> Option<Vec<CString>> {
    if name.contains(&b'/') {
        return Some(vec![CString::new(name).ok()?]);
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
    let directories = path.as_bytes().split(|byte| *byte == b':');
    let join = |directory: &[u8]| match directory {
        // An empty one is the working directory.
        b"" => CString::new([b"./", name].concat()).ok(),
        _ => CString::new([directory, b"/", name].concat()).ok(),
    };
    directories.map(join).collect()
}

fn strings(words: impl Iterator<Item = OsString>) -> Option<Strings> {
    let words: Option<Vec<_>> = words.map(|word| CString::new(word.into_vec()).ok()).collect();
    words.map(Strings::new)
}
