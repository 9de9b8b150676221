//! The files of a log: their names, moving them up, and compressing the old ones bit by bit.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{Timespec, Timestamps};

/// Most files that are looked for, whatever the configuration says.
pub(crate) const FILES_MAX: u32 = 1000;
/// Permissions of log files.
pub(crate) const MODE: u32 = 0o640;
/// Bytes compressed at a time: about a millisecond during which no output is read.
const SLICE_BYTES: usize = 64 * 1024;
/// The fastest level: log text compresses well with any, and the processor belongs to the containers.
const LEVEL: Compression = Compression::fast();

/// `path.N`, or `path` for 0.
pub(crate) fn plain_name(path: &Path, slot: u32) -> PathBuf {
    if slot == 0 { path.to_owned() } else { with_suffix(path, &format!(".{slot}")) }
}

/// `path.N.gz`.
pub(crate) fn gzip_name(path: &Path, slot: u32) -> PathBuf {
    with_suffix(path, &format!(".{slot}.gz"))
}

/// A new file before it takes its place.
pub(crate) fn next_name(path: &Path) -> PathBuf {
    with_suffix(path, ".next")
}

fn temporary_name(path: &Path) -> PathBuf {
    with_suffix(path, ".gz.tmp")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::with_capacity(path.as_os_str().len() + suffix.len());
    name.push(path);
    name.push(suffix);
    name.into()
}

/// Moves every file up by one slot, dropping the oldest, so that `path` is free.
///
/// From the top down, so that each slot is empty before it is filled and a reader going up can meet a file twice but
/// never miss one.
pub(crate) fn shift(path: &Path, max_file: u32) -> io::Result<()> {
    let last = max_file.clamp(1, FILES_MAX) - 1;
    if last == 0 {
        return missing_is_fine(fs::remove_file(path));
    }
    missing_is_fine(fs::remove_file(plain_name(path, last)))?;
    missing_is_fine(fs::remove_file(gzip_name(path, last)))?;
    for slot in (1..last).rev() {
        missing_is_fine(fs::rename(gzip_name(path, slot), gzip_name(path, slot + 1)))?;
        missing_is_fine(fs::rename(plain_name(path, slot), plain_name(path, slot + 1)))?;
    }
    missing_is_fine(fs::rename(path, plain_name(path, 1)))
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The compression of one rotated file, done in slices while nothing else is to do: no thread, and no output waits for
/// longer than a slice.
#[derive(Debug)]
pub(crate) struct Compressor {
    slot: u32,
    source: File,
    encoder: GzEncoder<File>,
    temporary: PathBuf,
    buffer: Vec<u8>,
}

impl Compressor {
    /// The newest file that waits for compression.
    pub(crate) fn find(path: &Path, max_file: u32) -> Option<Self> {
        (1..max_file.min(FILES_MAX)).find_map(|slot| {
            let source = File::open(plain_name(path, slot)).ok()?;
            let temporary = temporary_name(path);
            let target = File::options().write(true).create(true).truncate(true).mode(MODE).open(&temporary).ok()?;
            let encoder = GzEncoder::new(target, LEVEL);
            Some(Self { slot, source, encoder, temporary, buffer: vec![0; SLICE_BYTES] })
        })
    }

    /// The files have moved up by one slot.
    pub(crate) fn shifted(mut self, max_file: u32) -> Option<Self> {
        self.slot += 1;
        if self.slot < max_file {
            return Some(self);
        }
        self.abandon();
        None
    }

    /// Goes on with the file; `None` when it is done.
    pub(crate) fn step(mut self, path: &Path) -> io::Result<Option<Self>> {
        match self.slice() {
            Ok(false) => return Ok(Some(self)),
            Ok(true) => {}
            Err(error) => {
                self.abandon();
                return Err(error);
            }
        }
        let times = Timestamps { last_access: modified(&self.source)?, last_modification: modified(&self.source)? };
        let file = self.encoder.finish()?;
        // The reader knows by this time that it has read the file before it was compressed.
        rustix::fs::futimens(&file, &times)?;
        // In this order a reader finds the one, the other or both, but never none.
        fs::rename(&self.temporary, gzip_name(path, self.slot))?;
        fs::remove_file(plain_name(path, self.slot))?;
        Ok(None)
    }

    fn slice(&mut self) -> io::Result<bool> {
        let bytes = self.source.read(&mut self.buffer)?;
        self.encoder.write_all(self.buffer.get(..bytes).unwrap_or_default())?;
        Ok(bytes == 0)
    }

    pub(crate) fn abandon(&self) {
        // It is found again or overwritten by the next attempt if it stays.
        let _ = fs::remove_file(&self.temporary);
    }
}

fn modified(file: &File) -> io::Result<Timespec> {
    let metadata = file.metadata()?;
    Ok(Timespec { tv_sec: metadata.mtime(), tv_nsec: metadata.mtime_nsec() })
}
