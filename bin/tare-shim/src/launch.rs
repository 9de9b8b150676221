//! `Launch`: from a bundle directory to a running container.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use tare_cgroup::{Cgroup, Plan, Version, plan};
use tare_logs::Writer;
use tare_oci_runtime::{Namespace, NamespaceKind, Resources, Spec};
use tare_runtime::{CgroupPlace, Created, Init, Launch, Stdio};
use tare_shim_protocol::{CONFIG_NAME, Failure, SPEC_NAME, STATE_NAME, ShimConfig, ShimState, VERSION};

use crate::container::Container;
use crate::memory::MemoryWatch;
use crate::place::{Ground, Place};
use crate::session::{Ends, Session};
use crate::{clock, ends, failure, record};

/// Most bytes of a file read from the bundle. The largest, `config.json` with a seccomp profile, has some ten thousand.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What the daemon gives with the request.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub root: Option<OwnedFd>,
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
}

/// Starts the container of a bundle with its streams connected to `session`. After a failure nothing is left but the
/// bundle.
pub(crate) fn launch(
    bundle: &Path,
    given: Given,
    place: Place,
    host: &Host,
    session: &mut Session,
) -> Result<Started, Failure> {
    let Place { launcher, ground } = place;
    let (path, oom_score) = (bundle.to_owned(), host.oom_score);
    let made = launcher.finish(move || (make(&path, given, &ground, oom_score), ground));
    let Some((made, ground)) = made else { return Err(failure::state("the launcher thread has panicked")) };
    ground.clean();
    let (made, group) = match made {
        Ok(made) => made,
        Err(Failed { failure, group }) => {
            remove(group);
            return Err(failure);
        }
    };
    let facts = made.facts;
    session.terminal = facts.terminal;
    session.stdin_once = facts.stdin_once;
    session.log = Some(made.log);
    let init = start(made.created, &made.limits, &group);
    let init = match init.and_then(|init| connect(init, made.ends, facts.open_stdin, session)) {
        Ok(init) => init,
        Err(failure) => {
            remove(Some(group));
            return Err(failure);
        }
    };
    let state = ShimState {
        version: VERSION,
        boot_id: host.boot_id.clone(),
        shim_pid: rustix::process::getpid().as_raw_nonzero().get(),
        pid: init.pid,
        start_time: init.start_time,
        started_at: clock::now_ns(),
    };
    // If it cannot be written, a daemon that comes back learns the rest from us.
    let _ = record::write(bundle, STATE_NAME, &state);
    let container = Container {
        id: facts.id,
        bundle: bundle.to_owned(),
        group,
        pid: init.pid,
        pidfd: init.pidfd,
        private_pids: facts.private_pids,
        memory: MemoryWatch::new(facts.limits_memory),
        oom_score: host.oom_score,
        exit: None,
        announced: false,
    };
    Ok(Started { container, pid: init.pid, start_time: init.start_time })
}

/// A container that waits right before its execution.
struct Made {
    created: Created,
    ends: Ends,
    /// Limits for which the thread must have left.
    limits: Plan,
    log: Writer,
    facts: Facts,
}

/// What is needed of the bundle afterwards.
struct Facts {
    id: String,
    terminal: bool,
    open_stdin: bool,
    stdin_once: bool,
    private_pids: bool,
    limits_memory: bool,
}

impl Facts {
    fn new(spec: &Spec, config: &ShimConfig) -> Self {
        let own = |namespace: &Namespace| namespace.path.as_os_str().is_empty();
        let memory = resources(spec).and_then(|resources| resources.memory.as_ref());
        Self {
            id: config.id.clone(),
            terminal: spec.process.as_ref().is_some_and(|process| process.terminal),
            open_stdin: config.open_stdin,
            stdin_once: config.stdin_once,
            private_pids: spec.namespace(NamespaceKind::Pid).is_some_and(own),
            limits_memory: memory.is_some_and(|memory| memory.limit.is_some()),
        }
    }
}

