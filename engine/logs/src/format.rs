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
    /// `json-file`: what stands between text and time, by stream.
    middles: [Vec<u8>; 2],
    /// `local`: the attributes.
    attributes: Vec<u8>,
    time: (i64, time::Text),
}

impl Encoder {
    pub(crate) fn new(format: Format, attrs: &BTreeMap<String, String>) -> Self {
        let (middles, attributes) = match format {
            Format::JsonFile => ([Stream::Stdout, Stream::Stderr].map(|s| json_file::middle(s, attrs)), Vec::new()),
            Format::Local => (Default::default(), local::attributes(attrs)),
        };
        Self { format, middles, attributes, time: (0, time::format(0)) }
    }

    /// Appends one record for `piece`.
    pub(crate) fn append(&mut self, buffer: &mut Vec<u8>, stream: Stream, piece: &[u8], ends_line: bool, time_ns: i64) {
        match self.format {
            Format::JsonFile => {
                if self.time.0 != time_ns {
                    self.time = (time_ns, time::format(time_ns));
                }
                let middle = self.middles.get(stream.index()).map_or(&[][..], Vec::as_slice);
                json_file::append(buffer, piece, ends_line, middle, self.time.1.as_bytes());
            }
            Format::Local => local::append(buffer, piece, ends_line, stream, time_ns, &self.attributes),
        }
    }
}
