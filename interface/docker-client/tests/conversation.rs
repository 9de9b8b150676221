//! The client against a server that says what a test wants it to.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc;

use bytes::Bytes;
use tare_docker_client::start::Starter;
use tare_docker_client::{Body, Client, Connection, Error, Host, Query, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What a server got: the request line, and the body if it had a length.
type Log = mpsc::Receiver<String>;

struct Server {
    client: Client,
    log: Log,
    _dir: tempfile::TempDir,
}

/// A server that gives `answer` for the line and body of each request; connections stay open.
fn server(answer: impl Fn(&str, &str) -> Vec<u8> + Send + Clone + 'static) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let (sender, log) = mpsc::channel();
    std::thread::spawn(move || {
        for (connection, stream) in listener.incoming().flatten().enumerate() {
            let (answer, sender) = (answer.clone(), sender.clone());
            std::thread::spawn(move || serve(stream, connection, &answer, &sender));
        }
    });
    Server { client: Client::new(Connection::to(Host::Unix(path))), log, _dir: dir }
}

fn serve(stream: UnixStream, connection: usize, answer: &dyn Fn(&str, &str) -> Vec<u8>, log: &mpsc::Sender<String>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some((line, headers)) = read_head(&mut reader) {
        let length = headers.iter().find_map(|h| h.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let mut body = String::from_utf8(body).unwrap();
        if headers.iter().any(|h| h == "transfer-encoding: chunked") {
            body = read_chunks(&mut reader);
        }
        let _ = log.send(format!("{connection} {line} {body}").trim_end().to_owned());
        if writer.write_all(&answer(&line, &body)).is_err() {
            return;
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> Option<(String, Vec<String>)> {
    let mut lines =
        reader.lines().map(|l| l.ok()).take_while(|l| l.as_deref().is_some_and(|l| !l.is_empty())).flatten();
    let first = lines.next()?;
    let first = first.strip_suffix(" HTTP/1.1").unwrap_or(&first).to_owned();
    Some((first, lines.map(|l| l.to_lowercase()).collect()))
}

fn read_chunks(reader: &mut impl BufRead) -> String {
    let mut body = String::new();
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).unwrap();
        if size == 0 {
            return body;
        }
        body.push_str(std::str::from_utf8(&chunk[..size]).unwrap());
    }
}

const PING: &str = "HTTP/1.1 200 OK\r\nApi-Version: 1.44\r\nOstype: linux\r\nContent-Length: 2\r\n\r\n";

fn json(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// An answer to the ping, and `other` for everything else.
fn after_ping(other: Vec<u8>) -> impl Fn(&str, &str) -> Vec<u8> + Send + Clone + 'static {
    move |line, _| if line.starts_with("HEAD /_ping") { PING.into() } else { other.clone() }
}

#[tokio::test]
async fn versions_are_negotiated_once_and_connections_used_again() {
    let server = server(after_ping(json("200 OK", r#"{"a":[1]}"#)));
    for _ in 0..3 {
        let value: serde_json::Value = server.client.get_json("/x y", Query::new().add("q", "1&2")).await.unwrap();
        assert_eq!(value["a"][0], 1);
    }
    assert_eq!(server.client.ping().await.unwrap().os_type, "linux");
    let log: Vec<String> = server.log.try_iter().collect();
    assert_eq!(
        log,
        ["0 HEAD /_ping", "0 GET /v1.44/x%20y?q=1%262", "0 GET /v1.44/x%20y?q=1%262", "0 GET /v1.44/x%20y?q=1%262"]
    );
}

#[tokio::test]
async fn refusals() {
    let ask = async |answer: Vec<u8>| {
        let server = server(after_ping(answer));
        server.client.get_json::<serde_json::Value>("/x", Query::new()).await.unwrap_err()
    };
    let error = ask(json("404 Not Found", r#"{"message":"No such container: x\n"}"#)).await;
    assert!(error.is_not_found());
    assert_eq!(error.to_string(), "Error response from daemon: No such container: x");
    let error = ask(json("500 Internal Server Error", "{}")).await;
    assert_eq!(
        error.to_string(),
        "Error response from daemon: API returned a 500 (Internal Server Error) but provided no error-message"
    );
    let error =
        ask(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nno!\n".to_vec()).await;
    assert_eq!(error.to_string(), "Error response from daemon: no!");
    let error = ask(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    insta::assert_snapshot!(error, @"request returned 502 Bad Gateway for API route and version /v1.44/x, check if the server supports the requested API version");
    let error = ask(json("200 OK", "nonsense")).await;
    assert!(matches!(error, Error::Answer { .. }), "{error}");
    let error = ask(b"nonsense\r\n\r\n".to_vec()).await;
    assert!(matches!(error, Error::Exchange(_)), "{error}");
}

#[tokio::test]
async fn bodies_go_out_whole_or_in_pieces() {
    let server = server(after_ping(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()));
    server.client.send(Request::post("/a").json(&[1, 2])).await.unwrap().discard().await;
    let parts = [Ok(Bytes::from("one ")), Ok(Bytes::from("two"))];
    let body = Body::stream(futures_util::stream::iter(parts));
    server.client.send(Request::put("/b").body("application/x-tar", body)).await.unwrap().discard().await;
    let log: Vec<String> = server.log.try_iter().skip(1).collect();
    assert_eq!(log, ["0 POST /v1.44/a [1,2]", "0 PUT /v1.44/b one two"]);
}

#[tokio::test]
async fn values_come_one_by_one() {
    let body =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{\"a\":1\r\nb\r\n}\r\n{\"a\":2}\n\r\n0\r\n\r\n";
    let server = server(after_ping(body.into()));
    let mut values = server.client.send(Request::get("/events")).await.unwrap().json_stream::<serde_json::Value>();
    assert_eq!(values.next().await.unwrap().unwrap()["a"], 1);
    assert_eq!(values.next().await.unwrap().unwrap()["a"], 2);
    assert_eq!(values.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_cut_stream_is_an_error() {
    let body = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{\"a\"";
    let server = server(after_ping(body.into()));
    let mut values = server.client.send(Request::get("/events")).await.unwrap().json_stream::<serde_json::Value>();
    let error = values.next().await.unwrap_err().to_string();
    assert!(error.ends_with("unexpected EOF"), "{error}");
}

#[tokio::test]
async fn connections_are_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let server = std::thread::spawn(move || {
        let (mut ping, _) = listener.accept().unwrap();
        read_head(&mut BufReader::new(&ping)).unwrap();
        ping.write_all(PING.as_bytes()).unwrap();
        let (mut raw, _) = listener.accept().unwrap();
        let (line, headers) = read_head(&mut BufReader::new(&raw)).unwrap();
        // The first bytes of the stream come with the answer.
        let head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nearly ";
        raw.write_all(head.as_bytes()).unwrap();
        let mut input = String::new();
        raw.read_to_string(&mut input).unwrap();
        // Our direction has ended; the other has not.
        raw.write_all(b"late").unwrap();
        (line, headers, input)
    });
    let client = Client::new(Connection::to(Host::Unix(path)));
    let mut stream =
        client.hijack(Request::post("/containers/x/attach").query(Query::new().flag("stream", true))).await.unwrap();
    assert_eq!(stream.content_type(), "application/vnd.docker.raw-stream");
    let mut early = [0; 6];
    stream.read_exact(&mut early).await.unwrap();
    stream.write_all(b"typed").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    let (line, headers, input) = server.join().unwrap();
    assert_eq!((&early, rest.as_str(), input.as_str()), (b"early ", "late", "typed"));
    assert_eq!(line, "POST /v1.44/containers/x/attach?stream=1");
    assert!(
        headers.contains(&"upgrade: tcp".to_owned()) && headers.contains(&"connection: upgrade".to_owned()),
        "{headers:?}"
    );
}

#[tokio::test]
async fn a_refused_takeover_says_why() {
    let server = server(after_ping(json("409 Conflict", r#"{"message":"container x is not running"}"#)));
    let error = server.client.hijack(Request::post("/exec/x/start")).await.unwrap_err();
    assert_eq!(error.to_string(), "Error response from daemon: container x is not running");
}

#[tokio::test]
async fn nobody_there() {
    let ask = async |host: &str| {
        let client = Client::new(Connection::to(host.parse().unwrap()));
        client.get_json::<serde_json::Value>("/x", Query::new()).await.unwrap_err().to_string()
    };
    insta::assert_snapshot!(ask("unix:///nonexistent/s").await, @"failed to connect to the docker API at unix:///nonexistent/s; check if the path is correct and if the daemon is running: dial unix /nonexistent/s: connect: no such file or directory");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let expected = format!("Cannot connect to the Docker daemon at tcp://{address}. Is the docker daemon running?");
    assert_eq!(ask(&format!("tcp://{address}")).await, expected);
}

/// A program for [`Starter`]: a shell script.
fn program(dir: &std::path::Path, script: &str) -> Starter {
    use std::os::unix::fs::PermissionsExt;
    let program: PathBuf = dir.join("program");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    Starter { program, log: dir.join("log") }
}

#[tokio::test]
async fn a_daemon_that_fails_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("log"), "older words\n").unwrap();
    let starter = program(dir.path(), "echo no luck >&2; exit 1");
    let client = Client::new(Connection::starting(dir.path().join("s"), starter));
    let error = client.version().await.unwrap_err();
    assert_eq!(error.to_string(), "cannot start the daemon: no luck");
}

#[tokio::test]
async fn a_daemon_is_started_apart_from_us() {
    let dir = tempfile::tempdir().unwrap();
    // What it is started with goes to its log; then it ends, and a rival takes its place.
    let starter = program(dir.path(), r#"echo "$1 $PWD [$HOME] $(ps -o pid= -p $$) $(ps -o sid= -p $$)" >&2"#);
    let (socket, log) = (dir.path().join("s"), starter.log.clone());
    let path = socket.clone();
    let rival = std::thread::spawn(move || {
        while !std::fs::read_to_string(&log).is_ok_and(|text| text.ends_with('\n')) {
            std::thread::yield_now();
        }
        let listener = UnixListener::bind(path).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        read_head(&mut BufReader::new(&stream)).unwrap();
        stream.write_all(PING.as_bytes()).unwrap();
        std::fs::read_to_string(log).unwrap()
    });
    let client = Client::new(Connection::starting(socket, starter));
    assert_eq!(client.version().await.unwrap().to_string(), "1.44");
    let said = rival.join().unwrap();
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words[..3], ["daemon", "/", "[]"], "{said}");
    assert_eq!(words[3], words[4], "it leads a session of its own: {said}");
}
