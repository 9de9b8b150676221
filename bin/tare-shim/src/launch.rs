//! `Launch`: from a bundle directory to a running container.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use tare_cgroup::{Cgroup, Plan, plan};
use tare_logs::Writer;
use tare_oci_runtime::{NamespaceKind, Process, Resources, Spec};
use tare_runtime::{CgroupPlace, Created, Init, Launch, Stdio};
use tare_shim_protocol::{CONFIG_NAME, Failure, SPEC_NAME, STATE_NAME, ShimConfig, ShimState, VERSION};

use crate::container::Container;
use crate::launcher::Launcher;
use crate::memory::MemoryWatch;
use crate::place::{Place, Prepared};
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
    let loaded = match load(bundle, host) {
        Ok(loaded) => loaded,
        Err(failure) => {
            place.abandon();
            return Err(failure);
        }
    };
    let path = loaded.spec.linux.as_ref().map_or("", |linux| linux.cgroups_path.as_str());
    let prepared = place.prepare(path, &loaded.config.id).map_err(|error| failure::cgroup(&error))?;
    let group = prepared.group.clone();
    let private_pids =
        loaded.spec.namespace(NamespaceKind::Pid).is_some_and(|namespace| namespace.path.as_os_str().is_empty());
    let limited = limits_memory(&loaded.spec);
    session.terminal = loaded.process().is_some_and(|process| process.terminal);
    session.stdin_once = loaded.config.stdin_once;
    session.log = Some(loaded.log);
    let input = loaded.config.open_stdin;
    let id = loaded.config.id.clone();
    let started = start(bundle, given, loaded.spec, loaded.config, prepared, session.terminal);
    let started = started.and_then(|(init, ends)| connect(init, ends, input, session));
    let init = match started {
        Ok(init) => init,
        Err(failure) => {
            // Its processes are gone: a failed child has been reaped, a started one killed.
            let _ = group.kill_all(rustix::process::Signal::KILL.as_raw());
            let _ = group.remove();
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
        id,
        bundle: bundle.to_owned(),
        group,
        pid: init.pid,
        pidfd: init.pidfd,
        private_pids,
        memory: MemoryWatch::new(limited),
        oom_score: host.oom_score,
        exit: None,
        announced: false,
    };
    Ok(Started { container, pid: init.pid, start_time: init.start_time })
}

/// What the bundle says, and the log, which is the likeliest to fail.
struct Loaded {
    spec: Spec,
    config: ShimConfig,
    log: Writer,
}

impl Loaded {
    fn process(&self) -> Option<&Process> {
        self.spec.process.as_ref()
    }
}

fn load(bundle: &Path, host: &Host) -> Result<Loaded, Failure> {
    let mut spec = load_spec(bundle)?;
    let path = bundle.join(CONFIG_NAME);
    let config: ShimConfig = serde_json::from_slice(&read_file(&path)?)
        .map_err(|error| failure::setup("parse", path.display(), &error.into()))?;
    let log =
        Writer::open(&config.log).map_err(|error| failure::setup("open log", config.log.path.display(), &error))?;
    if let (Some(process), Some(score)) = (&mut spec.process, host.oom_score) {
        process.oom_score_adj.get_or_insert(score);
    }
    Ok(Loaded { spec, config, log })
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

fn limits_memory(spec: &Spec) -> bool {
    let resources = spec.linux.as_ref().and_then(|linux| linux.resources.as_ref());
    resources.and_then(|resources| resources.memory.as_ref()).is_some_and(|memory| memory.limit.is_some())
}

/// Limits, clone, the rest of the limits, execution.
fn start(
    bundle: &Path,
    given: Given,
    spec: Spec,
    config: ShimConfig,
    prepared: Prepared,
    terminal: bool,
) -> Result<(Init, Ends), Failure> {
    let Prepared { group, launcher } = prepared;
    let created = create(bundle, given, spec, config, &group, launcher.as_ref(), terminal);
    // The thread counts as one of the container's processes while it is in the group.
    if let Some(launcher) = launcher {
        launcher.end();
    }
    let (created, ends, rest) = created?;
    group.apply(&rest).map_err(|error| failure::cgroup(&error))?;
    let init = created.start().map_err(|error| failure::runtime(&error))?;
    Ok((init, ends))
}

fn create(
    bundle: &Path,
    given: Given,
    spec: Spec,
    config: ShimConfig,
    group: &Cgroup,
    launcher: Option<&Launcher>,
    terminal: bool,
) -> Result<(Created, Ends, Plan), Failure> {
    let none = Resources::default();
    let resources = spec.linux.as_ref().and_then(|linux| linux.resources.as_ref()).unwrap_or(&none);
    let mut limits = plan(resources, group.version()).map_err(|error| failure::cgroup(&error))?;
    let rest = limits.split_off("pids");
    group.apply(&limits).map_err(|error| failure::cgroup(&error))?;
    let (stdio, ends) = if terminal {
        (Stdio::Terminal { size: config.size }, Ends::default())
    } else {
        ends::pipes(config.open_stdin).map_err(|error| failure::setup("pipe", &config.id, &error))?
    };
    let directory = match launcher {
        Some(_) => None,
        None => Some(group.fd_v2().map_err(|error| failure::cgroup(&error))?),
    };
    let bundle = bundle.to_owned();
    let mounts = group.mount_sources();
    let work = move || {
        tare_runtime::create(Launch {
            root: given.root,
            netns: given.netns,
            stdio,
            cgroup: directory.as_ref().map_or(CgroupPlace::Born, |directory| CgroupPlace::Into(directory.as_fd())),
            cgroup_mounts: Some(&mounts),
            ..Launch::new(&config.id, &bundle, &spec)
        })
    };
    let created = match launcher {
        Some(launcher) => launcher.run(work).ok_or_else(|| failure::state("the launcher thread is gone"))?,
        None => work(),
    };
    let created = created.map_err(|error| failure::runtime(&error))?;
    Ok((created, ends, rest))
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
