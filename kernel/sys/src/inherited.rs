//! Descriptors that a process was started with.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The number at which a parent leaves a descriptor for its child: the first after the standard streams.
const INHERITED_FD: i32 = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// Takes over descriptor 3, which the parent has left there, and makes it close-on-exec. To be called before anything
/// else is opened: descriptor 3 is then nobody else's. Errors: `fcntl(2)`; a second call is
/// [`io::ErrorKind::AlreadyExists`].
pub fn take_inherited() -> io::Result<OwnedFd> {
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    // SAFETY: only asked for its flags: if it is not open, that is an error (EBADF) and nothing else happens.
    let flags = unsafe { libc::fcntl(INHERITED_FD, libc::F_GETFD) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    // One that we have opened ourselves would be close-on-exec, an inherited one cannot be.
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: it is open, inherited (above), and taken only here and only once.
    let fd = unsafe { OwnedFd::from_raw_fd(INHERITED_FD) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// A descriptor of our own (close-on-exec) for the same open file as an inherited number: what a parent has left at it
/// by convention (`--preserve-fds`, `LISTEN_FDS`). Errors: `fcntl(2)`.
pub fn duplicate(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: an integer argument; a number that is not open is an error, and one that is stays as it is.
    let fd = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, BorrowedFd};

    use super::*;

    #[test]
    fn duplicates_are_independent() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let copy = duplicate(file.as_raw_fd()).unwrap();
        assert_ne!(copy.as_raw_fd(), file.as_raw_fd());
        drop(file);
        assert!(rustix::io::fcntl_getfd(&copy).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        assert_eq!(duplicate(-1).unwrap_err().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn a_descriptor_of_our_own_is_not_taken() {
        let mut opened = Vec::new();
        // Everything up to 3 is open then, by the test harness or by us, close-on-exec.
        while opened.last().is_none_or(|file: &std::fs::File| file.as_raw_fd() < INHERITED_FD) {
            opened.push(std::fs::File::open("/dev/null").unwrap());
        }
        // SAFETY: descriptor 3 is open (above), and only asked for its flags.
        let three = unsafe { BorrowedFd::borrow_raw(INHERITED_FD) };
        if !rustix::io::fcntl_getfd(three).unwrap().contains(rustix::io::FdFlags::CLOEXEC) {
            // Whoever started the tests left one there.
            return;
        }
        assert_eq!(take_inherited().unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(take_inherited().map(drop).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }
}
