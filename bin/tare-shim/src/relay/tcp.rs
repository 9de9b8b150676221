//! Relaying TCP connections with splice(2): no byte is copied to us.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, accept_with, connect, shutdown, socket_with, sockopt,
};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

use crate::poll::{Interest, Poller, Ready, Token, Watch};

/// Connections at a time for one port. Each takes six descriptors, of which a process commonly may have 1,024; further
/// clients wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// How long no connection is accepted when the system has no descriptors or memory for it.
const EXHAUSTED_TIME: Duration = Duration::from_secs(1);
/// Bytes moved at a time: what a pipe holds.
const SPLICE_BYTES: usize = 64 * 1024;
/// Splices in a row in one direction, so that one busy connection does not keep everything else waiting.
const SPLICE_ROUNDS: usize = 16;

/// One port.
#[derive(Debug)]
pub(super) struct TcpRelay {
    key: u64,
    listener: OwnedFd,
    watch: Watch,
    target: SocketAddr,
    connections: Vec<Connection>,
    /// Nothing is accepted before this time.
    exhausted_until: Option<Instant>,
}

#[derive(Debug)]
struct Connection {
    key: u64,
    client: Side,
    target: Side,
    /// Client to target.
    up: Flow,
    /// Target to client.
    down: Flow,
    /// The connection to the target is there.
    connected: bool,
}

#[derive(Debug)]
struct Side {
    socket: OwnedFd,
    watch: Watch,
}

/// One direction: from a socket through a pipe to the other socket.
#[derive(Debug)]
struct Flow {
    reader: OwnedFd,
    writer: OwnedFd,
    /// Bytes in the pipe.
    held: usize,
    /// The source has ended.
    ended: bool,
    /// The target has been told.
    done: bool,
}

/// An error that ends the connection.
struct Broken;

impl TcpRelay {
    pub(super) fn new(poller: &mut Poller, listener: OwnedFd, target: SocketAddr) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&listener, true)?;
        let key = poller.key();
        let mut relay =
            Self { key, listener, watch: Watch::default(), target, connections: Vec::new(), exhausted_until: None };
        relay.watch(poller);
        Ok(relay)
    }

    /// Connections go on where they are.
    pub(super) fn retarget(&mut self, from: IpAddr, to: IpAddr) {
        if self.target.ip() == from {
            self.target.set_ip(to);
        }
    }

    fn watch(&mut self, poller: &Poller) {
        let accepts = self.connections.len() < CONNECTIONS_MAX && self.exhausted_until.is_none();
        let interest = Interest::of(accepts, false);
        // Failing for want of memory, it is tried again with the next event.
        let _ = poller.set(&self.listener, Token::TcpPort(self.key), &mut self.watch, interest);
    }

    pub(super) fn ready(&mut self, poller: &mut Poller, ready: Ready) {
        match ready.token {
            Token::TcpPort(key) if key == self.key => self.accept(poller),
            Token::TcpClient(key) | Token::TcpTarget(key) => {
                let Some(place) = self.connections.iter().position(|connection| connection.key == key) else { return };
                let Some(connection) = self.connections.get_mut(place) else { return };
                if connection.work(ready).is_err() || connection.is_done() || connection.watch(poller).is_err() {
                    self.connections.swap_remove(place).close(poller);
                }
            }
            _ => return,
        }
        self.watch(poller);
    }

    fn accept(&mut self, poller: &mut Poller) {
        let client = match accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(client) => client,
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return,
            Err(_) => {
                self.exhausted_until = Some(Instant::now() + EXHAUSTED_TIME);
                return;
            }
        };
        // If the target cannot be reached, closing the client's connection is the answer.
        if let Ok(mut connection) = Connection::open(poller.key(), client, self.target)
            && connection.watch(poller).is_ok()
        {
            self.connections.push(connection);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.exhausted_until
    }

    pub(super) fn expire(&mut self, poller: &Poller, now: Instant) {
        if self.exhausted_until.is_some_and(|until| until <= now) {
            self.exhausted_until = None;
            self.watch(poller);
        }
    }

    /// Ends all connections; returns the socket.
    pub(super) fn stop(mut self, poller: &Poller) -> OwnedFd {
        let _ = poller.set(&self.listener, Token::TcpPort(self.key), &mut self.watch, None);
        self.connections.drain(..).for_each(|connection| connection.close(poller));
        self.listener
    }
}

impl Connection {
    fn open(key: u64, client: OwnedFd, target: SocketAddr) -> io::Result<Self> {
        if target.ip().is_unspecified() {
            // The kernel would take that for the host itself.
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        match connect(&socket, &target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let side = |socket| Side { socket, watch: Watch::default() };
        let (client, target) = (side(client), side(socket));
        Ok(Self { key, client, target, up: Flow::new()?, down: Flow::new()?, connected: false })
    }

    fn work(&mut self, ready: Ready) -> Result<(), Broken> {
        if !self.connected {
            if !matches!(ready.token, Token::TcpTarget(_)) {
                // The client has gone before the target was reached.
                return if ready.hang_up { Err(Broken) } else { Ok(()) };
            }
            match sockopt::socket_error(&self.target.socket) {
                Ok(Ok(())) => self.connected = true,
                _ => return Err(Broken),
            }
        }
        self.up.work(&self.client.socket, &self.target.socket)?;
        self.down.work(&self.target.socket, &self.client.socket)
    }

    fn is_done(&self) -> bool {
        self.up.done && self.down.done
    }

    fn watch(&mut self, poller: &Poller) -> io::Result<()> {
        let (client, target) = if self.connected {
            (interest(&self.up, &self.down), interest(&self.down, &self.up))
        } else {
            (Some(Interest::HANG_UP), Interest::of(false, true))
        };
        poller.set(&self.client.socket, Token::TcpClient(self.key), &mut self.client.watch, client)?;
        poller.set(&self.target.socket, Token::TcpTarget(self.key), &mut self.target.watch, target)
    }

    fn close(mut self, poller: &Poller) {
        let _ = poller.set(&self.client.socket, Token::TcpClient(self.key), &mut self.client.watch, None);
        let _ = poller.set(&self.target.socket, Token::TcpTarget(self.key), &mut self.target.watch, None);
    }
}

/// What a socket is waited for, that is the source of one flow and the target of the other. Nothing at all while neither
/// wants it: a peer that is gone would be reported again and again.
fn interest(from: &Flow, to: &Flow) -> Option<Interest> {
    Interest::of(!from.ended && from.held == 0, to.held > 0)
}

impl Flow {
    fn new() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self { reader, writer, held: 0, ended: false, done: false })
    }

    /// Moves what can be moved.
    fn work(&mut self, from: &OwnedFd, to: &OwnedFd) -> Result<(), Broken> {
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        for _ in 0..SPLICE_ROUNDS {
            if self.held == 0 && !self.ended {
                match splice(from, None, &self.writer, None, SPLICE_BYTES, flags) {
                    Ok(0) => self.ended = true,
                    Ok(bytes) => self.held = bytes,
                    Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                    Err(_) => return Err(Broken),
                }
            }
            if self.held == 0 {
                if self.ended && !self.done {
                    self.done = true;
                    // The other direction may go on.
                    let _ = shutdown(to, Shutdown::Write);
                }
                return Ok(());
            }
            match splice(&self.reader, None, to, None, self.held, flags) {
                Ok(bytes) => self.held -= bytes.min(self.held),
                Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
                Err(_) => return Err(Broken),
            }
        }
        Ok(())
    }
}
