//! Opening sockets to a daemon.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use crate::error::Error;
use crate::host::{Host, OWN_SOCKET};
use crate::ssh::Ssh;
use crate::start::{self, Starter};
use crate::tls::Tls;

/// How long a TCP connection may take to be made, keys included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How to get to a daemon.
#[derive(Debug, Clone)]
pub struct Connection {
    host: Host,
    /// Encrypts TCP.
    tls: Option<Tls>,
    /// What to do when nothing listens.
    starter: Option<Starter>,
}

impl Connection {
    /// To the daemon at `host`, which must be running.
    pub fn to(host: Host) -> Connection {
        Connection { host, tls: None, starter: None }
    }

    /// The same, with TLS where it goes over TCP.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Connection {
        Connection { tls: Some(tls), ..self }
    }

    /// To our own daemon at its usual socket. When none runs, `executable daemon` is started.
    pub fn own_daemon(executable: Option<PathBuf>) -> Connection {
        let starter = executable.map(|program| Starter { program, log: start::LOG.into() });
        Connection { host: Host::Unix(OWN_SOCKET.into()), tls: None, starter }
    }

    /// To the daemon at `socket`, started with `starter` when none runs there.
    pub fn starting(socket: PathBuf, starter: Starter) -> Connection {
        Connection { host: Host::Unix(socket), tls: None, starter: Some(starter) }
    }

    /// The address.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// A new connection.
    pub(crate) async fn open(&self) -> Result<Stream, Error> {
        self.open_or(Error::connect).await
    }

    /// A new connection, and what Go says when there is none.
    pub(crate) async fn open_raw(&self) -> Result<Stream, Error> {
        self.open_or(Error::dial).await
    }

    async fn open_or(&self, failed: impl Fn(&Host, &io::Error) -> Error) -> Result<Stream, Error> {
        let error = match dial(&self.host, self.tls.as_ref()).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        let absent = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        match (&self.starter, &self.host) {
            (Some(starter), Host::Unix(socket)) if absent => starter.start(socket).await,
            _ => Err(failed(&self.host, &error)),
        }
    }
}

/// Connects to a socket.
pub(crate) async fn dial(host: &Host, tls: Option<&Tls>) -> io::Result<Stream> {
    match host {
        Host::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
        Host::Ssh(destination) => Ok(Stream::Ssh(Box::new(Ssh::start(destination)?))),
        Host::Tcp(address) => {
            let connecting = async {
                let stream = TcpStream::connect(address.as_str()).await?;
                stream.set_nodelay(true)?;
                match tls {
                    None => Ok(Stream::Tcp(stream)),
                    Some(tls) => Ok(Stream::Tls(Box::new(tls.connect(address, stream).await?))),
                }
            };
            tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| io::ErrorKind::TimedOut)?
        }
    }
}

/// A connected socket. Shutting it down closes our direction only.
#[derive(Debug)]
pub enum Stream {
    /// Unix socket.
    Unix(UnixStream),
    /// TCP socket.
    Tcp(TcpStream),
    /// TLS over a TCP socket. Its direction ends with a notice (`close_notify`).
    Tls(Box<TlsStream<TcpStream>>),
    /// Through ssh.
    Ssh(Box<Ssh>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Tls(s) => Pin::new(s).poll_read(cx, buf),
            Stream::Ssh(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Unix(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Tcp(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Tls(s) => Pin::new(s).poll_write(cx, buf),
            Stream::Ssh(s) => Pin::new(s).poll_write(cx, buf),
        }
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Unix(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Stream::Tcp(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Stream::Tls(s) => Pin::new(s).poll_write_vectored(cx, bufs),
            Stream::Ssh(s) => Pin::new(s).poll_write_vectored(cx, bufs),
        }
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(_) | Stream::Tcp(_) => Poll::Ready(Ok(())),
            Stream::Tls(s) => Pin::new(s).poll_flush(cx),
            Stream::Ssh(s) => Pin::new(s).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tcp(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Tls(s) => Pin::new(s).poll_shutdown(cx),
            Stream::Ssh(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
