//! Queries and replies: a header, one question, records, perhaps the client's datagram size (EDNS).

use std::net::IpAddr;

use super::Transport;

/// Type of IPv4 addresses.
pub(super) const A: u16 = 1;
/// Type of names of addresses.
pub(super) const PTR: u16 = 12;
/// Type of IPv6 addresses.
pub(super) const AAAA: u16 = 28;
/// Type that asks for everything.
pub(super) const ANY: u16 = 255;
/// EDNS pseudo-record (RFC 6891).
const OPT: u16 = 41;
/// The Internet.
pub(super) const IN: u16 = 1;
/// Class that asks for all.
pub(super) const ANY_CLASS: u16 = 255;

/// Response code: the query cannot be read.
pub const FORMAT_ERROR: u8 = 1;
/// Response code: something went wrong on the way.
pub const SERVER_FAILURE: u8 = 2;
/// Response code: there is no such name.
pub const NAME_ERROR: u8 = 3;

const HEADER: usize = 12;
/// Longest name on the wire, in bytes.
const NAME_BYTES: usize = 255;
/// What every client takes in a datagram, in bytes.
const DATAGRAM: u16 = 512;
/// The most that is sent in a datagram, in bytes: to a client on the same host.
const LARGE_DATAGRAM: u16 = 4096;
/// Seconds for which clients may keep an answer; Docker's.
const TTL: u32 = 600;
/// A pointer to the name in the question, which begins right after the header.
const POINTER_TO_QUESTION: u16 = 0xc000 | 12;

/// Header bits: response, opcode, authoritative, truncated, recursion desired, recursion available.
const RESPONSE: u16 = 0x8000;
const OPCODE: u16 = 0x7800;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;

/// A query that was read.
#[derive(Debug)]
pub(super) struct Query<'a> {
    pub(super) id: u16,
    flags: u16,
    /// Opcode QUERY.
    pub(super) is_standard: bool,
    /// In lower case, without the final dot.
    pub(super) name: String,
    pub(super) kind: u16,
    pub(super) class: u16,
    /// The question's bytes, to be repeated in the reply.
    question: &'a [u8],
    /// The datagram size that the client takes, when it says so.
    edns: Option<u16>,
}

/// Why something is no query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    /// Too short, or a reply.
    NotAQuery,
    /// The question cannot be read.
    Question,
}

/// What a reply says.
#[derive(Debug)]
pub(super) enum Record {
    Address(IpAddr),
    Pointer(String),
}

impl<'a> Query<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (id, flags) = header(bytes).ok_or(Malformed::NotAQuery)?;
        let question = || {
            let mut rest = bytes.get(HEADER..)?;
            let name = read_name(&mut rest)?;
            let (kind, class) = (take_u16(&mut rest)?, take_u16(&mut rest)?);
            let question = bytes.get(HEADER..bytes.len() - rest.len())?;
            let counts = [4, 6, 8, 10].map(|at| u16_at(bytes, at));
            let [Some(1), Some(answers), Some(authorities), Some(additional)] = counts else { return None };
            // The EDNS record is only looked for where clients put it: right behind the question.
            let edns = if answers == 0 && authorities == 0 && additional > 0 { read_edns(rest) } else { None };
            Some(Self { id, flags, is_standard: flags & OPCODE == 0, name, kind, class, question, edns })
        };
        question().ok_or(Malformed::Question)
    }

    /// A reply with as many of these records as the client takes.
    pub(super) fn reply(&self, records: &[Record], transport: Transport) -> Vec<u8> {
        let limit = usize::from(match transport {
            Transport::Udp => self.edns.unwrap_or(DATAGRAM).clamp(DATAGRAM, LARGE_DATAGRAM),
            Transport::Tcp => u16::MAX,
        });
        let opt: &[u8] = if self.edns.is_some() { &EDNS_REPLY } else { &[] };
        let mut bytes = vec![0; HEADER];
        bytes.extend_from_slice(self.question);
        let mut count = 0_u16;
        for record in records {
            let before = bytes.len();
            record.write(&mut bytes);
            if bytes.len() + opt.len() > limit {
                bytes.truncate(before);
                break;
            }
            count += 1;
        }
        bytes.extend_from_slice(opt);
        let cut = if usize::from(count) < records.len() { TRUNCATED } else { 0 };
        let flags = RESPONSE | AUTHORITATIVE | RECURSION_AVAILABLE | (self.flags & RECURSION_DESIRED) | cut;
        set_header(&mut bytes, [self.id, flags, 1, count, 0, u16::from(self.edns.is_some())]);
        bytes
    }
}

