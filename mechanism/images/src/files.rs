//! Small files of the store: bounded reads, atomic durable replacement, paths.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, rename, renameat_with};
use tare_reference::Digest;

use crate::{Error, Result};

/// `blobs/sha256/<hex>` below `root`.
pub(crate) fn blob_path(root: &Path, digest: &Digest) -> PathBuf {
    let mut path = root.join("blobs");
    path.push(digest.algorithm());
    path.push(digest.hex());
    path
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = fs::File::open(path).map_err(Error::io("open", path))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooLarge { what: "file of the image store", limit });
    }
    Ok(bytes)
}

/// Bytes of a list are a multiple of this, so that small changes need no more blocks.
const BLOCK: usize = 4096;
/// Bytes at least by which a list may become longer without another block.
const SLACK: usize = 512;

/// Replaces a JSON document such that after a crash it is the old or the new one: temporary file, fsync if it is to survive
/// a loss of power, exchange.
///
/// The old file stays, under the name that the next one has until it is whole. So on a full disk a document that is not
/// longer than the last can always be written, as when something is taken out of a list to make room; and the room that it
/// needs is not anybody else's in between.
pub(crate) fn replace(path: &Path, bytes: &[u8], durable: bool) -> Result<()> {
    let mut other = path.as_os_str().to_owned();
    other.push(".new");
    let other = PathBuf::from(other);
    let mut padded = bytes.to_vec();
    // White space after a document means nothing.
    padded.resize((bytes.len() + SLACK).next_multiple_of(BLOCK), b' ');
    let mut file = open_other(&other)?;
    file.write_all(&padded).map_err(Error::io("write", &other))?;
    if file.metadata().map_err(Error::io("fstat", &other))?.len() > padded.len() as u64 {
        file.set_len(padded.len() as u64).map_err(Error::io("ftruncate", &other))?;
    }
    if durable {
        file.sync_data().map_err(Error::io("fdatasync", &other))?;
    }
    drop(file);
    let exchanged = renameat_with(CWD, &other, CWD, path, RenameFlags::EXCHANGE);
    // There was none before, or this file system cannot do it.
    exchanged.or_else(|_| rename(&other, path)).map_err(Error::io("rename", path))?;
    // As long as the file itself, whatever the old one was. What fails here is a matter of the next time.
    if let Ok(mut file) = open_other(&other)
        && let Ok(length) = file.seek(SeekFrom::End(0))
        && let Some(missing) = usize::try_from(length).ok().and_then(|length| padded.get(length..))
    {
        let _ = file.write_all(missing);
    }
    Ok(())
}

fn open_other(path: &Path) -> Result<fs::File> {
    let mut options = fs::File::options();
    options.create(true).truncate(false).write(true).open(path).map_err(Error::io("open", path))
}

/// Removes a file that may be gone already.
pub(crate) fn remove_if_exists(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("unlink", path)(e)),
        _ => Ok(()),
    }
}

/// Names this boot of the machine; empty where /proc does not tell, which counts as one endless boot.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|s| s.trim().to_owned()).unwrap_or_default()
}

/// The time as RFC 3339 in UTC with nanoseconds.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// A name that nothing in the store has.
pub(crate) fn unique(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let nanoseconds = jiff::Timestamp::now().as_nanosecond();
    format!("{prefix}{}-{nanoseconds:x}-{n}", std::process::id())
}
