//! Signals around a clone: none reaches the child before its actions are the default ones.

use std::mem::MaybeUninit;
use std::ptr;

pub(super) fn block_signals() -> libc::sigset_t {
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

pub(super) fn restore_signals(mask: &libc::sigset_t) {
    // SAFETY: the mask is initialised, and no old one is asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, ptr::null_mut()) };
}

/// CLONE_CLEAR_SIGHAND leaves ignored signals ignored, as does execve: SIGPIPE is, in every Rust program.
pub(super) fn default_signals() {
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
