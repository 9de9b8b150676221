//! The files in the bundle directory that tell a returning daemon what has happened.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use serde::Serialize;

/// Bytes kept free for a record: a page of the tmpfs, which is as little as it gives. The longest that is usual has 200.
const RESERVED_BYTES: u64 = 4096;

/// Takes the room for a record now: when it is to be written there may be none.
pub(crate) fn reserve(bundle: &Path, name: &str) -> io::Result<()> {
    let file = open(&temporary(bundle, name))?;
    match fallocate(&file, FallocateFlags::empty(), 0, RESERVED_BYTES) {
        // Then it is as good as it can be.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => Ok(other?),
    }
}

/// Writes a file so that it is there whole or not at all, into its reserve if there is one. No fsync: the directory is a
/// tmpfs.
pub(crate) fn write(bundle: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let temporary = temporary(bundle, name);
    let bytes = serde_json::to_vec(value)?;
    let mut file = open(&temporary)?;
    file.write_all(&bytes)?;
    // Only now: the room that is given back is anybody's.
    file.set_len(bytes.len() as u64)?;
    fs::rename(&temporary, bundle.join(name))
}

/// Gives the room for a record back that will not be written.
pub(crate) fn give_up(bundle: &Path, name: &str) {
    // There may be none.
    let _ = fs::remove_file(temporary(bundle, name));
}

fn temporary(bundle: &Path, name: &str) -> PathBuf {
    bundle.join(format!("{name}.tmp"))
}

fn open(path: &Path) -> io::Result<fs::File> {
    // The shim has no umask: nobody but root reads or writes these.
    fs::File::options().write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Removes files that may not be there.
pub(crate) fn remove(bundle: &Path, names: &[&str]) {
    for name in names {
        // The daemon removes the whole directory, before or after.
        let _ = fs::remove_file(bundle.join(name));
    }
}
