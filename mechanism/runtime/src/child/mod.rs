//! What runs between clone3 and execve: a walk over the plan. Nothing here allocates, locks or prints (see
//! `tare_sys::process`); a failure goes over the socket as step, index and errno.
//!
//! Read in this order: this file (the two kinds of children), [`mounts`] with [`paths`], [`over`], [`dev`], [`terminal`],
//! [`copy`], [`hide`], then [`enter`], and [`process`], the way from there to execve.

pub(crate) mod copy;
pub(crate) mod dev;
mod enter;
mod hide;
pub(crate) mod mounts;
mod over;
pub(crate) mod paths;
pub(crate) mod process;
pub(crate) mod terminal;

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::termios::Winsize;
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces};
use tare_sys::process::{Child, namespace};

use crate::plan::{Plan, ProcessPlan};
use crate::prepare::Prepared;
use crate::step::{Failure, Report, Step};

/// What both kinds of children need.
pub(crate) struct Task<'a> {
    /// To the parent, `SOCK_SEQPACKET`.
    pub(crate) socket: BorrowedFd<'a>,
    /// Every descriptor that the child may use, in ascending order.
    pub(crate) keep: &'a [RawFd],
    pub(crate) process: &'a ProcessPlan,
    pub(crate) stdio: &'a ChildStdio,
    /// Become descriptors 3 and up. All descriptors that live to the end have numbers above theirs.
    pub(crate) preserve: &'a [OwnedFd],
    /// The host's `/proc`.
    pub(crate) host_proc: BorrowedFd<'a>,
    /// Files that take the child to its cgroups when it writes to them.
    pub(crate) cgroup: &'a [OwnedFd],
    /// How the process waits before execve.
    pub(crate) wait: Wait<'a>,
}

/// Standard input, output and error of a child.
pub(crate) enum ChildStdio {
    Inherit,
    Fds([OwnedFd; 3]),
    Terminal { size: Option<Winsize>, raw_newlines: bool },
}

/// What a child waits for before execve.
#[derive(Clone, Copy)]
pub(crate) enum Wait<'a> {
    Nothing,
    /// A byte from the parent.
    Parent,
    /// A byte through a FIFO, from whoever opens it.
    Fifo(BorrowedFd<'a>),
}

/// The init of a container.
pub(crate) struct InitTask<'a> {
    pub(crate) common: Task<'a>,
    pub(crate) plan: &'a Plan,
    pub(crate) prepared: &'a Prepared,
}

/// Another process in a container.
pub(crate) struct ExecTask<'a> {
    pub(crate) common: Task<'a>,
    pub(crate) target: BorrowedFd<'a>,
    /// Those of the descriptors to keep that are not the host's, in ascending order.
    pub(crate) keep_inside: &'a [RawFd],
    /// Namespaces of the target to enter.
    pub(crate) namespaces: u32,
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

pub(crate) fn at(step: Step) -> impl Fn(Errno) -> Failure {
    move |errno| Failure { step, index: 0, errno }
}

pub(crate) fn nth(step: Step, index: usize) -> impl Fn(Errno) -> Failure {
    let index = u16::try_from(index).unwrap_or(u16::MAX);
    move |errno| Failure { step, index, errno }
}

/// Runs the init of a container; returns its exit status if it cannot be executed.
pub(crate) fn init(child: &Child, task: &InitTask<'_>) -> i32 {
    let Err(failure) = become_init(child, task);
    give_up(&task.common, failure)
}

/// Joins an existing user namespace, clones the init of a container there and tells the parent of it.
pub(crate) fn init_in_user_namespace(child: &Child, task: &InitTask<'_>, cgroup: Option<BorrowedFd<'_>>) -> i32 {
    match clone_in_user_namespace(child, task, cgroup) {
        Ok(()) => 0,
        Err(failure) => give_up(&task.common, failure),
    }
}

