//! Random identifiers.

use std::fmt::Write as _;

/// A 64-character hexadecimal ID (256 random bits), as Docker gives containers, networks and exec instances. The first
/// 12 characters are never all digits, because a short ID must not look like a number (a hostname of digits only, for
/// one, is taken for an address).
pub(crate) fn id() -> String {
    loop {
        let id = hex(&bytes::<32>());
        if id.get(..12).is_some_and(|short| short.bytes().any(|byte| !byte.is_ascii_digit())) {
            return id;
        }
    }
}

/// A random number.
pub(crate) fn number() -> u32 {
    u32::from_ne_bytes(bytes())
}

/// Random bytes.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // getrandom(2) fails only on kernels without it; an engine that cannot name its containers apart must not go on.
    getrandom::fill(&mut bytes).expect("the kernel provides random numbers");
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_are_long_and_differ() {
        let (a, b) = (super::id(), super::id());
        assert_eq!(a.len(), 64);
        assert_ne!(a, b);
    }
}
