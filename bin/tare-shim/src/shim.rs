//! The life of a shim: waiting, running a container, telling of its end.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::process::{WaitOptions, WaitStatus, wait};
use tare_logs::{Stream, Writer};
use tare_shim_protocol::{Event, ExecRecord, PACKET_BYTES_MAX};

use crate::container::Container;
use crate::control::Controls;
use crate::launch::Host;
use crate::names::Names;
use crate::place::Place;
use crate::poll::{Interest, Poller, Ready, Token, Watch};
use crate::record;
use crate::relay::Relays;
use crate::session::{Process, READ_BYTES, Session};

/// How long after the last event memory is given back that is only used while there is something to do.
const RELAX_TIME: Duration = Duration::from_secs(1);
/// How long a rotated log waits for a pause in what happens before it is compressed; after that, each moment without an
/// event will do.
const LOG_PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of the buffer for everything that is read.
const BUFFER_BYTES: usize = if READ_BYTES > PACKET_BYTES_MAX { READ_BYTES } else { PACKET_BYTES_MAX };
/// 128 + signal number: Docker's way to tell of a death by a signal.
const SIGNAL_BASE: i32 = 128;

/// Where in its life it is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Not told what for.
    Waiting(Place),
    /// There is, or was, a container.
    Running(Box<Container>),
    /// There is nothing (more) to do.
    Over,
}

/// The shim.
#[derive(Debug)]
pub(crate) struct Shim {
    pub poller: Poller,
    pub controls: Controls,
    /// The first is the container's, the others are execs'.
    pub sessions: Vec<Session>,
    pub phase: Phase,
    pub relays: Relays,
    /// The embedded name server, if the container has one and runs.
    pub names: Option<Box<Names>>,
    pub host: Host,
    children: &'static OwnedFd,
    /// Empty while nothing happens.
    buffer: Vec<u8>,
    /// Memory is given back at this time.
    relax_at: Option<Instant>,
    /// A rotated log may wait to be compressed, since then.
    log_work: Option<Instant>,
}

impl Shim {
    /// A shim that waits for its daemon's first request.
    pub(crate) fn new(control: OwnedFd, place: Place, host: Host) -> io::Result<Self> {
        let mut poller = Poller::new()?;
        let children = tare_sys::signals::child_event()?;
        poller.set(children, Token::Children, &mut Watch::default(), Some(Interest::READ))?;
        let mut controls = Controls::default();
        controls.add(&mut poller, control)?;
        let session = Session::new(poller.key(), None);
        Ok(Self {
            poller,
            controls,
            sessions: vec![session],
            phase: Phase::Waiting(place),
            relays: Relays::default(),
            names: None,
            host,
            children,
            buffer: Vec::new(),
            // The first rest comes after the start of the process itself.
            relax_at: Some(Instant::now()),
            log_work: None,
        })
    }

    /// Runs until there is nothing more to do.
    pub(crate) fn run(mut self) -> io::Result<()> {
        while !self.is_over() {
            let ready = self.poller.wait(self.timeout())?;
            if ready.is_empty() && self.log_work_is_due() {
                self.work_on_log();
            }
            if !ready.is_empty() {
                self.relax_at = Some(Instant::now() + RELAX_TIME);
            }
            let mut buffer = std::mem::take(&mut self.buffer);
            if buffer.is_empty() && !ready.is_empty() {
                buffer = vec![0; BUFFER_BYTES];
            }
            for event in ready {
                self.dispatch(event, &mut buffer);
            }
            let settled = self.settle(&mut buffer);
            self.buffer = buffer;
            settled?;
            if self.relax_at.is_some_and(|time| time <= Instant::now()) {
                self.relax();
            }
        }
        self.end();
        Ok(())
    }

    fn is_over(&self) -> bool {
        let clients = self.sessions.iter().any(|session| !session.clients.is_empty());
        matches!(self.phase, Phase::Over) && self.controls.is_flushed() && !clients
    }

