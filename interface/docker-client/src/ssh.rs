//! Daemons on other machines by ssh(1): `ssh://[user@]host[:port][/socket]`. There, `tare system dial-stdio` connects standard
//! input and output to the daemon; where there is no `tare`, docker's command of that name does.
//!
//! As docker's client does it: the user's own ssh with the user's settings, in a session without a terminal, so that the keys
//! typed here are not ssh's, and nobody can be asked for a password.

use std::ffi::{CString, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::fs::{Access, access};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, pidfd_open, pidfd_send_signal, waitpid};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Most of what ssh complains about that is kept, in bytes.
const COMPLAINT: usize = 4096;
/// Seconds that ssh may take to connect.
const TIMEOUT: &str = "-o ConnectTimeout=30";

/// Whom to ask for the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// As it was given.
    url: String,
    user: String,
    host: String,
    port: String,
    /// The daemon's socket there; empty: the usual one.
    socket: String,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Destination {
    /// Reads an URL. Errors: docker's sentences.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let invalid = |why: &str| Err(format!("ssh host connection is not valid: invalid SSH URL: {why}"));
        let unparsed = |why: &str| Err(format!("parse {url:?}: {why}"));
        let rest = url.strip_prefix("ssh://").unwrap_or(url);
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, socket) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, address) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match user.split_once(':') {
            Some((user, _)) => (user, true),
            None => (user, false),
        };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (address, ""),
        };
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return unparsed(&format!("invalid port \":{port}\" after host"));
        }
        if let Some(wrong) = host.chars().find(|&c| c.is_whitespace() || c.is_control() || "\"<>\\^`{|}".contains(c)) {
            return unparsed(&format!("invalid character \"{wrong}\" in host name"));
        }
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let (Some(user), Some(socket)) = (decoded(user), decoded(socket)) else {
            return unparsed("invalid URL escape");
        };
        if password {
            return invalid("plain-text password is not supported");
        }
        if host.is_empty() {
            return invalid("hostname is empty");
        }
        if !query.is_empty() {
            return invalid(&format!("query parameters are not allowed: {query:?}"));
        }
        if !fragment.is_empty() {
            return invalid(&format!("fragments are not allowed: {fragment:?}"));
        }
        let socket = if socket.trim_matches('/').is_empty() { String::new() } else { socket };
        Ok(Self { url: url.to_owned(), user, host: host.to_owned(), port: port.to_owned(), socket })
    }

    /// The arguments of ssh.
    fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = ["ssh", TIMEOUT, "-T"].map(str::to_owned).into();
        for (option, value) in [("-l", &self.user), ("-p", &self.port)] {
            if !value.is_empty() {
                arguments.extend([option.to_owned(), value.clone()]);
            }
        }
        arguments.extend(["--".to_owned(), self.host.clone(), self.remote_command()]);
        arguments
    }

    /// What the other machine's shell gets, whichever it is: a line that hardly any reads otherwise.
    fn remote_command(&self) -> String {
        let host = match self.socket.as_str() {
            "" => String::new(),
            socket => format!(" --host {}", quoted(&format!("unix://{socket}"))),
        };
        let script = format!(
            "command -v tare >/dev/null 2>&1 && exec tare{host} system dial-stdio; exec docker{host} system dial-stdio"
        );
        format!("sh -c {}", quoted(&script))
    }
}

/// A word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A text without percent signs' escapes.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [*rest.next()?, *rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A connection through ssh. It is ended when this is dropped.
#[derive(Debug)]
pub struct Ssh {
    socket: UnixStream,
    process: OwnedFd,
    end: End,
}

/// How the process has ended.
#[derive(Debug)]
enum End {
    /// It runs, or nobody has looked yet.
    Pending(JoinHandle<Option<String>>),
    /// With what docker says about a failure.
    Seen(Option<String>),
}

/// What docker says about an ssh that failed, as an error of I/O.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failed(String);

impl Failed {
    /// Within an error, if it is one.
    pub(crate) fn find<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Failed> {
        std::iter::successors(Some(error), |error| error.source())
            .find_map(|error| error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref())
    }
}

