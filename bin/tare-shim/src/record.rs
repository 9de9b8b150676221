//! The files in the bundle directory that tell a returning daemon what has happened.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;

/// Writes a file so that it is there whole or not at all. No fsync: the directory is a tmpfs.
pub(crate) fn write(bundle: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let temporary = bundle.join(format!("{name}.tmp"));
    // The shim has no umask: nobody but root reads or writes these.
    let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    fs::rename(&temporary, bundle.join(name))
}

/// Removes files that may not be there.
pub(crate) fn remove(bundle: &Path, names: &[&str]) {
    for name in names {
        // The daemon removes the whole directory, before or after.
        let _ = fs::remove_file(bundle.join(name));
    }
}
