//! Where the last n records begin, found from the end.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::files::LogFile;
use super::scan::Scanner;
use crate::format::{Format, RECORD_BYTES_MAX};
use crate::local;

/// Bytes read at a time.
const BLOCK_BYTES: u64 = 64 * 1024;

/// Leaves of `files` (newest first) only those with the last `count` records, and sets where to start in the oldest.
pub(super) fn keep_last(files: &mut Vec<LogFile>, format: Format, count: usize) -> io::Result<()> {
    let mut missing = count;
    for place in 0..files.len() {
        let Some(file) = files.get_mut(place) else { break };
        let found = if file.gzip {
            // Read twice rather than kept: a rotated file can be large.
            let records = count_records(file, format)?;
            file.skip = records.saturating_sub(missing);
            records.min(missing)
        } else {
            let (start, found) = match format {
                Format::JsonFile => last_lines(&file.file, file.end, missing)?,
                Format::Local => last_records(&file.file, file.end, missing)?,
            };
            file.start = start;
            found
        };
        missing -= found;
        if missing == 0 {
            files.truncate(place + 1);
            break;
        }
    }
    Ok(())
}

fn count_records(file: &LogFile, format: Format) -> io::Result<usize> {
    let mut position = 0;
    // The same file description, so back to the start afterwards.
    let copy = LogFile { file: file.file.try_clone()?, start: 0, skip: 0, ..*file };
    let mut scanner = Scanner::new(copy, format, true)?;
    while scanner.next()?.is_some() {
        position += 1;
    }
    rustix::fs::seek(&file.file, rustix::fs::SeekFrom::Start(0))?;
    Ok(position)
}

/// Start of the last `count` lines within the first `end` bytes, and how many there are if fewer.
fn last_lines(file: &File, end: u64, count: usize) -> io::Result<(u64, usize)> {
    if count == 0 {
        return Ok((end, 0));
    }
    let mut block = Vec::new();
    let mut block_end = end;
    // Newlines seen; the first is the end of the last line (what follows it is a line being written).
    let mut seen = 0;
    while block_end > 0 {
        let start = block_end.saturating_sub(BLOCK_BYTES);
        read(file, start, block_end, &mut block)?;
        for newline in memchr::memrchr_iter(b'\n', &block) {
            if seen == count {
                return Ok((start + newline as u64 + 1, count));
            }
            seen += 1;
        }
        block_end = start;
    }
    Ok((0, seen))
}

/// The same for the `local` format.
fn last_records(file: &File, end: u64, count: usize) -> io::Result<(u64, usize)> {
    let mut block = Vec::new();
    let (mut position, mut found) = (end, 0);
    while found < count && position > 0 {
        let start = position.saturating_sub(BLOCK_BYTES.max(local::RECORD_BYTES_MAX as u64));
        read(file, start, position, &mut block)?;
        let mut unread = block.as_slice();
        while found < count {
            if let Some(length) = local::tail(unread) {
                found += 1;
                unread = unread.get(..unread.len() - length).unwrap_or_default();
            } else if start == 0 || unread.len() >= local::RECORD_BYTES_MAX {
                // No record ends here: damage. Look a byte further back.
                let Some((_, rest)) = unread.split_last() else { break };
                unread = rest;
            } else {
                // It may begin before the block.
                break;
            }
        }
        position = start + unread.len() as u64;
    }
    Ok((position, found))
}

fn read(file: &File, start: u64, end: u64, block: &mut Vec<u8>) -> io::Result<()> {
    let length = usize::try_from(end - start).map_err(io::Error::other)?;
    debug_assert!(length <= RECORD_BYTES_MAX);
    block.resize(length, 0);
    match file.read_exact_at(block, start) {
        // Emptied by someone since its size was taken.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            block.clear();
            Ok(())
        }
        other => other,
    }
}
