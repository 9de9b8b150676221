//! Bridges between blocking readers and writers and asynchronous streams.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use crate::options::ByteSource;

/// How long a client may take to read the head of its session; one that only sends does not read at all.
const HEAD_READ_LIMIT: Duration = Duration::from_millis(50);
/// Looks, microseconds apart, before looking by the runtime's clock, which is coarser.
const QUICK_LOOKS: u32 = 100;
/// Pause between two looks after that.
const LOOK_PAUSE: Duration = Duration::from_millis(1);
/// Bytes gathered before a chunk is sent.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks a slow client may be behind.
pub(crate) const CHUNKS_MAX: usize = 4;

/// Waits until a client has read what was sent to it. Clients that read the head of an answer through a buffer lose what
/// comes along with it (Python's `http.client` does): with an engine whose processes take a hundred milliseconds to start
/// they never notice. Only a Unix socket tells; across a network the head travels alone anyway.
pub(crate) async fn until_read(client: &OwnedFd) {
    let start = Instant::now();
    let mut looks = 0;
    while tare_sys::socket::unread_by_peer(client).is_ok_and(|unread| unread > 0) && start.elapsed() < HEAD_READ_LIMIT {
        looks += 1;
        if looks < QUICK_LOOKS { tokio::task::yield_now().await } else { tokio::time::sleep(LOOK_PAUSE).await }
    }
}

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
