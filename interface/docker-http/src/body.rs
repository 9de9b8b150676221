//! Response bodies.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use hyper::body::{Frame, SizeHint};
use tokio_util::sync::WaitForCancellationFutureOwned;

/// A stream of bytes; an error breaks the connection, so that the client cannot take the part for the whole.
pub type Chunks = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A response's body.
pub enum Body {
    /// All at once.
    Full(Bytes),
    /// Piece by piece, to the end.
    Chunks(Chunks),
    /// Piece by piece, for as long as the server runs (events, followed logs): ends well when it stops.
    Endless(Chunks, Option<Pin<Box<WaitForCancellationFutureOwned>>>),
}

impl Body {
    /// Nothing.
    pub const fn empty() -> Self {
        Body::Full(Bytes::new())
    }

    /// A stream that ends by itself.
    pub fn chunks(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Body::Chunks(Box::pin(stream))
    }

    /// A stream that ends with the server.
    pub fn endless(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Self {
        Body::Endless(Box::pin(stream), None)
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Body::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::Chunks(stream) => stream.as_mut().poll_next(cx).map(|next| next.map(|item| item.map(Frame::data))),
            Body::Endless(stream, stop) => {
                let stopped = stop.as_mut().is_some_and(|stop| stop.as_mut().poll(cx).is_ready());
                if stopped {
                    return Poll::Ready(None);
                }
                stream.as_mut().poll_next(cx).map(|next| next.map(|item| item.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            _ => SizeHint::default(),
        }
    }
}