    fn end(&mut self) {
        self.controls.unlisten(&self.poller);
    }

    fn timeout(&self) -> Option<Duration> {
        if self.log_work_is_due() {
            return Some(Duration::ZERO);
        }
        let sessions = self.sessions.iter().filter_map(Session::next_deadline);
        let names = self.names.as_ref().and_then(|names| names.next_deadline());
        let next = sessions.chain(self.relays.next_deadline()).chain(names).chain(self.relax_at).min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn dispatch(&mut self, ready: Ready, buffer: &mut [u8]) {
        match ready.token {
            Token::Children => self.reap(buffer),
            Token::Memory => self.memory_event(),
            Token::Listener => self.accept(),
            Token::Control(key) => {
                if let Some(incoming) = self.controls.ready(key, ready, buffer) {
                    self.request(incoming);
                }
            }
            Token::Stdout(key) => self.output(key, Stream::Stdout, buffer),
            Token::Stderr(key) => self.output(key, Stream::Stderr, buffer),
            Token::Stdin(key) => {
                if let Some(session) = self.sessions.iter_mut().find(|session| session.key == key) {
                    session.stdin_ready();
                }
            }
            Token::Client(key) => {
                for session in &mut self.sessions {
                    if let Some(detached) = session.client_ready(key, ready, buffer) {
                        self.controls.event(Event::Detached { id: detached.0, exec: session.exec.clone() });
                    }
                }
            }
            Token::NameQuery | Token::NameListener | Token::NameClient(_) | Token::NameForward(_) => {
                if let Some(names) = &mut self.names {
                    names.ready(&mut self.poller, ready, buffer);
                }
            }
            _ => self.relays.ready(&mut self.poller, ready, buffer),
        }
    }

    fn output(&mut self, key: u64, stream: Stream, buffer: &mut [u8]) {
        if let Some(session) = self.sessions.iter_mut().find(|session| session.key == key) {
            session.output_ready(stream, buffer);
            if self.log_work.is_none() && session.log.as_ref().is_some_and(Writer::has_background) {
                self.log_work = Some(Instant::now());
            }
        }
    }

    /// In the middle of a burst of output the processor belongs to whoever writes it.
    fn log_work_is_due(&self) -> bool {
        self.log_work.is_some_and(|since| self.relax_at.is_none() || since.elapsed() >= LOG_PATIENCE)
    }

    fn work_on_log(&mut self) {
        let log = self.sessions.first_mut().and_then(|session| session.log.as_mut());
        // What cannot be compressed stays as it is.
        if !log.is_some_and(|log| log.background().unwrap_or(false)) {
            self.log_work = None;
            self.relax_at = Some(Instant::now() + RELAX_TIME);
        }
    }

    fn accept(&mut self) {
        if let Ok(Some(daemon)) = self.controls.accept(&mut self.poller)
            && let Phase::Running(container) = &self.phase
            && container.announced
            && let Some(exit) = &container.exit
        {
            self.controls.event_to(daemon, Event::Exit(exit.clone()));
        }
    }

    /// Reaps all children that have ended.
    fn reap(&mut self, buffer: &mut [u8]) {
        // A counter that has been read already just means that there is nothing new.
        let _ = rustix::io::read(self.children, &mut [0; 8]);
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let (pid, code) = (pid.as_raw_nonzero().get(), exit_code(status));
            let own = |session: &&mut Session| session.process == Process::Running(pid);
            let Some(session) = self.sessions.iter_mut().find(own) else { continue };
            if session.exec.is_none()
                && let Phase::Running(container) = &mut self.phase
            {
                container.ended(code);
            }
            session.ended(code, buffer);
        }
    }

    fn memory_event(&mut self) {
        if let Phase::Running(container) = &mut self.phase
            && container.memory.ready(&container.group)
        {
            self.controls.event(Event::OutOfMemory);
        }
    }

