//! Reading a container's log, while it grows and rotates or after the end.
//!
//! A [`LogReader`] never blocks: [`LogReader::next`] yields an entry, says that there is none yet, or that there will be
//! none. Between the two, wait until [`LogReader::wake_fd`] is readable. Damaged records are skipped.
//!
//! Read in this order: this file, `files` (which files there are), `back` (where the last n records begin), `scan`
//! (records of one file in order), `watch`.

mod back;
mod files;
mod scan;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use tare_shim_protocol::LogConfig;

use self::files::LogFile;
use self::scan::Scanner;
use self::watch::Watch;
use crate::Stream;
use crate::format::Format;

/// How often to call [`LogReader::next`] when following without a [`LogReader::wake_fd`], because the user's inotify
/// instances (128 by default) are in use.
pub const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it was written to.
    pub stream: Stream,
    /// Nanoseconds since the Unix epoch.
    pub time_ns: i64,
    /// The text, with its newline if it ends a line.
    pub line: Vec<u8>,
    /// The configured attributes.
    pub attrs: BTreeMap<String, String>,
}

impl Entry {
    /// The line goes on in the next record of the stream, or was never ended.
    pub fn partial(&self) -> bool {
        !self.line.ends_with(b"\n")
    }
}

/// What to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct ReadOptions {
    /// Only the last so many records, counted before `since_ns` and `until_ns` apply, as in Docker.
    pub tail: Option<usize>,
    /// Leave out entries before this time, nanoseconds since the epoch.
    pub since_ns: Option<i64>,
    /// End with the first entry after this time.
    pub until_ns: Option<i64>,
    /// Go on with what is appended, until [`LogReader::set_stopped`].
    pub follow: bool,
    /// Stop at a position; wins over `follow`.
    pub limit: Option<Limit>,
}

/// A position in a log: what the shim answers to an attach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Inode of the file.
    pub file: u64,
    /// Bytes of it to read.
    pub offset: u64,
}

/// What [`LogReader::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// An entry.
    Entry(Entry),
    /// None yet (only when following).
    WouldBlock,
    /// No more.
    End,
}

/// Reads one container's log.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    max_file: u32,
    format: Format,
    options: ReadOptions,
    /// Files still to be read, oldest first.
    waiting: VecDeque<LogFile>,
    scanner: Option<Scanner>,
    watch: Option<Watch>,
    stopped: bool,
    ended: bool,
}

impl LogReader {
    /// Opens the log; one that does not exist yet is empty. A driver whose logs cannot be read is
    /// [`io::ErrorKind::Unsupported`].
    pub fn open(config: &LogConfig, options: ReadOptions) -> io::Result<Self> {
        let Some(format) = Format::of(&config.driver) else {
            let message = format!("logs of the driver `{}` cannot be read", config.driver);
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        };
        let mut reader = Self {
            path: config.path.clone(),
            max_file: config.max_file,
            format,
            options,
            waiting: VecDeque::new(),
            scanner: None,
            watch: None,
            stopped: false,
            ended: false,
        };
        reader.stopped = !reader.follows();
        // Before the files are looked at, so that nothing happens unseen in between.
        if !reader.stopped {
            reader.watch = Watch::new(&reader.path)?;
        }
        let mut newest_first = files::snapshot(&reader.path, reader.max_file)?;
        if let Some(limit) = options.limit {
            files::end_at(&mut newest_first, limit);
        }
        if let Some(since_ns) = options.since_ns {
            files::skip_before(&mut newest_first, since_ns);
        }
        if let Some(count) = options.tail {
            back::keep_last(&mut newest_first, format, count)?;
        }
        reader.waiting = newest_first.into_iter().rev().collect();
        Ok(reader)
    }

    /// Readable when [`Self::next`] may find more. `None` when not following, and when there is no inotify instance left
    /// (then call every [`FOLLOW_INTERVAL`]).
    pub fn wake_fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(Watch::as_fd)
    }

    /// Nothing is written any more: the reader ends when it has read all there is.
    pub fn set_stopped(&mut self) {
        self.stopped = true;
    }

    /// The next entry. An error (of the file system) does not end the reader, but is likely to come again.
    #[expect(clippy::should_implement_trait, reason = "the three outcomes of a step are not an iterator's two")]
    pub fn next(&mut self) -> io::Result<Step> {
        while !self.ended {
            let Some(record) = self.advance()? else {
                if !self.stopped {
                    return Ok(Step::WouldBlock);
                }
                break;
            };
            let bytes = self.scanner.as_ref().map_or(&[][..], |scanner| scanner.bytes(record));
            let Some(entry) = self.format.decode(bytes) else { continue };
            if self.options.since_ns.is_some_and(|since| entry.time_ns < since) {
                continue;
            }
            if self.options.until_ns.is_some_and(|until| entry.time_ns > until) {
                break;
            }
            return Ok(Step::Entry(entry));
        }
        self.ended = true;
        Ok(Step::End)
    }

    fn follows(&self) -> bool {
        self.options.follow && self.options.limit.is_none()
    }

    /// Moves to the next record, in this file or a later one. `None`: there is none now.
    fn advance(&mut self) -> io::Result<Option<Range<usize>>> {
        let mut looked_again = false;
        let follows = self.follows();
        loop {
            let Some(scanner) = &mut self.scanner else {
                if !self.next_file()? {
                    return Ok(None);
                }
                continue;
            };
            if let Some(record) = scanner.next()? {
                return Ok(Some(record));
            }
            if !self.waiting.is_empty() {
                self.scanner = None;
                continue;
            }
            if !follows {
                return Ok(None);
            }
            // First forget the events so far, then look again: what comes after the look wakes the caller.
            if !looked_again {
                looked_again = true;
                if let Some(watch) = &mut self.watch {
                    watch.drain();
                }
                scanner.check_truncated()?;
                continue;
            }
            let newer = files::newer_than(&self.path, self.max_file, scanner.file())?;
            if newer.is_empty() {
                return Ok(None);
            }
            // The old file got its last bytes before the new one was made, so one more look finds them all.
            self.waiting = newer.into_iter().rev().collect();
        }
    }

    /// Opens the next waiting file.
    fn next_file(&mut self) -> io::Result<bool> {
        if self.waiting.is_empty() && self.follows() {
            // There was no file at all.
            if let Some(watch) = &mut self.watch {
                watch.drain();
            }
            self.waiting = files::snapshot(&self.path, self.max_file)?.into_iter().rev().collect();
        }
        let Some(file) = self.waiting.pop_front() else { return Ok(false) };
        // The last one grows; all others end where they ended when they were opened, or where they were rotated.
        let grows = self.waiting.is_empty() && self.follows();
        if let Some(watch) = self.watch.as_mut().filter(|_| grows) {
            watch.file(&file.file);
        }
        let mut scanner = Scanner::new(file, self.format, self.follows())?;
        if let Some(since_ns) = self.options.since_ns.filter(|_| self.options.tail.is_none()) {
            scanner.seek(since_ns)?;
        }
        self.scanner = Some(scanner);
        Ok(true)
    }
}
