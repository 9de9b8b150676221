//! Bridges between blocking readers and writers and asynchronous streams.

use std::io::{self, Read, Write};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use crate::options::ByteSource;

/// Bytes gathered before a chunk is sent.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks a slow client may be behind.
pub(crate) const CHUNKS_MAX: usize = 4;

/// Sends what is written to it as chunks; blocks while the receiver is behind.
#[derive(Debug)]
pub(crate) struct ChannelWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: BytesMut,
}

impl ChannelWriter {
    pub(crate) fn new(sender: mpsc::Sender<io::Result<Bytes>>) -> Self {
        Self { sender, buffer: BytesMut::with_capacity(CHUNK_BYTES) }
    }
}

impl Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        self.sender.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for ChannelWriter {
    fn drop(&mut self) {
        // A receiver that has gone does not want the rest.
        let _ = self.flush();
    }
}

/// A blocking reader of an asynchronous source, for use on a thread that may block.
pub(crate) fn blocking_reader(source: ByteSource) -> impl Read + Send + 'static {
    tokio_util::io::SyncIoBridge::new(source)
}
