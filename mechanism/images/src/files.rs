//! Small files of the store: bounded reads, atomic durable replacement, paths.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

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

/// Replaces a file such that after a crash it is the old or the new one: temporary file, fsync, rename.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let mut file = fs::File::create(&temporary).map_err(Error::io("create", &temporary))?;
    file.write_all(bytes).map_err(Error::io("write", &temporary))?;
    file.sync_data().map_err(Error::io("fdatasync", &temporary))?;
    drop(file);
    fs::rename(&temporary, path).map_err(Error::io("rename", path))
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