impl Ssh {
    /// Starts ssh. Whether it gets anywhere is seen by those who read.
    pub(crate) fn start(to: &Destination) -> io::Result<Self> {
        let missing = || io::Error::other(Failed("exec: \"ssh\": executable file not found in $PATH".to_owned()));
        let program = CString::new(find("ssh").ok_or_else(missing)?.into_os_string().into_vec())?;
        let arguments = to.arguments();
        let words: Vec<CString> = arguments.iter().map(|word| CString::new(word.as_str())).collect::<Result<_, _>>()?;
        let environment: Vec<CString> =
            std::env::vars_os().map(|(name, value)| variable(name, value)).collect::<Result<_, _>>()?;
        let (socket, theirs) = pair()?;
        let (complaints, stderr) = pair()?;
        let fds = [theirs.as_fd(), theirs.as_fd(), stderr.as_fd()];
        let pid = tare_sys::spawn::spawn_here(&program, &words, &environment, &fds)?;
        let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let (sender, ended) = oneshot::channel();
        let wait = move || {
            // Whoever has lost interest does not want to know.
            let _ = sender.send(waitpid(Some(pid), WaitOptions::empty()).ok().flatten());
        };
        std::thread::Builder::new().name("ssh".to_owned()).spawn(wait)?;
        let end = watch(ended, UnixStream::from_std(complaints)?, arguments);
        Ok(Self { socket: UnixStream::from_std(socket)?, process, end: End::Pending(tokio::spawn(end)) })
    }

    /// What the end of the stream means: nothing, or that ssh has failed.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let End::Pending(end) = &mut self.end {
            self.end = End::Seen(ready!(Pin::new(end).poll(cx)).ok().flatten());
        }
        let End::Seen(Some(why)) = &self.end else { return Poll::Ready(Ok(())) };
        Poll::Ready(Err(io::Error::other(Failed(why.clone()))))
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = pidfd_send_signal(&self.process, Signal::TERM);
    }
}

/// Reads what ssh complains about until it has ended; then, if it has failed, says so in docker's words.
async fn watch(
    mut ended: oneshot::Receiver<Option<(Pid, WaitStatus)>>,
    mut stderr: UnixStream,
    arguments: Vec<String>,
) -> Option<String> {
    let mut complaint = Vec::new();
    let mut buffer = [0; COMPLAINT];
    let mut open = true;
    let ended = loop {
        tokio::select! {
            read = stderr.read(&mut buffer), if open => match read {
                Ok(count @ 1..) => keep(&mut complaint, &buffer[..count]),
                _ => open = false,
            },
            // A process that ssh leaves behind may keep its stderr.
            ended = &mut ended => break ended,
        }
    };
    while let Ok(count @ 1..) = stderr.try_read(&mut buffer) {
        keep(&mut complaint, &buffer[..count]);
    }
    let (_, status) = ended.ok().flatten()?;
    let status = match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => return None,
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    };
    Some(format!(
        "command [{}] has exited with {status}, make sure the URL is valid, and Docker 18.09 or later is installed on the \
         remote host: stderr={}",
        arguments.join(" "),
        String::from_utf8_lossy(&complaint)
    ))
}

/// Keeps the end of what there is.
fn keep(complaint: &mut Vec<u8>, more: &[u8]) {
    complaint.extend_from_slice(more);
    complaint.drain(..complaint.len().saturating_sub(COMPLAINT));
}

fn pair() -> io::Result<(std::os::unix::net::UnixStream, std::os::unix::net::UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((ours, theirs))
}

fn variable(name: OsString, value: OsString) -> io::Result<CString> {
    let mut pair = name.into_vec();
    pair.push(b'=');
    pair.extend(value.into_vec());
    Ok(CString::new(pair)?)
}

/// A program of the path.
fn find(name: &str) -> Option<PathBuf> {
    let executable = |path: &PathBuf| access(path, Access::EXEC_OK).is_ok() && path.is_file();
    std::env::split_paths(&std::env::var_os("PATH")?).map(|directory| directory.join(name)).find(executable)
}

