//! Signals of a process that nothing but its own event loop may end.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::event::{EventfdFlags, eventfd};

/// Signals that stray to a process by its terminal or group, or by a closed pipe.
const STRAYS: [i32; 5] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGPIPE];

/// The eventfd that [`on_child`] writes to; -1 before there is one.
static CHILD_EVENT: AtomicI32 = AtomicI32::new(-1);

/// Ignores SIGHUP, SIGINT, SIGQUIT, SIGTERM and SIGPIPE. [`crate::process::clone`]'s children are not affected. Errors:
/// `sigaction(2)`.
pub fn ignore_strays() -> io::Result<()> {
    STRAYS.iter().try_for_each(|signal| set_action(*signal, libc::SIG_IGN))
}

/// A descriptor that becomes readable (8 bytes, non-blocking) when a child has ended. Once per process; it is never
/// closed. Errors: `eventfd(2)`; a second call is [`io::ErrorKind::AlreadyExists`].
pub fn child_event() -> io::Result<&'static OwnedFd> {
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    if CHILD_EVENT.compare_exchange(-1, event.as_raw_fd(), Ordering::SeqCst, Ordering::SeqCst).is_err() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // The handler can run at any time from now on, so the descriptor must live for ever.
    let event = Box::leak(Box::new(event));
    set_action(libc::SIGCHLD, on_child as *const () as libc::sighandler_t)?;
    Ok(event)
}

extern "C" fn on_child(_: libc::c_int) {
    let one = 1_u64.to_ne_bytes();
    // SAFETY: the location of `errno` is valid for this thread. write is async-signal-safe; the descriptor is an eventfd
    // that is never closed, non-blocking, so a full counter (which is readable anyway) does not stop us. A handler must
    // leave `errno` as it was.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(CHILD_EVENT.load(Ordering::SeqCst), one.as_ptr().cast(), one.len());
        *libc::__errno_location() = errno;
    }
}

fn set_action(signal: i32, handler: libc::sighandler_t) -> io::Result<()> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all zeros is a valid `struct sigaction` (no flags, an empty mask); the handler is SIG_IGN or `on_child`,
    // which takes the signal number as a handler without SA_SIGINFO does.
    let result = unsafe {
        let action = action.assume_init_mut();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, action, ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    #[test]
    fn strays_do_not_end_us_and_children_are_heard_of() {
        ignore_strays().unwrap();
        for signal in STRAYS {
            crate::kill::kill(std::process::id().cast_signed(), signal).unwrap();
        }
        let event = child_event().unwrap();
        assert_eq!(child_event().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        let child = crate::process::clone(0, None, |_| 0).unwrap();
        // Other tests of this process have children too, so only that the event comes can be said.
        rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(event, PollFlags::IN)], None)).unwrap();
        assert_eq!(rustix::io::read(event, &mut [0; 8]), Ok(8));
        drop(child);
    }
}
