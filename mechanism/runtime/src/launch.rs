//! Creating a container's init, and starting it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::termios::Winsize;
use rustix::thread::capabilities;
use tare_cgroup::MountSources;
use tare_oci_runtime::{Hooks, Linux, Process, Spec, State, Status};
use tare_sys::process::{clone, namespace};

use crate::child::{self, ChildStdio, InitTask, Task, Wait};
use crate::error::{Error, ErrorKind, Result};
use crate::hooks::{self, HookKind, Inside, Place};
use crate::plan::process::environment;
use crate::plan::{Given, Limits, Plan, ProcessPlan};
use crate::prepare::{self, Prepared, above};
use crate::step::{Context, Step};
use crate::talk::{Excursion, Request, Talk, Undumpable, basic_keep, keep_list, oom_score_adj, sockets};
use crate::user::{self, User, resolve_user};
use crate::{listener, netdevices, userns};

/// What it takes to create a container. [`Launch::new`] has the usual values.
#[derive(Debug)]
pub struct Launch<'a> {
    /// The container's name.
    pub id: &'a str,
    /// Its bundle directory: what relative paths of the specification start from.
    pub bundle: &'a Path,
    /// What it shall be.
    pub spec: &'a Spec,
    /// A detached mount (fsmount(2), open_tree(2)) that becomes `/`; `None`: the specification's root directory, with
    /// what is mounted below it.
    pub root: Option<OwnedFd>,
    /// Detached mounts (open_tree(2)), in place of the sources of the specification's bind mounts at these destinations.
    pub trees: Vec<(PathBuf, OwnedFd)>,
    /// A network namespace, in place of the specification's.
    pub netns: Option<OwnedFd>,
    /// Standard input, output and error.
    pub stdio: Stdio,
    /// How the init gets into its cgroup.
    pub cgroup: CgroupPlace<'a>,
    /// The container's cgroups, for mounts of type `cgroup`; `None`: those at `linux.cgroupsPath`.
    pub cgroup_mounts: Option<&'a MountSources>,
    /// Passed on as descriptors 3 and up.
    pub preserve_fds: Vec<OwnedFd>,
    /// A FIFO opened for reading and writing: the init waits for a byte from it, instead of for [`Created::start`], so
    /// that another process can start it.
    pub start_fifo: Option<OwnedFd>,
    /// chroot(2) into the root instead of pivot_root(2): for a host whose own root is an initramfs.
    pub no_pivot: bool,
    /// Do not make a session keyring.
    pub keep_keyring: bool,
    /// Bind mounts with options for attributes have those alone, as with mount(8); else the options are added to what the
    /// sources have, so that what the host has mounted `nosuid` stays so.
    pub binds_as_asked: bool,
}

impl<'a> Launch<'a> {
    /// A launch from the bundle alone.
    pub fn new(id: &'a str, bundle: &'a Path, spec: &'a Spec) -> Self {
        Self {
            id,
            bundle,
            spec,
            root: None,
            trees: Vec::new(),
            netns: None,
            stdio: Stdio::Inherit,
            cgroup: CgroupPlace::None,
            cgroup_mounts: None,
            preserve_fds: Vec::new(),
            start_fifo: None,
            no_pivot: false,
            keep_keyring: false,
            binds_as_asked: false,
        }
    }
}

