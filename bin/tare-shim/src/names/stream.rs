//! Clients that connect to the name server (RFC 7766). Each message has its length before it; a connection's queries are
//! answered one after the other, so that what is kept for it stays small.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};

use crate::poll::{Interest, Poller, Ready, Token, Watch};
use crate::queue::Queue;

/// Connections at a time; further clients wait in the kernel's queue until one of these is idle for too long.
const CONNECTIONS_MAX: usize = 32;
/// How long a connection is kept on which nothing moves.
const IDLE_TIME: Duration = Duration::from_secs(10);
/// How long no connection is accepted when the system has no descriptors or memory for it.
const EXHAUSTED_TIME: Duration = Duration::from_secs(1);
/// Bytes kept of what a client has sent: the longest message.
const INPUT_BYTES_MAX: usize = LENGTH_BYTES + u16::MAX as usize;
/// Bytes of the length before each message.
pub(super) const LENGTH_BYTES: usize = 2;

/// The listening socket and its connections.
#[derive(Debug)]
pub(super) struct Streams {
    listener: OwnedFd,
    watch: Watch,
    connections: Vec<Connection>,
    /// Nothing is accepted before this time.
    exhausted_until: Option<Instant>,
}

#[derive(Debug)]
struct Connection {
    key: u64,
    socket: OwnedFd,
    watch: Watch,
    input: Queue,
    output: Queue,
    /// Waits for the answer to its last query.
    is_waiting: bool,
    /// The client asks no more.
    has_ended: bool,
    is_broken: bool,
    /// When something has moved.
    used: Instant,
}

/// Takes a message from the front of a queue, if it is there as a whole.
pub(super) fn take_message(queue: &mut Queue) -> Option<Vec<u8>> {
    let (length, rest) = queue.front().split_first_chunk()?;
    let message = rest.get(..usize::from(u16::from_be_bytes(*length)))?.to_vec();
    queue.consume(LENGTH_BYTES + message.len());
    Some(message)
}

/// Appends a message to a queue; one that is too long for its length is left out.
pub(super) fn push_message(queue: &mut Queue, message: &[u8]) {
    if let Ok(length) = u16::try_from(message.len()) {
        queue.push(&length.to_be_bytes());
        queue.push(message);
    }
}

impl Streams {
    pub(super) fn new(poller: &Poller, listener: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&listener, true)?;
        let mut watch = Watch::default();
        poller.set(&listener, Token::NameListener, &mut watch, Some(Interest::READ))?;
        Ok(Self { listener, watch, connections: Vec::new(), exhausted_until: None })
    }

    pub(super) fn accept(&mut self, poller: &mut Poller) {
        match accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => {
                let key = poller.key();
                self.connections.push(Connection {
                    key,
                    socket,
                    watch: Watch::default(),
                    input: Queue::default(),
                    output: Queue::default(),
                    is_waiting: false,
                    has_ended: false,
                    is_broken: false,
                    used: Instant::now(),
                });
                self.settle(poller, key);
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            Err(_) => self.exhausted_until = Some(Instant::now() + EXHAUSTED_TIME),
        }
        self.listen(poller);
    }

    fn listen(&mut self, poller: &Poller) {
        let accepts = self.connections.len() < CONNECTIONS_MAX && self.exhausted_until.is_none();
        // Failing for want of memory, it is tried again with the next event.
        let _ = poller.set(&self.listener, Token::NameListener, &mut self.watch, Interest::of(accepts, false));
    }

    fn find(&mut self, key: u64) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.key == key)
    }

    /// Moves what can be moved.
    pub(super) fn ready(&mut self, key: u64, ready: Ready, buffer: &mut [u8]) {
        let Some(connection) = self.find(key) else { return };
        if ready.hang_up {
            connection.is_broken = true;
        } else if ready.write {
            connection.flush();
        } else if ready.read {
            connection.receive(buffer);
        }
    }

    /// The next query of a connection, if it is its turn.
    pub(super) fn next_query(&mut self, key: u64) -> Option<Vec<u8>> {
        let connection = self.find(key).filter(|connection| connection.is_listening())?;
        let query = take_message(&mut connection.input)?;
        connection.is_waiting = true;
        Some(query)
    }

    /// Sends the answer to the last query of a connection, if that is still there.
    pub(super) fn answer(&mut self, key: u64, reply: &[u8]) {
        if let Some(connection) = self.find(key) {
            connection.is_waiting = false;
            connection.used = Instant::now();
            push_message(&mut connection.output, reply);
            connection.flush();
        }
    }

    /// Closes a connection that has sent something else than queries.
    pub(super) fn hang_up(&mut self, key: u64) {
        if let Some(connection) = self.find(key) {
            connection.is_broken = true;
        }
    }

    /// Brings a connection's registration up to date, or closes it.
    pub(super) fn settle(&mut self, poller: &Poller, key: u64) {
        let Some(place) = self.connections.iter().position(|connection| connection.key == key) else { return };
        let Some(connection) = self.connections.get_mut(place) else { return };
        if connection.is_over() || connection.watch(poller).is_err() {
            self.connections.swap_remove(place).close(poller);
            self.listen(poller);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let idle = self.connections.iter().filter_map(Connection::deadline);
        idle.chain(self.exhausted_until).min()
    }

    pub(super) fn expire(&mut self, poller: &Poller, now: Instant) {
        let is_idle = |connection: &mut Connection| connection.deadline().is_some_and(|deadline| deadline <= now);
        let before = self.connections.len();
        self.connections.extract_if(.., is_idle).for_each(|connection| connection.close(poller));
        let rested = self.exhausted_until.take_if(|until| *until <= now).is_some();
        if rested || self.connections.len() < before {
            self.listen(poller);
        }
    }

    pub(super) fn stop(mut self, poller: &Poller) {
        let _ = poller.set(&self.listener, Token::NameListener, &mut self.watch, None);
        self.connections.drain(..).for_each(|connection| connection.close(poller));
    }
}

