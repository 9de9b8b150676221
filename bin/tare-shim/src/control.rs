//! The daemons: usually one, at the other end of the socket pair we were started with, or connected to `shim.sock`.
//!
//! A daemon may vanish or stop reading at any moment. Sending never waits: packets queue up to a limit, and a daemon that
//! is over it is cut off; when it comes back, it is told again what it has to know.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with};
use tare_shim_protocol::{Event, Message, Outcome, PACKET_BYTES_MAX, Reply, Request, decode, encode};

use crate::poll::{Interest, Poller, Ready, Token, Watch};

/// Packets waiting for a daemon at which it is given up. Replies and events are rare, and the socket itself holds
/// hundreds; only a daemon that has hung gets here.
const PACKETS_WAITING_MAX: usize = 256;
/// Events kept while there is no daemon; the oldest go first. (The exit is not among them: it is never forgotten.)
const EVENTS_KEPT_MAX: usize = 256;
/// Bytes of a failure's message; escaped six-fold in JSON it still fits a packet.
const FAILURE_BYTES_MAX: usize = 8 * 1024;
/// Connections waiting to be accepted.
const BACKLOG: i32 = 8;
/// Daemons at a time. One is usual; a second one while the first is being replaced.
const CONNECTIONS_MAX: usize = 8;

/// All daemons.
#[derive(Debug, Default)]
pub(crate) struct Controls {
    connections: Vec<Connection>,
    listener: Option<Listener>,
    kept: VecDeque<Event>,
}

#[derive(Debug)]
struct Connection {
    key: u64,
    socket: OwnedFd,
    watch: Watch,
    waiting: VecDeque<Vec<u8>>,
    /// It takes nothing more; what it has sent before is still to be read.
    deaf: bool,
    closed: bool,
}

#[derive(Debug)]
struct Listener {
    socket: OwnedFd,
    /// Where it is, whatever that is called by now.
    directory: OwnedFd,
    name: OsString,
    watch: Watch,
}

/// A request, with the descriptors that came with it and the daemon to answer.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub daemon: u64,
    pub request: Request,
    pub fds: Vec<OwnedFd>,
}

impl Controls {
    /// Takes a connected socket.
    pub(crate) fn add(&mut self, poller: &mut Poller, socket: OwnedFd) -> io::Result<u64> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let key = poller.key();
        let mut watch = Watch::default();
        poller.set(&socket, Token::Control(key), &mut watch, Some(Interest::READ))?;
        self.connections.push(Connection { key, socket, watch, waiting: VecDeque::new(), deaf: false, closed: false });
        for event in std::mem::take(&mut self.kept) {
            self.event(event);
        }
        Ok(key)
    }

    /// Opens `path` for daemons to come; only root may connect.
    pub(crate) fn listen(&mut self, poller: &Poller, path: &Path) -> io::Result<()> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // Through the directory's descriptor: an address has room for 108 bytes, a path may be longer.
        let (directory, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
        let directory = rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        let address = SocketAddrUnix::new(&path)?;
        let old = rustix::process::umask(Mode::from_raw_mode(0o177));
        let mut bound = bind(&socket, &address);
        if bound == Err(Errno::ADDRINUSE) {
            // Of an earlier run in the same bundle.
            bound = rustix::fs::unlink(&path).and_then(|()| bind(&socket, &address));
        }
        rustix::process::umask(old);
        bound?;
        listen(&socket, BACKLOG)?;
        let mut watch = Watch::default();
        poller.set(&socket, Token::Listener, &mut watch, Some(Interest::READ))?;
        self.listener = Some(Listener { socket, name: name.to_owned(), directory, watch });
        Ok(())
    }

    /// Removes the listening socket.
    pub(crate) fn unlisten(&mut self, poller: &Poller) {
        let Some(mut listener) = self.listener.take() else { return };
        let _ = poller.set(&listener.socket, Token::Listener, &mut listener.watch, None);
        // The daemon may have removed the directory.
        let _ = rustix::fs::unlinkat(&listener.directory, &listener.name, AtFlags::empty());
    }

    /// A daemon connects; returns its key.
    pub(crate) fn accept(&mut self, poller: &mut Poller) -> io::Result<Option<u64>> {
        let Some(listener) = &self.listener else { return Ok(None) };
        let socket = match accept_with(&listener.socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => socket,
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        if self.connections.len() >= CONNECTIONS_MAX {
            return Ok(None);
        }
        self.add(poller, socket).map(Some)
    }

    /// Whether a daemon is there.
    pub(crate) fn is_connected(&self) -> bool {
        self.connections.iter().any(Connection::takes)
    }

    /// The same, as the sockets are at this moment, whatever has been read of them.
    pub(crate) fn is_anybody_there(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.connections.iter().filter(|connection| connection.takes()).any(|connection| {
            let mut fds = [PollFd::new(&connection.socket, PollFlags::empty())];
            // Hung up is the only thing that is told when nothing is asked for.
            poll(&mut fds, Some(&now)) == Ok(0)
        })
    }

    /// Nothing waits to be sent.
    pub(crate) fn is_flushed(&self) -> bool {
        self.connections.iter().all(|connection| connection.waiting.is_empty())
    }

    /// Tells every daemon; if there is none, the next one.
    pub(crate) fn event(&mut self, event: Event) {
        let message = Message::Event(event);
        self.connections.iter_mut().for_each(|connection| connection.send(&message));
        if let Message::Event(event) = message
            && !self.is_connected()
        {
            if self.kept.len() == EVENTS_KEPT_MAX {
                self.kept.pop_front();
            }
            self.kept.push_back(event);
        }
    }

    /// Tells one daemon.
    pub(crate) fn event_to(&mut self, daemon: u64, event: Event) {
        self.send(daemon, &Message::Event(event));
    }

    /// Answers a request.
    pub(crate) fn reply(&mut self, daemon: u64, mut reply: Reply) {
        if let Outcome::Failed(failure) = &mut reply.outcome {
            // A message that names a huge argument must not be too large for a packet.
            let end = failure.message.floor_char_boundary(FAILURE_BYTES_MAX);
            failure.message.truncate(end);
        }
        self.send(daemon, &Message::Reply(reply));
    }

    fn send(&mut self, daemon: u64, message: &Message) {
        if let Some(connection) = self.connections.iter_mut().find(|connection| connection.key == daemon) {
            connection.send(message);
        }
    }

    /// An event on a daemon's socket; returns the next request. To be called again by the next event: the socket stays
    /// readable while there are more.
    pub(crate) fn ready(&mut self, key: u64, ready: Ready, buffer: &mut [u8]) -> Option<Incoming> {
        let connection = self.connections.iter_mut().find(|connection| connection.key == key)?;
        if ready.write {
            connection.flush();
        }
        if !ready.read && !ready.hang_up {
            return None;
        }
        let (bytes, fds) = match tare_sys::socket::recv_with_fds(&connection.socket, buffer) {
            Ok((0, _)) => {
                connection.closed = true;
                return None;
            }
            Ok(received) => received,
            Err(Errno::AGAIN) => return None,
            // Lost, or it does not speak the protocol.
            Err(_) => {
                connection.closed = true;
                return None;
            }
        };
        match decode::<Request>(buffer.get(..bytes.min(PACKET_BYTES_MAX)).unwrap_or_default()) {
            Ok(request) => Some(Incoming { daemon: key, request, fds }),
            // Without a sequence number there is nothing to answer to.
            Err(_) => {
                connection.closed = true;
                None
            }
        }
    }

    /// Drops daemons that are gone, and waits for room where packets wait.
    pub(crate) fn settle(&mut self, poller: &Poller) -> io::Result<()> {
        self.connections.retain(|connection| !connection.closed);
        for connection in &mut self.connections {
            let interest = Interest { read: true, write: !connection.waiting.is_empty() };
            let token = Token::Control(connection.key);
            poller.set(&connection.socket, token, &mut connection.watch, Some(interest))?;
        }
        Ok(())
    }
}

