//! The `local` format: compact, binary, readable from both ends. Numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | mark, 0x1e |
//! | 1 | flags: bits 0–1 the stream (1 stdout, 2 stderr), bit 2 the piece ends a line, bit 3 attributes follow |
//! | 4 | length of the whole record |
//! | 8 | time, nanoseconds since the Unix epoch |
//! | 2 + n | only with bit 3: length and text of the attributes, a JSON object of strings |
//! | … | the bytes of the piece as the container wrote them, without the newline |
//! | 4 | length of the whole record again, so that it can be found from its end |
//!
//! A record torn by a crash is skipped by looking for the next byte at which a whole record begins. (A container could
//! place such bytes in its output, but only to forge records that it could as well have printed.)

use std::collections::BTreeMap;

use crate::reader::Entry;
use crate::{PIECE_BYTES_MAX, Stream, json_file};

const MARK: u8 = 0x1e;
const ENDS_LINE: u8 = 4;
const HAS_ATTRS: u8 = 8;
const STREAM_MASK: u8 = 3;
const HEAD: usize = 14;
const TRAILER: usize = 4;
/// Bytes of attributes in one record; more are left out. The number is what two bytes of length can say.
const ATTRS_BYTES_MAX: usize = u16::MAX as usize;
/// Bytes of the largest record.
pub(crate) const RECORD_BYTES_MAX: usize = HEAD + 2 + ATTRS_BYTES_MAX + PIECE_BYTES_MAX + TRAILER;

/// The attributes as a record holds them, with their length; empty for none.
pub(crate) fn attributes(attrs: &BTreeMap<String, String>) -> Vec<u8> {
    if attrs.is_empty() {
        return Vec::new();
    }
    let mut text = vec![0, 0];
    json_file::object(&mut text, attrs);
    let Ok(length) = u16::try_from(text.len() - 2) else { return Vec::new() };
    if let Some(place) = text.first_chunk_mut() {
        *place = length.to_le_bytes();
    }
    text
}

/// Appends one record. `attributes` is [`attributes`]'s.
pub(crate) fn append(
    buffer: &mut Vec<u8>,
    piece: &[u8],
    ends_line: bool,
    stream: Stream,
    time_ns: i64,
    attributes: &[u8],
) {
    let piece = piece.get(..PIECE_BYTES_MAX).unwrap_or(piece);
    let flags =
        stream as u8 | if ends_line { ENDS_LINE } else { 0 } | if attributes.is_empty() { 0 } else { HAS_ATTRS };
    let length = u32::try_from(HEAD + attributes.len() + piece.len() + TRAILER).unwrap_or_default().to_le_bytes();
    buffer.extend_from_slice(&[MARK, flags]);
    buffer.extend_from_slice(&length);
    buffer.extend_from_slice(&time_ns.to_le_bytes());
    buffer.extend_from_slice(attributes);
    buffer.extend_from_slice(piece);
    buffer.extend_from_slice(&length);
}

/// What is at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    /// A record of this length.
    Record(usize),
    /// Perhaps a record; it goes on after the end of the bytes.
    Incomplete,
    /// No record.
    Garbage,
}

/// Looks for a record at the start of `bytes`.
pub(crate) fn head(bytes: &[u8]) -> Head {
    let (Some(mark), flags) = (bytes.first(), bytes.get(1)) else { return Head::Incomplete };
    let good = |flags: &u8| *flags < 16 && matches!(flags & STREAM_MASK, 1 | 2);
    if *mark != MARK || !flags.is_none_or(good) {
        return Head::Garbage;
    }
    let Some(length) = number(bytes, 2) else { return Head::Incomplete };
    if !(HEAD + TRAILER..=RECORD_BYTES_MAX).contains(&length) {
        return Head::Garbage;
    }
    if bytes.len() < length {
        return Head::Incomplete;
    }
    if number(bytes, length - TRAILER) == Some(length) { Head::Record(length) } else { Head::Garbage }
}

/// Length of the record that ends where `bytes` end; `None` if none does (or if it begins before them).
pub(crate) fn tail(bytes: &[u8]) -> Option<usize> {
    let length = number(bytes, bytes.len().checked_sub(TRAILER)?)?;
    let start = bytes.len().checked_sub(length)?;
    (head(bytes.get(start..)?) == Head::Record(length)).then_some(length)
}

/// Reads one record, found by [`head`].
pub(crate) fn decode(record: &[u8]) -> Option<Entry> {
    let flags = *record.get(1)?;
    let stream = match flags & STREAM_MASK {
        1 => Stream::Stdout,
        2 => Stream::Stderr,
        _ => return None,
    };
    let time_ns = i64::from_le_bytes(record.get(6..HEAD)?.try_into().ok()?);
    let mut body = record.get(HEAD..record.len().checked_sub(TRAILER)?)?;
    let mut attrs = BTreeMap::new();
    if flags & HAS_ATTRS != 0 {
        let (length, rest) = body.split_first_chunk()?;
        let (text, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        attrs = serde_json::from_slice(text).ok()?;
        body = rest;
    }
    let mut line = Vec::with_capacity(body.len() + 1);
    line.extend_from_slice(body);
    if flags & ENDS_LINE != 0 {
        line.push(b'\n');
    }
    Some(Entry { stream, time_ns, line, attrs })
}

fn number(bytes: &[u8], place: usize) -> Option<usize> {
    let bytes = bytes.get(place..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(
            piece in proptest::collection::vec(any::<u8>().prop_filter("one line", |byte| *byte != b'\n'), 0..200),
            ends in any::<bool>(),
            time_ns in any::<i64>(),
            attrs in proptest::collection::btree_map(".{0,8}", ".{0,8}", 0..3),
        ) {
            let mut buffer = vec![1, 2, 3];
            append(&mut buffer, &piece, ends, Stream::Stderr, time_ns, &attributes(&attrs));
            let record = &buffer[3..];
            prop_assert_eq!(head(record), Head::Record(record.len()));
            prop_assert_eq!(tail(&buffer), Some(record.len()));
            prop_assert_eq!(head(&record[..record.len() - 1]), Head::Incomplete);
            let entry = decode(record).unwrap();
            prop_assert_eq!(entry.partial(), !ends);
            prop_assert_eq!((entry.stream, entry.time_ns, entry.attrs), (Stream::Stderr, time_ns, attrs));
            prop_assert_eq!(entry.line.strip_suffix(b"\n").filter(|_| ends).unwrap_or(&entry.line), &piece[..]);
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = (head(&bytes), tail(&bytes), decode(&bytes));
        }
    }

    #[test]
    fn too_many_attributes_are_left_out() {
        let attrs = BTreeMap::from([("k".to_owned(), "v".repeat(ATTRS_BYTES_MAX))]);
        assert_eq!(attributes(&attrs), b"");
    }
}
