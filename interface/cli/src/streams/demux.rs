//! Frames of attach, exec and logs without a terminal: a header of eight bytes, then that much of one stream.

use bytes::{Buf, Bytes};
use tare_docker_api::stream::{FRAME_HEADER, StreamKind, parse_frame_header};

/// Most of the engine's error text that is kept, in bytes.
const MAX_ERROR: usize = 64 << 10;

/// Where a piece of output belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Takes frames apart, whatever pieces they arrive in.
#[derive(Debug, Default)]
pub struct Demux {
    header: [u8; FRAME_HEADER],
    /// Bytes of the header that are there.
    have: usize,
    /// The frame being passed on, and what is left of it.
    frame: Option<(StreamKind, usize)>,
    error: Vec<u8>,
}

/// Why the rest of a stream cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DemuxError {
    /// The first byte of a header names no stream.
    #[error("unrecognized stream: {0}")]
    Stream(u8),
    /// The engine reports a failure within the stream.
    #[error("error from daemon in stream: {0}")]
    Daemon(String),
}

impl Demux {
    /// Adds the pieces of output in `bytes` to `pieces`, also those before an error.
    pub fn feed(&mut self, mut bytes: Bytes, pieces: &mut Vec<(Target, Bytes)>) -> Result<(), DemuxError> {
        loop {
            match self.frame {
                Some((kind, left)) if left > 0 => {
                    if bytes.is_empty() {
                        return Ok(());
                    }
                    let piece = bytes.split_to(left.min(bytes.len()));
                    self.frame = Some((kind, left - piece.len()));
                    match kind {
                        StreamKind::Stdin | StreamKind::Stdout => pieces.push((Target::Out, piece)),
                        StreamKind::Stderr => pieces.push((Target::Err, piece)),
                        StreamKind::SystemErr => {
                            let room = MAX_ERROR.saturating_sub(self.error.len());
                            self.error.extend_from_slice(&piece[..room.min(piece.len())]);
                        }
                    }
                }
                Some((StreamKind::SystemErr, _)) => {
                    return Err(DemuxError::Daemon(String::from_utf8_lossy(&self.error).into_owned()));
                }
                Some(_) => self.frame = None,
                None => {
                    let part = (FRAME_HEADER - self.have).min(bytes.len());
                    bytes.copy_to_slice(&mut self.header[self.have..self.have + part]);
                    self.have += part;
                    if self.have < FRAME_HEADER {
                        return Ok(());
                    }
                    self.have = 0;
                    let (kind, length) = parse_frame_header(self.header).ok_or(DemuxError::Stream(self.header[0]))?;
                    self.frame = Some((kind, usize::try_from(length).unwrap_or(usize::MAX)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tare_docker_api::stream::frame_header;

    fn frame(kind: StreamKind, text: &str) -> Vec<u8> {
        let mut out = frame_header(kind, u32::try_from(text.len()).unwrap()).to_vec();
        out.extend_from_slice(text.as_bytes());
        out
    }

    /// Feeds in pieces of the given sizes; gives stdout, stderr and the error.
    fn read(bytes: &[u8], sizes: &[usize]) -> (Vec<u8>, Vec<u8>, Option<String>) {
        let (mut demux, mut pieces, mut at, mut error) = (Demux::default(), Vec::new(), 0, None);
        let mut sizes = sizes.iter().copied().cycle();
        while at < bytes.len() && error.is_none() {
            let end = bytes.len().min(at + sizes.next().unwrap_or(1).max(1));
            error = demux.feed(Bytes::copy_from_slice(&bytes[at..end]), &mut pieces).err();
            at = end;
        }
        let of = |target| pieces.iter().filter(|(t, _)| *t == target).flat_map(|(_, b)| b.to_vec()).collect();
        (of(Target::Out), of(Target::Err), error.map(|e| e.to_string()))
    }

    #[test]
    fn frames() {
        let bytes = [
            frame(StreamKind::Stdout, "a"),
            frame(StreamKind::Stderr, ""),
            frame(StreamKind::Stderr, "bc"),
            frame(StreamKind::Stdin, "d"),
        ]
        .concat();
        assert_eq!(read(&bytes, &[100]), (b"ad".to_vec(), b"bc".to_vec(), None));
        // What is cut off at the end of the connection is what there is.
        assert_eq!(read(&bytes[..bytes.len() - 10], &[100]), (b"a".to_vec(), b"b".to_vec(), None));
        let failed =
            [frame(StreamKind::Stdout, "a"), frame(StreamKind::SystemErr, "no"), frame(StreamKind::Stdout, "x")];
        let failed = read(&failed.concat(), &[3]);
        assert_eq!(failed, (b"a".to_vec(), vec![], Some("error from daemon in stream: no".into())));
        assert_eq!(read(b"hello, world", &[100]).2, Some("unrecognized stream: 104".into()));
    }

    proptest::proptest! {
        #[test]
        fn pieces_do_not_matter(frames in proptest::collection::vec((1_u8..3, ".{0,9}"), 0..8), sizes in proptest::collection::vec(1_usize..20, 1..5)) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(kind, text)| {
                frame(if *kind == 1 { StreamKind::Stdout } else { StreamKind::Stderr }, text)
            }).collect();
            let of = |wanted| frames.iter().filter(|(kind, _)| *kind == wanted).map(|(_, t)| t.as_str()).collect::<String>();
            let (out, err, error) = read(&bytes, &sizes);
            proptest::prop_assert_eq!((out, err, error), (of(1).into_bytes(), of(2).into_bytes(), None));
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>, sizes in proptest::collection::vec(1_usize..20, 1..5)) {
            read(&bytes, &sizes);
        }
    }
}
