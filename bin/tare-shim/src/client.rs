//! An attached client: a stream socket that gets a process's output and may give it input.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown};
use tare_logs::Stream;
use tare_shim_protocol::Attach;

use crate::detach::DetachKeys;
use crate::poll::{Interest, Poller, Token, Watch};
use crate::queue::Queue;

/// Bytes of output waiting for a client at which the process is no longer read. Its pipe and the socket hold as much
/// again; more would only delay the moment at which the process notices.
pub(crate) const QUEUE_BYTES: usize = 64 * 1024;
/// The same once the process has ended: all that its pipes can still hold goes into the queue, so that the exit is not
/// held up by a slow client (the kernel's largest pipe is 1 MiB by default, and there are two).
pub(crate) const QUEUE_BYTES_AFTER_EXIT: usize = 2 * 1024 * 1024 + QUEUE_BYTES;

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    /// Names it in the event loop.
    pub key: u64,
    /// Names it for the daemon.
    pub id: u64,
    socket: OwnedFd,
    watch: Watch,
    stdout: bool,
    stderr: bool,
    multiplexed: bool,
    /// Output waits for `Release`.
    pub held: bool,
    /// Its input goes to the process and has not ended.
    gives_input: bool,
    /// Nobody takes output at the other end any more, though input sent before may still be there.
    hung_up: bool,
    detach: DetachKeys,
    queue: Queue,
    /// The process is gone: to be closed when the queue is empty, or at this time.
    close_at: Option<Instant>,
    /// To be closed at once.
    dismissed: bool,
}

/// What came of looking for input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// So many bytes are in the buffer.
    Bytes(usize),
    /// None now.
    Nothing,
    /// There will be no more.
    Ended,
}

impl Client {
    pub(crate) fn new(key: u64, socket: OwnedFd, attach: Attach) -> Self {
        Self {
            key,
            id: attach.id,
            socket,
            watch: Watch::default(),
            stdout: attach.stdout,
            stderr: attach.stderr,
            multiplexed: attach.multiplexed,
            held: attach.hold,
            gives_input: attach.stdin,
            hung_up: false,
            detach: DetachKeys::new(attach.detach_keys),
            queue: Queue::default(),
            close_at: None,
            dismissed: false,
        }
    }

    /// Hands over output; what the socket does not take waits.
    pub(crate) fn output(&mut self, stream: Stream, bytes: &[u8]) {
        let wanted = match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        };
        if !wanted || self.hung_up || bytes.is_empty() {
            return;
        }
        // Docker's frame: the stream's number, three zeros, the length.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut header = [stream as u8, 0, 0, 0, 0, 0, 0, 0];
        if let Some(place) = header.last_chunk_mut() {
            *place = length;
        }
        let header = if self.multiplexed { &header[..] } else { &[] };
        let sent = if self.held || !self.queue.is_empty() { 0 } else { self.send(header, bytes) };
        self.queue.push(header.get(sent..).unwrap_or_default());
        self.queue.push(bytes.get(sent.saturating_sub(header.len())..).unwrap_or_default());
    }

    fn send(&mut self, header: &[u8], bytes: &[u8]) -> usize {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let result = if header.is_empty() {
            send(&self.socket, bytes, flags)
        } else {
            let parts = [IoSlice::new(header), IoSlice::new(bytes)];
            sendmsg(&self.socket, &parts, &mut SendAncillaryBuffer::default(), flags)
        };
        self.sent(result)
    }

    fn sent(&mut self, result: Result<usize, Errno>) -> usize {
        match result {
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::NOMEM) => 0,
            Err(_) => {
                self.hang_up();
                0
            }
        }
    }

    /// Sends what waits, as far as the socket takes it.
    pub(crate) fn flush(&mut self) {
        if self.held || self.hung_up || self.queue.is_empty() {
            return;
        }
        let result = send(&self.socket, self.queue.front(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        let sent = self.sent(result);
        self.queue.consume(sent);
    }

    /// Receives input.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Input {
        match recv(&self.socket, buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Input::Ended,
            Ok((bytes, _)) => Input::Bytes(bytes),
            // What a peer that is gone has sent is there at once, or not at all.
            Err(Errno::AGAIN | Errno::INTR) if !self.hung_up => Input::Nothing,
            Err(Errno::AGAIN) => Input::Ended,
            Err(_) => {
                self.hang_up();
                Input::Ended
            }
        }
    }

    /// Takes received input through the detach keys; true when they were typed. See [`DetachKeys::feed`].
    pub(crate) fn filter(&mut self, input: &[u8], pass: &mut Vec<u8>) -> bool {
        self.detach.feed(input, pass)
    }

    /// Whether [`Self::filter`] would change nothing.
    pub(crate) fn has_no_detach_keys(&self) -> bool {
        self.detach.is_empty()
    }

    /// The input has ended, or is to be ignored from now on; appends what the detach keys kept.
    pub(crate) fn end_input(&mut self, pass: &mut Vec<u8>) {
        self.gives_input = false;
        self.detach.finish(pass);
    }

    pub(crate) fn gives_input(&self) -> bool {
        self.gives_input
    }

    /// The other end is gone, or there is an error on the socket.
    pub(crate) fn hang_up(&mut self) {
        self.hung_up = true;
        self.queue.clear();
    }

    pub(crate) fn hung_up(&self) -> bool {
        self.hung_up
    }

    /// Bytes that wait for it.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// The process has ended and everything it wrote is in the queue: to be closed when that is empty, or at `deadline`.
    pub(crate) fn close_when_flushed(&mut self, deadline: Instant) {
        self.close_at.get_or_insert(deadline);
    }

    /// When it is closed at the latest.
    pub(crate) fn close_at(&self) -> Option<Instant> {
        self.close_at
    }

    /// Whether there is nothing left to do for it.
    pub(crate) fn is_done(&self, now: Instant) -> bool {
        let flushed = self.queue.is_empty() && !self.held;
        let closing = self.close_at.is_some_and(|deadline| flushed || deadline <= now);
        self.dismissed || closing || (self.hung_up && !self.gives_input)
    }

    /// Keeps the registration up to date.
    pub(crate) fn watch(&mut self, poller: &Poller, takes_input: bool) -> std::io::Result<()> {
        let interest = Interest { read: self.gives_input && takes_input, write: !self.held && !self.queue.is_empty() };
        // A hang-up is reported until the registration goes: once is enough.
        let interest = (!self.hung_up).then_some(interest);
        poller.set(&self.socket, Token::Client(self.key), &mut self.watch, interest)
    }

    /// It is to be closed, whatever waits for it.
    pub(crate) fn dismiss(&mut self) {
        self.flush();
        self.gives_input = false;
        self.dismissed = true;
    }

    /// Ends both directions: the daemon may have a descriptor of the same socket (which is also why closing ours would
    /// not end its registration).
    pub(crate) fn close(mut self, poller: &Poller) {
        // Neither can fail in a way that matters: the other end may have closed already.
        let _ = poller.set(&self.socket, Token::Client(self.key), &mut self.watch, None);
        let _ = shutdown(&self.socket, Shutdown::Both);
    }
}
