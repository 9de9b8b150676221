//! Lines in the forms that destinations want.

use std::collections::BTreeMap;
use std::io::Write as _;

use flate2::write::{GzEncoder, ZlibEncoder};
use serde_json::{Value, json};
use tare_docker_api::time::Time;
use tare_logs::{Entry, Stream};

use super::attributes;
use super::destination::Form;
use crate::container::record::Record;
use crate::error::Result;

/// What is the same in all messages of a container.
#[derive(Debug)]
pub(crate) struct Source {
    host: String,
    tag: String,
    /// By the names that the journal, or GELF, has for them.
    fields: BTreeMap<String, String>,
}

/// How syslog wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Syslog {
    pub(crate) form: SyslogForm,
    pub(crate) facility: u8,
}

/// The option `syslog-format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyslogForm {
    /// What syslog takes on its own machine.
    Local,
    Rfc3164,
    Rfc5424,
    /// With microseconds.
    Rfc5424Micro,
}

impl SyslogForm {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "" => Some(Self::Local),
            "rfc3164" => Some(Self::Rfc3164),
            "rfc5424" => Some(Self::Rfc5424),
            "rfc5424micro" => Some(Self::Rfc5424Micro),
            _ => None,
        }
    }
}

/// How a GELF server wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gelf {
    pub(crate) compression: Compression,
    /// In datagrams, several for a long message; otherwise one after the other, each with a zero at its end.
    pub(crate) in_datagrams: bool,
}

/// With zlib's levels, -1 being its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip(i8),
    Zlib(i8),
}

/// syslog's numbers.
const ERROR: u8 = 3;
const INFORMATION: u8 = 6;

impl Source {
    /// What there is to say about a container.
    pub(crate) fn of(record: &Record, form: &Form) -> Result<Self> {
        let tag = attributes::tag(record, attributes::TAG)?;
        let mut fields = BTreeMap::new();
        let own: &[(&str, String)] = match form {
            Form::Syslog(_) => &[],
            Form::Journal => &[
                ("CONTAINER_ID", attributes::short(&record.id)),
                ("CONTAINER_ID_FULL", record.id.clone()),
                ("CONTAINER_NAME", record.name.clone()),
                ("CONTAINER_TAG", tag.clone()),
                ("IMAGE_NAME", record.config.image.clone()),
                ("SYSLOG_IDENTIFIER", tag.clone()),
            ],
            Form::Gelf(_) => &[
                ("_command", attributes::command(record)),
                ("_container_id", record.id.clone()),
                ("_container_name", record.name.clone()),
                ("_created", Time::from_unix_nanos(record.created_at).to_string()),
                ("_image_id", record.image_id.clone()),
                ("_image_name", record.config.image.clone()),
                ("_tag", tag.clone()),
            ],
        };
        fields.extend(own.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let attributes = record.log.attrs.iter();
        fields.extend(attributes.filter_map(|(name, value)| Some((form.name(name)?, value.clone()))));
        Ok(Self { host: crate::host::hostname(), tag, fields })
    }
}

impl Form {
    /// What an attribute is called there.
    fn name(&self, name: &str) -> Option<String> {
        match self {
            Self::Syslog(_) => None,
            Self::Gelf(_) if name.starts_with('_') => Some(name.to_owned()),
            Self::Gelf(_) => Some(format!("_{name}")),
            // Names are capitals, digits and underscores, of which none is the first.
            Self::Journal => {
                let plain = |character: char| match character.to_ascii_uppercase() {
                    character @ ('A'..='Z' | '0'..='9') => character,
                    _ => '_',
                };
                let name: String = name.chars().map(plain).collect();
                Some(name.trim_start_matches('_').to_owned()).filter(|name| !name.is_empty())
            }
        }
    }

