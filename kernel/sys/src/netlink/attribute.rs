//! Reading attributes. Everything is checked: a malformed answer ends the iteration, it never panics.

/// Bits of the type field that are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
const FLAGS: u16 = 0xc000;

/// Iterates over attributes: type (without flags) and payload.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Attributes one after the other in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What follows a fixed part of `skip` bytes.
    pub fn after(payload: &'a [u8], skip: usize) -> Self {
        Self { rest: payload.get(skip..).unwrap_or_default() }
    }

    /// The payload of the first attribute of a type.
    pub fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.clone().find(|(found, _)| *found == kind).map(|(_, payload)| payload)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(read_u16(self.rest, 0)?);
        let kind = read_u16(self.rest, 2)? & !FLAGS;
        let payload = self.rest.get(4..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    }
}

/// 16 bits in the machine's order.
pub fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// 32 bits in the machine's order.
pub fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// 32 bits in network order.
pub fn read_be32(bytes: &[u8], at: usize) -> Option<u32> {
    read_u32(bytes, at).map(u32::from_be)
}

/// Text up to the terminating zero, replacing what is not UTF-8.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iteration_stops_at_nonsense() {
        let half = |value: u16| value.to_ne_bytes();
        let good = [&half(5)[..], &half(1 | 0x8000), &[7, 0, 0, 0], &half(4), &half(2)].concat();
        let list: Vec<_> = Attributes::new(&good).collect();
        assert_eq!(list, [(1, &[7u8][..]), (2, &[][..])]);
        assert_eq!(Attributes::new(&good).get(2), Some(&[][..]));
        for broken in
            [&[][..], &[1], &half(3), &[&half(3)[..], &half(1)].concat(), &[&half(9)[..], &half(1), &[0; 4]].concat()]
        {
            assert_eq!(Attributes::new(broken).next(), None, "{broken:?}");
        }
    }

    #[test]
    fn text_ends_at_zero() {
        assert_eq!(text(b"eth0\0\0"), "eth0");
        assert_eq!(text(b"eth0"), "eth0");
    }
}
