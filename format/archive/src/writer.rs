//! A writer of tar archives: ustar headers, PAX records for what does not fit them.

use std::io::{Read, Write};

use crate::{BLOCK, Entry, Error, Kind, Time, pax};

/// Largest value of a 7-digit octal field (mode, uid, gid, device numbers).
const MAX_OCTAL_7: u64 = 0o7_777_777;
/// Largest value of an 11-digit octal field (size, time).
const MAX_OCTAL_11: u64 = 0o77_777_777_777;
/// Bytes read at once from a file's data.
const COPY_BUFFER: usize = 128 << 10;

/// Writes entries in order; [`Self::finish`] ends the archive.
#[derive(Debug)]
pub struct Writer<W> {
    inner: W,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Writes to `inner`, which should be buffered.
    pub fn new(inner: W) -> Writer<W> {
        Writer { inner, buffer: Vec::new() }
    }

    /// Appends an entry without data (its size must be 0).
    pub fn append(&mut self, entry: &Entry) -> Result<(), Error> {
        self.append_data(entry, &mut std::io::empty())
    }

    /// Appends an entry and exactly [`Entry::size`] bytes of `data`.
    ///
    /// A source that ends early (a log that was truncated meanwhile) is filled up with zeros and reported as
    /// [`Error::Size`] with the archive still intact; a longer one is cut.
    pub fn append_data(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), Error> {
        self.header(entry)?;
        let mut left = entry.size;
        let mut short = false;
        if left > 0 && self.buffer.is_empty() {
            self.buffer.resize(COPY_BUFFER, 0);
        }
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(COPY_BUFFER);
            let Some(buffer) = self.buffer.get_mut(..wanted) else { return Err(Error::Size) };
            let read = if short { 0 } else { data.read(buffer)? };
            short |= read == 0;
            let count = if short {
                buffer.fill(0);
                wanted
            } else {
                read
            };
            self.inner.write_all(buffer.get(..count).unwrap_or_default())?;
            left -= count as u64;
        }
        self.pad(entry.size)?;
        if short { Err(Error::Size) } else { Ok(()) }
    }

    /// Writes the two blocks of zeros and gives the inner writer back.
    pub fn finish(mut self) -> Result<W, Error> {
        self.inner.write_all(&[0; 2 * BLOCK])?;
        self.inner.flush()?;
        Ok(self.inner)
    }

    fn header(&mut self, entry: &Entry) -> Result<(), Error> {
        let mut path = entry.path.clone();
        if entry.kind == Kind::Directory && !path.ends_with(b"/") {
            path.push(b'/');
        }
        let mut records = Vec::new();
        let split = split_path(&path);
        if split.is_none() {
            pax::push(&mut records, b"path", &path);
        }
        if entry.link.len() > 100 || !entry.link.is_ascii() {
            pax::push(&mut records, b"linkpath", &entry.link);
        }
        for (key, value, limit) in
            [("uid", entry.uid, MAX_OCTAL_7), ("gid", entry.gid, MAX_OCTAL_7), ("size", entry.size, MAX_OCTAL_11)]
        {
            if value > limit {
                pax::push(&mut records, key.as_bytes(), value.to_string().as_bytes());
            }
        }
        if entry.mtime.nanoseconds != 0 || !u64::try_from(entry.mtime.seconds).is_ok_and(|s| s <= MAX_OCTAL_11) {
            pax::push(&mut records, b"mtime", time_text(entry.mtime).as_bytes());
        }
        for (name, value) in &entry.xattrs {
            pax::push_xattr(&mut records, name, value);
        }
        if !records.is_empty() {
            let size = records.len() as u64;
            let mut name = b"PaxHeaders.0/".to_vec();
            name.extend(crate::path::split(entry.path.strip_suffix(b"/").unwrap_or(&entry.path)).1.iter().take(80));
            let extension = Entry { size, ..Entry::new(name, Kind::Other(b'x'), 0o644) };
            let block = block(&extension, (b"", &extension.path));
            self.inner.write_all(&block)?;
            self.inner.write_all(&records)?;
            self.pad(size)?;
        }
        let cut = path.get(..path.len().min(100)).unwrap_or_default();
        let block = block(entry, split.unwrap_or((b"", cut)));
        self.inner.write_all(&block)?;
        Ok(())
    }

    fn pad(&mut self, size: u64) -> Result<(), Error> {
        let padding = usize::try_from(size.wrapping_neg() % BLOCK as u64).unwrap_or(0);
        self.inner.write_all([0; BLOCK].get(..padding).unwrap_or_default())?;
        Ok(())
    }
}

/// Prefix and name for a path that fits a ustar header.
fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= 100 {
        return Some((b"", path));
    }
    let slash = path.get(..path.len().min(156))?.iter().rposition(|&b| b == b'/')?;
    // a directory's own slash is no separator
    let (prefix, name) = (path.get(..slash)?, path.get(slash + 1..)?);
    (!prefix.is_empty() && !name.is_empty() && name.len() <= 100).then_some((prefix, name))
}

fn time_text(time: Time) -> String {
    let Time { seconds, nanoseconds } = time;
    if nanoseconds == 0 {
        return seconds.to_string();
    }
    if seconds >= 0 {
        return format!("{seconds}.{nanoseconds:09}");
    }
    // -1 s + 0.75 s is written -0.25
    let (seconds, nanoseconds) = (-(seconds + 1), 1_000_000_000 - nanoseconds);
    format!("-{seconds}.{nanoseconds:09}")
}

fn block(entry: &Entry, (prefix, name): (&[u8], &[u8])) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, value: &[u8]| {
        if let Some(field) = block.get_mut(at..at + value.len()) {
            field.copy_from_slice(value);
        }
    };
    let flag = match entry.kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Directory => b'5',
        Kind::Fifo => b'6',
        Kind::Other(flag) => flag,
    };
    put(0, name);
    put(100, octal(u64::from(entry.mode), 7).as_bytes());
    put(108, octal(fitting(entry.uid, MAX_OCTAL_7), 7).as_bytes());
    put(116, octal(fitting(entry.gid, MAX_OCTAL_7), 7).as_bytes());
    put(124, octal(fitting(entry.size, MAX_OCTAL_11), 11).as_bytes());
    put(136, octal(fitting(u64::try_from(entry.mtime.seconds).unwrap_or(0), MAX_OCTAL_11), 11).as_bytes());
    put(148, b"        ");
    put(156, &[flag]);
    put(157, entry.link.get(..entry.link.len().min(100)).unwrap_or_default());
    put(257, b"ustar\x0000");
    if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) {
        put(329, octal(u64::from(entry.device.0), 7).as_bytes());
        put(337, octal(u64::from(entry.device.1), 7).as_bytes());
    }
    put(345, prefix);
    let sum: u64 = block.iter().map(|&b| u64::from(b)).sum();
    let checksum = format!("{sum:06o}\0 ");
    if let Some(field) = block.get_mut(148..156) {
        field.copy_from_slice(checksum.as_bytes());
    }
    block
}

/// 0 where the value is in a PAX record.
fn fitting(value: u64, limit: u64) -> u64 {
    if value > limit { 0 } else { value }
}

fn octal(value: u64, width: usize) -> String {
    format!("{value:0width$o}")
}
