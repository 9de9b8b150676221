//! Connections taken over by a request: what follows the answer is a raw stream both ways.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::StatusCode;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Inner;
use crate::connect::Stream;
use crate::error::Error;
use crate::request::HttpBody;
use crate::response::Response;

/// A raw connection. Reading gives what the daemon sends, from the first byte after its answer; shutting it down ends our
/// direction (the container's stdin) and leaves the other open.
#[derive(Debug)]
pub struct Hijacked {
    early: Bytes,
    stream: Stream,
    content_type: String,
}

impl Hijacked {
    /// Content type of the answer: `application/vnd.docker.raw-stream` (a terminal) or
    /// `application/vnd.docker.multiplexed-stream` (frames); empty when the daemon did not say.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The socket, and what has been read from it already.
    pub fn into_parts(self) -> (Stream, Bytes) {
        (self.stream, self.early)
    }
}

/// Sends `request` on `stream` and takes the connection over when the daemon agrees.
pub(crate) async fn upgrade(
    stream: Stream,
    request: http::Request<HttpBody>,
    inner: &std::sync::Arc<Inner>,
) -> Result<Hijacked, Error> {
    let host = inner.connection.host();
    let broken = |e: &hyper::Error| Error::exchange(host, e);
    let target = request.uri().to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(&e))?;
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        if response.status().is_success() {
            return Err(Error::Exchange(format!("unable to upgrade to tcp, received {}", response.status().as_u16())));
        }
        return Err(Response::new(response, target, sender, std::sync::Arc::clone(inner)).into_error().await);
    }
    let content_type = response.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("").to_owned();
    let upgraded = hyper::upgrade::on(response).await.map_err(|e| broken(&e))?;
    let lost = |_| Error::Exchange(format!("{host}: the connection could not be taken over"));
    let parts = upgraded.downcast::<TokioIo<Stream>>().map_err(lost)?;
    Ok(Hijacked { early: parts.read_buf, stream: parts.io.into_inner(), content_type })
}

impl AsyncRead for Hijacked {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.early.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let n = this.early.len().min(buf.remaining());
        buf.put_slice(&this.early[..n]);
        this.early.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Hijacked {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
