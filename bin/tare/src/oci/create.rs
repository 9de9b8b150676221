//! `create`, `start` and `run`.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use tare_cgroup::{Cgroup, Hierarchies, Version, plan};
use tare_oci_runtime::{Process, Spec, Status};
use tare_runtime::{CgroupPlace, Created, ErrorKind, HookKind, Init, Launch, Stdio, run_hooks};

use super::arguments::{Create, Run};
use super::descriptors::Preserved;
use super::store::{Container, Directory, Lock, Record, Store, replace};
use super::{control, debug, terminal, warn};

/// `create`
pub(super) fn create(store: &Store, options: &Create) -> anyhow::Result<()> {
    let preserved = Preserved::take(options.preserve_fds)?;
    let (new, _lock) = New::make(store, options)?;
    let result = new.launch(options, preserved, true).and_then(|created| {
        let init = created.detach();
        new.hand_out(&init, options).inspect_err(|_| control::end(init.pidfd.as_fd()))
    });
    result.inspect_err(|_| new.undo())
}

/// `start`
pub(super) fn start(store: &Store, id: &str) -> anyhow::Result<()> {
    let container = store.get(id)?;
    // Its hooks are run once.
    let lock = container.directory.lock_start()?;
    match container.status()? {
        Status::Created => {}
        Status::Stopped => bail!("cannot start a container that has stopped"),
        status => bail!("cannot start an already running container ({status:?})"),
    }
    let spec = container.spec()?;
    let pidfd = container.pidfd()?;
    let state = container.state(&spec, Status::Created);
    if let Err(error) = run_hooks(HookKind::StartContainer, &spec, &state, Some(pidfd.as_fd())) {
        control::end_init(&container)?;
        poststart_all_the_same(&container, &spec);
        // The specification wants it stopped and deleted.
        control::delete(store, id, true)?;
        return Err(error.into());
    }
    release(&container, &pidfd)?;
    drop(lock);
    let running = container.state(&spec, Status::Running);
    if let Err(error) = run_hooks(HookKind::Poststart, &spec, &running, None) {
        // The specification wants it stopped; deleting it is left to the caller.
        control::end_init(&container)?;
        return Err(error.into());
    }
    Ok(())
}

/// After startContainer hooks that have failed. The init of other runtimes runs these itself once it is released, so whoever
/// has released it goes on to the poststart hooks, and pairs of poststart and poststop hooks rely on that. That the start
/// has failed is told all the same.
fn poststart_all_the_same(container: &Container, spec: &Spec) {
    let state = container.state(spec, Status::Stopped);
    run_hooks(HookKind::Poststart, spec, &state, None).unwrap_or_else(|error| warn(&error.to_string()));
}

/// Writes to the FIFO and waits until the init has let go of it, which it does by being executed.
fn release(container: &Container, pidfd: &OwnedFd) -> anyhow::Result<()> {
    let path = container.directory.fifo();
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fifo = open(&path, flags, Mode::empty()).with_context(|| format!("open `{}`", path.display()))?;
    rustix::io::write(&fifo, b"0").with_context(|| format!("write `{}`", path.display()))?;
    let mut fds = [PollFd::new(&fifo, PollFlags::empty()), PollFd::new(pidfd, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, None)).context("wait for the container's init")?;
    fs::remove_file(&path).with_context(|| format!("remove `{}`", path.display()))
}

/// `run`
pub(super) fn run(store: &Store, options: &Run) -> anyhow::Result<i32> {
    let preserved = Preserved::take(options.create.preserve_fds)?;
    let (new, lock) = New::make(store, &options.create)?;
    // Blocked before there is anything to pass them to.
    let signals = if options.detach { None } else { Some(terminal::signals()?) };
    let created = new.launch(&options.create, preserved, false).and_then(|created| {
        new.hand_out(&created.init, &options.create)?;
        Ok(created)
    });
    let created = created.inspect_err(|_| new.undo())?;
    drop(lock);
    let container = store.get(&options.create.id)?;
    let mut init = match created.start() {
        Ok(init) => init,
        Err(error) => {
            if error.kind() == ErrorKind::Hook {
                poststart_all_the_same(&container, &new.spec);
            }
            control::delete(store, &options.create.id, true)?;
            return Err(error.into());
        }
    };
    let running = container.state(&new.spec, Status::Running);
    if let Err(error) = run_hooks(HookKind::Poststart, &new.spec, &running, None) {
        control::end(init.pidfd.as_fd());
        control::delete(store, &options.create.id, true)?;
        return Err(error.into());
    }
    let Some(signals) = signals else { return Ok(0) };
    let result = terminal::attend(init.pid, init.pidfd.as_fd(), init.console.take(), &signals);
    if result.is_err() {
        control::end(init.pidfd.as_fd());
    }
    if !options.keep {
        control::delete(store, &options.create.id, true)?;
    }
    result
}

