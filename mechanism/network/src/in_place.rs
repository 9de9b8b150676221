//! Changing a file that is mounted into a container: the same inode, or the container would not see it.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Bytes of a file that is still changed: containers can write theirs, and a larger one is none of the engine's any more.
const LARGEST: u64 = 1 << 20;

/// Replaces a file's text by what `change` makes of it; `None` leaves it. Returns whether it has become another.
pub fn change(path: &Path, change: impl FnOnce(&str) -> Option<String>) -> io::Result<bool> {
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(path)?;
    let mut text = String::new();
    (&file).take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "file larger than 1 MiB"));
    }
    let Some(changed) = change(&text).filter(|changed| *changed != text) else { return Ok(false) };
    // Written over before it is cut, so that no reader finds it empty.
    file.write_all_at(changed.as_bytes(), 0)?;
    file.set_len(changed.len() as u64)?;
    Ok(true)
}
