//! What may be mounted over procfs: an image can ask for volumes there, and what is not the kernel's own would be read
//! and written by everything that trusts it.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{PROC_SUPER_MAGIC, fstatfs};
use rustix::io::Errno;

use crate::plan::MountPlan;

/// Files that say what the machine has, which others may want to say differently for a container.
const FILES: [&CStr; 11] = [
    c"proc/cpuinfo",
    c"proc/diskstats",
    c"proc/loadavg",
    c"proc/meminfo",
    c"proc/net/dev",
    c"proc/slabinfo",
    c"proc/stat",
    c"proc/swaps",
    c"proc/uptime",
    c"proc/sys/crypto/fips_enabled",
    c"proc/sys/kernel/ns_last_pid",
];

/// Refuses with `EPERM` what has no business there; by what is at the target, whatever path led to it.
pub(super) fn check(mount: &MountPlan, made: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let path = mount.target.as_c_str();
    let right = if mount.file_system() == Some(c"proc") {
        true
    } else if path == c"proc" {
        is_procfs(made)?
    } else {
        !is_procfs(target)? || FILES.contains(&path)
    };
    if right { Ok(()) } else { Err(Errno::PERM) }
}

fn is_procfs(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(fstatfs(fd)?.f_type == PROC_SUPER_MAGIC)
}