/// Standard input, output and error of a process.
#[derive(Debug)]
pub enum Stdio {
    /// The caller's own.
    Inherit,
    /// These.
    Fds {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A new terminal of the container; its master comes back as `console`.
    Terminal {
        /// Rows and columns.
        size: Option<(u16, u16)>,
        /// Lines of its output end with a newline alone, which is for the terminal behind it to make two characters of.
        raw_newlines: bool,
    },
}

/// How a process gets into its cgroup.
#[derive(Debug, Clone, Copy)]
pub enum CgroupPlace<'a> {
    /// It stays in the caller's.
    None,
    /// The calling thread already is in it.
    Born,
    /// It is cloned into this directory (cgroup v2, `CLONE_INTO_CGROUP`).
    Into(BorrowedFd<'a>),
    /// It joins these directories by itself, one per hierarchy, before it does anything else. On v1 that takes it
    /// microseconds, where moving another process takes the kernel 10 ms; one of v2 beside them it is cloned into.
    Join(&'a [PathBuf]),
}

/// A container whose process waits right before execve(2). Dropping it kills the process.
pub struct Created {
    /// What it will be once it is started.
    pub init: Init,
    talk: Talk,
    process: ProcessPlan,
    hooks: Option<Box<OwnHooks>>,
}

/// What hooks need to know.
struct OwnHooks {
    hooks: Hooks,
    state: State,
    environment: Vec<String>,
}

/// A container's running init, or another process in it. The caller reaps it.
#[derive(Debug)]
pub struct Init {
    /// Its process ID in the caller's namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
    /// When it started, in clock ticks since boot.
    pub start_time: u64,
    /// The master of its terminal.
    pub console: Option<OwnedFd>,
}

/// Makes a container up to the point where only execve(2) is missing.
///
/// The calling thread is for a moment in namespaces that the container joins; if it cannot go back, the error says so,
/// and the caller should end.
pub fn create(launch: Launch<'_>) -> Result<Created> {
    let Launch { spec, bundle, .. } = launch;
    let specified = spec.process.as_ref().ok_or_else(|| Error::invalid("process: not specified"))?;
    let plan = plan(&launch)?;
    let root = prepare::root(launch.root, spec, bundle)?;
    let user = user(specified, || Ok(root.0.as_fd()))?;
    let user_namespace = plan.namespaces.has(namespace::USER);
    let limits = Limits { keep_keyring: launch.keep_keyring, init: true, ..limits(user_namespace)? };
    let process = ProcessPlan::new(launch.id, specified, &user, spec.linux.as_ref(), &limits)?;
    let prepared = Prepared::new(&plan, root, launch.trees, launch.netns, launch.cgroup_mounts, spec, launch.no_pivot)?;

    let floor = floor(&launch.preserve_fds)?;
    let preserve = all_above(launch.preserve_fds, floor)?;
    let stdio = child_stdio(launch.stdio, floor)?;
    let fifo = launch.start_fifo.map(|fifo| above(fifo, floor)).transpose()?;
    let host_proc = prepare::host_proc()?;
    let (own_socket, socket) = sockets(floor)?;
    let cgroup = prepare::open_place(&launch.cgroup, plan.namespaces.joins_user())?;
    let extra = fifo.iter().chain(&cgroup.files).chain([&host_proc]).map(AsRawFd::as_raw_fd);
    let keep = keep_list(basic_keep(&socket, streams(&stdio), &preserve).chain(prepared.descriptors()).chain(extra));
    let task = InitTask {
        common: Task {
            socket: socket.as_fd(),
            keep: &keep,
            process: &process,
            stdio: &stdio,
            preserve: &preserve,
            host_proc: host_proc.as_fd(),
            cgroup: &cgroup.files,
            wait: fifo.as_ref().map_or(Wait::Parent, |fifo| Wait::Fifo(fifo.as_fd())),
        },
        plan: &plan,
        prepared: &prepared,
    };
    let talk = start_child(&task, cgroup.directory(), own_socket)?;
    let (pid, pidfd) = identity(&talk)?;
    let root_place = prepared.root_place.clone();
    drop((socket, stdio, preserve, fifo, prepared));

    let none = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&none);
    if user_namespace {
        if !plan.namespaces.joins_user() {
            userns::write_maps(pid, &linux.uid_mappings, &linux.gid_mappings)?;
        }
        talk.go()?;
    }
    if plan.namespaces.create & namespace::NETWORK != 0 {
        netdevices::set_up_loopback(pid)?;
    }
    oom_score_adj(pid, process.oom_score_adj)?;
    let start_time = start_time(pid)?;
    let hooks = spec.hooks.as_ref().map(|hooks| {
        let environment = environment(&specified.env, &user).into_iter().map(str::to_owned).collect();
        Box::new(OwnHooks { hooks: hooks.clone(), state: state(launch.id, spec, pid, bundle), environment })
    });
    let context = Context { plan: Some(&plan), process: &process };
    let console = talk.until_ready(context, |request| match request {
        Request::Hooks => {
            netdevices::move_all(pid, &linux.net_devices)?;
            create_hooks(
                hooks.as_deref(),
                Place { container: pidfd.as_fd(), directory: Some(&root_place), inside: None },
            )
        }
        Request::MapIds(index, tree) => map_ids(&plan, usize::from(index), &tree),
        Request::Listener(fd) => {
            listener::hand_over(process.agent(), fd.as_fd(), pid, state(launch.id, spec, pid, bundle))
        }
    })?;
    Ok(Created { init: Init { pid, pidfd, start_time, console }, talk, process, hooks })
}

fn plan(launch: &Launch<'_>) -> Result<Plan> {
    let own_root = prepare::root_directory(launch.spec, launch.bundle).filter(|_| launch.root.is_none());
    let given =
        Given { root: own_root.as_deref(), network: launch.netns.is_some(), binds_as_asked: launch.binds_as_asked };
    let plan = Plan::new(launch.spec, launch.bundle, &given)?;
    if launch.no_pivot && plan.namespaces.joins(namespace::MOUNT) {
        return Err(Error::invalid(
            "no pivot: not in a mount namespace of others, who would lose what they have mounted",
        ));
    }
    Ok(plan)
}

impl Created {
    /// Lets the process execute its command; returns when it has.
    ///
    /// A command that was found but is no program (wrong architecture, missing interpreter) is not an error here: as
    /// with Docker, the process says so on its own standard error and exits with 255.
    ///
    /// [`HookKind::Poststart`] hooks are left to the caller, who ends the container if one fails.
    pub fn start(mut self) -> Result<Init> {
        if let Some(hooks) = &mut self.hooks {
            hooks.state.status = Status::Created;
            let inside = Some(Inside::new(self.init.pid, self.process.seccomp.as_ref()));
            let place = Place { container: self.init.pidfd.as_fd(), directory: None, inside };
            hooks.run(HookKind::StartContainer, Some(place))?;
        }
        self.talk.go()?;
        self.talk.until_executed(Context { plan: None, process: &self.process })?;
        Ok(self.init)
    }