/// Whether the other side is gone: what it has to say comes first then.
fn gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

impl AsyncRead for Ssh {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match ready!(Pin::new(&mut this.socket).poll_read(cx, buf)) {
            Err(error) if !gone(&error) => Poll::Ready(Err(error)),
            Ok(()) if buf.filled().len() > before || buf.remaining() == 0 => Poll::Ready(Ok(())),
            _ => this.poll_end(cx),
        }
    }
}

impl AsyncWrite for Ssh {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match ready!(Pin::new(&mut this.socket).poll_write(cx, buf)) {
            Err(error) if gone(&error) => {
                ready!(this.poll_end(cx))?;
                Poll::Ready(Err(error))
            }
            written => Poll::Ready(written),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn destinations_are_ssh_s_arguments() {
        let arguments = |url: &str| {
            let all = Destination::parse(url).unwrap().arguments();
            let (remote, options) = all.split_last().unwrap();
            assert!(remote.starts_with("sh -c '") && remote.ends_with("system dial-stdio'"), "{remote}");
            options[3..].join(" ")
        };
        assert_eq!(Destination::parse("ssh://h").unwrap().arguments()[..3], ["ssh", "-o ConnectTimeout=30", "-T"]);
        assert_eq!(arguments("ssh://h"), "-- h");
        assert_eq!(arguments("ssh://me@h:22/"), "-l me -p 22 -- h");
        assert_eq!(arguments("ssh://m%65%40x@[::1]:22/run/x.sock"), "-l me@x -p 22 -- ::1");
        assert_eq!(arguments("ssh://-oProxyCommand=x"), "-- -oProxyCommand=x");
    }

    /// What a shell on the other side runs.
    #[test]
    fn sockets_are_words_for_any_shell() {
        let run = |url: &str, programs: &[&str]| {
            let directory = tempfile::tempdir().unwrap();
            for name in programs {
                let path = directory.path().join(name);
                std::fs::write(&path, format!("#!/bin/sh\nprintf '%s|' {name} \"$@\"\n")).unwrap();
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            }
            let line = Destination::parse(url).unwrap().remote_command();
            let mut shell = std::process::Command::new("/bin/sh");
            let path = format!("{}:/usr/bin:/bin", directory.path().display());
            let output = shell.arg("-c").arg(line).env("PATH", path).output().unwrap();
            (String::from_utf8(output.stdout).unwrap(), output.status.code())
        };
        let said = |text: &str| (text.to_owned(), Some(0));
        assert_eq!(run("ssh://h", &["tare", "docker"]), said("tare|system|dial-stdio|"));
        assert_eq!(run("ssh://h", &["docker"]), said("docker|system|dial-stdio|"));
        assert_eq!(run("ssh://h/a'b%20$(c)", &["tare"]), said("tare|--host|unix:///a'b $(c)|system|dial-stdio|"));
        assert_eq!(run("ssh://h/x", &["docker"]), said("docker|--host|unix:///x|system|dial-stdio|"));
    }

    #[test]
    fn what_cannot_be_reached_is_refused() {
        let why = |url: &str| Destination::parse(url).unwrap_err();
        let invalid = "ssh host connection is not valid: invalid SSH URL: ";
        assert_eq!(why("ssh://me:pw@h"), format!("{invalid}plain-text password is not supported"));
        assert_eq!(why("ssh://"), format!("{invalid}hostname is empty"));
        assert_eq!(why("ssh://h/?q=1"), format!("{invalid}query parameters are not allowed: \"q=1\""));
        assert_eq!(why("ssh://h#f"), format!("{invalid}fragments are not allowed: \"f\""));
        assert_eq!(why("ssh://h:x"), "parse \"ssh://h:x\": invalid port \":x\" after host");
        assert_eq!(why("ssh://a b"), "parse \"ssh://a b\": invalid character \" \" in host name");
    }
}
