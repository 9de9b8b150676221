//! As much HTTP as it takes to drive an engine over its socket: one connection, one request after the other. A client
//! program would be measured along with the engine.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

/// A connection.
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to a socket.
    pub fn connect(socket: &Path) -> Result<Self, String> {
        let stream = UnixStream::connect(socket).map_err(|error| format!("`{}`: {error}", socket.display()))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Makes a request that must succeed, and returns the body of the answer.
    pub fn call(&mut self, method: &str, path: &str, body: &Value) -> Result<Vec<u8>, String> {
        let answer = self.exchange(method, path, body).map_err(|error| format!("{method} {path}: {error}"))?;
        match answer {
            (200..=299 | 304, body) => Ok(body),
            (status, body) => Err(format!("{method} {path}: {status} {}", String::from_utf8_lossy(&body).trim())),
        }
    }

    /// The same, with JSON in the answer.
    pub fn json(&mut self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = self.call(method, path, body)?;
        serde_json::from_slice(&body).map_err(|error| format!("{method} {path}: {error}"))
    }

    fn exchange(&mut self, method: &str, path: &str, body: &Value) -> std::io::Result<(u16, Vec<u8>)> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let length = body.len();
        // In one piece, as clients send it.
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        read_answer(&mut self.stream)
    }
}

/// Status and body.
fn read_answer(stream: &mut impl BufRead) -> std::io::Result<(u16, Vec<u8>)> {
    let invalid = |what: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned());
    let status = line(stream)?;
    let status = status.split(' ').nth(1).and_then(|word| word.parse::<u16>().ok());
    let status = status.ok_or_else(|| invalid("no status"))?;
    let (mut length, mut chunked) = (None, false);
    loop {
        let header = line(stream)?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse::<usize>().ok(),
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            let size = line(stream)?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(|_| invalid("no size of a chunk"))?;
            take(stream, size, &mut body)?;
            line(stream)?;
            if size == 0 {
                break;
            }
        }
    } else if status != 204 && status != 304 {
        take(stream, length.ok_or_else(|| invalid("no length"))?, &mut body)?;
    }
    Ok((status, body))
}

fn line(stream: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn take(stream: &mut impl Read, size: usize, body: &mut Vec<u8>) -> std::io::Result<()> {
    let start = body.len();
    body.resize(start + size, 0);
    stream.read_exact(body.get_mut(start..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_all_kinds() {
        let read = |text: &str| {
            let mut stream = text.as_bytes();
            let (status, body) = read_answer(&mut stream).unwrap();
            (status, String::from_utf8(body).unwrap(), stream.len())
        };
        let of = |status, body: &str, rest| (status, body.to_owned(), rest);
        assert_eq!(read("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP"), of(200, "ok", 4));
        assert_eq!(read("HTTP/1.1 204 No Content\r\n\r\nHTTP"), of(204, "", 4));
        let chunks =
            "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\nHTTP";
        assert_eq!(read(chunks), of(201, "abc0123456789", 4));
    }

    #[test]
    fn no_answers() {
        assert!(read_answer(&mut &b""[..]).is_err());
        assert!(read_answer(&mut &b"HTTP/1.1 200 OK\r\n\r\n"[..]).is_err());
        assert!(read_answer(&mut &b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc"[..]).is_err());
    }
}
