//! Reading a container's log.

use std::io;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use tare_docker_api::time::Time;
use tare_logs::{Entry, Limit, LogReader, ReadOptions, Step, Stream};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::Container;
use super::state::Status;
use crate::Engine;
use crate::error::{Error, Result};
use crate::logging::config::is_readable;
use crate::options::{LogOptions, LogStream};

/// Bytes gathered before a chunk is sent.
const CHUNK_BYTES: usize = 32 * 1024;
/// Chunks a slow client may be behind.
const CHUNKS_MAX: usize = 8;

impl Engine {
    /// Opens a container's log.
    pub async fn logs(&self, name: &str, options: LogOptions) -> Result<LogStream> {
        if !options.stdout && !options.stderr {
            return Err(Error::invalid("must specify at least one of 'stdout' or 'stderr'"));
        }
        let container = self.find(name)?;
        if matches!(container.read().state.status, Status::Removing | Status::Dead) {
            return Err(Error::conflict("can not get logs from container which is dead or marked for removal"));
        }
        self.open_log(&container, &options, None, false)
    }

    /// The same for the engine itself; `end` (inode, offset) stops the reading there, and `plain` leaves out the heads that
    /// tell the streams apart.
    pub(crate) fn open_log(
        &self,
        container: &Arc<Container>,
        options: &LogOptions,
        end: Option<(u64, u64)>,
        plain: bool,
    ) -> Result<LogStream> {
        let (config, tty, readable_log) = {
            let inner = container.read();
            (inner.record.log.clone(), inner.record.config.tty || plain, is_readable(&inner.record))
        };
        if !readable_log {
            return Err(Error::not_implemented("configured logging driver does not support reading"));
        }
        let read = ReadOptions {
            tail: options.tail,
            since_ns: options.since_ns,
            until_ns: options.until_ns,
            follow: options.follow,
            limit: end.map(|(file, offset)| Limit { file, offset }),
        };
        let reader = LogReader::open(&config, read).map_err(|error| Error::io("open", config.path.display(), error))?;
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        let format = Format { options: options.clone(), tty };
        tokio::spawn(pump(reader, format, Arc::clone(container), sender));
        Ok(LogStream { tty, chunks })
    }
}

struct Format {
    options: LogOptions,
    tty: bool,
}

impl Format {
    fn put(&self, entry: &Entry, out: &mut BytesMut) {
        let wanted = match entry.stream {
            Stream::Stdout => self.options.stdout,
            Stream::Stderr => self.options.stderr,
        };
        if !wanted {
            return;
        }
        let mut prefix = String::new();
        if self.options.timestamps {
            prefix = Time::from_unix_nanos(entry.time_ns).fixed();
            prefix.push(' ');
        }
        if self.options.details {
            let details: Vec<_> =
                entry.attrs.iter().map(|(key, value)| format!("{}={}", escape(key), escape(value))).collect();
            prefix.push_str(&details.join(","));
            prefix.push(' ');
        }
        let length = prefix.len() + entry.line.len();
        if !self.tty {
            put_header(entry.stream as u8, length, out);
        }
        out.reserve(length);
        out.put_slice(prefix.as_bytes());
        out.put_slice(&entry.line);
    }
}

/// Query escaping as Go's `url.QueryEscape`.
fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            b' ' => "+".to_owned(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn put_header(stream: u8, length: usize, out: &mut BytesMut) {
    // A log piece is at most 16 KiB and a prefix is short.
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    out.put_slice(&[stream, 0, 0, 0]);
    out.put_u32(length);
}

/// One output frame as Docker multiplexes streams: 1 standard output, 2 standard error.
pub(crate) fn frame(stream: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::with_capacity(payload.len() + 8);
    put_header(stream, payload.len(), &mut out);
    out.put_slice(payload);
    out.into()
}

/// Reads entries, frames them, and sends them until the end, or the client's.
async fn pump(
    mut reader: LogReader,
    mut format: Format,
    container: Arc<Container>,
    sender: mpsc::Sender<io::Result<Bytes>>,
) {
    let mut progress = container.watch();
    loop {
        let stopped = !progress.borrow_and_update().running;
        if stopped {
            reader.set_stopped();
        }
        let batch = crate::blocking(move || Ok(read_chunk(reader, format))).await;
        let Ok((read, returned_format, chunk, state)) = batch else { return };
        (reader, format) = (read, returned_format);
        if !chunk.is_empty() && sender.send(Ok(chunk)).await.is_err() {
            return;
        }
        match state {
            Ok(Batch::More) => {}
            Ok(Batch::End) => return,
            Ok(Batch::Idle) => {
                let woken = tokio::select! {
                    woken = readable(&reader) => woken,
                    changed = progress.changed() => changed.map_err(io::Error::other),
                    () = sender.closed() => return,
                };
                if let Err(error) = woken {
                    tracing::warn!("following a log: {error}");
                    return;
                }
            }
            Err(error) => {
                // The client may have gone; then nobody wants to know.
                let _ = sender.send(Err(error)).await;
                return;
            }
        }
    }
}

/// How a batch of entries ended.
pub(crate) enum Batch {
    /// There may be more at once.
    More,
    /// There is nothing now.
    Idle,
    /// There will be nothing more.
    End,
}

/// Hands on what a reader has, until `take` says that it is enough.
pub(crate) fn read_batch(reader: &mut LogReader, mut take: impl FnMut(Entry) -> bool) -> io::Result<Batch> {
    loop {
        match reader.next()? {
            Step::Entry(entry) => {
                if take(entry) {
                    return Ok(Batch::More);
                }
            }
            Step::WouldBlock => return Ok(Batch::Idle),
            Step::End => return Ok(Batch::End),
        }
    }
}

fn read_chunk(mut reader: LogReader, format: Format) -> (LogReader, Format, Bytes, io::Result<Batch>) {
    let mut out = BytesMut::new();
    let state = read_batch(&mut reader, |entry| {
        format.put(&entry, &mut out);
        out.len() >= CHUNK_BYTES
    });
    (reader, format, out.freeze(), state)
}

/// Waits until a reader may find more.
pub(crate) async fn readable(reader: &LogReader) -> io::Result<()> {
    let Some(fd) = reader.wake_fd() else {
        tokio::time::sleep(tare_logs::reader::FOLLOW_INTERVAL).await;
        return Ok(());
    };
    #[expect(deprecated, reason = "a borrowed descriptor cannot be closed or replaced while it is registered")]
    let fd = AsyncFd::with_interest(fd, tokio::io::Interest::READABLE)?;
    let _ready = fd.readable().await?;
    Ok(())
}