    /// After the events of one wait: reports what has come to an end, and brings all registrations up to date.
    fn settle(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let now = Instant::now();
        self.sessions.iter_mut().for_each(|session| session.expire(now));
        self.report_execs(now);
        self.report_exit();
        self.check_daemon();
        for session in &mut self.sessions {
            session.settle(&self.poller, now, buffer)?;
        }
        self.sessions.retain(|session| session.exec.is_none() || !session.reported || !session.clients.is_empty());
        self.relays.expire(&self.poller, now);
        if let Some(names) = &mut self.names {
            names.expire(&mut self.poller, now);
        }
        self.controls.settle(&self.poller)?;
        if let Phase::Running(container) = &mut self.phase {
            container.memory.begin(&container.group, &self.poller);
        }
        Ok(())
    }

    fn report_execs(&mut self, now: Instant) {
        for session in &mut self.sessions {
            let (Process::Ended(code), false) = (session.process, session.reported) else { continue };
            if session.exec.is_some() && session.is_drained() {
                session.limit_clients(now);
            }
            if let Some(id) = session.exec.clone()
                && session.is_delivered(now)
            {
                leave_exec_record(&self.phase, session, code);
                // Before the client's connection is closed, so that whoever sees that finds the exit code.
                self.controls.event(Event::ExecExit { id, code });
                session.reported = true;
                session.close_clients();
            }
        }
    }

    fn report_exit(&mut self) {
        let Phase::Running(container) = &mut self.phase else { return };
        let Some(session) = self.sessions.first_mut().filter(|session| session.is_drained()) else { return };
        if container.announced || container.exit.is_none() {
            return;
        }
        session.log = None;
        container.write_exit();
        if container.memory.has_more_kills(&container.group) {
            self.controls.event(Event::OutOfMemory);
        }
        container.announced = true;
        if let Some(exit) = &container.exit
            && self.controls.is_connected()
        {
            self.controls.event(Event::Exit(exit.clone()));
        }
        session.close_clients();
        self.relays.stop(&self.poller);
        if let Some(names) = self.names.take() {
            names.stop(&self.poller);
        }
        container.memory.end(&self.poller);
        container.remove_group();
    }

    /// Without a daemon there may be nobody to wait for.
    fn check_daemon(&mut self) {
        if self.controls.is_connected() {
            return;
        }
        // They wait for a replay that will not come.
        self.sessions.iter_mut().for_each(Session::drop_held);
        match &self.phase {
            Phase::Waiting(_) => {
                if let Phase::Waiting(place) = std::mem::replace(&mut self.phase, Phase::Over) {
                    place.abandon();
                }
                self.sessions.iter_mut().for_each(Session::dismiss_clients);
            }
            // The record is on disk for the daemon that comes.
            Phase::Running(container) if container.announced => self.phase = Phase::Over,
            Phase::Running(_) | Phase::Over => {}
        }
    }

    /// Gives memory back.
    fn relax(&mut self) {
        self.relax_at = None;
        self.buffer = Vec::new();
        self.sessions.iter_mut().for_each(Session::relax);
        if let Some(names) = &mut self.names {
            names.relax();
        }
        // In this order: looking for the stack takes some heap.
        tare_sys::memory::trim_stack();
        tare_sys::memory::trim_heap();
    }
}

/// Leaves an exec's exit code for a daemon that is not there to be told.
fn leave_exec_record(phase: &Phase, session: &Session, code: i32) {
    if let Phase::Running(container) = phase
        && !session.exit_file.is_empty()
    {
        // If it cannot be written, the event still tells a daemon that is there.
        let _ = record::write(container.bundle.path(), &session.exit_file, &ExecRecord { code });
    }
}

fn exit_code(status: WaitStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => SIGNAL_BASE + signal,
        (None, None) => SIGNAL_BASE,
    }
}
