//! The keys that detach (Ctrl-P Ctrl-Q), looked for in what a terminal sends.

/// Watches input for a sequence of keys; holds back what may be its beginning.
#[derive(Clone, Debug)]
pub struct Escape {
    keys: Vec<u8>,
    /// How many of the keys have been seen in a row and held back.
    seen: usize,
}

impl Escape {
    /// Watches for `keys`; none never match.
    pub fn new(keys: Vec<u8>) -> Escape {
        Escape { keys, seen: 0 }
    }

    /// Adds what is to be sent of `input` to `out`. True when the sequence is complete; what follows it is dropped.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) -> bool {
        for byte in input {
            if self.keys.get(self.seen) == Some(byte) {
                self.seen += 1;
                if self.seen == self.keys.len() {
                    return true;
                }
                continue;
            }
            // Not the sequence after all: what was held back goes first. The byte itself may begin another attempt.
            let held = self.keys.get(..self.seen).unwrap_or_default();
            out.extend_from_slice(held);
            self.seen = 0;
            if self.keys.first() == Some(byte) {
                self.seen = 1;
                if self.keys.len() == 1 {
                    return true;
                }
            } else {
                out.push(*byte);
            }
        }
        false
    }

    /// What is held back, when the input ends.
    pub fn rest(&self) -> &[u8] {
        self.keys.get(..self.seen).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(keys: &[u8], inputs: &[&[u8]]) -> (Vec<u8>, bool) {
        let (mut escape, mut out) = (Escape::new(keys.to_vec()), Vec::new());
        let found = inputs.iter().any(|input| escape.feed(input, &mut out));
        if !found {
            out.extend_from_slice(escape.rest());
        }
        (out, found)
    }

    #[test]
    fn sequences() {
        assert_eq!(run(b"pq", &[b"hello"]), (b"hello".to_vec(), false));
        assert_eq!(run(b"pq", &[b"hep", b"qrest"]), (b"he".to_vec(), true));
        assert_eq!(run(b"pq", &[b"p", b"p", b"x"]), (b"ppx".to_vec(), false));
        assert_eq!(run(b"pq", &[b"ppq"]), (b"p".to_vec(), true));
        assert_eq!(run(b"p", &[b"ap"]), (b"a".to_vec(), true));
        assert_eq!(run(b"pq", &[b"p"]), (b"p".to_vec(), false));
        assert_eq!(run(b"", &[b"pq"]), (b"pq".to_vec(), false));
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_lost_or_made_up(input in "[abx]{0,20}", cut in 0_usize..21) {
            let cut = cut.min(input.len());
            let (out, found) = run(b"ab", &[&input.as_bytes()[..cut], &input.as_bytes()[cut..]]);
            let expected = input.find("ab").map_or(input.as_str(), |at| &input[..at]);
            proptest::prop_assert_eq!((String::from_utf8(out).unwrap(), found), (expected.to_owned(), input.contains("ab")));
        }
    }
}
