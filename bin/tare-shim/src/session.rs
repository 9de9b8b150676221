//! A process's standard streams: from its pipes or terminal to the log and the attached clients, and from the clients to
//! its standard input. The container has one session, and each exec.
//!
//! Nothing is lost on the way: what has been read is in the log and in every client's queue; while a queue is full, the
//! process is not read, and while its standard input is full, no client is.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use tare_logs::{Stream, Writer};

use crate::client::{self, Client, Input};
use crate::clock;
use crate::pace::Pace;
use crate::poll::{Interest, Poller, Ready, Token, Watch};
use crate::queue::Queue;

/// Bytes read at a time; the kernel's default pipe holds as much.
pub(crate) const READ_BYTES: usize = 64 * 1024;
/// How long output is waited for after the process has ended, when another process keeps the pipe open. Docker's number.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// How long a client has to take the rest of the output after the process has ended.
const CLIENT_TIME: Duration = Duration::from_secs(30);
/// Reads in a row from one descriptor, so that a process that keeps writing does not keep us.
const DRAIN_READS: usize = 64;

/// The process behind a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    /// Not started.
    Waiting,
    /// Its process ID.
    Running(i32),
    /// Its exit code, or 128 and the signal's number.
    Ended(i32),
}

/// One process's streams.
#[derive(Debug)]
pub(crate) struct Session {
    /// Names it in the event loop.
    pub key: u64,
    /// The exec's ID; `None` for the container.
    pub exec: Option<String>,
    /// File in the bundle for the exec's exit code; empty for none.
    pub exit_file: String,
    pub process: Process,
    pub terminal: bool,
    /// The end of one client's input is the end of the process's.
    pub stdin_once: bool,
    pub clients: Vec<Client>,
    pub log: Option<Writer>,
    /// Reading the rest of the output ends at this time.
    drain_until: Option<Instant>,
    /// The exit has been reported.
    pub reported: bool,
    stdin: Stdin,
    outputs: [Option<Output>; 2],
}

/// Our ends of a process's standard streams. A terminal is `stdout`, and once more `stdin`.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

#[derive(Debug)]
struct Output {
    fd: OwnedFd,
    stream: Stream,
    watch: Watch,
    /// The other side of a terminal, opened by us while nobody in the container has it.
    slave: Option<OwnedFd>,
    pace: Pace,
}

#[derive(Debug, Default)]
struct Stdin {
    state: StdinState,
    queue: Queue,
    close_when_empty: bool,
    watch: Watch,
}

#[derive(Debug, Default)]
enum StdinState {
    /// The process is not there yet: input waits.
    #[default]
    Waiting,
    Open(OwnedFd),
    /// To be closed with its registration, which a duplicate (of a terminal) would keep alive.
    Closing(OwnedFd),
    Closed,
}

impl Stdin {
    fn shut(&mut self) {
        self.queue.clear();
        self.state = match std::mem::replace(&mut self.state, StdinState::Closed) {
            StdinState::Open(fd) | StdinState::Closing(fd) => StdinState::Closing(fd),
            StdinState::Waiting | StdinState::Closed => StdinState::Closed,
        };
    }
}

/// A client (named as the daemon knows it) has typed its detach keys.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Detached(pub u64);

impl Session {
    pub(crate) fn new(key: u64, exec: Option<String>) -> Self {
        Self {
            key,
            exec,
            exit_file: String::new(),
            process: Process::Waiting,
            terminal: false,
            stdin_once: false,
            clients: Vec::new(),
            log: None,
            drain_until: None,
            reported: false,
            stdin: Stdin::default(),
            outputs: [None, None],
        }
    }

