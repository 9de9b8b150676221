//! Docker's `json-file` format: one JSON object per line, exactly as dockerd writes it.
//!
//! ```json
//! {"log":"hello\n","stream":"stdout","attrs":{"k":"v"},"time":"2026-01-02T03:04:05.123456789Z"}
//! ```
//! `attrs` is there only when configured. `log` ends with `\n` except in the leading pieces of a long line and in a last
//! line that the container did not end. Text is escaped as dockerd does: `"` and `\` by a backslash, newline and carriage
//! return by letters, every other byte below 0x20 and the characters `<`, `>`, `&`, U+2028, U+2029 as `\u00XX`, and each
//! byte that is not UTF-8 becomes `\ufffd`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use crate::reader::Entry;
use crate::{Stream, time};

/// What stands between the text of a record and its time.
pub(crate) fn middle(stream: Stream, attrs: &BTreeMap<String, String>) -> Vec<u8> {
    let mut middle = Vec::new();
    middle.extend_from_slice(b"\",\"stream\":\"");
    middle.extend_from_slice(stream.name().as_bytes());
    middle.extend_from_slice(b"\",");
    if !attrs.is_empty() {
        middle.extend_from_slice(b"\"attrs\":");
        object(&mut middle, attrs);
        middle.push(b',');
    }
    middle.extend_from_slice(b"\"time\":\"");
    middle
}

/// Appends `{"k":"v",…}`.
pub(crate) fn object(buffer: &mut Vec<u8>, attrs: &BTreeMap<String, String>) {
    buffer.push(b'{');
    for (number, (key, value)) in attrs.iter().enumerate() {
        if number > 0 {
            buffer.push(b',');
        }
        buffer.push(b'"');
        escape(buffer, key.as_bytes());
        buffer.extend_from_slice(b"\":\"");
        escape(buffer, value.as_bytes());
        buffer.push(b'"');
    }
    buffer.push(b'}');
}

/// What stands after the time.
pub(crate) const END: &[u8] = b"\"}\n";

/// Appends one record. `tail` is [`middle`]'s, the time as RFC 3339 text, and [`END`].
pub(crate) fn append(buffer: &mut Vec<u8>, piece: &[u8], ends_line: bool, tail: &[u8]) {
    buffer.reserve(piece.len() + tail.len() + 16);
    buffer.extend_from_slice(b"{\"log\":\"");
    escape(buffer, piece);
    if ends_line {
        buffer.extend_from_slice(b"\\n");
    }
    buffer.extend_from_slice(tail);
}

/// Whether a byte cannot stand for itself.
fn is_special(byte: u8) -> bool {
    !(0x20..0x80).contains(&byte) || matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&')
}

/// The same byte eight times.
const fn eight(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Whether one of eight bytes is special. By arithmetic on all of them together: where this is built for its size, in the
/// shim, the compiler makes no vector instructions of a loop, and this is what lines cost most.
fn has_special(word: u64) -> bool {
    // A byte that equals `other` is 0 in the difference; less 1, that borrows its highest bit.
    let equals = |word: u64, other: u8| (word ^ eight(other)).wrapping_sub(eight(1));
    let control = word.wrapping_sub(eight(0x20));
    // `<` and `>` differ by this bit, `"` and `&` by that one. What is borrowed from the next byte comes from one that is special.
    let (angles, quotes) = (equals(word & !eight(2), b'<'), equals(word & !eight(4), b'"'));
    (word | control | angles | quotes | equals(word, b'\\')) & eight(0x80) != 0
}

/// Length of the prefix in which every byte stands for itself.
fn plain(bytes: &[u8]) -> usize {
    let (words, _) = bytes.as_chunks();
    let length = words.iter().take_while(|word| !has_special(u64::from_ne_bytes(**word))).count() * 8;
    let rest = bytes.get(length..).unwrap_or_default();
    length + rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len())
}

/// Appends `bytes` as the inside of a JSON string.
pub(crate) fn escape(buffer: &mut Vec<u8>, mut bytes: &[u8]) {
    loop {
        let (clean, rest) = bytes.split_at(plain(bytes));
        buffer.extend_from_slice(clean);
        let Some(first) = rest.first() else { return };
        let used = match first {
            0x80.. => character(buffer, rest),
            _ => {
                ascii(buffer, *first);
                1
            }
        };
        bytes = rest.get(used..).unwrap_or_default();
    }
}

