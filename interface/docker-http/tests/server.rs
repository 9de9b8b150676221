//! The server against a small table of routes, byte by byte over a socket pair.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, StatusCode};
use tare_docker_api::container::{CreateRequest, WaitResponse};
use tare_docker_api::stream::JsonMessage;
use tare_docker_api::versions::ApiVersion;
use tare_docker_http::body::Body;
use tare_docker_http::error::{Failure, Result};
use tare_docker_http::reply::{Reply, encode_line, hijack_head, messages};
use tare_docker_http::router::{Answer, Handler, Route};
use tare_docker_http::server::{Config, Server};
use tare_docker_http::socket::Socket;
use tokio::sync::{Notify, mpsc};

/// What the handlers share.
#[derive(Default)]
struct Stub {
    finished: AtomicUsize,
    go: Notify,
    done: Notify,
}

type State = Arc<Stub>;

const fn route(
    method: Method,
    pattern: &'static str,
    since: Option<ApiVersion>,
    handler: Handler<State>,
) -> Route<State> {
    Route { method, pattern, operation: pattern, since, until_client_goes: false, handler }
}

fn answer(future: impl Future<Output = Result<Reply>> + Send + 'static) -> Answer {
    Box::pin(future)
}

static ROUTES: [Route<State>; 10] = [
    route(Method::GET, "/echo/{name}/json", None, |_, request| {
        answer(async move { Ok(Reply::json(&format!("{} {}", request.name(), request.version))) })
    }),
    route(Method::POST, "/create", None, |_, mut request| {
        answer(async move {
            let body: CreateRequest = request.required_json().await?;
            Ok(Reply::created(&body.config.image))
        })
    }),
    route(Method::POST, "/fail", None, |_, request| {
        answer(async move {
            let status = request.query.int("status")?.unwrap_or(500);
            let status = u16::try_from(status).ok().and_then(|s| StatusCode::from_u16(s).ok()).unwrap_or_default();
            Err(Failure::new(status, "it \"broke\""))
        })
    }),
    route(Method::POST, "/new", Some(ApiVersion::v1(50)), |_, _| answer(async { Ok(Reply::no_content()) })),
    route(Method::POST, "/hijack", None, |_, mut request| {
        answer(async move {
            let _: serde_json::Value = request.json().await?;
            let head = hijack_head(request.wants_upgrade(), "application/vnd.docker.multiplexed-stream", "");
            Ok(Reply::hijack(head, |fd, early| async move {
                let mut stream = UnixStream::from(fd);
                stream.set_nonblocking(false).unwrap();
                tokio::task::spawn_blocking(move || {
                    stream.write_all(&early).unwrap();
                    let mut rest = Vec::new();
                    stream.read_to_end(&mut rest).unwrap();
                    rest.reverse();
                    stream.write_all(&rest).unwrap();
                })
                .await
                .unwrap();
            }))
        })
    }),
    route(Method::POST, "/wait", None, |state, _| {
        answer(async move {
            let exit = async move {
                state.go.notified().await;
                Ok(Bytes::from(tare_docker_api::go::encode(&WaitResponse::default())))
            };
            Ok(Reply::body("application/json", Body::chunks(futures_util::stream::once(Box::pin(exit)))))
        })
    }),
    route(Method::GET, "/progress", None, |_, _| {
        answer(async {
            let (sender, receiver) = mpsc::channel(4);
            sender.try_send(JsonMessage::status("a", "Pulling")).map_err(|_| Failure::internal("full"))?;
            sender.try_send(JsonMessage::error("no")).map_err(|_| Failure::internal("full"))?;
            let body = messages(receiver, |message, out| encode_line(&message, out));
            Ok(Reply::body("application/json", Body::chunks(body)))
        })
    }),
    route(Method::GET, "/events", None, |_, _| {
        answer(async {
            let first = futures_util::stream::iter([Ok(Bytes::from_static(b"event\n"))]);
            Ok(Reply::body("application/jsonl", Body::endless(first.chain(futures_util::stream::pending()))))
        })
    }),
    route(Method::POST, "/slow", None, |state, _| {
        answer(async move {
            state.go.notified().await;
            state.finished.fetch_add(1, Ordering::SeqCst);
            state.done.notify_one();
            Ok(Reply::no_content())
        })
    }),
    route(Method::GET, "/tar", None, |_, _| {
        answer(async {
            let broken = Err(std::io::Error::other("disk"));
            let parts = futures_util::stream::iter([Ok(Bytes::from_static(b"half")), broken]);
            Ok(Reply::body("application/x-tar", Body::chunks(parts)))
        })
    }),
];

