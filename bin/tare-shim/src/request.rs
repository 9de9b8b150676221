//! What a daemon can ask for.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::termios::{Winsize, tcsetwinsize};
use tare_shim_protocol::{
    Attach, Event, Exec, Failure, FdRole, HeldSocket, Launch, Op, Outcome, Reply, SOCKET_NAME, ServeNames,
};

use crate::bundle::Bundle;
use crate::client::Client;
use crate::container::Container;
use crate::control::Incoming;
use crate::launch::{Given, Started, launch};
use crate::names::{Names, Sockets};
use crate::process;
use crate::session::{Detached, Process, Session};
use crate::shim::{Phase, Shim};
use crate::{exec, failure, record};

const DONE: Outcome = Outcome::Ok { pid: 0, start_time: 0, log_end: 0, log_file: 0, started_at: 0 };

/// The descriptors of a request by their roles.
#[derive(Debug, Default)]
struct Fds {
    root: Option<OwnedFd>,
    netns: Option<OwnedFd>,
    client: Option<OwnedFd>,
    held: Vec<(HeldSocket, OwnedFd)>,
    dns_udp: Option<OwnedFd>,
    dns_tcp: Option<OwnedFd>,
    trees: Vec<(PathBuf, OwnedFd)>,
}

impl Fds {
    fn sort(roles: Vec<FdRole>, fds: Vec<OwnedFd>) -> Result<Self, Failure> {
        if roles.len() != fds.len() {
            return Err(failure::state(format!("{} descriptors came, {} were announced", fds.len(), roles.len())));
        }
        let mut sorted = Self::default();
        for (role, fd) in roles.into_iter().zip(fds) {
            match role {
                FdRole::Root => sorted.root = Some(fd),
                FdRole::NetNs => sorted.netns = Some(fd),
                FdRole::Client => sorted.client = Some(fd),
                FdRole::Held(held) => sorted.held.push((held, fd)),
                FdRole::DnsUdp => sorted.dns_udp = Some(fd),
                FdRole::DnsTcp => sorted.dns_tcp = Some(fd),
                FdRole::Mount { destination } => sorted.trees.push((destination, fd)),
            }
        }
        Ok(sorted)
    }
}

impl Shim {
    /// Carries out a request and answers it.
    pub(crate) fn request(&mut self, incoming: Incoming) {
        let Incoming { daemon, request, fds } = incoming;
        let launches = matches!(request.op, Op::Launch(_));
        let outcome = Fds::sort(request.fds, fds).and_then(|fds| self.carry_out(request.op, fds));
        let outcome = outcome.unwrap_or_else(Outcome::Failed);
        self.controls.reply(daemon, Reply { seq: request.seq, outcome });
        if launches && !self.controls.is_connected() {
            self.abandon_launch();
        }
    }

    /// The daemon died while its container was being launched. The next one finds it by its state, and nobody else. A daemon
    /// that looks before there is one takes the directory away, and looks again then; we have written the state and look
    /// now whether the directory is still there. So one of us sees what the other has done, and the container does not run
    /// on with nobody to know.
    fn abandon_launch(&mut self) {
        if let Phase::Running(container) = &self.phase
            && !container.is_recorded()
        {
            // What is still there is found by the daemon, by its name.
            let _ = container.group.kill_all(rustix::process::Signal::KILL.as_raw());
        }
    }

    fn carry_out(&mut self, op: Op, fds: Fds) -> Result<Outcome, Failure> {
        match op {
            Op::Launch(request) => self.launch(&request, fds),
            Op::Attach(request) => self.attach(request, fds),
            Op::Release { id } => {
                let mut found = false;
                for session in &mut self.sessions {
                    found |= session.release(id);
                }
                if found { Ok(DONE) } else { Err(failure::state(format!("no client {id} is attached"))) }
            }
            Op::CloseStdin => {
                self.main_session()?.close_stdin();
                Ok(DONE)
            }
            Op::Resize { exec, rows, cols } => self.resize(exec.as_deref(), rows, cols),
            Op::Signal { exec, signal, all } => self.signal(exec.as_deref(), signal, all),
            Op::Exec(request) => self.exec(request, fds),
            Op::Acknowledge => self.acknowledge(),
            Op::Ping => Ok(DONE),
            Op::ServeNames(request) => self.serve_names(&request, fds),
            Op::Retarget { from, to } => {
                self.relays.retarget(&self.poller, from, to);
                Ok(DONE)
            }
            Op::Publish => {
                self.running()?;
                self.take_sockets(fds.held)?;
                Ok(DONE)
            }
        }
    }

