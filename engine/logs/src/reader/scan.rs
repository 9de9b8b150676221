//! The records of one file in order.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use flate2::read::MultiGzDecoder;

use super::files::LogFile;
use crate::format::{Format, Found};

/// Bytes asked for at a time.
const READ_BYTES: usize = 64 * 1024;
/// A binary search for a time ends when it has found the place to within so many bytes; it then begins that much
/// earlier, because pieces of long lines and clock steps put times a little out of order.
const SEEK_BYTES: u64 = 64 * 1024;

#[derive(Debug)]
enum Input {
    Plain(File),
    Gzip(Box<MultiGzDecoder<File>>),
}

/// Reads records; holds one buffer, which only a record larger than [`READ_BYTES`] lets grow.
#[derive(Debug)]
pub(super) struct Scanner {
    input: Input,
    format: Format,
    /// Where the next read is from, in bytes.
    position: u64,
    /// Where to stop; `None` at the end of the file, wherever it is by then.
    end: Option<u64>,
    buffer: Vec<u8>,
    /// What is in the buffer and has not been returned.
    unread: Range<usize>,
    /// How much of it has been looked at and is no whole record.
    seen: usize,
    /// Records still to leave out.
    skip: usize,
}

impl Scanner {
    pub(super) fn new(file: LogFile, format: Format, to_the_end: bool) -> io::Result<Self> {
        let end = (!to_the_end && !file.gzip).then_some(file.end);
        let input =
            if file.gzip { Input::Gzip(Box::new(MultiGzDecoder::new(file.file))) } else { Input::Plain(file.file) };
        Ok(Self {
            input,
            format,
            position: file.start,
            end,
            buffer: Vec::new(),
            unread: 0..0,
            seen: 0,
            skip: file.skip,
        })
    }

    /// The file that is being read.
    pub(super) fn file(&self) -> &File {
        match &self.input {
            Input::Plain(file) => file,
            Input::Gzip(decoder) => decoder.get_ref(),
        }
    }

    /// What [`Self::next`] found.
    pub(super) fn bytes(&self, record: Range<usize>) -> &[u8] {
        self.buffer.get(record).unwrap_or_default()
    }

    /// The place in the buffer of the next record, damaged or not; `None` at the end of what there is.
    pub(super) fn next(&mut self) -> io::Result<Option<Range<usize>>> {
        loop {
            let unread = self.buffer.get(self.unread.clone()).unwrap_or_default();
            match self.format.find(unread, self.seen) {
                Found::Record(length) => {
                    let record = self.unread.start..self.unread.start + length;
                    self.unread.start = record.end;
                    self.seen = 0;
                    if self.skip == 0 {
                        return Ok(Some(record));
                    }
                    self.skip -= 1;
                }
                Found::Garbage(length) => {
                    self.unread.start += length;
                    self.seen = 0;
                }
                Found::Incomplete => {
                    self.seen = unread.len();
                    if !self.fill()? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        let used = self.unread.end;
        if self.buffer.len() < used + READ_BYTES {
            self.buffer.resize(used + READ_BYTES, 0);
        }
        let room = self.end.map_or(u64::MAX, |end| end.saturating_sub(self.position));
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let free = self.buffer.get_mut(used..).unwrap_or_default();
        let free_length = free.len().min(room);
        let free = free.get_mut(..free_length).unwrap_or_default();
        let bytes = match &mut self.input {
            Input::Plain(file) => retry(|| file.read_at(free, self.position))?,
            // Damage in a compressed file ends it: there is nothing to start again from.
            Input::Gzip(decoder) => retry(|| decoder.read(free)).unwrap_or(0),
        };
        self.position += bytes as u64;
        self.unread.end += bytes;
        Ok(bytes > 0)
    }

    /// If the file has become shorter than what was read of it, goes back: to its end if only an unfinished record was
    /// cut off, else (someone emptied it) to its beginning.
    pub(super) fn check_truncated(&mut self) -> io::Result<()> {
        let Input::Plain(file) = &self.input else { return Ok(()) };
        let size = file.metadata()?.len();
        if size >= self.position {
            return Ok(());
        }
        let returned = self.position - self.unread.len() as u64;
        self.position = if size >= returned { returned } else { 0 };
        self.unread = 0..0;
        self.seen = 0;
        Ok(())
    }

    /// Starts at about the first record that is not before a time. Only for the text format of a plain file; the other
    /// cases are read through.
    pub(super) fn seek(&mut self, since_ns: i64) -> io::Result<()> {
        let Input::Plain(file) = &self.input else { return Ok(()) };
        if self.format != Format::JsonFile {
            return Ok(());
        }
        let size = file.metadata()?.len().min(self.end.unwrap_or(u64::MAX));
        let (mut before, mut after) = (0, size);
        while after - before > SEEK_BYTES {
            let middle = before + (after - before) / 2;
            match self.time_after(middle)? {
                Some(time_ns) if time_ns < since_ns => before = middle,
                _ => after = middle,
            }
        }
        let start = before.saturating_sub(SEEK_BYTES);
        self.go_to(start);
        if start > 0 {
            // Into the middle of a record, most likely.
            self.next()?;
        }
        Ok(())
    }

    fn go_to(&mut self, position: u64) {
        self.position = position;
        self.unread = 0..0;
        self.seen = 0;
    }

    /// The time of the first good record after a position.
    fn time_after(&mut self, position: u64) -> io::Result<Option<i64>> {
        self.go_to(position);
        self.next()?;
        while let Some(record) = self.next()? {
            if let Some(entry) = self.format.decode(self.bytes(record)) {
                return Ok(Some(entry.time_ns));
            }
        }
        Ok(None)
    }
}

fn retry<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