/// The EDNS record of replies: root name, type, datagram size, no extended code, version 0, no flags, no data.
const EDNS_REPLY: [u8; 11] = [0, 0, 41, 0x10, 0x00, 0, 0, 0, 0, 0, 0];

impl Record {
    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Address(IpAddr::V4(v4)) => write_record(bytes, A, &v4.octets()),
            Self::Address(IpAddr::V6(v6)) => write_record(bytes, AAAA, &v6.octets()),
            Self::Pointer(name) => write_record(bytes, PTR, &encode_name(name)),
        }
    }
}

fn write_record(bytes: &mut Vec<u8>, kind: u16, data: &[u8]) {
    for value in [POINTER_TO_QUESTION, kind, IN] {
        bytes.extend_from_slice(&value.to_be_bytes());
    }
    bytes.extend_from_slice(&TTL.to_be_bytes());
    // Addresses and names are far below 64 KiB.
    bytes.extend_from_slice(&u16::try_from(data.len()).unwrap_or(u16::MAX).to_be_bytes());
    bytes.extend_from_slice(data);
}

/// A name on the wire; labels that are too long are cut, labels beyond the longest name left out.
fn encode_name(name: &str) -> Vec<u8> {
    /// Longest label in bytes.
    const LABEL: usize = 63;
    let mut bytes = Vec::with_capacity(name.len() + 2);
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = label.as_bytes().get(..LABEL).unwrap_or(label.as_bytes());
        if bytes.len() + label.len() + 2 > NAME_BYTES {
            break;
        }
        bytes.extend(u8::try_from(label.len()));
        bytes.extend_from_slice(label);
    }
    bytes.push(0);
    bytes
}

/// A reply that says what went wrong; `None` when the bytes are no query.
pub fn failure(query: &[u8], code: u8) -> Option<Vec<u8>> {
    if let Ok(query) = Query::parse(query) {
        let mut reply = query.reply(&[], Transport::Udp);
        if let Some(byte) = reply.get_mut(3) {
            *byte |= code & 0x0f;
        }
        return Some(reply);
    }
    let (id, flags) = header(query)?;
    let flags = RESPONSE | RECURSION_AVAILABLE | (flags & (OPCODE | RECURSION_DESIRED)) | u16::from(code & 0x0f);
    let mut reply = vec![0; HEADER];
    set_header(&mut reply, [id, flags, 0, 0, 0, 0]);
    Some(reply)
}

/// ID and flags of a query.
fn header(bytes: &[u8]) -> Option<(u16, u16)> {
    let flags = u16_at(bytes, 2)?;
    (bytes.len() >= HEADER && flags & RESPONSE == 0).then_some((u16_at(bytes, 0)?, flags))
}

fn set_header(bytes: &mut [u8], values: [u16; 6]) {
    for (place, value) in bytes.chunks_exact_mut(2).zip(values) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// Reads a name without pointers (there is nothing before a question to point to), in lower case. Bytes that no host
/// name has become `?`, so that such a name is no container's.
fn read_name(rest: &mut &[u8]) -> Option<String> {
    let mut name = String::new();
    loop {
        let (length, after) = rest.split_first()?;
        let (label, after) = after.split_at_checked(usize::from(*length))?;
        *rest = after;
        if label.is_empty() {
            return Some(name);
        }
        if *length > 63 || name.len() + label.len() + 2 > NAME_BYTES {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        let plain = |byte: &u8| if byte.is_ascii_graphic() && *byte != b'.' { *byte } else { b'?' };
        name.extend(label.iter().map(|byte| char::from(plain(byte).to_ascii_lowercase())));
    }
}

/// The datagram size in an EDNS record.
fn read_edns(mut rest: &[u8]) -> Option<u16> {
    let (root, after) = rest.split_first()?;
    rest = after;
    (*root == 0 && take_u16(&mut rest)? == OPT).then(|| take_u16(&mut rest)).flatten()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn take_u16(rest: &mut &[u8]) -> Option<u16> {
    let (value, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u16::from_be_bytes(*value))
}
