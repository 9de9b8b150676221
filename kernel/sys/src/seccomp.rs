//! seccomp(2): attaching a filter to the calling thread.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

/// One instruction of classic BPF: `struct sock_filter` of `linux/filter.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SockFilter {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a jump's condition holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
pub(crate) struct SockFprog {
    pub(crate) len: u16,
    pub(crate) filter: *const SockFilter,
}

/// `SECCOMP_SET_MODE_FILTER`
const SET_MODE_FILTER: u32 = 1;
/// `SECCOMP_FILTER_FLAG_TSYNC`: refused, it is about other threads.
const FLAG_TSYNC: u32 = 1;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;

/// Attaches a filter to the calling thread, with `SECCOMP_FILTER_FLAG_*` in `flags`; with [`FLAG_NEW_LISTENER`] it
/// returns the notification descriptor (close-on-exec). Allocates nothing. Needs `no_new_privs` or `CAP_SYS_ADMIN` in
/// the user namespace. Errors: `seccomp(2)`.
pub fn attach(program: &[SockFilter], flags: u32) -> Result<Option<OwnedFd>, Errno> {
    if flags & FLAG_TSYNC != 0 {
        return Err(Errno::INVAL);
    }
    let len = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let program = SockFprog { len, filter: program.as_ptr() };
    // SAFETY: the program points to `len` instructions that live through the call; the kernel copies and checks them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, std::ptr::from_ref(&program)) };
    let result = crate::check(result)?;
    if flags & FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with this flag a successful call returns a new descriptor that nothing else owns.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(result) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `BPF_RET | BPF_K`
    const RET: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;

    #[test]
    fn a_thread_can_restrict_itself() {
        std::thread::spawn(|| {
            // LD the number; if it is getppid return EPERM(77), else allow.
            let number = u32::try_from(libc::SYS_getppid).unwrap();
            let program = [
                SockFilter { code: 0x20, jt: 0, jf: 0, k: 0 },
                SockFilter { code: 0x15, jt: 0, jf: 1, k: number },
                SockFilter { code: RET, jt: 0, jf: 0, k: 0x0005_0000 | 77 },
                SockFilter { code: RET, jt: 0, jf: 0, k: ALLOW },
            ];
            assert!(attach(&program, 0).unwrap().is_none());
            // SAFETY: getppid has no arguments.
            let result = unsafe { libc::syscall(libc::SYS_getppid) };
            assert_eq!((result, std::io::Error::last_os_error().raw_os_error()), (-1, Some(77)));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn bad_programs_are_refused() {
        assert_eq!(attach(&[], 0).unwrap_err(), Errno::INVAL);
        let endless = SockFilter { code: 0x05, jt: 0, jf: 0, k: 5 };
        assert_eq!(attach(&[endless], 0).unwrap_err(), Errno::INVAL);
        assert_eq!(attach(&[SockFilter { code: RET, jt: 0, jf: 0, k: ALLOW }], 1).unwrap_err(), Errno::INVAL);
    }
}