/// Waits for a child's end; returns its exit code, or 128 and the signal.
pub(super) fn wait(pidfd: impl AsFd) -> anyhow::Result<i32> {
    const SIGNAL: i32 = 128;
    let status = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED))
        .context("wait for the process")?
        .context("the process is not ours")?;
    let signal = || status.terminating_signal().unwrap_or_default() + SIGNAL;
    Ok(status.exit_status().unwrap_or_else(signal))
}

/// A container on its way.
struct New {
    id: String,
    bundle: PathBuf,
    spec: Spec,
    directory: Directory,
    cgroup: Cgroup,
}

impl New {
    fn make(store: &Store, options: &Create) -> anyhow::Result<(Self, Lock)> {
        let bundle =
            fs::canonicalize(&options.bundle).with_context(|| format!("find bundle `{}`", options.bundle.display()))?;
        let path = bundle.join("config.json");
        let json = fs::read(&path).with_context(|| format!("read `{}`", path.display()))?;
        let spec = Spec::from_slice(&json).with_context(|| format!("parse `{}`", path.display()))?;
        check(&spec, options)?;
        debug_seccomp(&spec);
        let hierarchies = Hierarchies::detect_hybrid()?;
        let cgroup = Cgroup::open(&hierarchies, &group_path(&spec, &options.id));
        let directory = store.add(&options.id)?;
        let lock = directory.lock()?;
        if let Err(error) = vacant(&cgroup) {
            // The group is somebody else's and stays.
            directory.remove()?;
            return Err(error);
        }
        let new = Self { id: options.id.clone(), bundle, spec, directory, cgroup };
        new.prepare(&hierarchies, &json).inspect_err(|_| new.undo())?;
        Ok((new, lock))
    }

    fn prepare(&self, hierarchies: &Hierarchies, json: &[u8]) -> anyhow::Result<()> {
        // First, for whoever has to clear up after us.
        self.directory.write_spec(json)?;
        Cgroup::create(hierarchies, self.cgroup.path())?;
        let resources = self.spec.linux.as_ref().and_then(|linux| linux.resources.clone()).unwrap_or_default();
        Ok(self.cgroup.apply(&plan(&resources, self.cgroup.version())?)?)
    }

    /// Creates the init: waiting for the FIFO, or for [`Created::start`].
    fn launch(&self, options: &Create, preserved: Preserved, fifo: bool) -> anyhow::Result<Created> {
        let mounts = self.cgroup.mount_sources();
        let (joined, directory) = match self.cgroup.version() {
            Version::V1 => (self.cgroup.directories().into_iter().map(|(_, path)| path).collect(), None),
            Version::V2 => (Vec::new(), Some(self.cgroup.fd_v2()?)),
        };
        let cgroup =
            directory.as_ref().map_or(CgroupPlace::Join(&joined), |directory| CgroupPlace::Into(directory.as_fd()));
        let mut spec = self.spec.clone();
        if let Some(process) = &mut spec.process {
            process.env.extend(preserved.environment());
            warn_unknown(process);
        }
        let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
        // One that is carried here goes through our own, if that is one.
        let raw_newlines = options.console_socket.is_none();
        let launch = Launch {
            stdio: if terminal { Stdio::Terminal { size: size(&spec), raw_newlines } } else { Stdio::Inherit },
            cgroup,
            cgroup_mounts: Some(&mounts),
            preserve_fds: preserved.fds,
            start_fifo: if fifo { Some(make_fifo(&self.directory.fifo())?) } else { None },
            no_pivot: options.no_pivot,
            keep_keyring: options.no_new_keyring,
            binds_as_asked: true,
            ..Launch::new(&self.id, &self.bundle, &spec)
        };
        // In the words of the runtime whose logs are read for them.
        debug(|| format!("nsexec container setup: cgroup {}", self.cgroup.path()));
        let created = tare_runtime::create(launch)?;
        debug(|| format!("child process in init(): {}", created.init.pid));
        Ok(created)
    }