    /// The process has its streams.
    pub(crate) fn connect(&mut self, ends: Ends) -> std::io::Result<()> {
        for fd in [&ends.stdin, &ends.stdout, &ends.stderr].into_iter().flatten() {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        let output = |fd, stream| Output { fd, stream, watch: Watch::default(), slave: None, pace: Pace::default() };
        self.outputs =
            [ends.stdout.map(|fd| output(fd, Stream::Stdout)), ends.stderr.map(|fd| output(fd, Stream::Stderr))];
        self.stdin.state = match ends.stdin {
            Some(fd) => StdinState::Open(fd),
            None => StdinState::Closed,
        };
        self.flush_stdin();
        Ok(())
    }

    /// The terminal, or `None`.
    pub(crate) fn console(&self) -> Option<BorrowedFd<'_>> {
        let output = self.outputs.first()?.as_ref()?;
        self.terminal.then_some(output.fd.as_fd())
    }

    /// Takes a client. `input` is what it has sent already. A client of a process that has ended gets nothing more.
    pub(crate) fn attach(&mut self, mut client: Client, input: &[u8]) -> Option<Detached> {
        if client.held {
            // Not in the log yet, so the replay will not have it, and what follows goes on in the middle of it.
            for stream in [Stream::Stdout, Stream::Stderr] {
                let pending = self.log.as_ref().map_or(&[][..], |log| log.pending(stream));
                client.output(stream, pending);
            }
        }
        if self.is_drained() {
            client.close_when_flushed(Instant::now() + CLIENT_TIME);
        }
        let key = client.key;
        self.clients.push(client);
        self.take_input(key, input)
    }

    /// A client's output may flow. Returns whether it is there.
    pub(crate) fn release(&mut self, id: u64) -> bool {
        let mut found = false;
        for client in self.clients.iter_mut().filter(|client| client.id == id) {
            client.held = false;
            client.flush();
            found = true;
        }
        found
    }

    /// Drops clients that wait for a daemon that is gone.
    pub(crate) fn drop_held(&mut self) {
        self.clients.iter_mut().filter(|client| client.held).for_each(Client::dismiss);
    }

    /// There will be no process: its clients are closed.
    pub(crate) fn dismiss_clients(&mut self) {
        self.clients.iter_mut().for_each(Client::dismiss);
    }

