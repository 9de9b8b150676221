//! `Launch`: from a bundle directory to a running container.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tare_cgroup::{Cgroup, Version, plan};
use tare_logs::Writer;
use tare_oci_runtime::{Namespace, NamespaceKind, Resources, Spec};
use tare_runtime::{CgroupPlace, Created, Init, Launch, Stdio};
use tare_shim_protocol::{CONFIG_NAME, EXIT_NAME, Failure, SPEC_NAME, STATE_NAME, ShimConfig, ShimState, VERSION};

use crate::bundle::Bundle;
use crate::container::Container;
use crate::memory::MemoryWatch;
use crate::place::{Ground, Place};
use crate::session::{Ends, Session};
use crate::{clock, ends, failure, record};

/// Most bytes of a file read from the bundle. The largest, `config.json` with a seccomp profile, has some ten thousand.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Bytes for the path of a cgroup; with a longer one we are some bytes larger.
const PATH_BYTES: usize = 256;

/// What the daemon gives with the request.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub root: Option<OwnedFd>,
    /// For bind mounts, by destination.
    pub trees: Vec<(PathBuf, OwnedFd)>,
    pub netns: Option<OwnedFd>,
}

/// What a shim knows before.
#[derive(Debug)]
pub(crate) struct Host {
    pub boot_id: String,
    /// `oom_score_adj` for processes whose specification does not say one: what we had before we lowered ours.
    pub oom_score: Option<i32>,
}

/// A container that has been started.
#[derive(Debug)]
pub(crate) struct Started {
    pub container: Container,
    pub pid: i32,
    pub start_time: u64,
    /// Nanoseconds since the epoch, as in its state record.
    pub started_at: i64,
    /// Where its name server's answers are.
    pub names: Option<PathBuf>,
}

/// Starts the container of a bundle with its streams connected to `session`. After a failure nothing is left but the
/// bundle.
pub(crate) fn launch(
    bundle: Bundle,
    given: Given,
    place: Place,
    host: &Host,
    session: &mut Session,
) -> Result<Started, Failure> {
    let (config, log) = match open(bundle.path()) {
        Ok(opened) => opened,
        Err(failure) => {
            place.abandon();
            return Err(bundle.named(failure));
        }
    };
    let Place { launcher, ground } = place;
    let hierarchies = ground.hierarchies.clone();
    let plan = Plan {
        bundle: bundle.path().to_owned(),
        name: bundle.name().to_owned(),
        config: config.clone(),
        oom_score: host.oom_score,
    };
    // Allocated here, so that nothing that stays is in the thread's heap.
    let mut path = String::with_capacity(PATH_BYTES);
    let result = launcher.finish(move || {
        let result = plan.carry_out(given, &ground, &mut path);
        (result, ground, path)
    });
    let Some((result, ground, path)) = result else {
        return Err(failure::state("the launcher thread has panicked"));
    };
    // The thread has left.
    ground.clean();
    let group = Cgroup::open(&hierarchies, &path);
    let connected = result.and_then(|made| {
        session.terminal = made.terminal;
        session.stdin_once = config.stdin_once;
        session.log = Some(log);
        let init = connect(made.init, made.ends, config.open_stdin, session)?;
        Ok((init, made.private_pids, made.limits_memory))
    });
    let (init, private_pids, limits_memory) = match connected {
        Ok(connected) => connected,
        Err(failure) => {
            if !path.is_empty() {
                // The init, if it was started, is the only process that is not dead.
                let _ = group.kill_all(Signal::KILL.as_raw());
                let _ = group.remove();
            }
            return Err(bundle.named(failure));
        }
    };
    let state = state(host, &init);
    // If it cannot be written, a daemon that comes back learns the rest from us.
    let _ = record::write(bundle.path(), STATE_NAME, &state);
    let container = Container {
        id: config.id,
        bundle,
        group,
        pid: init.pid,
        pidfd: init.pidfd,
        private_pids,
        memory: MemoryWatch::new(limits_memory),
        oom_score: host.oom_score,
        exit: None,
        announced: false,
    };
    let (pid, start_time, started_at) = (state.pid, state.start_time, state.started_at);
    Ok(Started { container, pid, start_time, started_at, names: config.dns })
}

/// What a daemon that comes back has to know.
fn state(host: &Host, init: &Init) -> ShimState {
    ShimState {
        version: VERSION,
        boot_id: host.boot_id.clone(),
        shim_pid: rustix::process::getpid().as_raw_nonzero().get(),
        pid: init.pid,
        start_time: init.start_time,
        started_at: clock::now_ns(),
    }
}

/// The part of the bundle that is ours, room for what we have to write there, and the log, which is the likeliest to fail.
fn open(bundle: &Path) -> Result<(ShimConfig, Writer), Failure> {
    let path = bundle.join(CONFIG_NAME);
    let config: ShimConfig = serde_json::from_slice(&read_file(&path)?)
        .map_err(|error| failure::setup("parse", path.display(), &error.into()))?;
    for name in [STATE_NAME, EXIT_NAME] {
        record::reserve(bundle, name)
            .map_err(|error| failure::setup("reserve", bundle.join(name).display(), &error))?;
    }
    let log =
        Writer::open(&config.log).map_err(|error| failure::setup("open log", config.log.path.display(), &error))?;
    Ok((config, log))
}

