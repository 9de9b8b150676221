//! A connection to one shim: requests with their replies, and the stream of its events.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use tare_shim_protocol::{Event, Failure, FdRole, Message, Op, Outcome, PACKET_BYTES_MAX, Request, decode, encode};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

/// What a successful reply carries; see [`Outcome::Ok`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Started {
    pub pid: i32,
    pub start_time: u64,
    pub log_end: u64,
    pub log_file: u64,
    pub started_at: i64,
}

/// Why a request was not carried out.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The shim says so.
    Failed(Failure),
    /// The shim is gone, or cannot be talked to.
    Lost(io::Error),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CallError::Failed(failure) => f.write_str(&failure.message),
            CallError::Lost(error) => write!(f, "the container's shim is lost: {error}"),
        }
    }
}

/// The open connection. Dropping the last handle closes it; the shim lives on.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The shim's process.
    pub(crate) pid: i32,
    /// The protocol's version that it speaks.
    pub(crate) version: u32,
    socket: AsyncFd<OwnedFd>,
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    last_seq: u64,
    waiting: HashMap<u64, oneshot::Sender<Outcome>>,
    closed: bool,
}

impl Connection {
    /// Takes over a connected `SOCK_SEQPACKET` socket. The receiver yields the shim's events and ends when the
    /// connection does.
    pub(crate) fn open(
        socket: OwnedFd,
        pid: i32,
        version: u32,
    ) -> io::Result<(Arc<Self>, mpsc::UnboundedReceiver<Event>)> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        #[expect(deprecated, reason = "an owned descriptor cannot be closed or replaced while it is registered")]
        let socket = AsyncFd::new(socket)?;
        let connection = Arc::new(Self { pid, version, socket, calls: Mutex::default() });
        // Unbounded, but the shim sends a handful of events in its life and bounds its own queue.
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(read(Arc::clone(&connection), sender));
        Ok((connection, receiver))
    }

    /// Sends a request and waits for its reply.
    pub(crate) async fn call(&self, op: Op, fds: Vec<(FdRole, OwnedFd)>) -> Result<Started, CallError> {
        self.begin(op, fds).await?.await
    }

    /// Sends a request; the future returned waits for the reply. Requests of one task arrive in order.
    pub(crate) async fn begin(
        &self,
        op: Op,
        fds: Vec<(FdRole, OwnedFd)>,
    ) -> Result<impl Future<Output = Result<Started, CallError>> + use<>, CallError> {
        let lent = fds.iter().map(|(role, fd)| (role.clone(), fd.as_fd())).collect();
        self.lend(op, lent).await
    }

    /// The same with descriptors that the caller keeps.
    pub(crate) async fn lend(
        &self,
        op: Op,
        fds: Vec<(FdRole, BorrowedFd<'_>)>,
    ) -> Result<impl Future<Output = Result<Started, CallError>> + use<>, CallError> {
        let (reply, answer) = oneshot::channel();
        let seq = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            if calls.closed {
                return Err(CallError::Lost(io::ErrorKind::BrokenPipe.into()));
            }
            calls.last_seq += 1;
            let seq = calls.last_seq;
            calls.waiting.insert(seq, reply);
            seq
        };
        let (roles, fds): (Vec<_>, Vec<_>) = fds.into_iter().unzip();
        if let Err(error) = self.send(&Request { seq, fds: roles, op }, &fds).await {
            self.calls.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&seq);
            return Err(CallError::Lost(error));
        }
        Ok(async move {
            match answer.await {
                Ok(Outcome::Ok { pid, start_time, log_end, log_file, started_at }) => {
                    Ok(Started { pid, start_time, log_end, log_file, started_at })
                }
                Ok(Outcome::Failed(failure)) => Err(CallError::Failed(failure)),
                Err(_) => Err(CallError::Lost(io::ErrorKind::UnexpectedEof.into())),
            }
        })
    }

    async fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let packet = encode(request).map_err(io::Error::other)?;
        loop {
            let mut ready = self.socket.writable().await?;
            match ready.try_io(|socket| tare_sys::socket::send_with_fds(socket, &packet, fds).map_err(io::Error::from))
            {
                Ok(result) => return result,
                Err(_would_block) => {}
            }
        }
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| tare_sys::socket::recv_with_fds(socket, buffer).map_err(io::Error::from)) {
                // A shim has no descriptors for the daemon; strays are closed.
                Ok(result) => return result.map(|(bytes, _fds)| bytes),
                Err(_would_block) => {}
            }
        }
    }
}

async fn read(connection: Arc<Connection>, events: mpsc::UnboundedSender<Event>) {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    loop {
        let packet = match connection.receive(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(bytes) => buffer.get(..bytes).unwrap_or_default(),
        };
        match decode::<Message>(packet) {
            Ok(Message::Reply(reply)) => {
                let waiting =
                    connection.calls.lock().unwrap_or_else(PoisonError::into_inner).waiting.remove(&reply.seq);
                if let Some(waiting) = waiting {
                    // The caller may have been cancelled.
                    let _ = waiting.send(reply.outcome);
                }
            }
            Ok(Message::Event(event)) => {
                if events.send(event).is_err() {
                    break;
                }
            }
            Err(error) => tracing::warn!("a shim's packet was not understood: {error}"),
        }
    }
    let mut calls = connection.calls.lock().unwrap_or_else(PoisonError::into_inner);
    calls.closed = true;
    calls.waiting.clear();
}
