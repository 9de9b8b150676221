//! Bodies of requests.

use std::io;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use http_body_util::BodyStream;
use hyper::body::Incoming;
use tare_engine::ByteSource;
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio_util::io::StreamReader;

/// A request's body as bytes to read.
pub fn source(body: Incoming) -> ByteSource {
    let frames = BodyStream::new(body).filter_map(|frame| async move {
        match frame {
            // Trailers carry nothing here.
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(error) => Some(Err(io::Error::other(error))),
        }
    });
    Box::pin(Upload(Some(Box::pin(StreamReader::new(Box::pin(frames))))))
}

/// What is read of a body that nobody wants, bytes: an archive ends before its padding, and a client that is still
/// sending when the connection closes does not get to the answer. Images are large, and the disk may be full after their
/// first bytes.
const REST_MAX: u64 = 4 << 30;
/// How long the client has for it.
const REST_TIMEOUT: Duration = Duration::from_secs(5);

/// A body; what is left of it when it is dropped is read and thrown away.
struct Upload(Option<ByteSource>);

impl AsyncRead for Upload {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(Ok(())) };
        body.as_mut().poll_read(context, buffer)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let (Some(body), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(async move {
            // A client that has gone, or is too slow, gets no better answer for it.
            let _ =
                tokio::time::timeout(REST_TIMEOUT, tokio::io::copy(&mut body.take(REST_MAX), &mut tokio::io::sink()))
                    .await;
        });
    }
}

/// Reads what nobody wants, in the background: a client that is still sending when the connection closes does not get to
/// the refusal.
pub fn discard(body: Incoming) {
    drop(source(body));
}
