//! What procfs(5) says of processes.

use std::io;

/// When a process started, in clock ticks since boot (field 22 of `/proc/PID/stat`): with the process ID and the boot
/// it says which process is meant. Errors: `open(2)`, `ESRCH` of a process that ended meanwhile,
/// [`io::ErrorKind::InvalidData`].
pub fn start_time(pid: i32) -> io::Result<u64> {
    /// Counted from the field after the name, which may contain anything.
    const FIELD: usize = 22 - 3;
    let text = std::fs::read(format!("/proc/{pid}/stat"))?;
    let after = text.iter().rposition(|byte| *byte == b')').and_then(|end| text.get(end + 2..)).unwrap_or_default();
    let field = std::str::from_utf8(after).ok().and_then(|text| text.split(' ').nth(FIELD));
    field.and_then(|field| field.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Whether a signal is on its way to a process or to its first thread, which has not taken it yet (`SigPnd` and `ShdPnd`
/// of `/proc/PID/status`). Errors: `open(2)`, `ESRCH`, [`io::ErrorKind::InvalidData`].
pub fn is_pending(pid: i32, signal: i32) -> io::Result<bool> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let sets = text.lines().filter_map(|line| line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:")));
    let sets: Option<Vec<u64>> = sets.map(|set| u64::from_str_radix(set.trim(), 16).ok()).collect();
    let sets = sets.filter(|sets| !sets.is_empty()).ok_or(io::ErrorKind::InvalidData)?;
    let bit = u32::try_from(signal - 1).ok().and_then(|number| 1u64.checked_shl(number)).unwrap_or(0);
    Ok(sets.iter().any(|set| set & bit != 0))
}

#[cfg(test)]
mod tests {
    use super::{is_pending, start_time};

    #[test]
    fn signals_wait() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(!is_pending(own, libc::SIGKILL).unwrap());
        assert!(!is_pending(own, 0).unwrap());
        assert!(is_pending(-1, libc::SIGKILL).is_err());
        // A process that is stopped takes none.
        let mut child = std::process::Command::new("sh")
            .args(["-c", "kill -STOP $$; read _"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        while !state().contains(") T ") {
            std::thread::yield_now();
        }
        assert!(!is_pending(pid, libc::SIGUSR1).unwrap());
        crate::kill::kill(pid, libc::SIGUSR1).unwrap();
        assert!(is_pending(pid, libc::SIGUSR1).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn processes_have_their_own() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(start_time(own).unwrap() > start_time(1).unwrap());
        assert_eq!(start_time(own).unwrap(), start_time(own).unwrap());
        assert!(start_time(-1).is_err());
    }
}
