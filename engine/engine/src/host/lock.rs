//! The lock of a data root, and the daemon that had it before.
//!
//! The kernel gives the lock of a killed process back before it has closed all that the process had open. A shim that is
//! just launching for it would then not know yet that it is gone, and the next daemon look for what runs too early. So the
//! lock's file says who has it, and the next one waits for that process's end.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::{Error, Result};

/// Longest wait for a daemon that is being killed: what the kernel has to close for it takes milliseconds.
const END_PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// Bytes of the file that are looked at.
const NAME_BYTES_MAX: u64 = 200;

/// Takes the lock of a data root, or says that another engine has it.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let failed = |step: &'static str| move |error| Error::io(step, path.display(), error);
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("open"))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        Error::unavailable(format!("the data root is in use by another engine (lock {})", path.display()))
    })?;
    let mut before = String::new();
    (&file).take(NAME_BYTES_MAX).read_to_string(&mut before).map_err(failed("read"))?;
    await_end(before.trim());
    let own = name_of(std::process::id()).unwrap_or_default();
    let written = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(own.as_bytes()));
    // On a full disk the name stays that of a process that is gone: nobody waits for it.
    if let Err(error) = written.and_then(|()| file.set_len(own.len() as u64)) {
        tracing::warn!("writing to {}: {error}", path.display());
    }
    Ok(file)
}

/// Says which process it is, on this machine, since it was started, whatever numbers are used again.
fn name_of(pid: u32) -> Option<String> {
    let started = tare_sys::procfs::start_time(i32::try_from(pid).ok()?).ok()?;
    Some(format!("{pid} {started} {}", crate::recover::boot_id()))
}

/// Waits until the process of this name has ended; by then it has closed everything it had open.
fn await_end(name: &str) {
    let Some(number) = name.split(' ').next().and_then(|pid| pid.parse::<u32>().ok()) else { return };
    let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) else { return };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
    // Looked at after it was opened: it is not another one's by then.
    if number == std::process::id() || name_of(number).as_deref() != Some(name) {
        return;
    }
    // Out of patience, what it was about is found as it is.
    let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&END_PATIENCE));
}

#[cfg(test)]
mod tests {
    use super::{await_end, lock, name_of};

    #[test]
    fn the_process_that_had_it_before_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let mut child = std::process::Command::new("sleep").arg("0.3").spawn().unwrap();
        std::fs::write(&path, format!("{}\n", name_of(child.id()).unwrap())).unwrap();
        let file = lock(&path).unwrap();
        // It is a zombie by now, and no longer there when it has been waited for.
        assert!(child.try_wait().unwrap().is_some());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), name_of(std::process::id()).unwrap());
        assert!(lock(&path).unwrap_err().message.contains("in use"));
        drop(file);
        lock(&path).unwrap();
    }

    #[test]
    fn nobody_waits_for_another_process_or_for_nonsense() {
        let own = std::process::id();
        for name in ["", "x", "1", "1 2 3", &format!("{own} 1 x"), "-5 1 1", "99999999999 1 1"] {
            await_end(name);
        }
    }
}
