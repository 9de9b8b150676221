//! A registry that misbehaves as it is told, and images to be had from it.
#![allow(dead_code, reason = "each test file uses a part")]

pub mod image;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes sent at once of an answer without end.
const ENDLESS: usize = 64 << 10;

/// A request, as far as anyone cares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET /v2/x/manifests/latest?ns=y`
    pub line: String,
    /// The value of `Range`.
    pub range: String,
    /// The value of `Authorization`.
    pub authorization: String,
    /// How many requests had the same line before.
    pub earlier: usize,
    body: Vec<u8>,
}

/// What the registry does instead of what it should.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Closes the connection without a word.
    Close,
    /// So many bytes of the right answer's body, then the connection is closed.
    Cut(usize),
    /// So many bytes of the right answer's body, or, with `None`, not even its head; then nothing until the client goes.
    Stall(Option<usize>),
    /// Something else: status, header lines, body.
    Answer(&'static str, String, Vec<u8>),
    /// A head, and then the same again and again until nobody wants to read it any more.
    Endless(String, u8),
}

/// An answer of its own.
pub fn answer(status: &'static str, headers: impl Into<String>, body: impl Into<Vec<u8>>) -> Fault {
    Fault::Answer(status, headers.into(), body.into())
}

type Faults = Box<dyn Fn(&Request) -> Option<Fault> + Send + Sync>;

#[derive(Default)]
struct State {
    /// Content type and bytes by `manifests/latest`, `blobs/sha256:…`.
    content: HashMap<String, (String, Vec<u8>)>,
    faults: Option<Faults>,
    log: Vec<Request>,
    /// Requests whose clients went while they were stalled.
    gone: Vec<String>,
}

/// A registry on loopback that speaks plain HTTP until the test ends.
#[derive(Clone)]
pub struct Registry {
    /// `127.0.0.1:port`
    pub address: String,
    state: Arc<Mutex<State>>,
}

