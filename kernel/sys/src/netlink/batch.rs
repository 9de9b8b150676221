//! Requests, encoded one after the other into one buffer that goes to the kernel in one system call.
//!
//! Wire format: `netlink(7)`, `linux/netlink.h`. A message is a 16-byte header, a fixed part that depends on its type,
//! and attributes: length (2 bytes, with the header), type (2 bytes), payload, padding to 4 bytes.

/// `NLM_F_REQUEST`.
pub const REQUEST: u16 = 0x01;
/// `NLM_F_ACK`.
pub const ACK: u16 = 0x04;
/// `NLM_F_ROOT | NLM_F_MATCH`.
pub const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`.
pub const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`.
pub const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub const APPEND: u16 = 0x800;

/// `NLA_F_NESTED`: the attribute holds attributes.
const NESTED: u16 = 0x8000;
/// Bytes of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;

/// Requests waiting to be sent.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) requests: Vec<Request>,
}

/// Where a request begins in the buffer, and what to call it in an error.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) start: usize,
    pub(crate) step: &'static str,
    pub(crate) object: String,
    /// Error numbers that mean "already as wanted".
    pub(crate) tolerated: &'static [i32],
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self { bytes: Vec::with_capacity(1024), requests: Vec::with_capacity(8) }
    }

    /// True when nothing would be sent.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Number of requests.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Size in bytes of what would be sent.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The encoded requests, with sequence numbers still zero.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends a request of a type with flags ([`REQUEST`] is added); `fill` writes what follows the header. `step` and
    /// `object` name it in errors.
    pub fn request(
        &mut self,
        kind: u16,
        flags: u16,
        step: &'static str,
        object: &str,
        fill: impl FnOnce(&mut Message),
    ) {
        self.tolerant_request(kind, flags, step, object, &[], fill);
    }

    /// Like [`Batch::request`], with error numbers that are no failure.
    pub fn tolerant_request(
        &mut self,
        kind: u16,
        flags: u16,
        step: &'static str,
        object: &str,
        tolerated: &'static [i32],
        fill: impl FnOnce(&mut Message),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        let mut message = Message { bytes: std::mem::take(&mut self.bytes) };
        fill(&mut message);
        self.bytes = message.bytes;
        pad(&mut self.bytes);
        // A message above 4 GiB cannot be built from the bounded inputs of the callers; saturating makes the kernel
        // refuse it instead of misreading it.
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        patch(&mut self.bytes, start, &length.to_ne_bytes());
        self.requests.push(Request { start, step, object: object.to_owned(), tolerated });
    }
}

/// The body of a request being written.
#[derive(Debug)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A fixed part, or raw bytes.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        pad(&mut self.bytes);
    }

    /// An attribute with these bytes.
    pub fn bytes(&mut self, kind: u16, payload: &[u8]) {
        let start = self.open(kind);
        self.bytes.extend_from_slice(payload);
        self.close(start);
    }

    /// A text attribute with the terminating zero.
    pub fn text(&mut self, kind: u16, text: &str) {
        let start = self.open(kind);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
        self.close(start);
    }

    /// One byte.
    pub fn u8(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    /// 16 bits in the machine's order.
    pub fn u16(&mut self, kind: u16, value: u16) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// 32 bits in the machine's order.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// 32 bits in network order, as netfilter has them.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// 64 bits in network order.
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An attribute that holds attributes.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.open(kind | NESTED);
        fill(self);
        self.close(start);
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        // Callers keep an attribute below 64 KiB; saturating makes the kernel refuse a larger one.
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        patch(&mut self.bytes, start, &length.to_ne_bytes());
        pad(&mut self.bytes);
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// Overwrites bytes that exist already.
pub(crate) fn patch(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(target) = bytes.get_mut(at..at + value.len()) {
        target.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_attributes_are_padded_and_measured() {
        let mut batch = Batch::new();
        batch.request(7, ACK, "test", "x", |message| {
            message.raw(&[9; 4]);
            message.nest(2, |inner| {
                inner.text(3, "ab");
                inner.u8(4, 5);
            });
        });
        let word = |value: u32| value.to_ne_bytes();
        let half = |value: u16| value.to_ne_bytes();
        let expected = [
            &word(40)[..],
            &half(7),
            &half(ACK | REQUEST),
            &[0; 8],
            &[9; 4],
            &half(20),
            &half(2 | NESTED),
            &half(7),
            &half(3),
            b"ab\0\0",
            &half(5),
            &half(4),
            &[5, 0, 0, 0],
        ]
        .concat();
        assert_eq!(batch.bytes(), expected);
        assert_eq!((batch.len(), batch.size()), (1, 40));
    }
}
