//! The sockets a server listens and talks on.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::server::TlsStream;

use crate::tls::{Handshake, Tls};

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    /// A unix socket.
    Unix(UnixListener),
    /// TCP, in the clear.
    Tcp(TcpListener),
    /// TLS over TCP.
    Tls(TcpListener, Tls),
}

/// A connection that was accepted.
pub enum Arrival {
    /// It can be spoken on.
    Ready(Socket),
    /// It has yet to agree on keys.
    Handshake(Handshake),
}

impl Arrival {
    /// The connection, once it can be spoken on; `None` when it comes to nothing.
    pub async fn establish(self) -> Option<Socket> {
        match self {
            Arrival::Ready(socket) => Some(socket),
            Arrival::Handshake(handshake) => handshake.finish().await.map(|stream| Socket::Tls(Box::new(stream))),
        }
    }
}

impl Listener {
    /// Waits for a connection.
    pub async fn accept(&self) -> io::Result<Arrival> {
        match self {
            Listener::Unix(listener) => Ok(Arrival::Ready(Socket::Unix(listener.accept().await?.0))),
            Listener::Tcp(listener) => Ok(Arrival::Ready(Socket::Tcp(accept(listener).await?))),
            Listener::Tls(listener, tls) => {
                let turn = tls.turn().await;
                Ok(Arrival::Handshake(tls.handshake(accept(listener).await?, turn)))
            }
        }
    }
}

async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    // Answers are small and awaited: do not hold them back for more.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A connection.
#[derive(Debug)]
pub enum Socket {
    /// A unix socket.
    Unix(UnixStream),
    /// TCP, in the clear.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// The descriptor itself, still non-blocking: for those who talk to the client without this process. What is
    /// encrypted goes through a task of this process, so it ends with it.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        match self {
            Socket::Unix(stream) => stream.into_std().map(OwnedFd::from),
            Socket::Tcp(stream) => stream.into_std().map(OwnedFd::from),
            Socket::Tls(stream) => {
                let (ours, theirs) = UnixStream::pair()?;
                tokio::spawn(crate::tls::relay(*stream, ours));
                theirs.into_std().map(OwnedFd::from)
            }
        }
    }

    /// Whether the client has closed both directions, as far as it can be known: TCP does not tell it from one.
    fn is_deserted(&self) -> bool {
        let Socket::Unix(stream) = self else { return false };
        let mut polled = [PollFd::new(stream, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// Whether the client is on this machine, and allowed to be here by the file system.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Socket::Unix(_))
    }
}

/// A connection with bytes that were already read from it.
#[derive(Debug)]
pub struct Rewound {
    head: Vec<u8>,
    /// How much of `head` was given out.
    given: usize,
    socket: Socket,
}

impl Rewound {
    /// Gives out `head` before anything else.
    pub fn new(head: Vec<u8>, socket: Socket) -> Self {
        Rewound { head, given: 0, socket }
    }

    /// Whether the client has closed both directions, as far as it can be known.
    pub(crate) fn is_deserted(&self) -> bool {
        self.socket.is_deserted()
    }

    /// What of the head was not given out, and the connection.
    pub fn into_parts(mut self) -> (Vec<u8>, Socket) {
        self.head.drain(..self.given);
        (self.head, self.socket)
    }
}

impl AsyncRead for Rewound {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let left = this.head.get(this.given..).unwrap_or_default();
        if left.is_empty() {
            return Pin::new(&mut this.socket).poll_read(cx, buf);
        }
        let given = left.get(..buf.remaining()).unwrap_or(left);
        buf.put_slice(given);
        this.given += given.len();
        if this.given == this.head.len() {
            // Kept for the life of the connection otherwise.
            (this.head, this.given) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

macro_rules! delegate {
    ($self:ident, $method:ident($($arg:expr),*)) => {
        match $self.get_mut() {
            Socket::Unix(stream) => Pin::new(stream).$method($($arg),*),
            Socket::Tcp(stream) => Pin::new(stream).$method($($arg),*),
            Socket::Tls(stream) => Pin::new(stream).$method($($arg),*),
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write(cx, buf))
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write_vectored(cx, bufs))
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_shutdown(cx))
    }
}