/// What the launcher thread is to do.
struct Plan {
    bundle: PathBuf,
    /// What the daemon calls it: for hooks, and for a root that is relative to it.
    name: PathBuf,
    config: ShimConfig,
    oom_score: Option<i32>,
}

/// A container that runs; nothing in here is on the heap.
struct Made {
    init: Init,
    ends: Ends,
    terminal: bool,
    private_pids: bool,
    limits_memory: bool,
}

impl Plan {
    /// From the specification to the execution. `group` becomes the path of the group that has been made, if one has.
    fn carry_out(&self, given: Given, ground: &Ground, group: &mut String) -> Result<Made, Failure> {
        let cgroup = |error| failure::cgroup(&error);
        let mut spec = load_spec(&self.bundle)?;
        if let (Some(process), Some(score)) = (&mut spec.process, self.oom_score) {
            process.oom_score_adj.get_or_insert(score);
        }
        let path = spec.linux.as_ref().map_or("", |linux| linux.cgroups_path.as_str());
        let (own, joined) = ground.group(path, &self.config.id).map_err(cgroup)?;
        group.push_str(own.path());
        if !joined {
            ground.enter(&own).map_err(cgroup)?;
        }
        let none = Resources::default();
        let resources = spec.linux.as_ref().and_then(|linux| linux.resources.as_ref()).unwrap_or(&none);
        let mut limits = plan(resources, own.version()).map_err(cgroup)?;
        // One process may be all that is allowed, and until the init is cloned this thread is that.
        let pids = limits.split_off("pids");
        own.apply(&limits).map_err(cgroup)?;
        let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
        let (created, ends) = self.create(given, &spec, terminal, &own)?;
        if !pids.steps.is_empty() {
            // In force, and what the container reads, before its first instruction.
            own.take_out_current_thread("pids").map_err(cgroup)?;
            own.apply(&pids).map_err(cgroup)?;
        }
        let init = created.start().map_err(|error| failure::runtime(&error))?;
        let own = |namespace: &Namespace| namespace.path.as_os_str().is_empty();
        Ok(Made {
            init,
            ends,
            terminal,
            private_pids: spec.namespace(NamespaceKind::Pid).is_some_and(own),
            limits_memory: resources.memory.as_ref().is_some_and(|memory| memory.limit.is_some()),
        })
    }

    fn create(&self, given: Given, spec: &Spec, terminal: bool, group: &Cgroup) -> Result<(Created, Ends), Failure> {
        let Self { config, name, .. } = self;
        let (stdio, ends) = if terminal {
            let size = spec.process.as_ref().and_then(|process| process.console_size.as_ref());
            let size = size.map(|size| (size.height, size.width));
            (Stdio::Terminal { size, raw_newlines: false }, Ends::default())
        } else {
            ends::pipes(config.open_stdin).map_err(|error| failure::setup("pipe", &config.id, &error))?
        };
        let directory = match group.version() {
            Version::V1 => None,
            Version::V2 => Some(group.fd_v2().map_err(|error| failure::cgroup(&error))?),
        };
        let mounts = group.mount_sources();
        let created = tare_runtime::create(Launch {
            root: given.root,
            trees: given.trees,
            netns: given.netns,
            stdio,
            cgroup: directory.as_ref().map_or(CgroupPlace::Born, |directory| CgroupPlace::Into(directory.as_fd())),
            cgroup_mounts: Some(&mounts),
            ..Launch::new(&config.id, name, spec)
        });
        Ok((created.map_err(|error| failure::runtime(&error))?, ends))
    }
}

/// Reads a bundle's specification.
pub(crate) fn load_spec(bundle: &Path) -> Result<Spec, Failure> {
    let path = bundle.join(SPEC_NAME);
    Spec::from_slice(&read_file(&path)?).map_err(|error| failure::setup("parse", path.display(), &error.into()))
}

/// Reads a file of the bundle.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = || {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        if size > FILE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        // One byte more, so that the end is seen without growing.
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|error| failure::setup("read", path.display(), &error))
}

/// Connects the session to our ends of the streams.
pub(crate) fn connect(init: Init, ends: Ends, input: bool, session: &mut Session) -> Result<Init, Failure> {
    let Init { pid, pidfd, start_time, console } = init;
    let connected = match console {
        Some(console) => ends::terminal(console, input),
        None => Ok(ends),
    };
    connected
        .and_then(|ends| session.connect(ends))
        .map_err(|error| failure::setup("connect streams of process", pid, &error))?;
    session.process = crate::session::Process::Running(pid);
    Ok(Init { pid, pidfd, start_time, console: None })
}
