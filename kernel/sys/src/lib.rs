//! System calls that neither rustix nor the standard library offers safely: the only crate with `unsafe`.
//!
//! One file per facility: [`process`] (clone3, and what only its child may do), [`thread`] (namespaces, keyring,
//! scheduling of the caller), [`mount`], [`seccomp`], [`socket`] (passing descriptors), [`spawn`] (starting helpers
//! without forking memory), [`sealed`] (programs that containers cannot write to), [`kill`], [`signals`], [`signalfd`], [`memory`],
//! [`scoped`] (lookups below a directory), [`inherited`] (descriptors from the parent), [`environment`], [`bpf`], [`network`], [`netns`], [`netlink`] (what rtnetlink and
//! nf_tables have in common), [`errno`] (names of errors), [`procfs`], [`mountinfo`].
//!
//! Structures and constants written down here are compared with the kernel's headers by `headers.rs`.

pub mod bpf;
pub mod environment;
pub mod errno;
#[cfg(test)]
mod headers;
pub mod inherited;
pub mod kill;
pub mod memory;
pub mod mount;
pub mod mountinfo;
pub mod netlink;
pub mod netns;
pub mod network;
pub mod process;
pub mod procfs;
pub mod scoped;
pub mod sealed;
pub mod seccomp;
pub mod signalfd;
pub mod signals;
pub mod socket;
pub mod spawn;
pub mod thread;

use rustix::io::Errno;

/// The result of a system call that returns a small number, or -1 with the reason in `errno`.
fn check(result: libc::c_long) -> Result<i32, Errno> {
    if result < 0 { Err(last()) } else { i32::try_from(result).map_err(|_| Errno::OVERFLOW) }
}

fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
