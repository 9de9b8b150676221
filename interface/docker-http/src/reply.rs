//! Answers: documents, streams, and connections taken over.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::poll_fn;
use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use tare_docker_api::stream::media;
use tokio::sync::mpsc;

use crate::body::Body;

/// Bytes of small messages that are joined into one chunk when more than one is ready.
const JOIN_MAX: usize = 16 << 10;

/// What a handler answers.
pub enum Reply {
    /// A response.
    Response(Response<Body>),
    /// The connection itself, which from then on speaks another protocol.
    Hijack(Hijack),
}

/// A connection that is taken over.
pub struct Hijack {
    /// Sent as it is before the connection is handed over.
    pub head: Vec<u8>,
    /// Gets the connection.
    pub take: TakeOver,
}

/// Gets the connection (non-blocking) and the bytes the client sent after its request.
pub type TakeOver = Box<dyn FnOnce(OwnedFd, Vec<u8>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

impl Reply {
    /// A status without a body.
    pub fn empty(status: StatusCode) -> Self {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        Reply::Response(response)
    }

    /// 204.
    pub fn no_content() -> Self {
        Reply::empty(StatusCode::NO_CONTENT)
    }

    /// 200 with a document.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Self {
        Reply::json_status(StatusCode::OK, value)
    }

    /// 201 with a document.
    pub fn created<T: Serialize + ?Sized>(value: &T) -> Self {
        Reply::json_status(StatusCode::CREATED, value)
    }

    /// A document with any status.
    pub fn json_status<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Self {
        Reply::Response(typed(status, media::JSON, Body::Full(tare_docker_api::go::encode(value).into())))
    }

    /// 200 with a body of a type.
    pub fn body(content_type: &'static str, body: Body) -> Self {
        Reply::Response(typed(StatusCode::OK, content_type, body))
    }

    /// A connection taken over.
    pub fn hijack<F, T>(head: Vec<u8>, take: F) -> Self
    where
        F: FnOnce(OwnedFd, Vec<u8>) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        Reply::Hijack(Hijack { head, take: Box::new(move |fd, early| Box::pin(take(fd, early))) })
    }
}

/// A response with a content type.
pub fn typed(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The head of a connection taken over: `101` with `Upgrade`, else `200`, which always says raw stream. `more` are further
/// header lines, each with its line end.
pub fn hijack_head(upgrade: bool, content_type: &str, more: &str) -> Vec<u8> {
    let head = if upgrade {
        format!(
            "HTTP/1.1 101 UPGRADED\r\nContent-Type: {content_type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n{more}\r\n"
        )
    } else {
        format!("HTTP/1.1 200 OK\r\nContent-Type: {}\r\n{more}\r\n", media::RAW)
    };
    head.into_bytes()
}

/// The chunks of a channel.
pub fn channel(mut chunks: mpsc::Receiver<io::Result<Bytes>>) -> impl Stream<Item = io::Result<Bytes>> + Send {
    poll_fn(move |cx| chunks.poll_recv(cx))
}

/// Messages of a channel, encoded; those that are ready together become one chunk. `encode` appends one message.
pub fn messages<T: Send + 'static>(
    mut receiver: mpsc::Receiver<T>,
    mut encode: impl FnMut(T, &mut Vec<u8>) + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    poll_fn(move |cx| {
        receiver.poll_recv(cx).map(|first| {
            let mut chunk = Vec::with_capacity(512);
            encode(first?, &mut chunk);
            while chunk.len() < JOIN_MAX
                && let Ok(next) = receiver.try_recv()
            {
                encode(next, &mut chunk);
            }
            Some(Ok(Bytes::from(chunk)))
        })
    })
}

/// Appends one JSON line.
pub fn encode_line<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    // The API's types have only text keys and cannot fail to encode.
    if serde_json::to_writer(&mut *out, value).is_ok() {
        out.push(b'\n');
    }
}