fn ascii(buffer: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => buffer.extend_from_slice(b"\\\""),
        b'\\' => buffer.extend_from_slice(b"\\\\"),
        b'\n' => buffer.extend_from_slice(b"\\n"),
        b'\r' => buffer.extend_from_slice(b"\\r"),
        _ => {
            let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
            buffer.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// Appends the character at the start, which is not ASCII; returns how many bytes it has.
fn character(buffer: &mut Vec<u8>, bytes: &[u8]) -> usize {
    let length = match bytes.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => 1,
    };
    match bytes.get(..length) {
        Some(b"\xe2\x80\xa8") => buffer.extend_from_slice(b"\\u2028"),
        Some(b"\xe2\x80\xa9") => buffer.extend_from_slice(b"\\u2029"),
        Some(text) if std::str::from_utf8(text).is_ok() => buffer.extend_from_slice(text),
        _ => {
            buffer.extend_from_slice(b"\\ufffd");
            return 1;
        }
    }
    length
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(default)]
    attrs: Option<BTreeMap<String, String>>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// Reads one record, with or without its newline.
pub(crate) fn decode(record: &[u8]) -> Option<Entry> {
    let line: Line<'_> = serde_json::from_slice(record).ok()?;
    let stream = match line.stream.as_ref() {
        "stdout" => Stream::Stdout,
        "stderr" => Stream::Stderr,
        _ => return None,
    };
    let time_ns = time::parse(line.time.as_bytes())?;
    let attrs = line.attrs.unwrap_or_default();
    Some(Entry { stream, time_ns, line: line.log.into_owned().into_bytes(), attrs })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn escaped(bytes: &[u8]) -> String {
        let mut buffer = Vec::new();
        escape(&mut buffer, bytes);
        String::from_utf8(buffer).unwrap()
    }

    /// The expectation is dockerd 28.5's file for the same bytes.
    #[test]
    fn every_byte_as_dockerd_writes_it() {
        let all: Vec<u8> = (0..=0x7f).filter(|byte| *byte != b'\n').collect();
        assert_eq!(
            escaped(&all),
            concat!(
                r"\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\u0008\u0009\u000b\u000c\r\u000e\u000f\u0010\u0011\u0012",
                r"\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f !",
                r##"\"#$%\u0026'()*+,-./0123456789:;\u003c=\u003e?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"##,
                "\u{7f}"
            )
        );
        assert_eq!(
            escaped(b"\xe2\x80\xa8\xe2\x80\xa9 \xc3\xa9 \xed\xa0\x80 \xf0\x9f\x98\x80 \xe2\x82x"),
            "\\u2028\\u2029 é \\ufffd\\ufffd\\ufffd 😀 \\ufffd\\ufffdx"
        );
    }

    #[test]
    fn each_byte_is_found_at_each_place() {
        for (byte, place) in (0..=u8::MAX).flat_map(|byte| (0..20).map(move |place| (byte, place))) {
            let mut text = *b"A line of 20 bytes..";
            text[place] = byte;
            assert_eq!(plain(&text), if is_special(byte) { place } else { text.len() }, "{byte} at {place}");
        }
    }

    fn tail(stream: Stream, attrs: &BTreeMap<String, String>, time: &[u8]) -> Vec<u8> {
        [&middle(stream, attrs), time, END].concat()
    }

    #[test]
    fn a_record_with_attributes() {
        let attrs = BTreeMap::from([("b".to_owned(), "<2>".to_owned()), ("a".to_owned(), "1".to_owned())]);
        let mut buffer = Vec::new();
        append(&mut buffer, b"hello", true, &tail(Stream::Stderr, &attrs, b"2026-01-02T03:04:05.12Z"));
        insta::assert_snapshot!(String::from_utf8_lossy(&buffer), @r#"{"log":"hello\n","stream":"stderr","attrs":{"a":"1","b":"\u003c2\u003e"},"time":"2026-01-02T03:04:05.12Z"}"#);
        let entry = decode(&buffer).unwrap();
        assert_eq!((entry.stream, &*entry.line, &entry.attrs), (Stream::Stderr, &b"hello\n"[..], &attrs));
    }

    proptest! {
        #[test]
        fn words_are_as_their_bytes(bytes in proptest::array::uniform8(prop_oneof![any::<u8>(), 0x1f..0x24_u8, 0x25..0x28_u8, 0x3b..0x40_u8])) {
            prop_assert_eq!(has_special(u64::from_ne_bytes(bytes)), bytes.iter().any(|byte| is_special(*byte)));
        }

        #[test]
        fn round_trip_is_lossy_utf8(bytes in proptest::collection::vec(any::<u8>(), 0..80), ends in any::<bool>()) {
            let mut buffer = Vec::new();
            append(&mut buffer, &bytes, ends, &tail(Stream::Stdout, &BTreeMap::new(), b"1970-01-01T00:00:00Z"));
            let entry = decode(&buffer).unwrap();
            // Go replaces each bad byte, Rust each bad sequence, so valid stretches are what can be compared.
            let mut rest = &*entry.line;
            for chunk in bytes.utf8_chunks() {
                rest = rest.strip_prefix(chunk.valid().as_bytes()).unwrap();
                for _ in chunk.invalid() {
                    rest = rest.strip_prefix("\u{fffd}".as_bytes()).unwrap();
                }
            }
            prop_assert_eq!(rest, if ends { &b"\n"[..] } else { b"" });
            prop_assert_eq!(memchr::memchr_iter(b'\n', &buffer).count(), 1);
        }

        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
