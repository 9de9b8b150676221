//! A layer on its way: registry → blob file and digest → decompression and diffID → files, all at once.
//!
//! Two threads take the bytes that arrive: one writes and hashes the blob, the other unpacks what the first passes on
//! (a third decompresses). Bounded channels between them make the slowest set the pace. Whoever gives up drops the
//! sending end: the writer keeps what it has for next time, the unpacker sees a broken stream and leaves nothing.
//!
//! [`BodyReader`] lets such threads read what an asynchronous task sends, for example a request's body.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::{Buf, Bytes};
use tare_images::oci::Descriptor;
use tare_images::{BlobWriter, ImageStore};
use tare_reference::Digest;
use tare_registry::{Blob, Repository};
use tokio::sync::{OwnedMutexGuard, mpsc, watch};
use tokio::task::JoinHandle;

use crate::progress::{Pace, amount, layer_id, step};
use crate::{Distribution, Error, Progress, Result};

/// Chunks (some 16 KiB each) between the socket and the blob's file.
const TO_BLOB: usize = 64;
/// Chunks between the blob's file and decompression. Larger, as that is the slow side of a bursty stream.
const TO_UNPACK: usize = 256;
/// Bytes of a chunk when an interrupted download is read again.
const REPLAY: usize = 128 << 10;

/// A layer to be had.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) descriptor: Descriptor,
    /// `None` leaves it packed.
    pub(crate) diff_id: Option<Digest>,
}

impl Distribution {
    /// Fetches and unpacks a layer, as far as it is not here yet.
    pub(crate) async fn layer(
        &self,
        from: &Repository,
        wanted: Wanted,
        stop: &Stop,
        progress: &dyn Progress,
    ) -> Result<()> {
        let id = layer_id(&wanted.descriptor.digest);
        // whoever has the same layer in work comes first; then it is here
        let guard = tokio::select! {
            biased;
            _ = stop.stopped() => return Err(canceled()),
            guard = self.locks.lock(&wanted.descriptor.digest) => Arc::new(guard),
        };
        let fetched = self.store.has_blob(&wanted.descriptor.digest);
        let unpacked = wanted.diff_id.as_ref().is_none_or(|d| self.store.has_layer(d));
        if fetched && unpacked {
            progress(step(&id, "Already exists"));
            return Ok(());
        }
        if fetched {
            progress(step(&id, "Download complete"));
        } else {
            let unpack = wanted.diff_id.clone().filter(|_| !unpacked);
            let early = self.download(from, &wanted.descriptor, unpack, &guard, (stop, progress)).await?;
            progress(step(&id, "Download complete"));
            if let Some(unpacking) = early {
                progress(step(&id, "Extracting"));
                unpacking.finish().await?;
                progress(step(&id, "Pull complete"));
                return Ok(());
            }
        }
        if let Some(diff_id) = wanted.diff_id.filter(|_| !unpacked) {
            progress(step(&id, "Extracting"));
            self.unpack_blob(&wanted.descriptor.digest, &diff_id, &guard).await?;
        }
        progress(step(&id, "Pull complete"));
        Ok(())
    }

    /// Unpacks a layer whose blob is here.
    pub(crate) async fn unpack_blob(&self, blob: &Digest, diff_id: &Digest, guard: &Guard) -> Result<()> {
        let _turn = self.unpackers.acquire().await;
        let (store, blob, diff_id, guard) = (self.store.clone(), blob.clone(), diff_id.clone(), guard.clone());
        crate::blocking(move || {
            let _held = guard;
            if store.has_layer(&diff_id) {
                return Ok(());
            }
            let file = store.open_blob(&blob)?;
            let unpacked = store.unpack_layer(file, Some(&diff_id));
            unpacked.map(drop).map_err(|source| Error::Extract { diff_id: diff_id.to_string(), source })
        })
        .await
    }

    /// Fetches a blob; unpacks it while it arrives if a diffID is given. Twice if what was resumed proves wrong.
    async fn download(
        &self,
        from: &Repository,
        descriptor: &Descriptor,
        unpack: Option<Digest>,
        guard: &Guard,
        told: (&Stop, &dyn Progress),
    ) -> Result<Option<Unpacking>> {
        match self.download_once(from, descriptor, unpack.clone(), guard, told).await {
            Err(Attempt { error: Error::Store(tare_images::Error::DigestMismatch { .. }), resumed: true }) => {
                let again = self.download_once(from, descriptor, unpack, guard, told).await;
                again.map_err(|attempt| attempt.of(descriptor))
            }
            other => other.map_err(|attempt| attempt.of(descriptor)),
        }
    }

