//! Kernel settings under `/proc/sys/net`, of the network namespace of the calling thread.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;

use crate::error::{Error, Result};

fn path(key: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net").join(key)
}

/// Sets a setting (`ipv4/ip_forward`).
pub(crate) fn set(key: &str, value: &str) -> Result<()> {
    write(key, value).map_err(|source| Error::io("write sysctl", format_args!("net/{key}"), source))
}

/// Sets a setting that a kernel built or booted without a feature (IPv6) does not have.
pub(crate) fn set_if_present(key: &str, value: &str) -> Result<()> {
    match write(key, value) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        result => result.map_err(|source| Error::io("write sysctl", format_args!("net/{key}"), source)),
    }
}

/// Sets a setting whose name somebody else gives.
pub(crate) fn set_known(key: &str, value: &str) -> Result<()> {
    let path = path(key);
    if !path.is_file() {
        return Err(Error::NoSetting(path.display().to_string()));
    }
    set(key, value)
}

/// The text of a setting without the newline, `None` where it cannot be read.
pub(crate) fn get(key: &str) -> Option<String> {
    fs::read_to_string(path(key)).ok().map(|text| text.trim_end().to_owned())
}

/// Opens a setting of this thread's network namespace, to be written from anywhere later; `None` when there is none.
pub(crate) fn open(key: &str) -> Result<Option<File>> {
    match OpenOptions::new().write(true).open(path(key)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("open sysctl", format_args!("net/{key}"), source)),
    }
}

fn write(key: &str, value: &str) -> io::Result<()> {
    // Never created: procfs has it or not.
    OpenOptions::new().write(true).open(path(key))?.write_all(value.as_bytes())
}
