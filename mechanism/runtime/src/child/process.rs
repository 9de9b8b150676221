//! From a built world to execve: standard streams, limits, privileges, the command.

use std::convert::Infallible;
use std::ffi::CStr;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, Uid, accessat, fchown, fstat, makedev, statat};
use rustix::io::Errno;
use rustix::process::{Gid, Signal, chdir, ioctl_tiocsctty, setrlimit, umask};
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, sched_setaffinity, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use tare_sys::process::Child;

use super::terminal::Terminal;
use super::{ChildStdio, Outcome, Task, Wait, at, nth, receive, send};
use crate::plan::capabilities::Sets;
use crate::plan::{Lookup, ProcessPlan};
use crate::step::{Report, Step, execute_error};

/// Bytes for the working directory's path: it may be longer than `PATH_MAX`, but only its beginning matters.
const CWD_BYTES: usize = 4096;

/// The last part of both kinds of children.
pub(crate) fn finish(child: &Child, task: &Task<'_>, terminal: Option<Terminal>) -> Outcome<Infallible> {
    let process = task.process;
    if matches!(task.wait, Wait::Fifo(_)) {
        // Whoever created it may think better of it and say so politely. The filter may forbid this, so it comes first.
        let polite = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM].map(Signal::as_raw);
        child.end_on(&polite).map_err(at(Step::Wait))?;
    }
    standard_streams(child, task, terminal)?;
    close_rest(child, task)?;
    resources(process)?;
    // As root first, who may enter directories that the user may not; if root may not either (a network file system),
    // as the user. The filter may forbid to ask where this is, so it comes later.
    let entered = enter_cwd(process);
    if !process.no_new_privileges {
        seccomp(task)?;
    }
    privileges(process)?;
    if process.no_new_privileges {
        set_no_new_privs(true).map_err(at(Step::NoNewPrivileges))?;
    }
    match entered {
        Err(failure) if matches!(failure.errno, Errno::ACCESS | Errno::PERM) => enter_cwd(process)?,
        result => result?,
    }
    let command = find_command(process)?;
    umask(Mode::from_raw_mode(process.umask));
    // As late as can be, but whoever starts this process could not hand a listener over.
    let last = process.no_new_privileges && process.agent().is_none();
    if process.no_new_privileges && !last {
        seccomp(task)?;
    }
    let ready = || send(task.socket, Report::Ready).map_err(at(Step::Ready));
    match task.wait {
        Wait::Nothing => ready()?,
        Wait::Parent => {
            ready()?;
            receive(task.socket).map_err(at(Step::Wait))?;
        }
        Wait::Fifo(fifo) => {
            ready()?;
            receive(fifo).map_err(at(Step::Wait))?;
        }
    }
    if last {
        seccomp(task)?;
    }
    let errno = child.execute(command, &process.argv, &process.envp);
    // The container has started, as far as anybody can see: that its program is no program is its own output.
    complain(command, errno);
    child.exit(255)
}

/// Closes whatever is open besides what the process itself is to have, and what is needed to the end.
fn close_rest(child: &Child, task: &Task<'_>) -> Outcome {
    let socket = task.socket.as_raw_fd();
    let fifo = if let Wait::Fifo(fifo) = task.wait { fifo.as_raw_fd() } else { socket };
    let first = u32::try_from(3 + task.preserve.len()).unwrap_or(u32::MAX);
    child.close_all_but(first, &[socket.min(fifo), socket.max(fifo)]).map_err(at(Step::CloseInherited))
}

fn standard_streams(child: &Child, task: &Task<'_>, terminal: Option<Terminal>) -> Outcome {
    if let Some(terminal) = &terminal {
        ioctl_tiocsctty(&terminal.slave).map_err(at(Step::ControllingTerminal))?;
    }
    for target in 0..3 {
        let source = match (task.stdio, &terminal) {
            (_, Some(terminal)) => terminal.slave.as_fd(),
            (ChildStdio::Fds(fds), None) => match usize::try_from(target).ok().and_then(|index| fds.get(index)) {
                Some(fd) => fd.as_fd(),
                None => continue,
            },
            _ => continue,
        };
        child.duplicate_to(source, target).map_err(at(Step::Stdio))?;
    }
    for (target, fd) in (3..).zip(task.preserve) {
        child.duplicate_to(fd.as_fd(), target).map_err(at(Step::Stdio))?;
    }
    // Its slave may have a number that now is one of the preserved.
    std::mem::forget(terminal);
    own_streams(task.process.uid);
    Ok(())
}

/// `/dev/stdout` can be opened again by who owns what is behind it. Not everything can be given away.
fn own_streams(uid: u32) {
    const NULL: (u32, u32) = (1, 3);
    if uid == 0 {
        return;
    }
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let Ok(stat) = fstat(stream) else { continue };
        let null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == makedev(NULL.0, NULL.1);
        if !null && stat.st_uid != uid {
            let _ = fchown(stream, Some(Uid::from_raw(uid)), None);
        }
    }
}