    async fn download_once(
        &self,
        from: &Repository,
        descriptor: &Descriptor,
        unpack: Option<Digest>,
        guard: &Guard,
        (stop, progress): (&Stop, &dyn Progress),
    ) -> Result<Option<Unpacking>, Attempt> {
        let failed = |error: Error| Attempt { error, resumed: false };
        let writer = self.store.resume_blob(descriptor).map_err(|e| failed(e.into()))?;
        let resumed = writer.prefix() > 0;
        let offset = writer.prefix();
        let unpacking = unpack.map(|diff_id| start_unpacking(&self.store, diff_id, guard.clone()));
        let (sender, chunks) = mpsc::channel(TO_BLOB);
        let forward = unpacking.as_ref().and_then(|u| u.pieces.clone());
        let held = guard.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let _held = held;
            write_blob(writer, chunks, forward.as_ref())
        });

        let blob = from.blob(&descriptor.digest, descriptor.size, offset);
        let broken = receive(blob, offset, descriptor, sender, stop, progress).await;
        let written =
            writing.await.unwrap_or_else(|e| Err(Stopped::Failed(Error::Internal(format!("image worker: {e}")))));
        match (broken, written) {
            (Some(e), _) => {
                abandon(unpacking).await;
                Err(failed(e.into()))
            }
            (None, Ok(())) => Ok(unpacking.map(Unpacking::complete)),
            // the unpacker knows why it stopped listening
            (None, Err(Stopped::Unwanted)) => match unpacking {
                Some(unpacking) => match unpacking.complete().finish().await {
                    Err(error) => Err(failed(error)),
                    Ok(()) => Err(failed(Error::Internal("layer: data after its end".to_owned()))),
                },
                None => Err(failed(Error::Internal("layer: nobody unpacks it".to_owned()))),
            },
            (None, Err(Stopped::Failed(error))) => {
                abandon(unpacking).await;
                Err(Attempt { error, resumed })
            }
        }
    }
}

/// Passes on what arrives, up to the end or the word to stop; why it broke off, if it did.
async fn receive(
    mut blob: Blob,
    mut offset: u64,
    descriptor: &Descriptor,
    sender: mpsc::Sender<Message>,
    stop: &Stop,
    progress: &dyn Progress,
) -> Option<tare_registry::Error> {
    let id = layer_id(&descriptor.digest);
    let pace = Pace::default();
    loop {
        let next = tokio::select! {
            biased;
            keep = stop.stopped() => {
                // without a listener it has ended already
                let _ = sender.send(if keep { Message::Break } else { Message::Drop }).await;
                return None;
            }
            next = blob.chunk() => next,
        };
        match next {
            Ok(Some(chunk)) => {
                offset += chunk.len() as u64;
                if sender.send(Message::Chunk(chunk)).await.is_err() {
                    return None;
                }
                if pace.due() {
                    progress(amount(&id, "Downloading", offset, descriptor.size));
                }
            }
            Ok(None) => {
                progress(step(&id, "Verifying Checksum"));
                let _ = sender.send(Message::End).await;
                return None;
            }
            Err(e) => return Some(e),
        }
    }
}

/// Keeps a layer's lock until every thread that works on it has stopped.
pub(crate) type Guard = Arc<OwnedMutexGuard<()>>;

struct Attempt {
    error: Error,
    /// Whether it continued an earlier one.
    resumed: bool,
}

impl Attempt {
    /// The error in the words for the content it is about.
    fn of(self, descriptor: &Descriptor) -> Error {
        match self.error {
            Error::Store(tare_images::Error::DigestMismatch { what: "blob", expected, actual }) => {
                Error::unexpected(descriptor, "digest", actual, expected)
            }
            other => other,
        }
    }
}

enum Message {
    Chunk(Bytes),
    /// All bytes were there.
    End,
    /// No more bytes are coming now.
    Break,
    /// The same, and nothing of it is to be kept.
    Drop,
}

/// Tells the transfers of one pull to end.
pub(crate) struct Stop(watch::Sender<Option<bool>>);

impl Default for Stop {
    fn default() -> Stop {
        Stop(watch::Sender::new(None))
    }
}

impl Stop {
    /// Ends all of them; they keep what they have or not.
    pub(crate) fn all(&self, keep: bool) {
        self.0.send_replace(Some(keep));
    }

    /// Waits for the word; whether to keep what there is.
    async fn stopped(&self) -> bool {
        let mut word = self.0.subscribe();
        // the sender is ours: it does not go away
        word.wait_for(Option::is_some).await.is_ok_and(|word| word.unwrap_or_default())
    }
}

fn canceled() -> Error {
    Error::Internal("canceled".to_owned())
}

