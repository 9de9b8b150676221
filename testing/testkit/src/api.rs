//! Asking a daemon past any client, on a connection of its own.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::PATIENCE;

/// Sends a request to the daemon at a socket: `line` is method and path, `head` is everything between the request line
/// and the empty line. Returns the status and the body.
///
/// # Errors
/// When there is no whole answer: there is no daemon, or it went away meanwhile.
pub fn ask(socket: &Path, line: &str, head: &str, body: &str) -> io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("{line} HTTP/1.0\r\nHost: d\r\nContent-Length: {}\r\n{head}\r\n{body}", body.len());
    // The daemon may refuse, and close, before it has read everything; what it answers is read all the same.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.trim_end().to_owned());
    match (status, body) {
        (Some(status), Some(body)) => Ok((status, body)),
        _ => Err(read.err().unwrap_or_else(|| io::Error::other(format!("{line}: answered {answer:?}")))),
    }
}

/// Sends a JSON document, or nothing.
///
/// # Errors
/// As [`ask`].
pub fn send(socket: &Path, line: &str, body: &str) -> io::Result<(u16, String)> {
    ask(socket, line, "Content-Type: application/json\r\n", body)
}
