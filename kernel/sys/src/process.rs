//! clone3(2), and what only the child of it may do before it executes another program.
//!
//! The child is a copy of a possibly multi-threaded process with one thread: a lock that another thread held stays held
//! for ever, the allocator's included. The child function therefore must not allocate, lock, or print. It gets a
//! [`Child`], the proof of being in such a child, which the operations need that would pull descriptors or memory away
//! from under the code of an ordinary process.

use std::ffi::{CStr, CString, c_char};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;

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

extern "C" fn end_by_signal(signal: i32) {
    exit_now(128 + signal)
}

fn exit_now(status: i32) -> ! {
    // SAFETY: _exit ends the process without running any code of it.
    unsafe { libc::_exit(status) }
}

fn block_signals() -> libc::sigset_t {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut old = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: sigfillset initialises `all`; `old` is valid for writes, and all zeros is an empty set should the call
    // fail, which it cannot with these arguments.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), old.as_mut_ptr());
        old.assume_init()
    }
}

fn restore_signals(mask: &libc::sigset_t) {
    // SAFETY: the mask is initialised, and no old one is asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, ptr::null_mut()) };
}

/// CLONE_CLEAR_SIGHAND leaves ignored signals ignored, as does execve: SIGPIPE is, in every Rust program.
fn default_signals() {
    /// Numbers of signals in Linux, `_NSIG`; a signal set has a bit for each.
    const LAST: i32 = 64;
    const SET_BYTES: usize = 8;
    // The kernel's own call, because the C library's refuses the two signals that it uses itself.
    let action = [0u64; 4];
    for signal in 1..=LAST {
        // SAFETY: all zeros is a `struct sigaction` of the kernel (handler, flags, restorer, mask: four words or less)
        // that says SIG_DFL; it is only read. SIGKILL and SIGSTOP are refused, which is just as well.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), ptr::null_mut::<u64>(), SET_BYTES) };
    }
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
    }
}

/// The arguments or the environment of a program, in the form that execve(2) takes; made ahead, because making it
/// allocates.
#[derive(Debug)]
pub struct Strings {
    pointers: Vec<*const c_char>,
    strings: Vec<CString>,
}

// SAFETY: the pointers point into the strings that it owns and are only ever read.
unsafe impl Send for Strings {}
// SAFETY: as above; there is no interior mutability.
unsafe impl Sync for Strings {}

impl Strings {
    /// Takes the strings over.
    pub fn new(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Self { pointers, strings }
    }

    /// The strings.
    pub fn as_slice(&self) -> &[CString] {
        &self.strings
    }
}

impl Child {
    /// Executes a program in place of this process; returns only on failure. Errors: `execve(2)`.
    pub fn execute(&self, path: &CStr, argv: &Strings, envp: &Strings) -> Errno {
        // SAFETY: the path is NUL-terminated; both arrays are NULL-terminated arrays of NUL-terminated strings that
        // `Strings` keeps alive.
        unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
        crate::last()
    }

    /// As [`clone`], but the new process is a child of this one's parent: for namespaces that only a process can make
    /// that has entered another one first. Allocates nothing. Errors: `clone(2)`.
    pub fn clone_sibling(
        &self,
        namespaces: u32,
        cgroup: Option<BorrowedFd<'_>>,
        function: impl FnOnce(&Self) -> i32,
    ) -> Result<Cloned, Errno> {
        // Its end is told as this process's own is.
        clone_with(namespaces, PARENT, 0, cgroup, function)
    }

    /// Lets these signals end this process until it executes a program, the first process of a namespace as well, which
    /// the kernel otherwise shields from them. Allocates nothing. Errors: `sigaction(2)`.
    pub fn end_on(&self, signals: &[i32]) -> Result<(), Errno> {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        for signal in signals {
            // SAFETY: all zeros is a valid `struct sigaction` (no flags, an empty mask). The handler only calls _exit,
            // which is safe in one.
            let result = unsafe {
                (*action.as_mut_ptr()).sa_sigaction = end_by_signal as *const () as libc::sighandler_t;
                libc::sigaction(*signal, action.as_ptr(), ptr::null_mut())
            };
            crate::check(result.into())?;
        }
        Ok(())
    }

    /// Ends this process at once.
    pub fn exit(&self, status: i32) -> ! {
        exit_now(status)
    }

