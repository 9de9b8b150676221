//! Hooks: programs that the specification has run at points of the container's life. They get the container's state as
//! JSON on standard input.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use tare_oci_runtime::{Hook, Hooks, Spec, State};
use tare_sys::process::{Child, Cloned, Strings, clone};

use crate::error::{Error, ErrorKind, Result};
use crate::launch::user;
use crate::plan::mounts::c_string;
use crate::plan::process::environment;
use crate::plan::process::{Filter, seccomp};
use crate::prepare::root_of;
use crate::talk::{Excursion, Undumpable, end};

/// Points of a container's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookKind {
    /// The old name of `CreateRuntime`.
    Prestart,
    /// The namespaces and mounts are there; runs in the runtime's namespaces.
    CreateRuntime,
    /// As above, but runs in the container's namespaces.
    CreateContainer,
    /// Before the process is executed; runs in the container.
    StartContainer,
    /// After the process was started.
    Poststart,
    /// After the container was deleted.
    Poststop,
}

impl HookKind {
    fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }

    /// What runs in the container has the container's environment, unless it has its own.
    fn has_environment_of_process(self) -> bool {
        self == Self::StartContainer
    }

    fn list(self, hooks: &Hooks) -> &[Hook] {
        match self {
            Self::Prestart => &hooks.prestart,
            Self::CreateRuntime => &hooks.create_runtime,
            Self::CreateContainer => &hooks.create_container,
            Self::StartContainer => &hooks.start_container,
            Self::Poststart => &hooks.poststart,
            Self::Poststop => &hooks.poststop,
        }
    }
}

/// Bytes of a hook's standard error that are passed on in an error.
const STDERR_BYTES_MAX: u64 = 4096;

/// Runs the hooks of a kind in order; stops at the first that fails ([`ErrorKind::Hook`]), except that all
/// [`HookKind::Poststop`] hooks are run and their errors collected. `container` is the init's pidfd, for those that run in
/// the container's namespaces ([`HookKind::CreateContainer`], [`HookKind::StartContainer`]).
pub fn run_hooks(kind: HookKind, spec: &Spec, state: &State, container: Option<BorrowedFd<'_>>) -> Result<()> {
    let Some(hooks) = &spec.hooks else { return Ok(()) };
    let own = match &spec.process {
        Some(process) if kind.has_environment_of_process() && !kind.list(hooks).is_empty() => {
            let root = root_of(state.pid)?;
            let user = user(process, || Ok(root.as_fd()))?;
            environment(&process.env, &user).into_iter().map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    let inside = kind == HookKind::StartContainer && !kind.list(hooks).is_empty();
    let filter = if inside { seccomp(spec.linux.as_ref())? } else { None };
    let inside = inside.then(|| Inside::new(state.pid, filter.as_ref()));
    let place = container.map(|container| Place { container, directory: None, inside });
    run_list(kind, hooks, &own, state, place)
}

/// Where a hook runs that does not run in the runtime's namespaces.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Its init's pidfd.
    pub(crate) container: BorrowedFd<'a>,
    /// Working directory in its mount namespace, if it is not the root of that.
    pub(crate) directory: Option<&'a CStr>,
    /// It is one of the container's processes.
    pub(crate) inside: Option<Inside<'a>>,
}

/// What a hook that is one of the container's processes has in common with its init.
#[derive(Clone, Copy)]
pub(crate) struct Inside<'a> {
    /// The init, whose process namespace it is.
    pub(crate) pid: i32,
    /// The filter of system calls.
    pub(crate) filter: Option<&'a Filter>,
}

impl<'a> Inside<'a> {
    /// With a filter that leaves calls to an agent, the hook would wait for answers that nobody gives: it has none then.
    pub(crate) fn new(pid: i32, filter: Option<&'a Filter>) -> Self {
        Self { pid, filter: filter.filter(|filter| filter.agent.is_none()) }
    }
}

pub(crate) fn run_list(
    kind: HookKind,
    hooks: &Hooks,
    environment: &[String],
    state: &State,
    place: Option<Place<'_>>,
) -> Result<()> {
    let go_on = kind == HookKind::Poststop;
    let mut failed: Vec<String> = Vec::new();
    for (index, hook) in kind.list(hooks).iter().enumerate() {
        let own = if kind.has_environment_of_process() && hook.env.is_empty() { environment } else { &hook.env };
        if let Err(reason) = run(hook, own, state, place) {
            failed.push(format!("error running {} hook #{index}: `{}`: {reason}", kind.name(), hook.path.display()));
        }
        if !failed.is_empty() && !go_on {
            break;
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Hook, failed.join("; "), None)) }
}

