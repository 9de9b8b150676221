//! A daemon of cardboard: answers requests on a unix socket as a test says, and remembers what it was asked.
#![allow(dead_code, reason = "every test file uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};

use serde_json::Value;
use tare_cli::app::{self, Request};
use tare_cli::cli::{Cli, Globals, Output};
use tare_cli::streams::input::Input;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `POST /containers/create?name=x`, without the version.
    pub line: String,
    /// Header lines in lower case.
    pub headers: Vec<String>,
    /// Body.
    pub body: Vec<u8>,
}

impl Seen {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// What is answered.
pub enum Answer {
    /// A status and a document.
    Json(u16, Value),
    /// 204.
    Nothing,
    /// 200, a content type, further headers, a body.
    Body(&'static str, Vec<String>, Vec<u8>),
    /// 200 at once; the document when [`Daemon::set`] has been called with this word.
    Later(&'static str, Value),
    /// The connection is taken over: the bytes follow once the first word is set, all input is read when asked to, and
    /// the second word is set at the end.
    Takeover { after: &'static str, output: Vec<u8>, read_input: bool, then: &'static str },
}

/// What happened so far.
#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    words: Vec<String>,
    input: Vec<u8>,
}

/// The daemon.
#[derive(Clone)]
pub struct Daemon {
    state: Arc<(Mutex<State>, Condvar)>,
    socket: PathBuf,
    directory: PathBuf,
    /// Removes the directory at the end of the test, whose handles alone have it: the threads that serve never end.
    _removed: Option<Arc<tempfile::TempDir>>,
}

type Script = Arc<dyn Fn(&Daemon, &Seen) -> Answer + Send + Sync>;

impl Daemon {
    /// Starts it; `script` answers all but `/_ping`.
    pub fn start(script: impl Fn(&Daemon, &Seen) -> Answer + Send + Sync + 'static) -> Daemon {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("d.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let serving = Daemon { state: Arc::default(), socket, directory: directory.path().to_owned(), _removed: None };
        let daemon = Daemon { _removed: Some(Arc::new(directory)), ..serving.clone() };
        let script = Arc::new(script) as Script;
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let (daemon, script) = (serving.clone(), Arc::clone(&script));
                std::thread::spawn(move || daemon.serve(connection, &script));
            }
        });
        daemon
    }

    /// A directory of the test's own.
    pub fn directory(&self) -> &std::path::Path {
        &self.directory
    }

    /// Says a word that answers may wait for.
    pub fn set(&self, word: &str) {
        let (state, changed) = &*self.state;
        state.lock().unwrap().words.push(word.to_owned());
        changed.notify_all();
    }

    /// Waits for a word.
    pub fn wait(&self, word: &str) {
        let (state, changed) = &*self.state;
        let mut guard = state.lock().unwrap();
        while !word.is_empty() && !guard.words.iter().any(|w| w == word) {
            guard = changed.wait(guard).unwrap();
        }
    }

    /// What was asked, in order of arrival.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.0.lock().unwrap().seen.clone()
    }

    /// The lines of what was asked.
    pub fn lines(&self) -> String {
        self.seen().iter().map(|s| format!("{}\n", s.line)).collect()
    }

    /// Input of connections taken over.
    pub fn input(&self) -> Vec<u8> {
        self.state.0.lock().unwrap().input.clone()
    }

    fn serve(&self, connection: UnixStream, script: &Script) {
        let mut reader = BufReader::new(connection.try_clone().unwrap());
        let mut writer = connection;
        while let Some(seen) = read_request(&mut reader) {
            if seen.line.ends_with("/_ping") {
                writer
                    .write_all(b"HTTP/1.1 200 OK\r\nApi-Version: 1.55\r\nOstype: linux\r\nContent-Length: 0\r\n\r\n")
                    .unwrap();
                continue;
            }
            self.state.0.lock().unwrap().seen.push(seen.clone());
            let answer = script(self, &seen);
            if !self.answer(answer, &seen, &mut reader, &mut writer) {
                return;
            }
        }
    }

    /// Sends an answer; false when the connection is no longer one of HTTP.
    fn answer(&self, answer: Answer, seen: &Seen, reader: &mut impl Read, writer: &mut UnixStream) -> bool {
        let bodiless = seen.line.starts_with("HEAD");
        let head = |kind: &str, headers: &str, length: usize| {
            format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{headers}Content-Length: {length}\r\n\r\n")
        };
        let message = match answer {
            Answer::Nothing => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            Answer::Json(status, value) => {
                let text = value.to_string();
                let head = head("application/json", "", text.len()).replacen("200", &status.to_string(), 1);
                (head + &text).into_bytes()
            }
            Answer::Body(kind, headers, body) => {
                let headers: String = headers.iter().map(|h| format!("{h}\r\n")).collect();
                let mut out = head(kind, &headers, body.len()).into_bytes();
                if !bodiless {
                    out.extend_from_slice(&body);
                }
                out
            }
            Answer::Later(word, value) => {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
                writer.write_all(head.as_bytes()).unwrap();
                self.wait(word);
                let text = value.to_string();
                format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len()).into_bytes()
            }
            Answer::Takeover { after, output, read_input, then } => {
                writer.write_all(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n").unwrap();
                self.wait(after);
                let mut input = Vec::new();
                if read_input {
                    reader.read_to_end(&mut input).unwrap();
                }
                self.state.0.lock().unwrap().input.extend_from_slice(&input);
                // A client that has left reads no more.
                let _ = writer.write_all(&output);
                self.set(then);
                let _ = writer.shutdown(std::net::Shutdown::Both);
                return false;
            }
        };
        writer.write_all(&message).is_ok()
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut parts = line.split(' ');
    let (method, target) = (parts.next()?, parts.next()?);
    let path = match target.strip_prefix("/v1.55") {
        Some(path) => path,
        None => target,
    };
    let mut seen = Seen { line: format!("{method} {path}"), headers: Vec::new(), body: Vec::new() };
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_lowercase();
        if header.is_empty() {
            break;
        }
        seen.headers.push(header);
    }
    let header = |name: &str| seen.headers.iter().find_map(|h| h.strip_prefix(name).map(|v| v.trim().to_owned()));
    if let Some(length) = header("content-length:") {
        seen.body.resize(length.parse().ok()?, 0);
        reader.read_exact(&mut seen.body).ok()?;
    } else if header("transfer-encoding:").is_some() {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            let start = seen.body.len();
            seen.body.resize(start + size + 2, 0);
            reader.read_exact(&mut seen.body[start..]).ok()?;
            seen.body.truncate(start + size);
            if size == 0 {
                break;
            }
        }
    }
    Some(seen)
}