    /// No more input for the process, once it has taken what is there.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin.close_when_empty = true;
        self.flush_stdin();
    }

    /// An event on one of the outputs.
    pub(crate) fn output_ready(&mut self, stream: Stream, buffer: &mut [u8]) {
        // What rests was written first.
        let rests = |output: &&Output| output.stream != stream && output.pace.rests_until().is_some();
        if let Some(other) = self.outputs.iter().flatten().find(rests).map(|output| output.stream) {
            self.read_outputs(other, buffer);
        }
        if !self.is_paused() {
            self.read_output(stream, buffer);
        }
    }

    /// Reads once; false when there is nothing (now, or for ever).
    fn read_output(&mut self, stream: Stream, buffer: &mut [u8]) -> bool {
        let mixed = self.outputs.iter().flatten().any(|other| other.stream != stream && other.pace.is_lively());
        let Some(place) = self.outputs.get_mut(stream as usize - 1) else { return false };
        let Some(output) = place else { return false };
        let bytes = match rustix::io::read(&output.fd, &mut *buffer) {
            Ok(0) => None,
            Ok(bytes) => {
                output.pace.has_read(&output.fd, bytes == buffer.len(), mixed, Instant::now());
                buffer.get(..bytes)
            }
            Err(Errno::AGAIN | Errno::INTR) => return false,
            // Nobody has the terminal open. The container may open it again, so we keep it from reporting this: by
            // having it open ourselves. Without a process it is the end.
            Err(Errno::IO) if self.terminal && matches!(self.process, Process::Running(_)) => {
                let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
                output.slave = rustix::pty::ioctl_tiocgptpeer(&output.fd, flags).ok();
                if output.slave.is_some() {
                    return false;
                }
                None
            }
            Err(_) => None,
        };
        let now_ns = clock::now_ns();
        let Some(bytes) = bytes else {
            *place = None;
            if let Some(log) = &mut self.log {
                // A full disk must not stop the container; the lines are lost.
                let _ = log.finish(stream, now_ns);
            }
            return false;
        };
        if let Some(log) = &mut self.log {
            let _ = log.write(stream, bytes, now_ns);
        }
        for client in &mut self.clients {
            client.output(stream, bytes);
        }
        true
    }

    /// Gives back what is only needed while there is output.
    pub(crate) fn relax(&mut self) {
        if let Some(log) = &mut self.log {
            log.relax();
        }
        for output in self.outputs.iter_mut().flatten() {
            output.pace.relax(&output.fd);
        }
    }

    /// An event on the standard input: room, or nobody there to read it.
    pub(crate) fn stdin_ready(&mut self) {
        self.flush_stdin();
    }

    fn flush_stdin(&mut self) {
        while let StdinState::Open(fd) = &self.stdin.state
            && !self.stdin.queue.is_empty()
        {
            match rustix::io::write(fd, self.stdin.queue.front()) {
                Ok(bytes) => self.stdin.queue.consume(bytes),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // Nobody reads it.
                Err(_) => self.stdin.shut(),
            }
        }
        match self.stdin.state {
            StdinState::Open(_) if self.stdin.close_when_empty => self.stdin.shut(),
            StdinState::Closing(_) | StdinState::Closed => self.stdin.queue.clear(),
            StdinState::Waiting | StdinState::Open(_) => {}
        }
    }

    /// An event on a client.
    pub(crate) fn client_ready(&mut self, key: u64, ready: Ready, buffer: &mut [u8]) -> Option<Detached> {
        let client = self.clients.iter_mut().find(|client| client.key == key)?;
        if ready.write {
            client.flush();
        }
        if ready.hang_up {
            client.hang_up();
        }
        if ready.read || ready.hang_up { self.read_client(key, buffer) } else { None }
    }

    /// Reads clients that were left alone while the standard input was full: those that are gone do not report again.
    fn read_hung_up(&mut self, buffer: &mut [u8]) {
        let gone = |client: &Client| client.hung_up() && client.gives_input();
        while self.takes_input()
            && let Some(client) = self.clients.iter().find(|client| gone(client))
        {
            // Its detach keys would come too late.
            let _ = self.read_client(client.key, buffer);
        }
    }

    fn read_client(&mut self, key: u64, buffer: &mut [u8]) -> Option<Detached> {
        if !self.takes_input() {
            return None;
        }
        let client = self.clients.iter_mut().find(|client| client.key == key && client.gives_input())?;
        match client.receive(buffer) {
            Input::Nothing => None,
            Input::Bytes(bytes) => self.take_input(key, buffer.get(..bytes).unwrap_or_default()),
            Input::Ended => {
                let mut rest = Vec::new();
                client.end_input(&mut rest);
                self.write_stdin(&rest);
                if self.stdin_once && !self.terminal {
                    self.close_stdin();
                }
                None
            }
        }
    }

    fn take_input(&mut self, key: u64, input: &[u8]) -> Option<Detached> {
        let client = self.clients.iter_mut().find(|client| client.key == key && client.gives_input())?;
        if client.has_no_detach_keys() {
            self.write_stdin(input);
            return None;
        }
        let mut pass = Vec::with_capacity(input.len());
        let detached = client.filter(input, &mut pass);
        let id = client.id;
        self.write_stdin(&pass);
        if !detached {
            return None;
        }
        self.clients.iter_mut().filter(|client| client.key == key).for_each(Client::dismiss);
        Some(Detached(id))
    }

    fn write_stdin(&mut self, bytes: &[u8]) {
        self.stdin.queue.push(bytes);
        self.flush_stdin();
    }

    fn takes_input(&self) -> bool {
        self.stdin.queue.is_empty()
    }

    fn is_paused(&self) -> bool {
        let limit = match self.process {
            Process::Ended(_) => client::QUEUE_BYTES_AFTER_EXIT,
            _ => client::QUEUE_BYTES,
        };
        self.clients.iter().any(|client| client.waiting() >= limit)
    }

    /// The process has ended: what it has written is read, and then, for some time, what others still write for it.
    pub(crate) fn ended(&mut self, code: i32, buffer: &mut [u8]) {
        self.process = Process::Ended(code);
        self.drain_until = Some(Instant::now() + DRAIN_TIME);
        for output in self.outputs.iter_mut().flatten() {
            output.slave = None;
        }
        self.stdin.shut();
        self.read_outputs(Stream::Stdout, buffer);
        self.read_outputs(Stream::Stderr, buffer);
    }

    /// Reads until there is nothing more for now, within limits.
    fn read_outputs(&mut self, stream: Stream, buffer: &mut [u8]) {
        for _ in 0..DRAIN_READS {
            if self.is_paused() || !self.read_output(stream, buffer) {
                break;
            }
        }
    }

    /// All output has been read.
    pub(crate) fn is_drained(&self) -> bool {
        matches!(self.process, Process::Ended(_)) && self.outputs.iter().all(Option::is_none)
    }

    /// All output has been read, and taken by the clients, or they have had their time.
    pub(crate) fn is_delivered(&self, now: Instant) -> bool {
        self.is_drained()
            && self.clients.iter().all(|client| client.waiting() == 0 || client.close_at().is_some_and(|at| at <= now))
    }

    /// The process's part is over: clients get what waits for them and are closed.
    pub(crate) fn close_clients(&mut self) {
        let deadline = Instant::now() + CLIENT_TIME;
        self.clients.iter_mut().for_each(|client| client.close_when_flushed(deadline));
    }

    /// Gives clients that still have output waiting a time by which they are closed.
    pub(crate) fn limit_clients(&mut self, now: Instant) {
        for client in &mut self.clients {
            if client.waiting() > 0 {
                client.close_when_flushed(now + CLIENT_TIME);
            }
        }
    }

    /// The next time at which something is to be done without an event.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let draining = self.drain_until.filter(|_| !self.is_drained());
        let resting = self.outputs.iter().flatten().filter_map(|output| output.pace.rests_until());
        self.clients.iter().filter_map(Client::close_at).chain(draining).chain(resting).min()
    }

    /// Waits no longer for output when its time is over, and for a writer that has had its rest.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.outputs.iter_mut().flatten().for_each(|output| output.pace.expire(now));
        if self.drain_until.is_some_and(|deadline| deadline <= now) && !self.is_drained() {
            self.outputs = [None, None];
            for stream in [Stream::Stdout, Stream::Stderr] {
                if let Some(log) = &mut self.log {
                    let _ = log.finish(stream, clock::now_ns());
                }
            }
        }
    }

    /// Brings everything up to date after events: who is done, what to wait for.
    pub(crate) fn settle(&mut self, poller: &Poller, now: Instant, buffer: &mut [u8]) -> std::io::Result<()> {
        self.read_hung_up(buffer);
        if self.clients.iter().any(|client| client.is_done(now)) {
            for client in self.clients.extract_if(.., |client| client.is_done(now)) {
                client.close(poller);
            }
        }
        self.watch(poller)
    }

    fn watch(&mut self, poller: &Poller) -> std::io::Result<()> {
        let (paused, takes_input) = (self.is_paused(), self.takes_input());
        for output in self.outputs.iter_mut().flatten() {
            let token = match output.stream {
                Stream::Stdout => Token::Stdout(self.key),
                Stream::Stderr => Token::Stderr(self.key),
            };
            let reads = !paused && output.pace.rests_until().is_none();
            poller.set(&output.fd, token, &mut output.watch, Interest::of(reads, false))?;
        }
        let interest = match &self.stdin.state {
            StdinState::Open(_) => Interest::of(false, !takes_input),
            _ => None,
        };
        if let StdinState::Open(fd) | StdinState::Closing(fd) = &self.stdin.state {
            poller.set(fd, Token::Stdin(self.key), &mut self.stdin.watch, interest)?;
        }
        if matches!(self.stdin.state, StdinState::Closing(_)) {
            self.stdin.state = StdinState::Closed;
        }
        self.clients.iter_mut().try_for_each(|client| client.watch(poller, takes_input))
    }
}