    /// Leaves the process waiting for its FIFO ([`Launch::start_fifo`]), for another process to start.
    pub fn detach(mut self) -> Init {
        self.talk.cloned = None;
        self.init
    }
}

fn start_child(task: &InitTask<'_>, into: Option<BorrowedFd<'_>>, socket: OwnedFd) -> Result<Talk> {
    if task.plan.namespaces.joins_user() {
        let cloned = clone(0, None, |child| child::init_in_user_namespace(child, task, into));
        let talk = Talk::new(cloned.map_err(|errno| Error::os("clone3", "the container's init", errno))?, socket);
        return talk.with_sibling(Context { plan: Some(task.plan), process: task.common.process });
    }
    let mut excursion = Excursion::new();
    for (join, fd) in task.plan.namespaces.join.iter().zip(&task.prepared.joins) {
        if join.before {
            excursion.enter(fd.as_fd(), join.flag)?;
        }
    }
    let undumpable = task.plan.namespaces.join.iter().any(|join| join.flag == namespace::PID).then(Undumpable::new);
    let cloned = clone(task.plan.namespaces.create, into, |child| child::init(child, task));
    drop(undumpable);
    let talk = Talk::new(cloned.map_err(|errno| Error::os("clone3", "the container's init", errno))?, socket);
    excursion.end()?;
    Ok(talk)
}

/// The process ID and a pidfd of the caller's own.
pub(crate) fn identity(talk: &Talk) -> Result<(i32, OwnedFd)> {
    let cloned = talk.cloned.as_ref().ok_or_else(|| Error::invalid("the process is gone"))?;
    let pidfd = cloned.pidfd.try_clone().map_err(|error| Error::io("dup", "pidfd", &error))?;
    Ok((cloned.pid, pidfd))
}

/// The user of a process: resolved by name where the specification has one. `root` gives the container's root.
pub(crate) fn user<'a>(process: &Process, root: impl FnOnce() -> Result<BorrowedFd<'a>>) -> Result<User> {
    let own = &process.user;
    if !own.username.is_empty() {
        let by_number = own.additional_gids.iter().map(u32::to_string);
        let groups: Vec<String> = by_number.chain(own.additional_groups.iter().cloned()).collect();
        return resolve_user(root()?, &own.username, &groups);
    }
    // The last one counts.
    let own_home = process.env.iter().rev().find_map(|variable| variable.strip_prefix("HOME="));
    let has_home = own_home.is_some_and(|home| !home.is_empty());
    let home = if has_home { String::new() } else { user::home(root()?, own.uid)? };
    let mut user = User::new(own.uid, own.gid, &home);
    user.additional_gids.clone_from(&own.additional_gids);
    Ok(user)
}