fn clone_in_user_namespace(child: &Child, task: &InitTask<'_>, cgroup: Option<BorrowedFd<'_>>) -> Outcome {
    undumpable()?;
    let namespaces = &task.plan.namespaces;
    for (index, (join, fd)) in namespaces.join.iter().zip(&task.prepared.joins).enumerate() {
        move_into_link_name_space(fd.as_fd(), link_type(join.flag)).map_err(nth(Step::Join, index))?;
    }
    // It took new credentials, and with these its memory is open to the others in there.
    undumpable()?;
    let sibling = child.clone_sibling(namespaces.create, cgroup, |child| init(child, task));
    let sibling = sibling.map_err(at(Step::Sibling))?;
    let report = Report::Sibling(sibling.pid).encode();
    tare_sys::socket::send_with_fds(task.common.socket, &report, &[sibling.pidfd.as_fd()]).map_err(at(Step::Sibling))
}

/// Runs another process in a container.
pub(crate) fn exec(child: &Child, task: &ExecTask<'_>) -> i32 {
    let Err(failure) = become_exec(child, task);
    give_up(&task.common, failure)
}

fn give_up(task: &Task<'_>, failure: Failure) -> i32 {
    let _ = send(task.socket, Report::Failed(failure));
    1
}

/// write(2) and read(2), which no profile forbids that lets anything run: the filter may be in force already.
pub(crate) fn send(socket: BorrowedFd<'_>, report: Report) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::io::write(socket, &report.encode())).map(drop)
}

/// Waits for a byte.
pub(crate) fn receive(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    match rustix::io::retry_on_intr(|| rustix::io::read(fd, &mut [0u8; 1][..]))? {
        0 => Err(Errno::PIPE),
        _ => Ok(()),
    }
}

fn become_init(child: &Child, task: &InitTask<'_>) -> Outcome<Infallible> {
    let common = &task.common;
    let user_namespace = task.plan.namespaces.has(namespace::USER);
    if !user_namespace {
        undumpable()?;
    }
    child.close_all_but(0, common.keep).map_err(at(Step::CloseInherited))?;
    if user_namespace {
        receive(common.socket).map_err(at(Step::AwaitParent))?;
        map_root()?;
        undumpable()?;
    }
    join_cgroup(common)?;
    enter_namespaces(task)?;
    rustix::process::setsid().map_err(at(Step::Session))?;
    keyring(common.process)?;
    if !task.plan.hostname.is_empty() {
        rustix::system::sethostname(&task.plan.hostname).map_err(at(Step::Hostname))?;
    }
    if !task.plan.domainname.is_empty() {
        rustix::system::setdomainname(&task.plan.domainname).map_err(at(Step::Domainname))?;
    }
    rustix::process::umask(Mode::empty());
    let terminal = mounts::set_up(task)?;
    for (index, sysctl) in task.plan.sysctls.iter().enumerate() {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        write_proc(common.host_proc, &sysctl.path, resolve, &sysctl.value).map_err(nth(Step::Sysctl, index))?;
    }
    label(common)?;
    enter::enter_root(task)?;
    process::finish(child, common, terminal)
}

fn become_exec(child: &Child, task: &ExecTask<'_>) -> Outcome<Infallible> {
    let common = &task.common;
    undumpable()?;
    child.close_all_but(0, common.keep).map_err(at(Step::CloseInherited))?;
    join_cgroup(common)?;
    label(common)?;
    // From here on the container's processes may look at this one: nothing of the host stays open.
    child.close_all_but(0, task.keep_inside).map_err(at(Step::CloseInherited))?;
    let namespaces = ThreadNameSpaceType::from_bits_retain(task.namespaces);
    move_into_thread_name_spaces(task.target, namespaces).map_err(at(Step::Enter))?;
    if task.namespaces & namespace::USER != 0 {
        map_root()?;
    }
    undumpable()?;
    rustix::process::setsid().map_err(at(Step::Session))?;
    keyring(common.process)?;
    let terminal = match common.stdio {
        ChildStdio::Terminal { size, raw_newlines } => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open(c"/", flags, Mode::empty()).map_err(at(Step::OpenTerminal))?;
            Some(terminal::open(common, root.as_fd(), *size, *raw_newlines)?)
        }
        ChildStdio::Inherit | ChildStdio::Fds(_) => None,
    };
    process::finish(child, common, terminal)
}

