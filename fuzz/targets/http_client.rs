//! What a daemon answers, as its client reads it: heads, chunks, documents one after another, connections taken over.
#![no_main]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;

use libfuzzer_sys::fuzz_target;
use tare_docker_api::stream::{FRAME_HEADER, JsonMessage, parse_frame_header};
use tare_docker_client::{Client, Connection, Request};
use tokio::io::AsyncReadExt as _;

/// The answer to the first question, which is always the same.
const PING: &[u8] = b"HTTP/1.1 200 OK\r\nApi-Version: 1.47\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

fuzz_target!(|data: &[u8]| {
    if let Some(header) = data.first_chunk::<FRAME_HEADER>() {
        let _ = parse_frame_header(*header);
    }
    let directory = tempfile::tempdir_in("/dev/shm").expect("directory");
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).expect("listen");
    let answer = data.to_vec();
    let server = std::thread::spawn(move || {
        for answer in [PING, &answer, &answer] {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut request = [0; 512];
            let _ = (stream.read(&mut request), stream.write_all(answer));
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let host = format!("unix://{}", path.display());
    runtime.block_on(async {
        let client = Client::new(Connection::to(host.parse().expect("address")));
        if let Ok(response) = client.send(Request::get("/events")).await {
            let mut messages = response.json_stream::<JsonMessage>();
            while let Ok(Some(_)) = messages.next().await {}
        }
        if let Ok(mut stream) = client.hijack(Request::post("/containers/x/attach")).await {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    // Whoever still waits for a connection gets one.
    for _ in 0..3 {
        let _ = std::os::unix::net::UnixStream::connect(&path);
    }
    let _ = server.join();
});