impl Connection {
    fn takes(&self) -> bool {
        !self.closed && !self.deaf
    }

    fn send(&mut self, message: &Message) {
        if !self.takes() {
            return;
        }
        // All are small: see `FAILURE_BYTES_MAX`.
        let Ok(packet) = encode(message) else { return };
        self.waiting.push_back(packet);
        self.flush();
        if self.waiting.len() > PACKETS_WAITING_MAX {
            self.waiting.clear();
            self.closed = true;
        }
    }

    fn flush(&mut self) {
        while let Some(packet) = self.waiting.front() {
            match tare_sys::socket::send_with_fds(&self.socket, packet, &[]) {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM) => return,
                Err(_) => {
                    self.waiting.clear();
                    self.deaf = true;
                    return;
                }
            }
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::socketpair;
    use tare_shim_protocol::Op;

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    fn received(socket: &OwnedFd) -> Message {
        let mut buffer = [0; 4096];
        let (bytes, _) = tare_sys::socket::recv_with_fds(socket, &mut buffer).unwrap();
        decode(&buffer[..bytes]).unwrap()
    }

    fn oom(id: u64) -> Event {
        Event::Detached { id, exec: None }
    }

    #[test]
    fn events_wait_for_a_daemon() {
        let mut poller = Poller::new().unwrap();
        let mut controls = Controls::default();
        for id in 0..=EVENTS_KEPT_MAX as u64 {
            controls.event(oom(id));
        }
        let (ours, theirs) = pair();
        controls.add(&mut poller, ours).unwrap();
        assert_eq!(received(&theirs), Message::Event(oom(1)));
    }

    #[test]
    fn a_daemon_that_does_not_read_is_cut_off_and_nothing_waits_for_it() {
        let mut poller = Poller::new().unwrap();
        let mut controls = Controls::default();
        let (ours, _theirs) = pair();
        controls.add(&mut poller, ours).unwrap();
        for id in 0..5_000 {
            controls.event(oom(id));
        }
        assert!(!controls.is_connected());
        controls.settle(&poller).unwrap();
        assert!(controls.connections.is_empty() && controls.is_flushed());
    }

    #[test]
    fn requests_arrive_though_the_daemon_has_gone_since() {
        let mut poller = Poller::new().unwrap();
        let mut controls = Controls::default();
        let (ours, theirs) = pair();
        let key = controls.add(&mut poller, ours).unwrap();
        let request = Request { seq: 3, fds: Vec::new(), op: Op::Acknowledge };
        tare_sys::socket::send_with_fds(&theirs, &encode(&request).unwrap(), &[]).unwrap();
        drop(theirs);
        controls.event(Event::OutOfMemory);
        let ready = Ready { token: Token::Control(key), read: true, write: false, hang_up: true };
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        assert_eq!(controls.ready(key, ready, &mut buffer).unwrap().request, request);
        assert!(controls.ready(key, ready, &mut buffer).is_none());
        controls.settle(&poller).unwrap();
        assert!(!controls.is_connected());
    }
}
