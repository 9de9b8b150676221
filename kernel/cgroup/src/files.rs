//! Reading and writing cgroup files relative to a directory descriptor.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

/// Bytes: enough for every file with a single value or a short list (the longest is a cpuset of a large machine).
pub(crate) const VALUE_MAX: usize = 4096;

/// Opens a directory for reaching the files in it (`O_PATH`).
pub(crate) fn directory(root: impl AsFd, path: &str) -> Result<OwnedFd, Errno> {
    openat(root, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Writes a value with one write(2): the kernel parses each write on its own.
pub(crate) fn write(directory: impl AsFd, file: &str, value: &str) -> Result<(), Errno> {
    let file = openat(directory, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    let written = rustix::io::retry_on_intr(|| rustix::io::write(&file, value.as_bytes()))?;
    if written == value.len() { Ok(()) } else { Err(Errno::IO) }
}

/// Reads a small file into `buffer`; text beyond it is cut.
pub(crate) fn read<'b>(directory: impl AsFd, file: &str, buffer: &'b mut [u8]) -> Result<&'b str, Errno> {
    let file = openat(directory, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let length = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *buffer))?;
    text(buffer.get(..length).unwrap_or_default())
}

/// Reads a file of any length, replacing what `buffer` holds.
pub(crate) fn read_all<'b>(directory: impl AsFd, file: &str, buffer: &'b mut Vec<u8>) -> Result<&'b str, Errno> {
    /// Bytes per read(2): most files fit in one; a page is what the kernel formats at a time.
    const CHUNK: usize = 4096;
    let file = openat(directory, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    buffer.clear();
    loop {
        let start = buffer.len();
        buffer.resize(start + CHUNK, 0);
        let space = buffer.get_mut(start..).unwrap_or_default();
        let length = rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *space))?;
        buffer.truncate(start + length);
        if length == 0 {
            return text(buffer);
        }
    }
}

fn text(bytes: &[u8]) -> Result<&str, Errno> {
    std::str::from_utf8(bytes).map(|text| text.trim_end_matches('\n')).map_err(|_| Errno::ILSEQ)
}

/// Reads a number; `max` and what does not parse is `None`.
pub(crate) fn number(directory: impl AsFd, file: &str) -> Result<Option<u64>, Errno> {
    let mut buffer = [0; 64];
    Ok(read(directory, file, &mut buffer)?.parse().ok())
}