/// A start that has failed, and the group to remove when the thread has left it.
struct Failed {
    failure: Failure,
    group: Option<Cgroup>,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, group: None }
    }
}

/// On the launcher thread: everything up to the execution.
fn make(bundle: &Path, given: Given, ground: &Ground, oom_score: Option<i32>) -> Result<(Made, Cgroup), Failed> {
    let mut spec = load_spec(bundle)?;
    let path = bundle.join(CONFIG_NAME);
    let config: ShimConfig = serde_json::from_slice(&read_file(&path)?)
        .map_err(|error| failure::setup("parse", path.display(), &error.into()))?;
    // What is likeliest to fail comes first.
    let log =
        Writer::open(&config.log).map_err(|error| failure::setup("open log", config.log.path.display(), &error))?;
    if let (Some(process), Some(score)) = (&mut spec.process, oom_score) {
        process.oom_score_adj.get_or_insert(score);
    }
    let cgroups_path = spec.linux.as_ref().map_or("", |linux| linux.cgroups_path.as_str());
    let (group, joined) = ground.group(cgroups_path, &config.id).map_err(|error| failure::cgroup(&error))?;
    let entered = if joined { Ok(()) } else { ground.enter(&group) };
    let created =
        entered.map_err(|error| failure::cgroup(&error)).and_then(|()| create(bundle, given, &spec, &config, &group));
    match created {
        Ok((created, ends, limits)) => {
            Ok((Made { created, ends, limits, log, facts: Facts::new(&spec, &config) }, group))
        }
        Err(failure) => Err(Failed { failure, group: Some(group) }),
    }
}

/// A failed start's group: a failed child has been reaped, a started one killed, so it is empty, or about to be.
fn remove(group: Option<Cgroup>) {
    if let Some(group) = group {
        // What stays is found by the daemon, by its name.
        let _ = group.remove();
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
        let mut bytes = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > FILE_BYTES_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    };
    read().map_err(|error| failure::setup("read", path.display(), &error))
}

fn resources(spec: &Spec) -> Option<&Resources> {
    spec.linux.as_ref().and_then(|linux| linux.resources.as_ref())
}

/// Limits, and the clone.
fn create(
    bundle: &Path,
    given: Given,
    spec: &Spec,
    config: &ShimConfig,
    group: &Cgroup,
) -> Result<(Created, Ends, Plan), Failure> {
    let cgroup = |error| failure::cgroup(&error);
    let none = Resources::default();
    let mut limits = plan(resources(spec).unwrap_or(&none), group.version()).map_err(cgroup)?;
    // The thread counts as one of the container's processes while it is in the group.
    let later = limits.split_off("pids");
    group.apply(&limits).map_err(cgroup)?;
    let (stdio, ends) = if spec.process.as_ref().is_some_and(|process| process.terminal) {
        (Stdio::Terminal { size: config.size }, Ends::default())
    } else {
        ends::pipes(config.open_stdin).map_err(|error| failure::setup("pipe", &config.id, &error))?
    };
    let directory = match group.version() {
        Version::V1 => None,
        Version::V2 => Some(group.fd_v2().map_err(cgroup)?),
    };
    let mounts = group.mount_sources();
    let created = tare_runtime::create(Launch {
        root: given.root,
        netns: given.netns,
        stdio,
        cgroup: directory.as_ref().map_or(CgroupPlace::Born, |directory| CgroupPlace::Into(directory.as_fd())),
        cgroup_mounts: Some(&mounts),
        ..Launch::new(&config.id, bundle, spec)
    });
    Ok((created.map_err(|error| failure::runtime(&error))?, ends, later))
}

/// The rest of the limits, and the execution.
fn start(created: Created, limits: &Plan, group: &Cgroup) -> Result<Init, Failure> {
    group.apply(limits).map_err(|error| failure::cgroup(&error))?;
    created.start().map_err(|error| failure::runtime(&error))
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
