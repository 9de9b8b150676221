//! One connection: HTTP/1.1 until it closes or a handler takes it over.
//!
//! Docker's attach and exec take the connection away from HTTP, with or without `Upgrade`, after a head written byte for
//! byte. hyper knows only upgrades, so a take-over abandons its connection state instead: the socket and the bytes already
//! read are taken out of it, and the request in progress is never answered by hyper.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::body::Body;
use crate::linger::{Linger, Work};
use crate::reply::Hijack;
use crate::server::Server;
use crate::socket::{Rewound, Socket};

/// Largest request head, bytes, as in Go's server: `X-Registry-Config` carries the credentials of many registries.
const HEAD_MAX: usize = 1 << 20;
/// Time that a client from elsewhere has for the head of a request, and may be silent between two: Docker's. Whoever is let
/// in by the file system has for ever.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// First read of a connection, bytes: nearly every request fits.
const FIRST_READ: usize = 4 << 10;

/// hyper's side of a connection.
struct ConnectionService<S: 'static> {
    server: Arc<Server<S>>,
    hijack: mpsc::Sender<Hijack>,
    work: Arc<Work>,
}

impl<S: Clone + Send + Sync + 'static> Service<Request<Incoming>> for ConnectionService<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (server, hijack) = (self.server.clone(), self.hijack.clone());
        // What is still to come of a body may never come: its end is waited for by nobody but the handler.
        let working = request.body().is_end_stream().then(|| self.work.arrive());
        Box::pin(async move {
            if let Some(working) = &working {
                working.begin();
            }
            match server.answer(request).await {
                Ok(response) => Ok(response),
                Err(taken) => {
                    // The connection's task holds the receiver; it takes the socket and drops this future.
                    let _ = hijack.send(taken).await;
                    std::future::pending().await
                }
            }
        })
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve<S: Clone + Send + Sync + 'static>(server: Arc<Server<S>>, mut socket: Socket) {
    let stop = server.stop.clone();
    let mut head = Vec::with_capacity(FIRST_READ);
    let timeout = (!socket.is_local()).then_some(HEAD_TIMEOUT);
    let first = tokio::select! {
        read = socket.read_buf(&mut head) => read,
        () = stop.cancelled() => return,
        () = tokio::time::sleep(HEAD_TIMEOUT), if timeout.is_some() => return,
    };
    if !matches!(first, Ok(1..)) {
        return;
    }
    let socket = Rewound::new(escape_request_line(head), socket);
    let (sender, mut taken) = mpsc::channel(1);
    let work = Arc::new(Work::default());
    let socket = Linger::new(socket, Arc::clone(&work));
    let service = ConnectionService { server, hijack: sender, work };
    let mut connection = http1::Builder::new()
        .title_case_headers(true)
        .max_buf_size(HEAD_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .serve_connection(TokioIo::new(socket), service);
    let mut stopping = false;
    let hijack = loop {
        tokio::select! {
            biased;
            Some(hijack) = taken.recv() => break hijack,
            result = &mut connection => {
                if let Err(error) = result {
                    // Mostly clients that went away in the middle.
                    tracing::debug!("connection: {error}");
                }
                return;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let parts = connection.into_parts();
    let (unread, socket) = parts.io.into_inner().into_inner().into_parts();
    hand_over(socket, [&parts.read_buf, unread.as_slice()].concat(), hijack).await;
}

/// Escapes what people put into a URL as it is: `curl -g 'http://…?filters={"status":["running"]}'` works with Go's server,
/// while the URL parser here insists on the escapes. Only the first request of a connection is looked at.
fn escape_request_line(head: Vec<u8>) -> Vec<u8> {
    let end = head.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(head.len());
    let (line, rest) = head.split_at(end);
    if !line.iter().any(|byte| matches!(byte, b'"' | b'<' | b'>')) {
        return head;
    }
    let mut escaped = Vec::with_capacity(head.len() + 64);
    for byte in line {
        match byte {
            b'"' => escaped.extend(b"%22"),
            b'<' => escaped.extend(b"%3C"),
            b'>' => escaped.extend(b"%3E"),
            other => escaped.push(*other),
        }
    }
    escaped.extend(rest);
    escaped
}

/// Writes the head and gives the socket away.
async fn hand_over(mut socket: Socket, early: Vec<u8>, hijack: Hijack) {
    let written = async {
        socket.write_all(&hijack.head).await?;
        socket.flush().await
    };
    if let Err(error) = written.await {
        tracing::debug!("taking over a connection: {error}");
        return;
    }
    match socket.into_fd() {
        // Not part of the server any more: a stop does not wait for sessions.
        Ok(fd) => drop(tokio::spawn((hijack.take)(fd, early))),
        Err(error) => tracing::warn!("taking over a connection: {error}"),
    }
}
