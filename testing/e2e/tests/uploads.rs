//! What a client sends after the end of an archive.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;

use tare_testkit::{Client, Console, PATIENCE};

/// Reads the head of an answer and its body, and returns the status line.
fn answer(stream: &mut BufReader<UnixStream>) -> String {
    let (mut status, mut length) = (String::new(), 0);
    stream.read_line(&mut status).expect("a status line");
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a header");
        match line.trim_end().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().expect("a number"),
            Some(_) => {}
            None => break,
        }
    }
    stream.read_exact(&mut vec![0; length]).expect("a body");
    status.trim_end().to_owned()
}

/// The rest of the body comes when the request has been answered already: it is read all the same, and the connection
/// goes on. A client that got an error for it would not see the answer.
#[test]
fn the_rest_of_a_body_is_read() {
    let c = Console::new(Client::Tare);
    let Some(engine) = c.engine() else { return };
    c.ok("run -d --name box busybox:1.29 sleep 1000");
    for (path, status) in [("/tmp", "HTTP/1.1 200 OK"), ("/missing", "HTTP/1.1 404 Not Found")] {
        let stream = UnixStream::connect(engine.host().trim_start_matches("unix://")).expect("connect");
        stream.set_read_timeout(Some(PATIENCE)).expect("time limit");
        let mut answers = BufReader::new(stream.try_clone().expect("a second descriptor"));
        let send = |bytes: &[u8]| (&stream).write_all(bytes).expect("the connection is open");
        send(format!("PUT /containers/box/archive?path={path} HTTP/1.1\r\nHost: d\r\n").as_bytes());
        send(b"Transfer-Encoding: chunked\r\n\r\n400\r\n");
        send(&[0; 0x400]);
        assert_eq!(answer(&mut answers), status);
        send(b"\r\n2400\r\n");
        send(&[0; 0x2400]);
        send(b"\r\n0\r\n\r\n");
        send(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n");
        assert_eq!(answer(&mut answers), "HTTP/1.1 200 OK");
    }
}
