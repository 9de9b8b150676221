//! Running another process in a container.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, statat};
use tare_oci_runtime::{Process, Spec, State, Status};
use tare_sys::process::{clone, namespace};

use crate::child::{self, ExecTask, Task, Wait};
use crate::error::{Error, ErrorKind, Result};
use crate::launch::{CgroupPlace, Init, Stdio, child_stdio, floor, identity, limits, start_time, streams, user};
use crate::listener;
use crate::plan::ProcessPlan;
use crate::prepare::{OpenedPlace, host_proc, is_alive, open_place, root_of};
use crate::step::Context;
use crate::talk::{Affinity, Excursion, Request, Talk, Undumpable, basic_keep, keep_list, oom_score_adj, sockets};

/// The container that a process is to run in.
#[derive(Debug, Clone, Copy)]
pub struct ExecTarget<'a> {
    /// The container's name.
    pub id: &'a str,
    /// Process ID of its init.
    pub pid: i32,
    /// The init's pidfd.
    pub pidfd: BorrowedFd<'a>,
    /// What the container is: the system call filter and personality apply to the process as well.
    pub spec: &'a Spec,
    /// Its bundle directory.
    pub bundle: &'a Path,
    /// How the process gets into the container's cgroup.
    pub cgroup: CgroupPlace<'a>,
    /// Passed on as descriptors 3 and up.
    pub preserve_fds: &'a [BorrowedFd<'a>],
}

/// Runs a process in all of a container's namespaces; returns when it has been executed.
///
/// The calling thread's children are for a moment born into the container's process namespace; if that cannot be taken
/// back, the error says so, and the caller should end.
pub fn exec(target: &ExecTarget<'_>, process: &Process, stdio: Stdio) -> Result<Init> {
    if !is_alive(target.pidfd) {
        return Err(not_running());
    }
    let namespaces = foreign_namespaces(target.pid)?;
    let root;
    let user = match root_of(target.pid) {
        Ok(fd) => {
            root = fd;
            user(process, || Ok(root.as_fd()))?
        }
        Err(_) if !is_alive(target.pidfd) => return Err(not_running()),
        Err(error) => return Err(error),
    };
    let user_namespace = namespaces & namespace::USER != 0;
    let plan = ProcessPlan::new(target.id, process, &user, target.spec.linux.as_ref(), &limits(user_namespace)?)?;

    let floor = floor_of(target)?;
    let preserve = target.preserve_fds.iter().map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, floor));
    let preserve =
        preserve.collect::<Result<Vec<_>, _>>().map_err(|errno| Error::os("dup", "descriptor to preserve", errno))?;
    let stdio = child_stdio(stdio, floor)?;
    let host_proc = host_proc()?;
    let (own_socket, socket) = sockets(floor)?;
    let basic = || basic_keep(&socket, streams(&stdio), &preserve).chain([target.pidfd.as_raw_fd()]);
    let keep_inside = keep_list(basic());
    let cgroup = open_place(&target.cgroup, false)?;
    let keep = keep_list(basic().chain(cgroup.files.iter().chain([&host_proc]).map(AsRawFd::as_raw_fd)));
    // A program that looks must find the score that it is to have.
    let waits = plan.oom_score_adj.is_some();
    let task = ExecTask {
        common: Task {
            socket: socket.as_fd(),
            keep: &keep,
            process: &plan,
            stdio: &stdio,
            preserve: &preserve,
            host_proc: host_proc.as_fd(),
            cgroup: &cgroup.files,
            wait: if waits { Wait::Parent } else { Wait::Nothing },
        },
        target: target.pidfd,
        keep_inside: &keep_inside,
        namespaces,
    };
    let talk = start_child(target, &task, &cgroup, own_socket)?;
    let (pid, pidfd) = identity(&talk)?;
    drop(socket);

    let start_time = start_time(pid)?;
    oom_score_adj(pid, plan.oom_score_adj)?;
    let context = Context { plan: None, process: &plan };
    let state = || State {
        oci_version: target.spec.oci_version.clone(),
        id: target.id.to_owned(),
        status: Status::Running,
        pid: target.pid,
        bundle: target.bundle.to_owned(),
        annotations: target.spec.annotations.clone(),
    };
    let console = talk.until_ready(context, |request| match request {
        Request::Listener(fd) => listener::hand_over(plan.agent(), fd.as_fd(), pid, state()),
        Request::Hooks | Request::MapIds(..) => Ok(()),
    })?;
    if waits {
        talk.go()?;
    }
    talk.until_executed(context)?;
    Ok(Init { pid, pidfd, start_time, console })
}

fn not_running() -> Error {
    Error::new(ErrorKind::State, "the container's init is not running", None)
}

fn floor_of(target: &ExecTarget<'_>) -> Result<i32> {
    let own = floor(&[])?;
    let more = i32::try_from(target.preserve_fds.len()).ok().and_then(|count| own.checked_add(count));
    more.ok_or_else(|| Error::invalid("too many descriptors to preserve"))
}

fn start_child(
    target: &ExecTarget<'_>,
    task: &ExecTask<'_>,
    cgroup: &OpenedPlace<'_>,
    socket: std::os::fd::OwnedFd,
) -> Result<Talk> {
    let mut excursion = Excursion::new();
    let undumpable = Undumpable::new();
    excursion.enter_of_process(target.pid)?;
    let affinity = task.common.process.first_affinity.as_ref().map(Affinity::new).transpose()?;
    let cloned = clone(0, cgroup.directory(), |child| child::exec(child, task));
    drop((undumpable, affinity));
    let talk = Talk::new(cloned.map_err(|errno| Error::os("clone3", "the process", errno))?, socket);
    excursion.end()?;
    Ok(talk)
}

/// Which namespaces of a process are to be entered: all but its process namespace, where the child is born, and those
/// that it shares with us and that cannot be entered again.
fn foreign_namespaces(pid: i32) -> Result<u32> {
    let mut all = namespace::MOUNT | namespace::NETWORK | namespace::IPC | namespace::UTS | namespace::CGROUP;
    for (file, flag) in [("user", namespace::USER), ("time", namespace::TIME)] {
        let inode = |path: String| statat(CWD, path.as_str(), AtFlags::empty()).map(|stat| stat.st_ino);
        let own = inode(format!("/proc/thread-self/ns/{file}"));
        let theirs = inode(format!("/proc/{pid}/ns/{file}"));
        match (own, theirs) {
            (Ok(own), Ok(theirs)) if own != theirs => all |= flag,
            (Ok(_), Err(_)) => return Err(not_running()),
            _ => {}
        }
    }
    Ok(all)
}