    fn launch(&mut self, request: &Launch, fds: Fds) -> Result<Outcome, Failure> {
        let place = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Waiting(place) => place,
            other => {
                self.phase = other;
                return Err(failure::state("this shim has been launched already"));
            }
        };
        process::set_name(process::SHIM_NAME);
        let started = self.start(request, fds, place);
        if started.is_err() {
            self.controls.unlisten(&self.poller);
            self.sessions.iter_mut().for_each(Session::dismiss_clients);
        }
        started
    }

    fn start(&mut self, request: &Launch, fds: Fds, place: crate::place::Place) -> Result<Outcome, Failure> {
        let opened = self.open_bundle(&request.bundle).and_then(|bundle| {
            self.take_sockets(fds.held)?;
            Ok((bundle, names_sockets(fds.dns_udp, fds.dns_tcp, fds.netns.as_ref())?))
        });
        let (bundle, names) = match opened {
            Ok(opened) => opened,
            Err(failure) => {
                place.abandon();
                return Err(failure);
            }
        };
        let given = Given { root: fds.root, trees: fds.trees, netns: fds.netns };
        let Some(session) = self.sessions.first_mut() else { return Err(failure::state("no session")) };
        let started = launch(bundle, given, place, &self.host, session)?;
        if let (Some(sockets), Some(directory)) = (names, &started.names) {
            // A container whose names are not served is better than none.
            self.names = Names::new(&self.poller, sockets, directory, &started.container.id).ok().map(Box::new);
        }
        let Started { container, pid, start_time, started_at, .. } = started;
        self.phase = Phase::Running(Box::new(container));
        Ok(Outcome::Ok { pid, start_time, log_end: 0, log_file: 0, started_at })
    }

    /// Serves names from new sockets. Clients connected to the old ones, if there are any, ask again.
    fn serve_names(&mut self, request: &ServeNames, fds: Fds) -> Result<Outcome, Failure> {
        let id = self.running()?.id.clone();
        let Some(sockets) = names_sockets(fds.dns_udp, fds.dns_tcp, fds.netns.as_ref())? else {
            return Err(failure::state("serve names: descriptors are missing"));
        };
        if let Some(old) = self.names.take() {
            old.stop(&self.poller);
        }
        let names = Names::new(&self.poller, sockets, &request.directory, &id)
            .map_err(|error| failure::setup("serve names of", &id, &error))?;
        self.names = Some(Box::new(names));
        Ok(DONE)
    }

    /// The container, while it runs.
    fn running(&self) -> Result<&Container, Failure> {
        match &self.phase {
            Phase::Running(container) if container.announced => Err(failure::state("the container has ended")),
            Phase::Running(container) => Ok(container),
            _ => Err(failure::state("no container is running")),
        }
    }

    /// Opens the bundle and listens there.
    fn open_bundle(&mut self, name: &Path) -> Result<Bundle, Failure> {
        let bundle = Bundle::open(name).map_err(|error| failure::setup("open", name.display(), &error))?;
        // Looked at after it was opened: as long as its daemon lives, the directory of that name is the one it means.
        if !self.controls.is_anybody_there() {
            return Err(failure::state("the daemon that wants the container is gone"));
        }
        let path = bundle.path().join(SOCKET_NAME);
        let listening = self.controls.listen(&self.poller, &path);
        listening.map_err(|error| bundle.named(failure::setup("listen on", path.display(), &error)))?;
        Ok(bundle)
    }

    fn take_sockets(&mut self, held: Vec<(HeldSocket, OwnedFd)>) -> Result<(), Failure> {
        for (held, socket) in held {
            let target = held.relay;
            self.relays.publish(&mut self.poller, held, socket).map_err(|error| {
                failure::setup("relay to", target.map_or_else(String::new, |target| target.to_string()), &error)
            })?;
        }
        Ok(())
    }

    fn attach(&mut self, request: Attach, fds: Fds) -> Result<Outcome, Failure> {
        let Some(socket) = fds.client else { return Err(failure::state("attach: no client descriptor")) };
        let key = self.poller.key();
        let session = self.main_session()?;
        let (log_file, log_end) = match &session.log {
            Some(log) => log.position().map_err(|error| failure::setup("stat", "log", &error))?,
            None => (0, 0),
        };
        let detached = add_client(session, key, socket, request);
        self.tell_detached(detached, None);
        Ok(Outcome::Ok { pid: 0, start_time: 0, log_end, log_file, started_at: 0 })
    }

    fn resize(&mut self, exec: Option<&str>, rows: u16, cols: u16) -> Result<Outcome, Failure> {
        let session = self.session(exec)?;
        // Without a terminal there is nothing to do, which clients that do not look first expect to be no mistake.
        let Some(console) = session.console() else { return Ok(DONE) };
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(console, size).map_err(|errno| failure::setup("resize", "terminal", &errno.into()))?;
        Ok(DONE)
    }

    fn signal(&mut self, exec: Option<&str>, signal: i32, all: bool) -> Result<Outcome, Failure> {
        let session = self.session(exec)?;
        // Not reaped, so the number is still that process's.
        let Process::Running(pid) = session.process else { return Err(failure::state("the process is not running")) };
        if let (true, Phase::Running(container)) = (all, &self.phase) {
            container.group.kill_all(signal).map_err(|error| failure::cgroup(&error))?;
        } else {
            tare_sys::kill::kill(pid, signal).map_err(|error| failure::setup("kill", pid, &error))?;
        }
        Ok(DONE)
    }

    fn exec(&mut self, mut request: Exec, fds: Fds) -> Result<Outcome, Failure> {
        let Phase::Running(container) = &self.phase else { return Err(failure::state("no container is running")) };
        let process = exec::load(container.bundle.path(), &request.process_file)?;
        if container.exit.is_some() {
            return Err(failure::state("the container has ended"));
        }
        if self.sessions.iter().any(|session| session.exec.as_ref() == Some(&request.id)) {
            return Err(failure::state(format!("exec {} is running already", request.id)));
        }
        if request.attach.is_some() != fds.client.is_some() {
            return Err(failure::state("exec: a client and its descriptor belong together"));
        }
        if !exec::is_file_name(&request.exit_file) && !request.exit_file.is_empty() {
            return Err(failure::state(format!("`{}` is no file of the bundle", request.exit_file)));
        }
        let mut session = Session::new(self.poller.key(), Some(request.id.clone()));
        session.exit_file = std::mem::take(&mut request.exit_file);
        if !session.exit_file.is_empty() {
            let path = container.bundle.path().join(&session.exit_file);
            record::reserve(container.bundle.path(), &session.exit_file)
                .map_err(|error| failure::setup("reserve", path.display(), &error))?;
        }
        let init = exec::exec(container, process, &request, &mut session)
            .inspect_err(|_| record::give_up(container.bundle.path(), &session.exit_file))?;
        if let (Some(socket), Some(attach)) = (fds.client, request.attach.take()) {
            let detached = add_client(&mut session, self.poller.key(), socket, attach);
            self.tell_detached(detached, Some(request.id));
        }
        self.sessions.push(session);
        Ok(Outcome::Ok { pid: init.pid, start_time: init.start_time, log_end: 0, log_file: 0, started_at: 0 })
    }

    fn acknowledge(&mut self) -> Result<Outcome, Failure> {
        match &self.phase {
            Phase::Running(container) if container.announced => {
                container.acknowledged();
                self.phase = Phase::Over;
                // An exec that has outlived the container is not waited for.
                self.sessions.iter_mut().for_each(Session::close_clients);
                Ok(DONE)
            }
            _ => Err(failure::state("the container has not ended")),
        }
    }

    fn tell_detached(&mut self, detached: Option<Detached>, exec: Option<String>) {
        if let Some(Detached(id)) = detached {
            self.controls.event(Event::Detached { id, exec });
        }
    }

    fn main_session(&mut self) -> Result<&mut Session, Failure> {
        self.session(None)
    }

    fn session(&mut self, exec: Option<&str>) -> Result<&mut Session, Failure> {
        let own = |session: &&mut Session| session.exec.as_deref() == exec;
        self.sessions
            .iter_mut()
            .find(own)
            .ok_or_else(|| failure::state(format!("no such exec: {}", exec.unwrap_or_default())))
    }
}

/// The name server's sockets, with a descriptor of the namespace they are in: the other one goes into the launch.
fn names_sockets(
    udp: Option<OwnedFd>,
    tcp: Option<OwnedFd>,
    netns: Option<&OwnedFd>,
) -> Result<Option<Sockets>, Failure> {
    let (Some(udp), Some(tcp), Some(netns)) = (udp, tcp, netns) else { return Ok(None) };
    let netns = netns.try_clone().map_err(|error| failure::setup("duplicate", "network namespace", &error))?;
    Ok(Some(Sockets { udp, tcp, netns }))
}

fn add_client(session: &mut Session, key: u64, socket: OwnedFd, mut attach: Attach) -> Option<Detached> {
    let input = std::mem::take(&mut attach.input);
    session.attach(Client::new(key, socket, attach), &input)
}
