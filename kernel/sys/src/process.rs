//! clone3(2), and what only the child of it may do before it executes another program.
//!
//! The child is a copy of a possibly multi-threaded process with one thread: a lock that another thread held stays held
//! for ever, the allocator's included. The child function therefore must not allocate, lock, or print. It gets a
//! [`Child`], the proof of being in such a child, which the operations need that would pull descriptors or memory away
//! from under the code of an ordinary process ([`child`]). What becomes of signals: [`signals`].

mod child;
mod signals;

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;

pub use child::Strings;
use signals::{block_signals, default_signals, restore_signals};

/// `struct clone_args` of `linux/sched.h`, version 2 (`CLONE_ARGS_SIZE_VER2`, Linux 5.7).
#[repr(C)]
#[derive(Default)]
pub(crate) struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const _: () = assert!(size_of::<CloneArgs>() == 88);

/// `CLONE_CLEAR_SIGHAND`: no handler of ours runs in the child.
const CLEAR_SIGHAND: u64 = 0x1_0000_0000;
/// `CLONE_INTO_CGROUP`
const INTO_CGROUP: u64 = 0x2_0000_0000;
/// `CLONE_PARENT`
const PARENT: u64 = 0x8000;
/// `CLONE_PIDFD`
const PIDFD: u64 = 0x1000;

/// Namespace flags of clone(2), unshare(2) and setns(2).
pub mod namespace {
    /// `CLONE_NEWTIME`
    pub const TIME: u32 = 0x80;
    /// `CLONE_NEWNS`
    pub const MOUNT: u32 = 0x0002_0000;
    /// `CLONE_NEWCGROUP`
    pub const CGROUP: u32 = 0x0200_0000;
    /// `CLONE_NEWUTS`
    pub const UTS: u32 = 0x0400_0000;
    /// `CLONE_NEWIPC`
    pub const IPC: u32 = 0x0800_0000;
    /// `CLONE_NEWUSER`
    pub const USER: u32 = 0x1000_0000;
    /// `CLONE_NEWPID`
    pub const PID: u32 = 0x2000_0000;
    /// `CLONE_NEWNET`
    pub const NETWORK: u32 = 0x4000_0000;
    /// All of them: the only flags [`super::clone`] takes.
    pub const ALL: u32 = TIME | MOUNT | CGROUP | UTS | IPC | USER | PID | NETWORK;
}

/// A child process, as its parent sees it.
#[derive(Debug)]
pub struct Cloned {
    /// Its process ID in the parent's namespace.
    pub pid: i32,
    /// Its pidfd (close-on-exec).
    pub pidfd: OwnedFd,
}

/// Proof of running in a child of [`clone`], alone in a process that will only execute a program or exit.
#[derive(Debug)]
pub struct Child(());

/// Starts a child process in new namespaces (flags of [`namespace`]) that runs `function` and exits with what that
/// returns. With `cgroup` (a cgroup v2 directory) it starts in there.
///
/// In the child every signal has its default action and none is blocked. `function` must neither allocate nor lock
/// (see the module). Errors: `clone(2)`.
pub fn clone(
    namespaces: u32,
    cgroup: Option<BorrowedFd<'_>>,
    function: impl FnOnce(&Child) -> i32,
) -> Result<Cloned, Errno> {
    clone_with(namespaces, 0, u64::from(libc::SIGCHLD.cast_unsigned()), cgroup, function)
}

fn clone_with(
    namespaces: u32,
    more: u64,
    exit_signal: u64,
    cgroup: Option<BorrowedFd<'_>>,
    function: impl FnOnce(&Child) -> i32,
) -> Result<Cloned, Errno> {
    if namespaces & !namespace::ALL != 0 {
        return Err(Errno::INVAL);
    }
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: u64::from(namespaces) | CLEAR_SIGHAND | PIDFD | more,
        pidfd: ptr::from_mut(&mut pidfd).expose_provenance() as u64,
        exit_signal,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    // A signal between the clone and the reset of its action would find neither our handler nor a clean state.
    let mask = block_signals();
    // SAFETY: the structure is valid for reads of the size given and `pidfd` for a write. Without CLONE_VM the child
    // has its own copy of all memory, without CLONE_FILES its own descriptors, so nothing it does is seen here.
    let mut result = unsafe { libc::syscall(libc::SYS_clone3, ptr::from_ref(&args), size_of::<CloneArgs>()) };
    if result < 0 && crate::last() == Errno::NOSYS && namespaces == 0 && more == 0 && cgroup.is_none() {
        result = older_clone(&mut pidfd);
    }
    if result == 0 {
        // A panic must not unwind into the caller's frames, which believe to be the parent.
        let exit = ExitOnUnwind;
        default_signals();
        let status = function(&Child(()));
        std::mem::forget(exit);
        exit_now(status);
    }
    let result = crate::check(result);
    restore_signals(&mask);
    // SAFETY: after a successful clone3 with CLONE_PIDFD `pidfd` is a new descriptor that nothing else owns.
    result.map(|pid| Cloned { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

/// clone(2), for where a filter of system calls hides clone3, as containers' filters do: they cannot look into its
/// structure. Handlers stay set in the child, but no signal arrives before the actions are reset.
fn older_clone(pidfd: &mut RawFd) -> libc::c_long {
    let flags = PIDFD | u64::from(libc::SIGCHLD.cast_unsigned());
    // SAFETY: `pidfd` is valid for a write. No stack: the child goes on with its own copy of ours. No CLONE_VM and no
    // CLONE_FILES, as above.
    unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, ptr::from_mut(pidfd), 0_usize, 0_usize) }
}

struct ExitOnUnwind;

impl Drop for ExitOnUnwind {
    fn drop(&mut self) {
        exit_now(255);
    }
}

fn exit_now(status: i32) -> ! {
    // SAFETY: _exit ends the process without running any code of it.
    unsafe { libc::_exit(status) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::process::{WaitId, WaitIdOptions, waitid};

    use super::*;

    fn status(child: &Cloned) -> Option<i32> {
        waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED).unwrap().unwrap().exit_status()
    }

    #[test]
    fn the_child_has_its_own_memory_and_namespaces() {
        let mut seen = 0;
        let child = clone(namespace::PID, None, |_| {
            seen = rustix::process::getpid().as_raw_nonzero().get();
            seen + 40
        })
        .unwrap();
        assert_eq!(status(&child), Some(41));
        assert_eq!(seen, 0);
        assert!(child.pid > 1);
    }

    #[test]
    fn the_older_call_makes_the_same_child() {
        let mut pidfd = -1;
        let result = older_clone(&mut pidfd);
        if result == 0 {
            exit_now(43);
        }
        let pid = crate::check(result).unwrap();
        // SAFETY: a new descriptor that nothing else owns.
        let child = Cloned { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } };
        assert_eq!(status(&child), Some(43));
    }

    #[test]
    fn flags_that_are_no_namespace_are_refused() {
        const CLONE_VM: u32 = 0x100;
        assert_eq!(clone(CLONE_VM, None, |_| 0).unwrap_err(), Errno::INVAL);
    }

    #[test]
    fn a_panic_ends_the_child() {
        // `resume_unwind` neither prints nor runs the hook.
        let child = clone(0, None, |_| std::panic::resume_unwind(Box::new(()))).unwrap();
        assert_eq!(status(&child), Some(255));
    }
}