impl Registry {
    /// Starts one that behaves.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("an address").to_string();
        let registry = Self { address, state: Arc::default() };
        let serving = registry.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let registry = serving.clone();
                // A client that goes is what half of the tests are about.
                std::thread::spawn(move || drop(registry.serve(&stream)));
            }
        });
        registry
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives it content under `manifests/latest` or `blobs/sha256:…`.
    pub fn put(&self, path: String, content_type: &str, bytes: Vec<u8>) {
        self.state().content.insert(path, (content_type.to_owned(), bytes));
    }

    /// What it has under a path.
    pub fn has(&self, path: &str) -> Option<Vec<u8>> {
        self.state().content.get(path).map(|(_, bytes)| bytes.clone())
    }

    /// Misbehaves from now on where `fault` says so; what was asked before is forgotten.
    pub fn misbehave(&self, fault: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static) {
        let mut state = self.state();
        state.faults = Some(Box::new(fault));
        state.log.clear();
        state.gone.clear();
    }

    /// Behaves from now on.
    pub fn behave(&self) {
        self.misbehave(|_| None);
    }

    /// What was asked since the last change of behaviour.
    pub fn log(&self) -> Vec<Request> {
        self.state().log.clone()
    }

    /// Requests whose clients went while they waited.
    pub fn gone(&self) -> Vec<String> {
        self.state().gone.clone()
    }

    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut request = read(stream)?;
        if request.line.is_empty() {
            // TLS was tried.
            (&*stream).write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")?;
            return stream.shutdown(Shutdown::Both);
        }
        let fault = {
            let mut state = self.state();
            request.earlier = state.log.iter().filter(|r| r.line == request.line).count();
            state.log.push(request.clone());
            state.faults.as_ref().and_then(|fault| fault(&request))
        };
        let mut out = stream;
        match fault {
            None => {
                let (head, body) = self.answer(&request);
                out.write_all(head.as_bytes())?;
                out.write_all(&body)?;
            }
            Some(Fault::Close) => {}
            Some(Fault::Cut(length)) => {
                let (head, body) = self.answer(&request);
                out.write_all(head.as_bytes())?;
                out.write_all(body.get(..length).unwrap_or(&body))?;
            }
            Some(Fault::Stall(length)) => {
                if let Some(length) = length {
                    let (head, body) = self.answer(&request);
                    out.write_all(head.as_bytes())?;
                    out.write_all(body.get(..length).unwrap_or(&body))?;
                }
                // Ends when the client goes.
                let _ = std::io::copy(&mut out, &mut std::io::sink());
                self.state().gone.push(request.line);
            }
            Some(Fault::Answer(status, headers, body)) => {
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
                out.write_all(head.as_bytes())?;
                out.write_all(&body)?;
            }
            Some(Fault::Endless(headers, byte)) => {
                out.write_all(format!("HTTP/1.1 200 OK\r\n{headers}Connection: close\r\n\r\n").as_bytes())?;
                let piece = vec![byte; ENDLESS];
                while out.write_all(&piece).is_ok() {}
            }
        }
        stream.shutdown(Shutdown::Both)
    }

    /// The right answer.
    fn answer(&self, request: &Request) -> (String, Vec<u8>) {
        let (method, target) = request.line.split_once(' ').unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let kind = ["/manifests/", "/blobs/"].iter().find_map(|kind| path.find(kind));
        let path = kind.and_then(|at| path.get(at + 1..)).unwrap_or(path);
        let close = "Connection: close\r\n";
        let empty = |status: &str, more: &str| {
            (format!("HTTP/1.1 {status}\r\n{more}Content-Length: 0\r\n{close}\r\n"), Vec::new())
        };
        match method {
            "POST" => return empty("202 Accepted", "Location: /v2/x/blobs/uploads/1?state=a\r\n"),
            "PUT" if path.starts_with("blobs/uploads/") => {
                let digest = query.split('&').find_map(|pair| pair.strip_prefix("digest=")).unwrap_or_default();
                let digest = digest.replace("%3A", ":");
                if image::digest(&request.body) != digest {
                    let error = r#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}"#;
                    let head = format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n{close}\r\n", error.len());
                    return (head, error.into());
                }
                self.put(format!("blobs/{digest}"), "application/octet-stream", request.body.clone());
                return empty("201 Created", "");
            }
            "PUT" => {
                let by_digest = format!("manifests/{}", image::digest(&request.body));
                for path in [path.to_owned(), by_digest] {
                    self.put(path, image::MANIFEST, request.body.clone());
                }
                return empty("201 Created", "");
            }
            _ => {}
        }
        let Some((content_type, bytes)) = self.state().content.get(path).cloned() else {
            return empty("404 Not Found", "");
        };
        let from = request.range.strip_prefix("bytes=").and_then(|range| range.split('-').next()?.parse().ok());
        let (status, range, part) = match from {
            Some(from) if from < bytes.len() => {
                let range = format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
                ("206 Partial Content", range, bytes.get(from..).unwrap_or_default().to_vec())
            }
            _ => ("200 OK", String::new(), bytes.clone()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nDocker-Content-Digest: {}\r\n{range}Content-Length: \
             {}\r\n{close}\r\n",
            image::digest(&bytes),
            part.len()
        );
        (head, if method == "HEAD" { Vec::new() } else { part })
    }
}

/// Reads a request; one without a line if it is not HTTP.
fn read(stream: &TcpStream) -> std::io::Result<Request> {
    let mut reader = BufReader::new(stream);
    let first = reader.fill_buf()?.first().copied().unwrap_or(0);
    let (mut request, mut length) = (Request::default(), 0);
    if !first.is_ascii_uppercase() {
        return Ok(request);
    }
    let mut line = String::new();
    reader.read_line(&mut line)?;
    request.line = line.rsplit_once(' ').map_or(line.as_str(), |(start, _)| start).to_owned();
    loop {
        line.clear();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        let (name, value) = line.trim_end().split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "range" => value.clone_into(&mut request.range),
            "authorization" => value.clone_into(&mut request.authorization),
            "content-length" => length = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    reader.take(length).read_to_end(&mut request.body)?;
    Ok(request)
}
