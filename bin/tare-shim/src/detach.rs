//! Recognising the detach keys in a stream of input.

/// A key sequence and how much of it has just been typed.
#[derive(Debug, Default)]
pub(crate) struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

impl DetachKeys {
    /// An empty sequence is never recognised.
    pub(crate) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Takes the next input and appends to `pass` what is not part of the sequence. Bytes that may yet become it are
    /// kept. Returns whether the sequence is complete; input after it is dropped.
    pub(crate) fn feed(&mut self, input: &[u8], pass: &mut Vec<u8>) -> bool {
        if self.keys.is_empty() {
            pass.extend_from_slice(input);
            return false;
        }
        for byte in input {
            while self.matched > 0 && self.keys.get(self.matched) != Some(byte) {
                // What was typed may still contain a beginning of the sequence further on.
                let shorter = self.border();
                pass.extend_from_slice(self.keys.get(..self.matched - shorter).unwrap_or_default());
                self.matched = shorter;
            }
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return true;
                }
            } else {
                pass.push(*byte);
            }
        }
        false
    }

    /// The input has ended: what was kept is just input.
    pub(crate) fn finish(&mut self, pass: &mut Vec<u8>) {
        pass.extend_from_slice(self.keys.get(..self.matched).unwrap_or_default());
        self.matched = 0;
    }

    /// Length of the longest beginning of the sequence that the matched part also ends with.
    fn border(&self) -> usize {
        let matched = self.keys.get(..self.matched).unwrap_or_default();
        (0..self.matched)
            .rev()
            .find(|length| matched.ends_with(matched.get(..*length).unwrap_or_default()))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(keys: &[u8], reads: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut detach = DetachKeys::new(keys.to_vec());
        let mut pass = Vec::new();
        for read in reads {
            if detach.feed(read, &mut pass) {
                return (pass, true);
            }
        }
        detach.finish(&mut pass);
        (pass, false)
    }

    #[test]
    fn the_sequence_across_reads() {
        assert_eq!(feed(b"\x10\x11", &[b"ab\x10", b"\x11cd"]), (b"ab".to_vec(), true));
        assert_eq!(feed(b"\x10\x11", &[b"\x10", b"x\x11"]), (b"\x10x\x11".to_vec(), false));
        assert_eq!(feed(b"\x10\x11", &[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
        assert_eq!(feed(b"aab", &[b"a", b"aa", b"b"]), (b"a".to_vec(), true));
        assert_eq!(feed(b"ab", &[b"xa"]), (b"xa".to_vec(), false));
        assert_eq!(feed(b"", &[b"ab"]), (b"ab".to_vec(), false));
    }

    proptest! {
        /// Against searching in the whole input.
        #[test]
        fn agrees_with_a_search(
            keys in proptest::collection::vec(0_u8..2, 1..5),
            input in proptest::collection::vec(0_u8..2, 0..40),
            cut in 0_usize..40,
        ) {
            let (first, second) = input.split_at(cut.min(input.len()));
            let place = input.windows(keys.len()).position(|window| window == keys);
            let expected = (input[..place.unwrap_or(input.len())].to_vec(), place.is_some());
            prop_assert_eq!(feed(&keys, &[first, second]), expected);
        }
    }
}
