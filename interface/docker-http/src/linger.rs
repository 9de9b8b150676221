//! Clients that end their direction when they have asked, and wait for the answer (`… | docker system dial-stdio`, `nc -N`).
//!
//! hyper takes the end of what it reads for the end of the client, and drops the request; were it told of half-closed
//! connections it would never see that a client has gone. So the end of the input is kept from it while a request is
//! worked on that has come whole, unless the client has closed both directions, which unix sockets tell. Answers that
//! stream are not waited for: whoever follows something keeps the connection open.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::socket::Rewound;

/// How long an answer may take after the end of the input: over TCP it may be that the client has gone.
const GRACE: Duration = Duration::from_secs(5);

/// Whether a request is worked on.
#[derive(Debug, Default)]
pub(crate) struct Work {
    goes_on: AtomicBool,
    /// The handler has seen the request: from then on it is its affair whether it ends without the client.
    is_begun: AtomicBool,
    reader: AtomicWaker,
}

/// It is, until this is dropped.
pub(crate) struct Working(Arc<Work>);

impl Work {
    /// A request has come whole.
    pub(crate) fn arrive(self: &Arc<Self>) -> Working {
        self.is_begun.store(false, Ordering::Release);
        self.goes_on.store(true, Ordering::Release);
        Working(Arc::clone(self))
    }

    /// Whether the end of a connection's input has to wait.
    fn needs(&self, connection: &Rewound) -> bool {
        self.goes_on.load(Ordering::Acquire) && !(self.is_begun.load(Ordering::Acquire) && connection.is_deserted())
    }
}

impl Working {
    /// The handler begins.
    pub(crate) fn begin(&self) {
        self.0.is_begun.store(true, Ordering::Release);
        self.0.reader.wake();
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.goes_on.store(false, Ordering::Release);
        self.0.reader.wake();
    }
}

/// A connection whose end waits.
pub(crate) struct Linger {
    inner: Rewound,
    work: Arc<Work>,
    /// The input has ended; runs out when that is told all the same.
    end: Option<Pin<Box<Sleep>>>,
}

impl Linger {
    pub(crate) fn new(inner: Rewound, work: Arc<Work>) -> Self {
        Linger { inner, work, end: None }
    }

    pub(crate) fn into_inner(self) -> Rewound {
        self.inner
    }
}

impl AsyncRead for Linger {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.end.is_none() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
            if buf.filled().len() > before || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        this.work.reader.register(cx.waker());
        if !this.work.needs(&this.inner) {
            return Poll::Ready(Ok(()));
        }
        this.end.get_or_insert_with(|| Box::pin(sleep(GRACE))).as_mut().poll(cx).map(Ok)
    }
}

impl AsyncWrite for Linger {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
