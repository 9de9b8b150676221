//! A container must not get at this program's file through a process that enters it (CVE-2019-5736).

use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::Context as _;

/// Executes this program again, from where nobody can write to it, unless it has been. Descriptors and environment
/// stay as they are.
pub(super) fn execute() -> anyhow::Result<()> {
    let own = tare_sys::sealed::open_own().context("open this program's own file")?;
    let Some(program) = own else {
        // The kernel has taken the number of a descriptor for the name.
        return rustix::thread::set_name(c"tare").context("prctl PR_SET_NAME");
    };
    let mut arguments = std::env::args_os();
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command.arg0(arguments.next().unwrap_or_else(|| "tare".into())).args(arguments);
    Err(command.exec()).context("execute this program again")
}
