//! What the child may do before it executes another program, and that.

use std::ffi::{CStr, CString, c_char};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use rustix::io::Errno;

use super::{Child, Cloned, PARENT, clone_with, exit_now};

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

    /// As [`clone`](super::clone), but the new process is a child of this one's parent: for namespaces that only a process can make
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

extern "C" fn end_by_signal(signal: i32) {
    exit_now(128 + signal)
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
    use crate::process::{clone, namespace};

    fn status(child: &Cloned) -> Option<i32> {
        waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED).unwrap().unwrap().exit_status()
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