fn undumpable() -> Outcome {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at(Step::Dumpable))
}

/// A process that enters a user namespace has no ID there until it takes one.
fn map_root() -> Outcome {
    let (uid, gid) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(at(Step::MapRoot))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(at(Step::MapRoot))
}

/// `0` in `tasks` of cgroup v1 is the writing thread. For that the kernel needs no lock; for any other number, or in
/// `cgroup.procs`, it needs one that takes it about 10 ms to get.
fn join_cgroup(task: &Task<'_>) -> Outcome {
    for (index, file) in task.cgroup.iter().enumerate() {
        rustix::io::retry_on_intr(|| rustix::io::write(file, b"0")).map_err(nth(Step::JoinCgroup, index))?;
    }
    Ok(())
}

fn enter_namespaces(task: &InitTask<'_>) -> Outcome {
    let namespaces = &task.plan.namespaces;
    for (index, (join, fd)) in namespaces.join.iter().zip(&task.prepared.joins).enumerate() {
        if !join.before {
            move_into_link_name_space(fd.as_fd(), link_type(join.flag)).map_err(nth(Step::Join, index))?;
        }
    }
    if namespaces.unshare != 0 {
        tare_sys::thread::unshare(namespaces.unshare).map_err(at(Step::Unshare))?;
    }
    if !namespaces.time_offsets.is_empty() {
        // The file belongs to root of the host while this process is undumpable, which in a user namespace is somebody
        // else. Nobody is in there yet who could look.
        let user_namespace = namespaces.has(namespace::USER);
        if user_namespace {
            set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(at(Step::Dumpable))?;
        }
        let text = namespaces.time_offsets.as_bytes();
        write_proc(task.common.host_proc, c"self/timens_offsets", ResolveFlags::BENEATH, text)
            .map_err(at(Step::TimeOffsets))?;
        if user_namespace {
            undumpable()?;
        }
    }
    Ok(())
}

pub(crate) fn link_type(flag: u32) -> Option<LinkNameSpaceType> {
    Some(match flag {
        namespace::CGROUP => LinkNameSpaceType::ControlGroup,
        namespace::IPC => LinkNameSpaceType::InterProcessCommunication,
        namespace::NETWORK => LinkNameSpaceType::Network,
        namespace::MOUNT => LinkNameSpaceType::Mount,
        namespace::PID => LinkNameSpaceType::ProcessID,
        namespace::TIME => LinkNameSpaceType::Time,
        namespace::UTS => LinkNameSpaceType::HostNameAndNISDomainName,
        namespace::USER => LinkNameSpaceType::User,
        _ => return None,
    })
}

/// A session keyring of the container's own, where the kernel has keyrings and the user's quota allows one.
fn keyring(process: &ProcessPlan) -> Outcome {
    let Some(name) = &process.keyring else { return Ok(()) };
    match tare_sys::thread::join_session_keyring(name) {
        Ok(()) | Err(Errno::NOSYS | Errno::DQUOT) => Ok(()),
        Err(errno) => Err(at(Step::Keyring)(errno)),
    }
}

fn label(task: &Task<'_>) -> Outcome {
    let Some(label) = &task.process.label else { return Ok(()) };
    write_proc(task.host_proc, label.file, ResolveFlags::BENEATH, &label.value).map_err(at(Step::Label))
}

/// Writes to a file of procfs, of which `proc` is the mount: what may be mounted over it is not crossed.
fn write_proc(proc: BorrowedFd<'_>, path: &std::ffi::CStr, resolve: ResolveFlags, value: &[u8]) -> Result<(), Errno> {
    let file = tare_sys::scoped::open(proc, path, OFlags::WRONLY, resolve | ResolveFlags::NO_XDEV)?;
    let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, value))?;
    if written == value.len() { Ok(()) } else { Err(Errno::IO) }
}