    /// Remembers the container, and hands out what the caller asked for.
    fn hand_out(&self, init: &Init, options: &Create) -> anyhow::Result<()> {
        let record = Record {
            id: self.id.clone(),
            pid: init.pid,
            start_time: init.start_time,
            bundle: self.bundle.clone(),
            created: jiff::Timestamp::now().to_string(),
            cgroup: self.cgroup.path().to_owned(),
        };
        // Nothing runs from here on that nobody could end.
        self.directory.write_record(&record)?;
        if let (Some(socket), Some(console)) = (&options.console_socket, &init.console) {
            terminal::send(socket, console.as_fd())?;
        }
        if let Some(socket) = &options.pidfd_socket {
            terminal::send_pidfd(socket, init.pidfd.as_fd())?;
        }
        debug(|| "init: closing the pipe to signal completion".to_owned());
        write_pid(options.pid_file.as_deref(), init.pid)
    }

    /// Leaves nothing of a container that did not come to be.
    fn undo(&self) {
        for result in [self.cgroup.remove().map_err(Into::into), self.directory.remove()] {
            result.unwrap_or_else(|error| warn(&error.to_string()));
        }
    }
}

/// Where the specification wants the group; else as other runtimes name it.
pub(super) fn group_path(spec: &Spec, id: &str) -> String {
    let path = spec.linux.as_ref().map(|linux| linux.cgroups_path.as_str()).filter(|path| !path.is_empty());
    path.map_or_else(|| format!("/{id}"), str::to_owned)
}

/// The container has its group for itself, and its init must not stand still in it for ever.
fn vacant(cgroup: &Cgroup) -> anyhow::Result<()> {
    if !cgroup.all_procs()?.is_empty() {
        bail!("container's cgroup is not empty: `{}`", cgroup.path());
    }
    if cgroup.freezes_newcomers()? {
        bail!("container's cgroup unexpectedly frozen: `{}`", cgroup.path());
    }
    Ok(())
}

fn check(spec: &Spec, options: &Create) -> anyhow::Result<()> {
    if spec.process.is_none() {
        bail!("config.json: no process");
    }
    if spec.oci_version.is_empty() {
        bail!("config.json: no ociVersion");
    }
    let major = spec.oci_version.split('.').next().unwrap_or_default();
    if major != "1" {
        bail!("config.json: ociVersion `{}` is not supported", spec.oci_version);
    }
    let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
    if !terminal && options.console_socket.is_some() {
        bail!("cannot use console socket if runtime will not detach or allocate tty");
    }
    Ok(())
}

/// The flags that the filter is attached with.
pub(super) fn debug_seccomp(spec: &Spec) {
    if let Some(profile) = spec.linux.as_ref().and_then(|linux| linux.seccomp.as_ref()) {
        debug(|| match tare_seccomp::compile(profile) {
            Ok(program) => format!("seccomp filter flags: {}", program.flags),
            Err(error) => format!("seccomp: {error}"),
        });
    }
}

fn size(spec: &Spec) -> Option<(u16, u16)> {
    let size = spec.process.as_ref()?.console_size.as_ref()?;
    Some((size.height, size.width))
}

/// Capabilities that nobody knows are left out, and ambient ones that cannot be; the specification wants that said.
pub(super) fn warn_unknown(process: &Process) {
    let Some(sets) = &process.capabilities else { return };
    let known: Vec<String> = tare_runtime::capability_names().collect();
    let all = [&sets.bounding, &sets.effective, &sets.permitted, &sets.inheritable, &sets.ambient];
    let mut unknown: Vec<&str> =
        all.into_iter().flatten().filter(|name| !known.contains(name)).map(String::as_str).collect();
    unknown.sort_unstable();
    unknown.dedup();
    if !unknown.is_empty() {
        warn(&format!("ignoring unknown or unavailable capabilities: [{}]", unknown.join(" ")));
    }
    // The kernel raises only those that are permitted and inheritable.
    let can_be_raised = |name: &String| sets.permitted.contains(name) && sets.inheritable.contains(name);
    for name in sets.ambient.iter().filter(|name| known.contains(name) && !can_be_raised(name)) {
        warn(&format!("can't raise ambient capability {name}: operation not permitted"));
    }
}

fn make_fifo(path: &Path) -> anyhow::Result<OwnedFd> {
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, path, FileType::Fifo, mode, 0).with_context(|| format!("make `{}`", path.display()))?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).with_context(|| format!("open `{}`", path.display()))
}

pub(super) fn write_pid(path: Option<&Path>, pid: i32) -> anyhow::Result<()> {
    path.map_or(Ok(()), |path| replace(path, pid.to_string().as_bytes()))
}