/// A frame of a stream: 1 stdout, 2 stderr, 3 an error of the daemon's.
pub fn frame(stream: u8, text: &str) -> Vec<u8> {
    let mut out = vec![stream, 0, 0, 0];
    out.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    out
}

/// What a command line gave.
#[derive(Debug, PartialEq, Eq)]
pub struct Run {
    /// Exit status.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs a command line against the daemon, with `input` on standard input.
pub fn tare(daemon: &Daemon, args: &[&str], input: &'static [u8]) -> Run {
    tare_with(daemon, args, Input::from(move || Box::new(input)))
}

/// The same with any input.
pub fn tare_with(daemon: &Daemon, args: &[&str], input: Input) -> Run {
    let host = format!("unix://{}", daemon.socket.display());
    let config = daemon.directory().join("config");
    let mut all: Vec<String> = vec!["-H".into(), host, "--config".into(), config.display().to_string()];
    all.extend(args.iter().map(ToString::to_string));
    let mut globals = Globals::default();
    let request = app::read(all, &mut globals, 80);
    let (out, err) = (Buffer::default(), Buffer::default());
    let cli = Cli::new(globals, Output::to(out.clone()), Output::to(err.clone())).with_input(input);
    let code = match request {
        Request::Print(text) => {
            cli.out.print(text).unwrap();
            0
        }
        Request::Fail(error) => app::report(&cli, &error),
        Request::Overview { .. } | Request::Hint(_) | Request::Plugin { .. } => panic!("{args:?}: no command of ours"),
        Request::Complete(question) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(app::done(&cli, tare_cli::complete::run(&cli, &question)))
        }
        Request::Run(matches) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let code = runtime.block_on(app::run(&cli, &matches));
            runtime.shutdown_background();
            code
        }
    };
    let text = |buffer: &Buffer| String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
    Run { code, out: text(&out), err: text(&err) }
}
