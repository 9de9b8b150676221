//! Properties of the calling thread that rustix does not cover: namespaces, session keyring, personality, I/O priority,
//! scheduling, working directory.

use std::ffi::CStr;
use std::mem::size_of;

use rustix::io::Errno;

use crate::process::namespace;

/// Moves the calling thread into new namespaces (flags of [`namespace`]). Errors: `unshare(2)`.
pub fn unshare(namespaces: u32) -> Result<(), Errno> {
    if namespaces & !namespace::ALL != 0 {
        return Err(Errno::INVAL);
    }
    // SAFETY: only namespace flags: descriptors and memory stay shared with the other threads.
    crate::check(unsafe { libc::syscall(libc::SYS_unshare, namespaces) }).map(drop)
}

/// Gives the calling process a new session keyring. Errors: `keyctl_join_session_keyring(3)`.
pub fn join_session_keyring(name: &CStr) -> Result<(), Errno> {
    /// `KEYCTL_JOIN_SESSION_KEYRING`
    const JOIN: u32 = 1;
    // SAFETY: the name is NUL-terminated; the kernel only reads it.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, JOIN, name.as_ptr(), 0, 0, 0) };
    if result < 0 { Err(crate::last()) } else { Ok(()) }
}

/// Sets the execution domain. Errors: `personality(2)`.
pub fn set_personality(persona: u32) -> Result<(), Errno> {
    // SAFETY: an integer argument.
    let result = unsafe { libc::syscall(libc::SYS_personality, persona) };
    crate::check(result).map(drop)
}

/// Sets the NUMA memory policy of the calling thread: mode with its flags, and a mask of nodes. Errors:
/// `set_mempolicy(2)`.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    // The kernel takes one bit less than it is told.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    let mask = if nodes.is_empty() { std::ptr::null() } else { nodes.as_ptr() };
    // SAFETY: the kernel only reads the mask, and `bits` less one are as many bits as it has.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) };
    crate::check(result).map(drop)
}

/// Sets the I/O priority: class (1 realtime, 2 best effort, 3 idle) and level (0 to 7). Errors: `ioprio_set(2)`.
pub fn set_io_priority(class: u32, level: u32) -> Result<(), Errno> {
    /// `IOPRIO_WHO_PROCESS`
    const WHO_PROCESS: u32 = 1;
    const CLASS_SHIFT: u32 = 13;
    // SAFETY: integer arguments.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, class << CLASS_SHIFT | level) };
    crate::check(result).map(drop)
}

/// Scheduling policy and attributes (`sched(7)`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// `SCHED_*`
    pub policy: u32,
    /// `SCHED_FLAG_*`
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Static priority.
    pub priority: u32,
    /// Nanoseconds.
    pub runtime: u64,
    /// Nanoseconds.
    pub deadline: u64,
    /// Nanoseconds.
    pub period: u64,
}

/// `struct sched_attr` of `linux/sched/types.h`, first version.
#[repr(C)]
pub(crate) struct SchedAttr {
    size: u32,
    pub(crate) policy: u32,
    pub(crate) flags: u64,
    pub(crate) nice: i32,
    pub(crate) priority: u32,
    pub(crate) runtime: u64,
    pub(crate) deadline: u64,
    pub(crate) period: u64,
}

const _: () = assert!(size_of::<SchedAttr>() == 48);

/// Sets scheduling policy and attributes of the calling thread. Errors: `sched_setattr(2)`.
pub fn set_scheduling(attributes: &Scheduling) -> Result<(), Errno> {
    let Scheduling { policy, flags, nice, priority, runtime, deadline, period } = *attributes;
    #[expect(clippy::cast_possible_truncation, reason = "48, as asserted")]
    let size = size_of::<SchedAttr>() as u32;
    let attributes = SchedAttr { size, policy, flags, nice, priority, runtime, deadline, period };
    // SAFETY: the structure is valid for reads of the size in it.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(&attributes), 0) };
    crate::check(result).map(drop)
}

/// The working directory as the kernel tells it: it starts with `(unreachable)` when it is not below the root.
/// Allocates nothing. Errors: `getcwd(2)`.
pub fn working_directory(buffer: &mut [u8]) -> Result<&[u8], Errno> {
    // SAFETY: the buffer is valid for writes of its length. The system call returns the length with the NUL; the C
    // library's function would look for the directory by itself when it is unreachable.
    let result = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    let length = usize::try_from(crate::check(result)?).map_err(|_| Errno::INVAL)?;
    buffer.get(..length.saturating_sub(1)).ok_or(Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_working_directory_is_the_one_of_the_standard_library() {
        let mut buffer = [0; 4096];
        let own = working_directory(&mut buffer).unwrap();
        assert_eq!(own, std::env::current_dir().unwrap().as_os_str().as_encoded_bytes());
        assert_eq!(working_directory(&mut [0; 1]), Err(Errno::RANGE));
    }

    #[test]
    fn a_thread_can_change_itself() {
        std::thread::spawn(|| {
            unshare(namespace::UTS).unwrap();
            rustix::system::sethostname(b"other").unwrap();
            assert_eq!(rustix::system::uname().nodename(), c"other");
            set_io_priority(3, 0).unwrap();
            set_scheduling(&Scheduling { policy: 3, nice: 5, ..Scheduling::default() }).unwrap();
            set_personality(0).unwrap();
            // MPOL_DEFAULT; without NUMA the kernel has no such call.
            assert!(matches!(set_memory_policy(0, &[]), Ok(()) | Err(Errno::NOSYS)));
        })
        .join()
        .unwrap();
        assert_ne!(rustix::system::uname().nodename(), c"other");
    }

    #[test]
    fn nonsense_is_refused() {
        const CLONE_FILES: u32 = 0x400;
        assert_eq!(unshare(CLONE_FILES), Err(Errno::INVAL));
        assert_eq!(set_io_priority(7, 0), Err(Errno::INVAL));
        // MPOL_BIND to no node.
        assert!(matches!(set_memory_policy(2, &[0]), Err(Errno::INVAL | Errno::NOSYS)));
        assert_eq!(set_scheduling(&Scheduling { policy: 99, ..Scheduling::default() }), Err(Errno::INVAL));
    }
}
