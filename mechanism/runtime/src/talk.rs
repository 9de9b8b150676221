//! The parent's side: the clone itself, and the conversation with the child until it is executed.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{
    DumpableBehavior, PidfdGetfdFlags, Signal, WaitId, WaitIdOptions, dumpable_behavior, pidfd_getfd,
    pidfd_send_signal, set_dumpable_behavior, waitid,
};
use rustix::thread::{CpuSet, move_into_link_name_space, sched_getaffinity, sched_setaffinity};
use tare_sys::process::{Cloned, namespace};

use crate::child::link_type;
use crate::error::{Error, Result};
use crate::prepare::above;
use crate::step::{Context, REPORT_BYTES, Report};

/// Both ends of the conversation; the child's has a number of at least `floor`.
pub(crate) fn sockets(floor: RawFd) -> Result<(OwnedFd, OwnedFd)> {
    let (own, childs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .map_err(|errno| Error::os("socketpair", "unix", errno))?;
    Ok((own, above(childs, floor)?))
}

/// What a child needs its parent for on its way.
pub(crate) enum Request {
    /// The mounts are there: what is to be done then, the hooks among it.
    Hooks,
    /// Hand over the notification descriptor of the filter.
    Listener(OwnedFd),
    /// Map the IDs of this mount.
    MapIds(u16, OwnedFd),
}

/// A child that has been cloned and not executed yet. Dropping it ends the child.
pub(crate) struct Talk {
    pub(crate) cloned: Option<Cloned>,
    socket: OwnedFd,
}

impl Talk {
    pub(crate) fn new(cloned: Cloned, socket: OwnedFd) -> Self {
        Self { cloned: Some(cloned), socket }
    }

    /// Lets the child go on.
    pub(crate) fn go(&self) -> Result<()> {
        rustix::net::send(&self.socket, &[1], rustix::net::SendFlags::NOSIGNAL)
            .map(drop)
            .map_err(|errno| Error::os("send", "the container's init", errno))
    }

    /// The next report and the descriptor with it; `None` when the child has been executed or has ended.
    pub(crate) fn next(&self, context: Context<'_>) -> Result<Option<(Report, Option<OwnedFd>)>> {
        let mut buffer = [0; REPORT_BYTES];
        let (length, fds) = tare_sys::socket::recv_with_fds(&self.socket, &mut buffer)
            .map_err(|errno| Error::os("receive", "the container's init", errno))?;
        if length == 0 {
            return Ok(None);
        }
        match Report::decode(buffer.get(..length).unwrap_or_default()) {
            Some(Report::Failed(failure)) => Err(failure.render(context)),
            Some(report) => Ok(Some((report, fds.into_iter().next()))),
            None => Err(Error::invalid("the container's init sent nonsense")),
        }
    }

    /// Waits for the process that the child clones in a user namespace: the talk goes on with that.
    pub(crate) fn with_sibling(mut self, context: Context<'_>) -> Result<Self> {
        let next = self.next(context)?;
        let Some((Report::Sibling(pid), Some(pidfd))) = next else { return Err(self.ended()) };
        if let Some(child) = self.cloned.replace(Cloned { pid, pidfd }) {
            // It has nothing more to do than to end.
            let _ = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED);
        }
        Ok(self)
    }

    /// Waits until the child has said that it is ready; returns its terminal. On the way, `serve` does what it
    /// asks for.
    pub(crate) fn until_ready(
        &self,
        context: Context<'_>,
        mut serve: impl FnMut(Request) -> Result<()>,
    ) -> Result<Option<OwnedFd>> {
        let mut console = None;
        loop {
            match self.next(context)? {
                Some((Report::Ready, _)) => return Ok(console),
                Some((Report::Terminal, master)) => console = master,
                Some((Report::Hooks, _)) => {
                    serve(Request::Hooks)?;
                    self.go()?;
                }
                Some((Report::Listener(number), _)) => {
                    serve(Request::Listener(self.descriptor(number)?))?;
                    self.go()?;
                }
                Some((Report::MapIds(index), Some(tree))) => {
                    serve(Request::MapIds(index, tree))?;
                    self.go()?;
                }
                Some((Report::Failed(_) | Report::Sibling(_) | Report::MapIds(_), _)) => {}
                None => return Err(self.ended()),
            }
        }
    }

    /// The child's descriptor with this number.
    fn descriptor(&self, number: RawFd) -> Result<OwnedFd> {
        let cloned = self.cloned.as_ref().ok_or_else(|| Error::invalid("the process is gone"))?;
        pidfd_getfd(&cloned.pidfd, number, PidfdGetfdFlags::empty())
            .map_err(|errno| Error::os("pidfd_getfd", "seccomp listener", errno))
    }

    /// Waits until a child that was ready has been executed.
    pub(crate) fn until_executed(mut self, context: Context<'_>) -> Result<Cloned> {
        while self.next(context)?.is_some() {}
        self.cloned.take().ok_or_else(|| Error::invalid("the process is gone"))
    }

    /// Why a child ended that had not said it was ready.
    fn ended(&self) -> Error {
        const KILLED: i32 = 9;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = self.cloned.as_ref().and_then(|cloned| waitid(WaitId::PidFd(cloned.pidfd.as_fd()), options).ok());
        match status.flatten().and_then(|status| status.terminating_signal()) {
            Some(KILLED) => Error::invalid("the process was killed while it was prepared (memory limit too low?)"),
            Some(signal) => Error::invalid(format!("the process was ended by signal {signal} while it was prepared")),
            None => {
                Error::invalid("the process ended while it was prepared (does the seccomp profile allow read, write?)")
            }
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        if let Some(cloned) = &self.cloned {
            end(cloned.pidfd.as_fd());
        }
    }
}

/// Kills and reaps a child.
pub(crate) fn end(pidfd: BorrowedFd<'_>) {
    let _ = pidfd_send_signal(pidfd, Signal::KILL);
    let _ = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED);
}