pub(crate) fn limits(user_namespace: bool) -> Result<Limits> {
    use rustix::thread::CapabilitySet;
    let held = if user_namespace {
        // All of them, in there.
        CapabilitySet::from_bits_retain(!0)
    } else {
        capabilities(None).map_err(|errno| Error::os("capget", "own capabilities", errno))?.permitted
    };
    Ok(Limits { held_capabilities: held, keep_keyring: false, init: false })
}

/// The first number that is free in the child's final table.
pub(crate) fn floor(preserve: &[OwnedFd]) -> Result<RawFd> {
    RawFd::try_from(preserve.len() + 3).map_err(|_| Error::invalid("too many descriptors to preserve"))
}

pub(crate) fn all_above(fds: Vec<OwnedFd>, floor: RawFd) -> Result<Vec<OwnedFd>> {
    fds.into_iter().map(|fd| above(fd, floor)).collect()
}

pub(crate) fn child_stdio(stdio: Stdio, floor: RawFd) -> Result<ChildStdio> {
    Ok(match stdio {
        Stdio::Inherit => ChildStdio::Inherit,
        Stdio::Fds { stdin, stdout, stderr } => {
            ChildStdio::Fds([above(stdin, floor)?, above(stdout, floor)?, above(stderr, floor)?])
        }
        Stdio::Terminal { size, raw_newlines } => {
            let winsize = |(rows, columns)| Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            ChildStdio::Terminal { size: size.map(winsize), raw_newlines }
        }
    })
}

pub(crate) fn streams(stdio: &ChildStdio) -> &[OwnedFd] {
    match stdio {
        ChildStdio::Fds(fds) => fds,
        ChildStdio::Inherit | ChildStdio::Terminal { .. } => &[],
    }
}

fn state(id: &str, spec: &Spec, pid: i32, bundle: &Path) -> State {
    State {
        oci_version: spec.oci_version.clone(),
        id: id.to_owned(),
        status: Status::Creating,
        pid,
        bundle: bundle.to_owned(),
        annotations: spec.annotations.clone(),
    }
}

impl OwnHooks {
    fn run(&self, kind: HookKind, place: Option<Place<'_>>) -> Result<()> {
        hooks::run_list(kind, &self.hooks, &self.environment, &self.state, place)
    }
}

/// Maps the IDs of a mount that the child could make only now.
fn map_ids(plan: &Plan, index: usize, tree: &OwnedFd) -> Result<()> {
    let mount = plan.mounts.get(index).and_then(|mount| Some((&mount.target, mount.idmap.as_ref()?)));
    let (target, idmap) = mount.ok_or_else(|| Error::invalid("the container's init sent nonsense"))?;
    prepare::map_ids(tree, idmap).map_err(|errno| Error::os(Step::IdMap.text(), target, errno))
}

/// Those in the container's namespaces start in its root, where that is attached until it is moved into.
fn create_hooks(hooks: Option<&OwnHooks>, root: Place<'_>) -> Result<()> {
    let Some(hooks) = hooks else { return Ok(()) };
    hooks.run(HookKind::Prestart, None)?;
    hooks.run(HookKind::CreateRuntime, None)?;
    hooks.run(HookKind::CreateContainer, Some(root))
}

/// When a process started, in clock ticks since boot (field 22 of `/proc/PID/stat`): with the process ID and the boot
/// it says which process is meant.
pub fn start_time(pid: i32) -> Result<u64> {
    tare_sys::procfs::start_time(pid).map_err(|error| {
        let path = format!("/proc/{pid}/stat");
        if error.kind() == std::io::ErrorKind::InvalidData {
            return Error::invalid(format!("read `{path}`: malformed"));
        }
        let gone = error.kind() == std::io::ErrorKind::NotFound || error.raw_os_error() == Some(3);
        let kind = if gone { ErrorKind::State } else { ErrorKind::Setup };
        Error::new(kind, format!("read `{path}`: {error}"), None)
    })
}