/// Waits until an unpacker whose stream breaks off has cleaned up.
async fn abandon(unpacking: Option<Unpacking>) {
    if let Some(unpacking) = unpacking {
        // why it failed is known already
        let _ = unpacking.complete().finish().await;
    }
}

/// Why a blob was not finished.
enum Stopped {
    /// Unpacking has failed.
    Unwanted,
    Failed(Error),
}

/// Writes, hashes and passes on what arrives. When the unpacker stops listening nothing is kept, but the blob is read to its
/// end all the same: its digest tells whether the registry has sent something else.
fn write_blob(
    mut writer: BlobWriter,
    mut chunks: mpsc::Receiver<Message>,
    forward: Option<&SyncSender<Piece>>,
) -> Result<(), Stopped> {
    let mut unwanted = false;
    let mut pass = |piece: Piece| {
        unwanted = unwanted || forward.is_some_and(|forward| forward.send(piece).is_err());
        unwanted
    };
    if writer.prefix() > 0 {
        let mut spoilt = false;
        writer.replay(|piece| -> Result<(), Stopped> {
            spoilt = piece.chunks(REPLAY).any(|part| pass(Piece::Data(Bytes::copy_from_slice(part))));
            Ok(())
        })?;
        if spoilt {
            writer.spoil();
        }
    }
    while let Some(message) = chunks.blocking_recv() {
        match message {
            Message::Chunk(bytes) => {
                writer.write(&bytes)?;
                if pass(Piece::Data(bytes)) {
                    writer.spoil();
                }
            }
            Message::Break => break,
            Message::Drop => {
                writer.spoil();
                break;
            }
            Message::End if writer.is_spoilt() => {
                writer.verify()?;
                return Err(Stopped::Unwanted);
            }
            Message::End => {
                writer.finish()?;
                return if pass(Piece::End) { Err(Stopped::Unwanted) } else { Ok(()) };
            }
        }
    }
    Err(Stopped::Failed(canceled()))
}

impl From<tare_images::Error> for Stopped {
    fn from(error: tare_images::Error) -> Stopped {
        Stopped::Failed(error.into())
    }
}

/// A layer that is being unpacked while it arrives.
struct Unpacking {
    pieces: Option<SyncSender<Piece>>,
    task: JoinHandle<Result<()>>,
}

impl Unpacking {
    /// Nothing more is coming but what the writer still sends.
    fn complete(mut self) -> Unpacking {
        self.pieces = None;
        self
    }

    async fn finish(self) -> Result<()> {
        self.task.await.unwrap_or_else(|e| Err(Error::Internal(format!("image worker: {e}"))))
    }
}

fn start_unpacking(store: &ImageStore, diff_id: Digest, guard: Guard) -> Unpacking {
    let (pieces, received) = sync_channel(TO_UNPACK);
    let store = store.clone();
    let task = tokio::task::spawn_blocking(move || {
        let _held = guard;
        let reader = ChannelReader::new(received);
        let unpacked = store.unpack_layer(reader, Some(&diff_id));
        unpacked.map(drop).map_err(|source| Error::Extract { diff_id: diff_id.to_string(), source })
    });
    Unpacking { pieces: Some(pieces), task }
}

/// What a [`ChannelReader`] gets.
pub(crate) enum Piece {
    /// Bytes.
    Data(Bytes),
    /// The end. A channel that closes without it has broken off.
    End,
}

/// Reads what another thread sends.
pub(crate) struct ChannelReader {
    pieces: Receiver<Piece>,
    current: Bytes,
    ended: bool,
}

impl ChannelReader {
    /// Reads a channel until [`Piece::End`].
    pub(crate) fn new(pieces: Receiver<Piece>) -> ChannelReader {
        ChannelReader { pieces, current: Bytes::new(), ended: false }
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !self.ended {
            match self.pieces.recv() {
                Ok(Piece::Data(bytes)) => self.current = bytes,
                Ok(Piece::End) => self.ended = true,
                Err(_) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "transfer canceled")),
            }
        }
        let count = self.current.len().min(buffer.len());
        if let Some(to) = buffer.get_mut(..count) {
            self.current.copy_to_slice(to);
        }
        Ok(count)
    }
}

/// Reads, on a thread of its own, what an asynchronous task sends. The stream ends when the sender is dropped.
pub struct BodyReader {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl BodyReader {
    /// Reads a channel until it closes.
    pub fn new(chunks: mpsc::Receiver<io::Result<Bytes>>) -> BodyReader {
        BodyReader { chunks, current: Bytes::new() }
    }
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk?,
                None => return Ok(0),
            }
        }
        let count = self.current.len().min(buffer.len());
        if let Some(to) = buffer.get_mut(..count) {
            self.current.copy_to_slice(to);
        }
        Ok(count)
    }
}
