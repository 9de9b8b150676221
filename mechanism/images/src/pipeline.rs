//! Streams for extraction: what comes out of decompression is hashed as a whole, whoever reads how much of it.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use sha2::{Digest as _, Sha256};
use tare_reference::Digest;

/// Bytes of decompressed data in one piece: large enough that threads rarely meet.
const PIECE: usize = 256 << 10;
/// Pieces between decompression and extraction; bounds the memory of a layer to 1 MiB.
const PIECES: usize = 4;

/// Gives data piece by piece.
pub(crate) trait Source {
    /// Replaces what is in `piece` by what comes next; empty at the end.
    fn next(&mut self, piece: &mut Vec<u8>) -> io::Result<()>;
}

/// A reader as a source.
pub(crate) struct ReadSource<R>(pub(crate) R);

impl<R: Read> Source for ReadSource<R> {
    fn next(&mut self, piece: &mut Vec<u8>) -> io::Result<()> {
        piece.resize(PIECE, 0);
        let read = fill(&mut self.0, piece)?;
        piece.truncate(read);
        Ok(())
    }
}

/// Another thread's pieces.
pub(crate) struct ChannelSource {
    pieces: Receiver<io::Result<Vec<u8>>>,
    used: Sender<Vec<u8>>,
}

impl Source for ChannelSource {
    fn next(&mut self, piece: &mut Vec<u8>) -> io::Result<()> {
        let used = std::mem::take(piece);
        if used.capacity() > 0 {
            // the producer may be gone already
            let _ = self.used.send(used);
        }
        if let Ok(next) = self.pieces.recv() {
            *piece = next?;
        }
        Ok(())
    }
}

/// The other end of a [`ChannelSource`].
pub(crate) struct Feeder {
    pieces: SyncSender<io::Result<Vec<u8>>>,
    used: Receiver<Vec<u8>>,
}

/// A bounded channel whose buffers go round.
pub(crate) fn pieces() -> (Feeder, ChannelSource) {
    let (pieces, received) = sync_channel(PIECES);
    let (used, reuse) = channel();
    (Feeder { pieces, used: reuse }, ChannelSource { pieces: received, used })
}

impl Feeder {
    /// Reads `source` to its end, or until nobody listens any more.
    pub(crate) fn feed(&self, mut source: impl Read) {
        loop {
            let mut piece = self.used.try_recv().unwrap_or_default();
            piece.resize(PIECE, 0);
            let (last, message) = match fill(&mut source, &mut piece) {
                Ok(0) => return,
                Ok(read) => {
                    piece.truncate(read);
                    (false, Ok(piece))
                }
                Err(e) => (true, Err(e)),
            };
            if self.pieces.send(message).is_err() || last {
                return;
            }
        }
    }
}

/// Fills the buffer as far as the source goes.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Reads a source and hashes all of it.
pub(crate) struct Hashed<S> {
    source: S,
    piece: Vec<u8>,
    at: usize,
    hasher: Sha256,
}

impl<S: Source> Hashed<S> {
    pub(crate) fn new(source: S) -> Hashed<S> {
        Hashed { source, piece: Vec::new(), at: 0, hasher: Sha256::new() }
    }

    /// Reads what is left, whoever stopped early, and gives the digest of everything.
    pub(crate) fn finish(mut self) -> io::Result<Digest> {
        while !self.fill_buf()?.is_empty() {
            self.at = self.piece.len();
        }
        let hash: [u8; 32] = self.hasher.finalize().into();
        Ok(Digest::from_sha256(&hash))
    }
}

impl<S: Source> BufRead for Hashed<S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.piece.len() {
            self.at = 0;
            self.source.next(&mut self.piece)?;
            self.hasher.update(&self.piece);
        }
        Ok(self.piece.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at = self.at.saturating_add(amount).min(self.piece.len());
    }
}

impl<S: Source> Read for Hashed<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), available.get(..count)) {
            to.copy_from_slice(from);
        }
        self.consume(count);
        Ok(count)
    }
}
