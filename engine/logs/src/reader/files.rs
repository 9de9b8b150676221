//! The files of a log at one moment, held open so that a rotation cannot take them away.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::Limit;
use crate::rotation::{FILES_MAX, gzip_name, plain_name};

/// How often a snapshot is taken again because a rotation seems to be under way. One takes microseconds; after that a
/// gap in the numbers is taken for what it is, a file that somebody removed.
const SNAPSHOT_ATTEMPTS: usize = 5;
/// Pause between attempts.
const SNAPSHOT_PAUSE: Duration = Duration::from_millis(1);
/// A file's time of modification comes from the kernel's coarse clock and can be this much before the times in it: one
/// tick of the slowest clock in use (100 Hz), doubled.
const COARSE_CLOCK_NS: i64 = 20_000_000;

/// One file.
#[derive(Debug)]
pub(super) struct LogFile {
    pub file: File,
    pub gzip: bool,
    pub inode: u64,
    pub device: u64,
    /// Time of modification, nanoseconds since the epoch.
    pub modified_ns: i64,
    /// Where to stop: its size when it was opened, or less.
    pub end: u64,
    /// Where to start.
    pub start: u64,
    /// Records to leave out at the start (of a compressed file, where `start` cannot say it).
    pub skip: usize,
}

impl LogFile {
    fn open(path: &Path, gzip: bool) -> io::Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        let (inode, device, end) = (metadata.ino(), metadata.dev(), metadata.len());
        let modified_ns = modified_ns(&metadata);
        Ok(Some(Self { file, gzip, inode, device, modified_ns, end, start: 0, skip: 0 }))
    }
}

fn modified_ns(metadata: &Metadata) -> i64 {
    metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec())
}

/// All files, newest first.
pub(super) fn snapshot(path: &Path, max_file: u32) -> io::Result<Vec<LogFile>> {
    let mut attempt = 1;
    loop {
        let (files, gap) = look(path, max_file)?;
        // A rotation while we looked shows as a gap, or as another current file than at the beginning.
        let current = LogFile::open(path, false)?.map(|file| file.inode);
        let same = current == files.first().filter(|file| !file.gzip).map(|file| file.inode);
        if (same && !gap) || attempt == SNAPSHOT_ATTEMPTS {
            return Ok(files);
        }
        attempt += 1;
        std::thread::sleep(SNAPSHOT_PAUSE);
    }
}

fn look(path: &Path, max_file: u32) -> io::Result<(Vec<LogFile>, bool)> {
    let mut files: Vec<LogFile> = Vec::new();
    let (mut missing, mut gap) = (false, false);
    for slot in 0..max_file.clamp(1, FILES_MAX) {
        let file = match LogFile::open(&plain_name(path, slot), false)? {
            None if slot > 0 => LogFile::open(&gzip_name(path, slot), true)?,
            file => file,
        };
        let Some(file) = file else {
            missing = true;
            continue;
        };
        gap |= missing;
        // Moved up since we opened it in the slot below.
        if !files.iter().any(|known| known.inode == file.inode && known.device == file.device) {
            files.push(file);
        }
    }
    Ok((files, gap))
}

/// The files that came after `last`, newest first.
pub(super) fn newer_than(path: &Path, max_file: u32, last: &File) -> io::Result<Vec<LogFile>> {
    let metadata = last.metadata()?;
    let same = |file: &LogFile| file.inode == metadata.ino() && file.device == metadata.dev();
    // One open(2) in the usual case that nothing has happened.
    match LogFile::open(path, false)? {
        Some(file) if !same(&file) => {}
        _ => return Ok(Vec::new()),
    }
    let mut files = snapshot(path, max_file)?;
    let modified_ns = modified_ns(&metadata);
    // Up to the file itself; or what it was compressed to, which has its time; or, if it is gone, an older one.
    let known =
        |file: &LogFile| same(file) || (file.gzip && file.modified_ns == modified_ns) || file.modified_ns < modified_ns;
    // The current file is another one, so it is newer even if a clock was set back.
    let newer = files.iter().skip(1).position(known).map_or(files.len(), |place| place + 1);
    files.truncate(newer);
    Ok(files)
}

/// Drops what lies after a position.
pub(super) fn end_at(newest_first: &mut Vec<LogFile>, limit: Limit) {
    // If the file is gone (rotated and compressed since), all that is there is the closest answer.
    let Some(place) = newest_first.iter().position(|file| file.inode == limit.file && !file.gzip) else { return };
    newest_first.drain(..place);
    if let Some(file) = newest_first.first_mut() {
        file.end = file.end.min(limit.offset);
    }
}

/// Drops files that have not been written since a time.
pub(super) fn skip_before(newest_first: &mut Vec<LogFile>, since_ns: i64) {
    let old = |file: &LogFile| file.modified_ns.saturating_add(COARSE_CLOCK_NS) < since_ns;
    // The current file may be written to yet.
    if let Some(place) = newest_first.iter().skip(1).position(old) {
        newest_first.truncate(place + 1);
    }
}