/// The parent's part in `oom_score_adj`: the child may not be able to.
pub(crate) fn oom_score_adj(pid: i32, value: Option<i32>) -> Result<()> {
    let Some(value) = value else { return Ok(()) };
    let path = format!("/proc/{pid}/oom_score_adj");
    let hint = |error: &std::io::Error| {
        let denied = error.raw_os_error() == Some(13) || error.raw_os_error() == Some(1);
        if denied { " (lowering it needs CAP_SYS_RESOURCE)" } else { "" }
    };
    OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(value.to_string().as_bytes()))
        .map_err(|error| Error::io(format!("write {value}{}", hint(&error)), &path, &error))
}

/// Namespaces that the calling thread is in for the moment of a clone. Dropping it goes back.
pub(crate) struct Excursion {
    back: Vec<(OwnedFd, u32)>,
}

impl Excursion {
    pub(crate) fn new() -> Self {
        Self { back: Vec::new() }
    }

    /// Enters one namespace. For a process namespace that means: the children of this thread.
    pub(crate) fn enter(&mut self, fd: BorrowedFd<'_>, flag: u32) -> Result<()> {
        let file = match flag {
            namespace::PID => "pid",
            namespace::NETWORK => "net",
            namespace::IPC => "ipc",
            namespace::UTS => "uts",
            namespace::CGROUP => "cgroup",
            _ => return Err(Error::invalid("this kind of namespace cannot be entered for a clone")),
        };
        let path = format!("/proc/thread-self/ns/{file}");
        let own = openat(CWD, path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::os("open", &path, errno))?;
        move_into_link_name_space(fd, link_type(flag)).map_err(|errno| Error::os("setns", file, errno))?;
        self.back.push((own, flag));
        Ok(())
    }

    pub(crate) fn enter_of_process(&mut self, pid: i32) -> Result<()> {
        let path = format!("/proc/{pid}/ns/pid");
        let fd = openat(CWD, path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::os("open", &path, errno))?;
        self.enter(fd.as_fd(), namespace::PID)
    }

    /// Goes back.
    pub(crate) fn end(mut self) -> Result<()> {
        self.go_back()
    }

    fn go_back(&mut self) -> Result<()> {
        let mut result = Ok(());
        for (own, flag) in self.back.drain(..).rev() {
            if let Err(errno) = move_into_link_name_space(own.as_fd(), link_type(flag)) {
                result = Err(Error::os("setns", "the runtime's own namespace", errno));
            }
        }
        result
    }
}

impl Drop for Excursion {
    fn drop(&mut self) {
        let _ = self.go_back();
    }
}

/// A child in another process namespace can be seen there before its first instruction: it must be born undumpable.
pub(crate) struct Undumpable(bool);

impl Undumpable {
    pub(crate) fn new() -> Self {
        let was = matches!(dumpable_behavior(), Ok(DumpableBehavior::Dumpable));
        if was {
            let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        }
        Self(was)
    }
}

impl Drop for Undumpable {
    fn drop(&mut self) {
        if self.0 {
            let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
        }
    }
}

/// CPUs that the calling thread has for the moment of a clone: the child inherits them. Dropping it goes back.
pub(crate) struct Affinity(CpuSet);

impl Affinity {
    pub(crate) fn new(cpus: &CpuSet) -> Result<Self> {
        let fail = |errno| Error::os("set", "execCPUAffinity", errno);
        let own = sched_getaffinity(None).map_err(fail)?;
        sched_setaffinity(None, cpus).map_err(fail)?;
        Ok(Self(own))
    }
}

impl Drop for Affinity {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.0);
    }
}

/// Sorted and without the numbers that are given twice.
pub(crate) fn keep_list(fds: impl Iterator<Item = RawFd>) -> Vec<RawFd> {
    let mut all: Vec<RawFd> = fds.collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Numbers of the descriptors that every child keeps.
pub(crate) fn basic_keep<'a>(
    socket: &'a OwnedFd,
    streams: &'a [OwnedFd],
    preserve: &'a [OwnedFd],
) -> impl Iterator<Item = RawFd> + use<'a> {
    let own = streams.iter().chain(preserve).chain([socket]);
    (0..3).chain(own.map(AsRawFd::as_raw_fd))
}
