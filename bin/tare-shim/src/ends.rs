//! Making the two ends of a process's standard streams.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use tare_runtime::Stdio;

use crate::session::Ends;

/// Pipes (or `/dev/null` for input that nobody will give).
pub(crate) fn pipes(input: bool) -> io::Result<(Stdio, Ends)> {
    let (stdin, our_stdin) = if input {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        (reader, Some(writer))
    } else {
        (null()?, None)
    };
    let (our_stdout, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
    let (our_stderr, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
    let ends = Ends { stdin: our_stdin, stdout: Some(our_stdout), stderr: Some(our_stderr) };
    Ok((Stdio::Fds { stdin, stdout, stderr }, ends))
}

/// Nothing but `/dev/null`.
pub(crate) fn nothing() -> io::Result<(Stdio, Ends)> {
    let stdin = null()?;
    let (stdout, stderr) = (stdin.try_clone()?, stdin.try_clone()?);
    Ok((Stdio::Fds { stdin, stdout, stderr }, Ends::default()))
}

/// Our ends of a terminal.
pub(crate) fn terminal(console: OwnedFd, input: bool) -> io::Result<Ends> {
    let stdin = if input { Some(console.try_clone()?) } else { None };
    Ok(Ends { stdin, stdout: Some(console), stderr: None })
}

fn null() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}
