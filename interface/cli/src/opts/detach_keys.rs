//! `--detach-keys ctrl-p,ctrl-q`: the sequence as bytes.

use super::{Invalid, Parsed};

/// Ctrl-P, Ctrl-Q.
pub const DEFAULT: &[u8] = &[16, 17];
/// Most keys of a sequence; a longer one could hardly be typed.
const MAX_KEYS: usize = 64;

/// Reads a sequence: single characters and `ctrl-X`, separated by commas. Empty for the default.
pub fn parse(text: &str) -> Parsed<Vec<u8>> {
    if text.is_empty() {
        return Ok(DEFAULT.to_vec());
    }
    let fail = |why: String| Invalid(format!("invalid detach keys ({text}): {why}"));
    let codes: Result<Vec<u8>, Invalid> = text
        .split(',')
        .map(|name| key(name).ok_or_else(|| fail(format!("Unknown character: '{name}'"))))
        .take(MAX_KEYS + 1)
        .collect();
    match codes {
        Ok(codes) if codes.len() > MAX_KEYS => Err(fail(format!("more than {MAX_KEYS} keys"))),
        codes => codes,
    }
}

fn key(name: &str) -> Option<u8> {
    if let [one] = name.as_bytes() {
        return Some(*one);
    }
    if name == "DEL" {
        return Some(127);
    }
    match name.strip_prefix("ctrl-")?.as_bytes() {
        [c @ (b'a'..=b'z')] => Some(c - b'a' + 1),
        [b'@'] => Some(0),
        [c @ (b'[' | b'\\' | b']' | b'^' | b'_')] => Some(c - b'@'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences() {
        assert_eq!(parse("").unwrap(), [16, 17]);
        assert_eq!(parse("ctrl-p,ctrl-q").unwrap(), [16, 17]);
        assert_eq!(parse("ctrl-@,a,ctrl-[,ctrl-_,DEL").unwrap(), [0, b'a', 27, 31, 127]);
        insta::assert_snapshot!(parse("foo").unwrap_err(), @"invalid detach keys (foo): Unknown character: 'foo'");
        insta::assert_snapshot!(parse("ctrl-A").unwrap_err(), @"invalid detach keys (ctrl-A): Unknown character: 'ctrl-A'");
        assert!(parse(&"a,".repeat(100)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in "(ctrl-|[a-zé,@])*") {
            let _ = parse(&text);
        }
    }
}
