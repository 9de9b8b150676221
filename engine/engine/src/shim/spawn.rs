//! Starting a shim process.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

/// The whole environment of a shim: its C library's allocator keeps no blocks for each thread, which takes pages and gains
/// nothing in a process that waits.
const FRUGAL: &CStr = c"GLIBC_TUNABLES=glibc.malloc.tcache_count=0";

/// A shim that has been started and not yet been told what for.
#[derive(Debug)]
pub(crate) struct Spare {
    /// The control socket.
    pub socket: OwnedFd,
    /// The process, our child.
    pub pid: i32,
}

/// Starts `program` as a spare called `name`, whose cgroup waits below `cgroup_parent`.
pub(crate) fn spawn(program: BorrowedFd<'_>, name: &str, cgroup_parent: &str) -> io::Result<Spare> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
    let argv = ["tare-shim", "--spare", name, "--cgroup-parent", cgroup_parent]
        .into_iter()
        .map(CString::new)
        .collect::<Result<Vec<_>, _>>()?;
    let fds = [null.as_fd(), null.as_fd(), null.as_fd(), theirs.as_fd()];
    let pid = tare_sys::spawn::spawn_file(program, &argv, &[FRUGAL.to_owned()], &fds)?;
    Ok(Spare { socket: ours, pid })
}

/// Waits for the end of a child and reaps it.
pub(crate) async fn reap(pid: i32) {
    ended(pid).await;
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // An error leaves a zombie until the daemon ends, nothing worse.
        let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::NOHANG);
    }
}

/// Waits for the end of any process: by then it has closed everything it had.
pub(crate) async fn ended(pid: i32) {
    let Some(pid) = rustix::process::Pid::from_raw(pid) else { return };
    let Ok(pidfd) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else { return };
    #[expect(deprecated, reason = "an owned descriptor cannot be closed or replaced while it is registered")]
    let pidfd = tokio::io::unix::AsyncFd::with_interest(pidfd, tokio::io::Interest::READABLE);
    if let Ok(pidfd) = pidfd {
        // An error means that it cannot be watched; those who wait have a time limit.
        let _ = pidfd.readable().await;
    }
}