impl Connection {
    /// The last answer is on its way, and there may be another query.
    fn is_listening(&self) -> bool {
        !self.is_waiting && !self.is_broken && self.output.is_empty()
    }

    fn is_over(&self) -> bool {
        self.is_broken || self.has_ended && self.is_listening()
    }

    /// Forwarded queries have deadlines of their own.
    fn deadline(&self) -> Option<Instant> {
        (!self.is_waiting).then_some(self.used + IDLE_TIME)
    }

    fn receive(&mut self, buffer: &mut [u8]) {
        let room = INPUT_BYTES_MAX.saturating_sub(self.input.len()).min(buffer.len());
        match recv(&self.socket, buffer.get_mut(..room).unwrap_or_default(), RecvFlags::empty()) {
            Ok((0, _)) => self.has_ended = true,
            Ok((bytes, _)) => {
                self.used = Instant::now();
                self.input.push(buffer.get(..bytes).unwrap_or_default());
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.is_broken = true,
        }
    }

    fn flush(&mut self) {
        while !self.output.is_empty() {
            match send(&self.socket, self.output.front(), SendFlags::NOSIGNAL) {
                Ok(bytes) => {
                    self.used = Instant::now();
                    self.output.consume(bytes);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.is_broken = true;
                    return;
                }
            }
        }
    }

    fn watch(&mut self, poller: &Poller) -> io::Result<()> {
        let interest = if self.is_waiting {
            Interest::HANG_UP
        } else {
            Interest { read: self.output.is_empty(), write: !self.output.is_empty() }
        };
        poller.set(&self.socket, Token::NameClient(self.key), &mut self.watch, Some(interest))
    }

    fn close(mut self, poller: &Poller) {
        let _ = poller.set(&self.socket, Token::NameClient(self.key), &mut self.watch, None);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn messages_survive_any_cut(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8), step in 1..50_usize) {
            let (mut whole, mut queue, mut seen) = (Queue::default(), Queue::default(), Vec::new());
            messages.iter().for_each(|message| push_message(&mut whole, message));
            for part in whole.front().chunks(step) {
                queue.push(part);
                seen.extend(std::iter::from_fn(|| take_message(&mut queue)));
            }
            prop_assert_eq!(seen, messages);
            prop_assert!(queue.is_empty());
        }
    }

    #[test]
    fn what_has_no_length_is_left_out() {
        let mut queue = Queue::default();
        push_message(&mut queue, &vec![0; 65_536]);
        assert!(queue.is_empty());
    }
}