/// A server and a connection to it.
struct Talk {
    /// First, so that it is closed before the runtime waits for its threads.
    stream: UnixStream,
    server: Arc<Server<State>>,
    state: State,
    runtime: tokio::runtime::Runtime,
}

impl Talk {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let state = State::default();
        let config = Config { server_version: "0.1".into(), ..Config::default() };
        let server = Server::new(state.clone(), &ROUTES, config);
        let mut talk = Talk { stream: UnixStream::pair().unwrap().0, runtime, server, state };
        talk.stream = talk.connect();
        talk
    }

    fn connect(&self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let _guard = self.runtime.enter();
        self.server.spawn_connection(Socket::Unix(tokio::net::UnixStream::from_std(theirs).unwrap()));
        ours
    }

    /// Sends a request that closes the connection and returns all bytes of the answer, without the date.
    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        let request = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        // A broken body ends the connection early; what came before counts.
        let _ = stream.read_to_string(&mut answer);
        let keep = |line: &&str| !line.to_lowercase().starts_with("date: ");
        answer.split("\r\n").filter(keep).collect::<Vec<_>>().join("\r\n")
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\n\r\n"))
    }

    fn post(&self, path: &str, content_type: &str, body: &str) -> String {
        let length = body.len();
        self.ask(&format!(
            "POST {path} HTTP/1.1\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).unwrap();
    }

    fn receive(&mut self, bytes: usize) -> String {
        let mut buffer = vec![0; bytes];
        self.stream.read_exact(&mut buffer).unwrap();
        String::from_utf8(buffer).unwrap()
    }

    /// Reads up to and with `end`.
    fn receive_until(&mut self, end: &str) -> String {
        let mut all = String::new();
        while !all.ends_with(end) {
            all += &self.receive(1);
        }
        all
    }
}

#[test]
fn a_document_and_its_headers() {
    insta::assert_snapshot!(Talk::new().get("/v1.44/echo/a/b%20c/json"), @r#"
    HTTP/1.1 200 OK
    Content-Type: application/json
    Api-Version: 1.55
    Docker-Experimental: false
    Ostype: linux
    Server: Docker/0.1 (linux)
    Connection: close
    Content-Length: 13

    "a/b c 1.44"
    "#);
}

#[test]
fn paths_without_version_speak_the_newest() {
    let talk = Talk::new();
    assert!(talk.get("/echo/x/json").ends_with("\"x 1.55\"\n"));
    assert!(talk.get("//echo//%2Fx/json").ends_with("\"x 1.55\"\n"));
}

#[test]
fn unknown_paths_and_wrong_methods_are_the_same_404() {
    let talk = Talk::new();
    let expected = "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 29\r\n\r\n\
                    {\"message\":\"page not found\"}\n";
    for path in ["/", "/nope", "/v1.44", "/v1.44/", "/v1.99/nope", "/create", "/v/echo/a/json", "/echo/json/"] {
        assert_eq!(talk.get(path), expected, "{path}");
    }
    assert!(talk.ask("HEAD /echo/a/json HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
}

#[test]
fn version_errors() {
    let talk = Talk::new();
    insta::assert_snapshot!(talk.get("/v1.99/echo/a/json"), @r#"
    HTTP/1.1 400 Bad Request
    Content-Type: application/json
    Api-Version: 1.55
    Ostype: linux
    Server: Docker/0.1 (linux)
    Connection: close
    Content-Length: 84

    {"message":"client version 1.99 is too new. Maximum supported API version is 1.55"}
    "#);
    let old = talk.get("/v1.39/echo/a/json");
    assert!(old.ends_with("{\"message\":\"client version 1.39 is too old. Minimum supported API version is 1.40, please upgrade your client to a newer version\"}\n"), "{old}");
    let ancient = talk.get("/v1.10/echo/a/json");
    assert!(ancient.contains("Content-Type: text/plain; charset=utf-8\r\n"), "{ancient}");
    assert!(ancient.ends_with("\r\n\r\nclient version 1.10 is too old. Minimum supported API version is 1.40, please upgrade your client to a newer version\n"), "{ancient}");
    let early = talk.ask("POST /v1.49/new HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    assert!(early.ends_with("{\"message\":\"POST /new requires minimum API version 1.50\"}\n"), "{early}");
}

#[test]
fn refusals_reach_clients_that_are_still_sending() {
    for path in ["/v1.39/create", "/nope", "/create?a=%zz"] {
        let mut talk = Talk::new();
        talk.send(&format!("POST {path} HTTP/1.1\r\nContent-Length: 5\r\n\r\n"));
        let mut status = [0; 12];
        talk.stream.read_exact(&mut status).unwrap();
        assert!(matches!(&status, b"HTTP/1.1 400" | b"HTTP/1.1 404"), "{path}");
        talk.send("later");
        // Nor is the connection lost.
        talk.send("GET /echo/next/json HTTP/1.1\r\nConnection: close\r\n\r\n");
        let mut rest = String::new();
        talk.stream.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("\"next 1.55\"\n"), "{path}: {rest}");
    }
}

#[test]
fn errors_are_json_and_304_is_bare() {
    let talk = Talk::new();
    insta::assert_snapshot!(talk.post("/fail?status=409", "", ""), @r#"
    HTTP/1.1 409 Conflict
    Content-Type: application/json
    Api-Version: 1.55
    Docker-Experimental: false
    Ostype: linux
    Server: Docker/0.1 (linux)
    Connection: close
    Content-Length: 27

    {"message":"it \"broke\""}
    "#);
    insta::assert_snapshot!(talk.post("/fail?status=304", "", ""), @r"
    HTTP/1.1 304 Not Modified
    Api-Version: 1.55
    Docker-Experimental: false
    Ostype: linux
    Server: Docker/0.1 (linux)
    Connection: close
    ");
    assert!(talk.post("/fail?status=%zz", "", "").contains("invalid URL escape"));
}

#[test]
fn json_body_rules() {
    let talk = Talk::new();
    let post = |kind: &str, body: &str| talk.post("/create", kind, body).rsplit_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(post("application/json; charset=utf-8", r#"{"Image":"a"}"#), "\"a\"\n");
    assert_eq!(
        post("text/plain", "{}"),
        "{\"message\":\"unsupported Content-Type header (text/plain): must be 'application/json'\"}\n"
    );
    assert_eq!(post("application/json", ""), "{\"message\":\"invalid JSON: got EOF while reading request body\"}\n");
    assert_eq!(post("application/json", "{} x"), "{\"message\":\"unexpected content after JSON\"}\n");
    let large = format!("{{\"Image\":\"{}\"}}", "x".repeat(5 << 20));
    assert!(talk.post("/create", "application/json", &large).contains("request body is larger than 4194304 bytes"));
}

#[test]
fn options_answers_everywhere() {
    let answer = Talk::new().ask("OPTIONS /whatever HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("Content-Length: 0\r\n"), "{answer}");
}

#[test]
fn taken_over_with_upgrade() {
    let mut talk = Talk::new();
    talk.send("POST /hijack HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}early");
    let head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    assert_eq!(talk.receive(head.len()), head);
    assert_eq!(talk.receive(5), "early");
    talk.send("later");
    talk.stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    talk.stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "retal", "the other direction stays open after a half-close");
}

#[test]
fn who_has_asked_may_close_that_direction() {
    let talk = Talk::new();
    let mut stream = talk.connect();
    stream.write_all(b"POST /slow HTTP/1.1\r\nContent-Length: 0\r\n\r\n").unwrap();
    talk.get("/echo/a/json");
    stream.shutdown(Shutdown::Write).unwrap();
    talk.get("/echo/a/json");
    talk.state.go.notify_one();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
}

#[test]
fn taken_over_without_upgrade() {
    let mut talk = Talk::new();
    talk.send("POST /hijack HTTP/1.1\r\nContent-Length: 0\r\n\r\nearly");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n";
    assert_eq!(talk.receive(head.len()), head);
    assert_eq!(talk.receive(5), "early");
}

#[test]
fn a_connection_is_reused_before_it_is_taken_over() {
    let mut talk = Talk::new();
    talk.send("GET /echo/a/json HTTP/1.1\r\n\r\n");
    talk.receive_until("\"a 1.55\"\n");
    talk.send("POST /hijack HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    assert!(talk.receive_until("\r\n\r\n").starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn headers_come_before_the_end_of_a_wait() {
    let mut talk = Talk::new();
    talk.send("POST /wait HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    assert!(talk.receive_until("\r\n\r\n").contains("Transfer-Encoding: chunked\r\n"));
    talk.state.go.notify_one();
    assert_eq!(talk.receive_until("0\r\n\r\n"), "11\r\n{\"StatusCode\":0}\n\r\n0\r\n\r\n");
}

#[test]
fn progress_is_lines_joined_when_ready() {
    let answer = Talk::new().get("/progress");
    let body = "54\r\n{\"status\":\"Pulling\",\"id\":\"a\"}\n{\"errorDetail\":{\"message\":\"no\"},\"error\":\"no\"}\n";
    assert!(answer.contains(&body[4..]), "{answer}");
    assert!(answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
}

#[test]
fn urls_with_unescaped_quotes() {
    let answer = Talk::new().get("/echo/a\"b/json?filters={\"a\":[\"<b>\"]}");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\"a\\\"b 1.55\"\n"), "{answer}");
}

#[test]
fn a_broken_body_does_not_end_well() {
    let answer = Talk::new().get("/tar");
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[test]
fn changes_go_on_without_their_client() {
    let mut talk = Talk::new();
    talk.send("POST /slow HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    // The answer to a second connection shows that the first request had its chance to arrive; then its client leaves.
    talk.get("/echo/a/json");
    talk.stream.shutdown(Shutdown::Both).unwrap();
    talk.state.go.notify_one();
    talk.runtime.block_on(talk.state.done.notified());
    assert_eq!(talk.state.finished.load(Ordering::SeqCst), 1);
}

#[test]
fn stopping_ends_streams_and_lets_requests_finish() {
    let mut talk = Talk::new();
    let mut slow = talk.connect();
    talk.send("GET /events HTTP/1.1\r\n\r\n");
    talk.receive_until("event\n");
    slow.write_all(b"POST /slow HTTP/1.1\r\nContent-Length: 0\r\n\r\n").unwrap();
    talk.get("/echo/a/json");
    talk.state.go.notify_one();
    talk.runtime.block_on(talk.state.done.notified());
    talk.runtime.block_on(talk.server.stop());
    assert_eq!(talk.receive_until("0\r\n\r\n"), "\r\n0\r\n\r\n", "the stream ended well");
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204 No Content\r\n"), "{answer}");
}

#[test]
fn whatever_comes_the_server_goes_on() {
    let talk = Talk::new();
    static PIECES: [&str; 22] = [
        "GET ",
        "POST ",
        "/",
        "echo/a/json",
        "v1.4",
        "create",
        "?",
        "%zz",
        "%00",
        " HTTP/1.1",
        "\r\n",
        "\n",
        ":",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "ffffffffffffffff",
        "Upgrade: tcp",
        "{",
        "\"",
        "\0",
        "é",
        "hijack",
    ];
    let strategy = proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..24);
    let config = proptest::test_runner::Config { cases: 200, failure_persistence: None, ..Default::default() };
    proptest::test_runner::TestRunner::new(config)
        .run(&strategy, |request| {
            let mut stream = talk.connect();
            let _ = stream.write_all(request.concat().as_bytes());
            let _ = stream.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            proptest::prop_assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "));
            Ok(())
        })
        .unwrap();
    assert!(talk.get("/echo/x/json").ends_with("\"x 1.55\"\n"));
}
