//! kill(2) with any signal number: rustix knows the named ones only, and containers are stopped with real-time signals
//! too (`SIGRTMIN+3`).

use std::io;

/// Sends a signal to one process. Process groups (zero and below) are refused: nothing here means them. Errors:
/// `kill(2)`.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    if pid <= 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: kill takes two integers and touches no memory of ours.
    if unsafe { libc::kill(pid, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::kill;

    #[test]
    fn groups_and_nonsense_are_refused() {
        assert!(kill(0, 0).is_err());
        assert!(kill(-1, 0).is_err());
        assert_eq!(kill(std::process::id().cast_signed(), 0).map_err(|error| error.kind()), Ok(()));
        assert_eq!(kill(1, 1000).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