    /// Closes every descriptor from `first` on but those in `keep`, which must be in ascending order. Descriptors
    /// closed so must not be used by the child any more. Errors: `close_range(2)`.
    pub fn close_all_but(&self, mut first: u32, keep: &[RawFd]) -> Result<(), Errno> {
        for fd in keep {
            let fd = fd.cast_unsigned();
            if fd > first {
                close_range(first, fd - 1)?;
            }
            first = first.max(fd.checked_add(1).ok_or(Errno::INVAL)?);
        }
        close_range(first, u32::MAX)
    }

    /// Makes `fd` available as descriptor `target`, not close-on-exec, closing what was there. Errors: `dup(2)`.
    pub fn duplicate_to(&self, fd: BorrowedFd<'_>, target: RawFd) -> Result<(), Errno> {
        // SAFETY: both are plain integers; what `target` was is not used any more (see the module).
        crate::check(unsafe { libc::syscall(libc::SYS_dup2, fd.as_raw_fd(), target) }).map(drop)
    }
}

fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: the caller is a `Child`, whose other code does not use the descriptors in the range.
    crate::check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
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
    fn the_first_process_of_a_namespace_can_be_ended() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let child = clone(namespace::PID, None, |child| {
            if child.end_on(&[libc::SIGTERM]).is_err() || rustix::io::write(&writer, b"!").is_err() {
                return 1;
            }
            loop {
                let _ = rustix::thread::nanosleep(&rustix::thread::Timespec { tv_sec: 1000, tv_nsec: 0 });
            }
        })
        .unwrap();
        reader.read_exact(&mut [0]).unwrap();
        rustix::process::pidfd_send_signal(&child.pidfd, rustix::process::Signal::TERM).unwrap();
        assert_eq!(status(&child), Some(128 + libc::SIGTERM));
    }

    #[test]
    fn a_sibling_is_the_parents_child() {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let parent = rustix::process::getpid();
        let child = clone(0, None, |child| {
            let sibling = child.clone_sibling(namespace::UTS, None, |_| {
                if rustix::process::getppid() == Some(parent) { 44 } else { 45 }
            });
            let Ok(sibling) = sibling else { return 1 };
            i32::from(writer.write_all(&sibling.pid.to_ne_bytes()).is_err())
        })
        .unwrap();
        assert_eq!(status(&child), Some(0));
        let mut pid = [0; 4];
        reader.read_exact(&mut pid).unwrap();
        let pid = rustix::process::Pid::from_raw(i32::from_ne_bytes(pid)).unwrap();
        let ended = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED).unwrap().unwrap();
        assert_eq!(ended.exit_status(), Some(44));
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

    #[test]
    fn executes_with_the_descriptors_it_was_given_and_default_signals() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let script = c"echo $0 $X >&5; grep -E '^Sig(Blk|Ign)' /proc/self/status >&5; kill -PIPE $$";
        let argv = Strings::new([c"sh", c"-c", script, c"me"].map(CStr::to_owned).into());
        let envp = Strings::new(vec![c"X=y".to_owned(), c"PATH=/usr/bin:/bin".to_owned()]);
        let child = clone(0, None, |child| {
            let fd = writer.as_fd();
            if child.duplicate_to(fd, 5).is_err() || child.close_all_but(0, &[0, 1, 2, 5]).is_err() {
                return 1;
            }
            let _ = child.execute(c"/bin/sh", &argv, &envp);
            2
        })
        .unwrap();
        drop(writer);
        let mut output = String::new();
        reader.read_to_string(&mut output).unwrap();
        assert_eq!(output, "me y\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
        let status = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED).unwrap().unwrap();
        assert_eq!(status.terminating_signal(), Some(libc::SIGPIPE));
    }

    #[test]
    fn closes_all_but_some() {
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let kept = writer.as_raw_fd();
        let child = clone(0, None, |child| {
            let closed = child.close_all_but(0, &[kept]).is_ok();
            let gone = rustix::io::fcntl_getfd(rustix::stdio::stdin()).is_err();
            let _ = writer.write_all(b"!");
            i32::from(closed && gone)
        })
        .unwrap();
        drop(writer);
        let mut output = Vec::new();
        reader.read_to_end(&mut output).unwrap();
        assert_eq!((output.as_slice(), status(&child)), (b"!".as_slice(), Some(1)));
    }
}