fn resources(process: &ProcessPlan) -> Outcome {
    if let Some(attributes) = &process.scheduling {
        tare_sys::thread::set_scheduling(attributes).map_err(at(Step::Scheduling))?;
    }
    if let Some((class, level)) = process.io_priority {
        tare_sys::thread::set_io_priority(class, level).map_err(at(Step::IoPriority))?;
    }
    if let Some(cpus) = &process.affinity {
        sched_setaffinity(None, cpus).map_err(at(Step::Affinity))?;
    }
    if let Some(policy) = &process.memory_policy {
        tare_sys::thread::set_memory_policy(policy.mode, &policy.nodes).map_err(at(Step::MemoryPolicy))?;
    }
    if let Some(personality) = process.personality {
        tare_sys::thread::set_personality(personality).map_err(at(Step::Personality))?;
    }
    for (index, (resource, limit)) in process.rlimits.iter().enumerate() {
        setrlimit(*resource, *limit).map_err(nth(Step::Rlimit, index))?;
    }
    Ok(())
}

/// The parent takes the listener by its number: to send it would take calls that may wait for an answer, which nobody
/// gives who does not have it.
fn seccomp(task: &Task<'_>) -> Outcome {
    let Some(filter) = &task.process.seccomp else { return Ok(()) };
    let listener = tare_sys::seccomp::attach(&filter.instructions, filter.flags).map_err(at(Step::Seccomp))?;
    let Some(listener) = listener else { return Ok(()) };
    send(task.socket, Report::Listener(listener.as_raw_fd())).map_err(at(Step::Listener))?;
    receive(task.socket).map_err(at(Step::Listener))
}

/// Gives up what the process shall not have.
fn privileges(process: &ProcessPlan) -> Outcome {
    if let Some(sets) = &process.capabilities {
        drop_bounding(sets)?;
        if process.uid != 0 {
            // Cleared by execve(2).
            set_keep_capabilities(true).map_err(at(Step::KeepCapabilities))?;
        }
    }
    set_thread_groups(&process.groups).map_err(at(Step::Groups))?;
    let gid = Gid::from_raw(process.gid);
    set_thread_res_gid(gid, gid, gid).map_err(at(Step::Gid))?;
    let uid = Uid::from_raw(process.uid);
    set_thread_res_uid(uid, uid, uid).map_err(at(Step::Uid))?;
    if let Some(sets) = &process.capabilities {
        apply(sets)?;
    }
    Ok(())
}

fn drop_bounding(sets: &Sets) -> Outcome {
    /// Capabilities that a kernel may have, bits of the set.
    const LAST: u32 = 63;
    for number in 0..=LAST {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if sets.bounding.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // The first that this kernel does not have.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(nth(Step::Bounding, number as usize)(errno)),
        }
    }
    Ok(())
}

fn apply(sets: &Sets) -> Outcome {
    let all = CapabilitySets { effective: sets.effective, permitted: sets.permitted, inheritable: sets.inheritable };
    set_capabilities(None, all).map_err(at(Step::Capabilities))?;
    clear_ambient_capability_set().map_err(at(Step::Ambient))?;
    for capability in sets.ambient.iter() {
        configure_capability_in_ambient_set(capability, true).map_err(at(Step::Ambient))?;
    }
    Ok(())
}

/// A working directory outside of the root would be a way out: the kernel says so by a path that is not absolute.
fn enter_cwd(process: &ProcessPlan) -> Outcome {
    chdir(process.cwd.as_c_str()).map_err(at(Step::Cwd))?;
    let mut buffer = [0; CWD_BYTES];
    match tare_sys::thread::working_directory(&mut buffer) {
        Ok(path) if path.first() == Some(&b'/') => Ok(()),
        Ok(_) => Err(at(Step::CwdOutside)(Errno::NOENT)),
        Err(errno) => Err(at(Step::CwdOutside)(errno)),
    }
}

/// Looks the command up as the process's user, with the container's PATH.
fn find_command(process: &ProcessPlan) -> Outcome<&CStr> {
    match &process.lookup {
        Lookup::Path(path) => {
            executable(path)?;
            Ok(path)
        }
        Lookup::Search(all) => {
            let found = all.iter().find(|candidate| executable(candidate).is_ok());
            let found = found.ok_or_else(|| at(Step::CommandSearch)(Errno::NOENT))?;
            if found.as_bytes().first() == Some(&b'/') {
                Ok(found)
            } else {
                Err(at(Step::CommandRelative)(Errno::ACCESS))
            }
        }
    }
}

fn executable(path: &CStr) -> Outcome {
    let stat = statat(CWD, path, AtFlags::empty()).map_err(at(Step::CommandStat))?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(at(Step::CommandAccess)(Errno::ISDIR));
    }
    match accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Ok(()),
        // A filter that does not know the call: the mode has to do.
        Err(Errno::NOSYS | Errno::PERM) if stat.st_mode & 0o111 != 0 => Ok(()),
        Err(Errno::NOSYS | Errno::PERM) => Err(at(Step::CommandAccess)(Errno::ACCESS)),
        Err(errno) => Err(at(Step::CommandAccess)(errno)),
    }
}

fn complain(command: &CStr, errno: Errno) {
    let parts = [b"exec ".as_slice(), command.to_bytes(), b": ", execute_error(errno).as_bytes(), b"\n"];
    let _ = rustix::io::writev(rustix::stdio::stderr(), &parts.map(IoSlice::new));
}