    /// The messages that make one line; none for an empty line, except in the journal.
    pub(crate) fn messages(&self, source: &Source, entry: &Entry) -> Vec<Vec<u8>> {
        let line = entry.line.strip_suffix(b"\n").unwrap_or(&entry.line);
        match self {
            Self::Journal => vec![journal(source, entry, line)],
            _ if line.is_empty() => Vec::new(),
            Self::Syslog(how) => vec![syslog(*how, source, entry, line)],
            Self::Gelf(how) => gelf(*how, source, entry, line),
        }
    }
}

fn severity(stream: Stream) -> u8 {
    if stream == Stream::Stderr { ERROR } else { INFORMATION }
}

/// RFC 3164 and 5424, and what the C library's syslog(3) sends.
fn syslog(how: Syslog, source: &Source, entry: &Entry, line: &[u8]) -> Vec<u8> {
    let Source { host, tag, .. } = source;
    let (priority, pid) = (how.facility * 8 + severity(entry.stream), std::process::id());
    let time = Time::from_unix_nanos(entry.time_ns);
    let whole = Time::from_unix(time.seconds(), 0).local().to_string();
    let (date, rest) = whole.split_once('T').unwrap_or_default();
    let (clock, zone) = rest.split_at_checked(8).unwrap_or_default();
    let head = match how.form {
        SyslogForm::Local => format!("<{priority}>{} {clock} {tag}[{pid}]: ", day(date)),
        SyslogForm::Rfc3164 => format!("<{priority}>{} {clock} {host} {tag}[{pid}]: ", day(date)),
        SyslogForm::Rfc5424 => format!("<{priority}>1 {whole} {host} {tag} {pid} {tag} - "),
        SyslogForm::Rfc5424Micro => {
            let micros = time.nanos() / 1000;
            format!("<{priority}>1 {date}T{clock}.{micros:06}{zone} {host} {tag} {pid} {tag} - ")
        }
    };
    [head.as_bytes(), line, b"\n"].concat()
}

/// `2026-01-02` as `Jan  2`.
fn day(date: &str) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = date.split('-').skip(1).map(|part| part.parse::<usize>().unwrap_or_default());
    let (month, day) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{} {day:2}", MONTHS.get(month.wrapping_sub(1)).copied().unwrap_or_default())
}

/// An entry of the journal: `NAME=value` in lines, or with the length of the value before it (systemd's native protocol).
fn journal(source: &Source, entry: &Entry, line: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(line.len() + 512);
    let mut put = |name: &str, value: &[u8]| {
        message.extend_from_slice(name.as_bytes());
        if value.contains(&b'\n') {
            message.push(b'\n');
            message.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            message.push(b'=');
        }
        message.extend_from_slice(value);
        message.push(b'\n');
    };
    put("PRIORITY", severity(entry.stream).to_string().as_bytes());
    put("MESSAGE", line);
    put("SYSLOG_TIMESTAMP", Time::from_unix_nanos(entry.time_ns).to_string().as_bytes());
    if entry.partial() {
        put("CONTAINER_PARTIAL_MESSAGE", b"true");
    }
    for (name, value) in &source.fields {
        put(name, value.as_bytes());
    }
    message
}

/// GELF 1.1.
fn gelf(how: Gelf, source: &Source, entry: &Entry, line: &[u8]) -> Vec<Vec<u8>> {
    let mut document = json!({
        "version": "1.1",
        "host": source.host,
        "short_message": String::from_utf8_lossy(line),
        "timestamp": (entry.time_ns / 1_000_000) as f64 / 1000.0,
        "level": severity(entry.stream),
    });
    if let Value::Object(document) = &mut document {
        document.extend(source.fields.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))));
    }
    let mut bytes = document.to_string().into_bytes();
    if !how.in_datagrams {
        bytes.push(0);
        return vec![bytes];
    }
    chunks(compressed(how.compression, bytes))
}

fn compressed(compression: Compression, bytes: Vec<u8>) -> Vec<u8> {
    let level =
        |level: i8| u32::try_from(level).map_or_else(|_| flate2::Compression::default(), flate2::Compression::new);
    // Writing to memory does not fail.
    let packed = match compression {
        Compression::None => return bytes,
        Compression::Gzip(at) => {
            let mut encoder = GzEncoder::new(Vec::new(), level(at));
            encoder.write_all(&bytes).and_then(|()| encoder.finish())
        }
        Compression::Zlib(at) => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level(at));
            encoder.write_all(&bytes).and_then(|()| encoder.finish())
        }
    };
    packed.unwrap_or(bytes)
}

