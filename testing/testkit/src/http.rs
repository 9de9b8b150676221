//! Asking web servers.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::{PATIENCE, PAUSE};

/// How long one answer may take: a page that makes a database's tables is among them.
const ANSWER: Duration = Duration::from_secs(60);

/// A port nobody uses at this moment.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    TcpListener::bind("0.0.0.0:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// Asks a server at `address:port` for a path; with a form it is posted. Returns the status and everything after it;
/// an error when there is no answer.
pub fn ask(server: &str, path: &str, form: Option<&str>) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let method = if form.is_some() { "POST" } else { "GET" };
    let body = form.unwrap_or_default();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {server}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no HTTP: {answer:?}")))?;
    Ok((status, answer))
}

/// Asks again and again, until there is an answer with status 200 that is as it should be.
///
/// # Panics
/// When there is none; says what came last.
pub fn eventually(server: &str, path: &str, is_right: impl Fn(&str) -> bool) -> String {
    let start = std::time::Instant::now();
    loop {
        let last = match ask(server, path, None) {
            Ok((200, page)) if is_right(&page) => return page,
            Ok((_, page)) => page,
            Err(error) => error.to_string(),
        };
        assert!(start.elapsed() < PATIENCE, "http://{server}{path} still says\n{last}");
        std::thread::sleep(PAUSE * 5);
    }
}
