//! What a shim is on its host: hard to end by accident, small, and nothing to gain from it for the container.

use std::fs;
use std::io;

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, set_child_subreaper, set_dumpable_behavior};

/// The name of a shim that waits, in `ps`.
pub(crate) const SPARE_NAME: &std::ffi::CStr = c"tare-spare";
/// The name of a container's shim.
pub(crate) const SHIM_NAME: &std::ffi::CStr = c"tare-shim";
/// Nearly never chosen by the kernel when memory runs out: a shim has next to none, and its container's exit status would
/// be lost with it.
const OOM_SCORE: &str = "-999";
const OOM_SCORE_FILE: &str = "/proc/self/oom_score_adj";
const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// Prepares this process. Before there are threads.
pub(crate) fn prepare() -> io::Result<()> {
    tare_sys::memory::use_frugal_heap();
    tare_sys::signals::ignore_strays()?;
    // Nobody without privileges reads or traces us, though we have a container's user namespace as a child.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // Orphans of the container's processes become our children (the argument only has to be there).
    set_child_subreaper(Some(rustix::process::getpid()))?;
    rustix::process::umask(Mode::empty());
    rustix::process::chdir("/")?;
    Ok(())
}

/// Sets the name shown by `ps`.
pub(crate) fn set_name(name: &std::ffi::CStr) {
    // It cannot fail for a name of 15 bytes or less, and would not matter.
    let _ = rustix::thread::set_name(name);
}

/// Asks the kernel to spare this process when memory runs out. That needs CAP_SYS_RESOURCE; without it nothing changes.
/// Returns the value before, which children are to have, if it was changed.
pub(crate) fn lower_oom_score() -> Option<i32> {
    let before = fs::read_to_string(OOM_SCORE_FILE).ok()?.trim().parse().ok()?;
    fs::write(OOM_SCORE_FILE, OOM_SCORE).ok()?;
    Some(before)
}

/// The ID of this boot of the machine.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string(BOOT_ID_FILE)?.trim().to_owned())
}