/// A long message in several datagrams: each begins with two magic bytes, the message's ID, its own number and theirs.
fn chunks(message: Vec<u8>) -> Vec<Vec<u8>> {
    /// Bytes of a datagram that every network lets through whole, as Docker cuts them.
    const DATAGRAM: usize = 1420;
    const HEADER: usize = 12;
    if message.len() <= DATAGRAM {
        return vec![message];
    }
    let parts = message.chunks(DATAGRAM - HEADER);
    // A piece of a line has at most 16 KiB, so that its datagrams are always fewer than the 128 that may be.
    let (id, count) = (crate::host::random::bytes::<8>(), u8::try_from(parts.len()).unwrap_or(u8::MAX));
    let part = |(number, part): (usize, &[u8])| {
        let number = u8::try_from(number).unwrap_or(u8::MAX);
        [&[0x1e, 0x0f], &id[..], &[number, count], part].concat()
    };
    parts.enumerate().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::tests::record;

    fn entry(stream: Stream, line: &str) -> Entry {
        // 2026-01-02T03:04:05.006007008Z
        Entry { stream, time_ns: 1_767_323_045_006_007_008, line: line.as_bytes().to_vec(), attrs: BTreeMap::new() }
    }

    fn sent(form: &Form, stream: Stream, line: &str) -> Vec<Vec<u8>> {
        let record = record("x", &[("tag", "{{.Name}}"), ("labels", "a-b,_c")], &[("a-b", "1"), ("_c", "2")], &[]);
        form.messages(&Source::of(&record, form).unwrap(), &entry(stream, line))
    }

    #[test]
    fn syslogs_forms() {
        let message = |form, stream| {
            let form = Form::Syslog(Syslog { form, facility: 3 });
            let text = String::from_utf8(sent(&form, stream, "a line\n").concat()).unwrap();
            let text = text.replace(&std::process::id().to_string(), "PID").replace(&crate::host::hostname(), "HOST");
            // The time is this machine's.
            regex_lite::Regex::new(r"\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)?|-0\d-0\d")
                .unwrap()
                .replace_all(&text, "*")
                .into_owned()
        };
        let local = message(SyslogForm::Local, Stream::Stdout);
        assert!(local.starts_with("<30>Jan  ") && local.ends_with(" * box[PID]: a line\n"), "{local}");
        let old = message(SyslogForm::Rfc3164, Stream::Stderr);
        assert!(old.starts_with("<27>Jan  ") && old.ends_with(" * HOST box[PID]: a line\n"), "{old}");
        assert_eq!(message(SyslogForm::Rfc5424, Stream::Stdout), "<30>1 2026*T* HOST box PID box - a line\n");
        let micro = message(SyslogForm::Rfc5424Micro, Stream::Stdout);
        assert!(
            micro.starts_with("<30>1 2026*T*.006007") && micro.ends_with(" HOST box PID box - a line\n"),
            "{micro}"
        );
        let form = Form::Syslog(Syslog { form: SyslogForm::Local, facility: 3 });
        assert!(sent(&form, Stream::Stdout, "\n").is_empty());
    }

    #[test]
    fn entries_of_the_journal() {
        let text = |line| String::from_utf8(sent(&Form::Journal, Stream::Stderr, line).concat()).unwrap();
        insta::assert_snapshot!(text("said\n"), @"
        PRIORITY=3
        MESSAGE=said
        SYSLOG_TIMESTAMP=2026-01-02T03:04:05.006007008Z
        A_B=1
        C=2
        CONTAINER_ID=0123456789ab
        CONTAINER_ID_FULL=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
        CONTAINER_NAME=box
        CONTAINER_TAG=box
        IMAGE_NAME=busybox
        SYSLOG_IDENTIFIER=box
        ");
        assert!(
            text("no end").contains("\nMESSAGE=no end\n")
                && text("no end").contains("\nCONTAINER_PARTIAL_MESSAGE=true\n")
        );
        assert!(text("\n").contains("\nMESSAGE=\n"));
        // A carriage return is not the end of a line; a newline inside of a value is told by its length.
        assert!(text("a\nb\n").contains("\nMESSAGE\n\u{3}\0\0\0\0\0\0\0a\nb\n"));
    }

    #[test]
    fn documents_of_gelf() {
        let plain = Form::Gelf(Gelf { compression: Compression::None, in_datagrams: false });
        let message = sent(&plain, Stream::Stdout, "a line\n").concat();
        let text = std::str::from_utf8(&message).unwrap().strip_suffix('\0').unwrap();
        let document: Value = serde_json::from_str(text).unwrap();
        assert_eq!(document["short_message"], "a line");
        assert_eq!((&document["level"], &document["version"]), (&json!(6), &json!("1.1")));
        assert_eq!(document["timestamp"], json!(1_767_323_045.006));
        for (name, value) in
            [("_tag", "box"), ("_container_name", "box"), ("_a-b", "1"), ("_c", "2"), ("_command", "sh -c true")]
        {
            assert_eq!(document[name], value, "{name}");
        }
        let packed = Form::Gelf(Gelf { compression: Compression::Gzip(1), in_datagrams: true });
        assert!(sent(&packed, Stream::Stdout, "a line\n")[0].starts_with(&[0x1f, 0x8b]));
        let cut = Form::Gelf(Gelf { compression: Compression::None, in_datagrams: true });
        let parts = sent(&cut, Stream::Stdout, &"x".repeat(16 * 1024));
        assert!(parts.len() > 10 && parts.iter().all(|part| part.len() <= 1420));
        assert!(parts.iter().enumerate().all(|(number, part)| {
            part.starts_with(&[0x1e, 0x0f])
                && part[2..10] == parts[0][2..10]
                && part[10..12] == [u8::try_from(number).unwrap(), u8::try_from(parts.len()).unwrap()]
        }));
        let whole: Vec<u8> = parts.iter().flat_map(|part| part[12..].to_vec()).collect();
        assert!(serde_json::from_slice::<Value>(&whole).is_ok());
    }
}
