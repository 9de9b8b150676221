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

#[cfg(test)]
mod tests {
    use super::start_time;

    #[test]
    fn processes_have_their_own() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(start_time(own).unwrap() > start_time(1).unwrap());
        assert_eq!(start_time(own).unwrap(), start_time(own).unwrap());
        assert!(start_time(-1).is_err());
    }
}
