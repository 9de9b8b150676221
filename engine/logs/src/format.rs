//! The two formats behind one interface: making records, and finding them in bytes.

use std::collections::BTreeMap;

use crate::local::Head;
use crate::reader::Entry;
use crate::{Stream, json_file, local, time};

/// Largest record the reader takes, in bytes; a longer line is garbage and skipped. A piece of 16 KiB in which every byte
/// is escaped has 96 KiB; the rest is for attributes.
pub(crate) const RECORD_BYTES_MAX: usize = 1024 * 1024;

/// How records are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    JsonFile,
    Local,
}

/// What [`Format::find`] saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The first so many bytes are a record.
    Record(usize),
    /// The first so many bytes are nothing.
    Garbage(usize),
    /// More bytes are needed.
    Incomplete,
}

impl Format {
    /// The format of a log driver; `None` for one that stores nothing readable.
    pub(crate) fn of(driver: &str) -> Option<Self> {
        match driver {
            "json-file" => Some(Self::JsonFile),
            "local" => Some(Self::Local),
            _ => None,
        }
    }

    /// Looks at the start of `bytes`, of which the first `seen` were looked at before and found incomplete.
    pub(crate) fn find(self, bytes: &[u8], seen: usize) -> Found {
        match self {
            Self::JsonFile => match memchr::memchr(b'\n', bytes.get(seen..).unwrap_or_default()) {
                Some(newline) => Found::Record(seen + newline + 1),
                None if bytes.len() >= RECORD_BYTES_MAX => Found::Garbage(bytes.len()),
                None => Found::Incomplete,
            },
            Self::Local => match local::head(bytes) {
                Head::Record(length) => Found::Record(length),
                Head::Incomplete => Found::Incomplete,
                Head::Garbage => {
                    let mut skip = 1;
                    while bytes.get(skip..).is_some_and(|rest| local::head(rest) == Head::Garbage) {
                        skip += 1;
                    }
                    Found::Garbage(skip)
                }
            },
        }
    }

    /// Reads a record that [`Format::find`] found; `None` if it is damaged.
    pub(crate) fn decode(self, record: &[u8]) -> Option<Entry> {
        match self {
            Self::JsonFile => json_file::decode(record),
            Self::Local => local::decode(record),
        }
    }
}

/// Makes records. What does not change from record to record is prepared once.
#[derive(Debug)]
pub(crate) struct Encoder {
    pub(crate) format: Format,
    /// `json-file`: what follows the text, by stream.
    tails: [Tail; 2],
    /// `local`: the attributes.
    attributes: Vec<u8>,
}

/// What follows the text of a `json-file` record. It changes with the time, which all records of a read share.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    /// Bytes before the time.
    middle: usize,
    /// The time that `bytes` has; `None` before the first.
    time_ns: Option<i64>,
}

impl Tail {
    fn new(middle: Vec<u8>) -> Self {
        Self { middle: middle.len(), bytes: middle, time_ns: None }
    }

    fn at(&mut self, time_ns: i64) -> &[u8] {
        if self.time_ns != Some(time_ns) {
            self.time_ns = Some(time_ns);
            self.bytes.truncate(self.middle);
            self.bytes.extend_from_slice(time::format(time_ns).as_bytes());
            self.bytes.extend_from_slice(json_file::END);
        }
        &self.bytes
    }
}

impl Encoder {
    pub(crate) fn new(format: Format, attrs: &BTreeMap<String, String>) -> Self {
        let (tails, attributes) = match format {
            Format::JsonFile => {
                let tail = |stream| Tail::new(json_file::middle(stream, attrs));
                ([Stream::Stdout, Stream::Stderr].map(tail), Vec::new())
            }
            Format::Local => (Default::default(), local::attributes(attrs)),
        };
        Self { format, tails, attributes }
    }

    /// Appends one record for `piece`.
    pub(crate) fn append(&mut self, buffer: &mut Vec<u8>, stream: Stream, piece: &[u8], ends_line: bool, time_ns: i64) {
        match self.format {
            Format::JsonFile => {
                let tail = self.tails.get_mut(stream.index()).map_or(&[][..], |tail| tail.at(time_ns));
                json_file::append(buffer, piece, ends_line, tail);
            }
            Format::Local => local::append(buffer, piece, ends_line, stream, time_ns, &self.attributes),
        }
    }
}
