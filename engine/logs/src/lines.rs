//! Cutting raw output into lines, and long lines into pieces.

use crate::PIECE_BYTES_MAX;

/// One stream's unfinished line.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// What has been read of the line and is not in a record yet; shorter than a piece.
    pending: Vec<u8>,
    /// When the line began, once a piece of it is out: all its pieces carry the same time, as in Docker.
    begun_ns: Option<i64>,
}

/// A piece of output that becomes one record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub bytes: &'a [u8],
    pub ends_line: bool,
    pub time_ns: i64,
}

impl Lines {
    pub(crate) fn pending(&self) -> &[u8] {
        &self.pending
    }

    /// Gives back memory that is not in use.
    pub(crate) fn relax(&mut self) {
        self.pending.shrink_to_fit();
    }

    /// Takes output read at `now_ns` and hands on every piece that is complete.
    pub(crate) fn push<E>(
        &mut self,
        mut bytes: &[u8],
        now_ns: i64,
        mut emit: impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            // Straight from the input, unless a line has begun in an earlier read.
            let room = PIECE_BYTES_MAX - self.pending.len();
            let window = bytes.get(..room).unwrap_or(bytes);
            let (used, complete, ends_line) = match memchr::memchr(b'\n', window) {
                Some(newline) => (newline, true, true),
                None => (window.len(), window.len() == room, false),
            };
            let (mut piece, _) = window.split_at(used);
            bytes = bytes.get(used + usize::from(ends_line)..).unwrap_or_default();
            if !complete {
                self.pending.extend_from_slice(piece);
                return Ok(());
            }
            let joined;
            if !self.pending.is_empty() {
                self.pending.extend_from_slice(piece);
                joined = std::mem::take(&mut self.pending);
                piece = &joined;
            }
            let rest = if ends_line { &[][..] } else { cut_character(piece) };
            let piece = piece.get(..piece.len() - rest.len()).unwrap_or_default();
            let time_ns = self.begun_ns.unwrap_or(now_ns);
            self.begun_ns = (!ends_line).then_some(time_ns);
            self.pending.extend_from_slice(rest);
            emit(Piece { bytes: piece, ends_line, time_ns })?;
        }
        Ok(())
    }

    /// The stream has ended: what is left becomes a last piece without a newline.
    pub(crate) fn finish<E>(&mut self, now_ns: i64, emit: impl FnOnce(Piece<'_>) -> Result<(), E>) -> Result<(), E> {
        let time_ns = self.begun_ns.take().unwrap_or(now_ns);
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() { Ok(()) } else { emit(Piece { bytes: &pending, ends_line: false, time_ns }) }
    }
}

/// The beginning of a character at the end of a piece whose rest is in the next one. Docker cuts characters apart and
/// spoils them; here the piece is up to three bytes shorter instead.
fn cut_character(piece: &[u8]) -> &[u8] {
    let continuation = piece.iter().rev().take(3).take_while(|byte| (0x80..0xc0).contains(*byte)).count();
    let Some(start) = piece.len().checked_sub(continuation + 1) else { return &[] };
    let length = match piece.get(start) {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => return &[],
    };
    if continuation + 1 < length { piece.get(start..).unwrap_or_default() } else { &[] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// (bytes, ends a line, time) of every piece; the n-th read is at time n.
    fn pieces(reads: &[&[u8]]) -> Vec<(Vec<u8>, bool, i64)> {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        let mut collect = |piece: Piece<'_>| -> Result<(), ()> {
            out.push((piece.bytes.to_vec(), piece.ends_line, piece.time_ns));
            Ok(())
        };
        let mut now = 0;
        for read in reads {
            now += 1;
            lines.push(read, now, &mut collect).unwrap();
        }
        lines.finish(now + 1, &mut collect).unwrap();
        assert!(lines.pending().is_empty());
        out
    }

    #[test]
    fn lines_across_reads() {
        assert_eq!(
            pieces(&[b"one\ntw", b"o\n", b"\nlast"]),
            [
                (b"one".to_vec(), true, 1),
                (b"two".to_vec(), true, 2),
                (b"".to_vec(), true, 3),
                (b"last".to_vec(), false, 4)
            ]
        );
    }

    #[test]
    fn long_lines_break_where_dockers_do() {
        let line = |length: usize| [vec![b'a'; length], vec![b'\n']].concat();
        let shape = |length| pieces(&[&line(length)]).iter().map(|p| (p.0.len(), p.1)).collect::<Vec<_>>();
        assert_eq!(shape(16_383), [(16_383, true)]);
        assert_eq!(shape(16_384), [(16_384, false), (0, true)]);
        assert_eq!(shape(40_000), [(16_384, false), (16_384, false), (7_232, true)]);
    }

    #[test]
    fn pieces_of_a_line_share_their_time() {
        let half = vec![b'x'; 10_000];
        let times: Vec<_> = pieces(&[&half, &half, &half, &half, b"\nnext\n"]).iter().map(|p| p.2).collect();
        assert_eq!(times, [2, 2, 2, 5]);
    }

    #[test]
    fn characters_stay_whole() {
        let text = format!("x{}", "😀".repeat(5_000));
        let pieces = pieces(&[text.as_bytes()]);
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| std::str::from_utf8(&piece.0).is_ok()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn nothing_is_lost(
            text in proptest::collection::vec(prop_oneof![1 => Just(b'\n'), 2_000 => any::<u8>()], 0..40_000),
            cuts in proptest::collection::vec(1_usize..20_000, 1..6),
        ) {
            let mut reads = Vec::new();
            let mut rest = &text[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (read, after) = rest.split_at((*cut).min(rest.len()));
                reads.push(read);
                rest = after;
            }
            let mut joined = Vec::new();
            for (bytes, ends, _) in pieces(&reads) {
                prop_assert!(bytes.len() <= PIECE_BYTES_MAX);
                joined.extend(bytes);
                if ends { joined.push(b'\n'); }
            }
            prop_assert_eq!(joined, text);
        }
    }
}