fn run(hook: &Hook, environment: &[String], state: &State, place: Option<Place<'_>>) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let json = serde_json::to_vec(state).map_err(|error| error.to_string())?;
    let mut input = memory()?;
    input.write_all(&json).and_then(|()| input.seek(SeekFrom::Start(0))).map_err(text)?;
    let mut output = memory()?;
    let path = c_string(hook.path.as_os_str().as_encoded_bytes()).map_err(|error| error.to_string())?;
    let argv = if hook.args.is_empty() { vec![path.clone()] } else { strings(&hook.args)? };
    let program = Program { path, argv: Strings::new(argv), envp: Strings::new(strings(environment)?) };
    let streams = [input.as_fd(), output.as_fd()];
    let child = start(place, |child| become_hook(child, &program, streams, place))?;
    match wait(&child, hook.timeout) {
        Ok(()) => Ok(()),
        Err(reason) => {
            let mut message = Vec::new();
            let _ = output.seek(SeekFrom::Start(0));
            let _ = output.take(STDERR_BYTES_MAX).read_to_end(&mut message);
            let message = String::from_utf8_lossy(&message);
            Err(if message.is_empty() { reason } else { format!("{reason}: {}", message.trim_end()) })
        }
    }
}

/// Clones a hook, into the process namespace of the container if that is where it belongs.
fn start(place: Option<Place<'_>>, hook: impl Fn(&Child) -> i32) -> Result<Cloned, String> {
    let fail = |errno| format!("clone3: {}", crate::error::name(errno));
    let Some(inside) = place.and_then(|place| place.inside) else { return clone(0, None, hook).map_err(fail) };
    let mut excursion = Excursion::new();
    excursion.enter_of_process(inside.pid).map_err(|error| error.to_string())?;
    let undumpable = Undumpable::new();
    let child = clone(0, None, hook).map_err(fail);
    drop(undumpable);
    if let Err(error) = excursion.end() {
        if let Ok(child) = &child {
            end(child.pidfd.as_fd());
        }
        return Err(error.to_string());
    }
    child
}

struct Program {
    path: CString,
    argv: Strings,
    envp: Strings,
}

fn memory() -> Result<File, String> {
    let fd = memfd_create(c"hook", MemfdFlags::CLOEXEC);
    fd.map(File::from).map_err(|errno| format!("memfd_create: {}", crate::error::name(errno)))
}

fn strings(all: &[String]) -> Result<Vec<CString>, String> {
    all.iter().map(|text| c_string(text.as_str()).map_err(|error| error.to_string())).collect()
}

/// Runs in the child: no allocation.
fn become_hook(
    child: &Child,
    program: &Program,
    [input, output]: [BorrowedFd<'_>; 2],
    place: Option<Place<'_>>,
) -> i32 {
    const FAILED: i32 = 126;
    if let Some(Place { container, directory, .. }) = place {
        let namespaces = ThreadNameSpaceType::MOUNT
            | ThreadNameSpaceType::NETWORK
            | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
            | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
            | ThreadNameSpaceType::CONTROL_GROUP;
        if let Err(errno) = move_into_thread_name_spaces(container, namespaces) {
            let _ = rustix::io::write(output, b"setns: ");
            let _ = rustix::io::write(output, crate::error::name(errno).as_bytes());
            return FAILED;
        }
        if let Some(Err(errno)) = directory.map(rustix::process::chdir) {
            let _ = rustix::io::write(output, b"chdir: ");
            let _ = rustix::io::write(output, crate::error::name(errno).as_bytes());
            return FAILED;
        }
    }
    let placed = child.duplicate_to(input, 0).is_ok()
        && child.duplicate_to(output, 1).is_ok()
        && child.duplicate_to(output, 2).is_ok()
        && child.close_all_but(3, &[]).is_ok();
    let filter = place.and_then(|place| place.inside).and_then(|inside| inside.filter);
    let filtered = filter.is_none_or(|filter| tare_sys::seccomp::attach(&filter.instructions, filter.flags).is_ok());
    if placed && filtered {
        let errno = child.execute(&program.path, &program.argv, &program.envp);
        let _ = rustix::io::write(rustix::stdio::stderr(), crate::error::name(errno).as_bytes());
    }
    FAILED
}

fn wait(child: &Cloned, timeout: Option<i64>) -> Result<(), String> {
    /// `SIGSYS`: what a filter ends a process with.
    const FORBIDDEN: i32 = 31;
    let limit = timeout.filter(|seconds| *seconds > 0).map(|seconds| Timespec { tv_sec: seconds, tv_nsec: 0 });
    let mut fds = [PollFd::from_borrowed_fd(child.pidfd.as_fd(), PollFlags::IN)];
    let ended = rustix::io::retry_on_intr(|| poll(&mut fds, limit.as_ref()));
    if ended == Ok(0) {
        end(child.pidfd.as_fd());
        return Err(format!("killed after {} s", timeout.unwrap_or_default()));
    }
    let status = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED).ok().flatten();
    match status.as_ref().map(|status| (status.exit_status(), status.terminating_signal())) {
        Some((Some(0), _)) => Ok(()),
        Some((Some(code), _)) => Err(format!("exit status {code}")),
        Some((_, Some(FORBIDDEN))) => Err(format!("signal {FORBIDDEN}: bad system call")),
        Some((_, Some(signal))) => Err(format!("signal {signal}")),
        _ => Err(format!("lost (pidfd {})", child.pidfd.as_raw_fd())),
    }
}
