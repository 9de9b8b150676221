//! Passing a container's lines on, as they are written.
//!
//! One task for each container whose driver sends, from its first start to its removal. What has been sent is noted in a
//! file beside the log, so that the next engine goes on there: a line is sent at least once, twice only if the engine was
//! killed in the moment between. A destination that is away is tried again until it is back.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tare_logs::{Entry, LogReader, ReadOptions};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::destination::{Destination, Link};
use super::message::Source;
use crate::Engine;
use crate::container::Container;
use crate::container::logs::{Batch, read_batch, readable};
use crate::container::prepare::write_json;
use crate::container::record::Record;
use crate::error::{Error, Result};

/// Lines read before they are sent.
const BATCH: usize = 256;
/// How long a removal waits for what is left to be sent.
const LAST_LINES: Duration = Duration::from_secs(5);
/// Waits between attempts to reach a destination: doubled from the first to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often what has been sent is noted while there is always more.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);
/// The file that notes it, in the container's directory.
const NOTE: &str = "forwarded.json";

/// A task that passes a log on.
#[derive(Debug)]
pub(crate) struct Forward {
    ends: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// How far a log has been sent: the time of the last line, and how many with that time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    time_ns: i64,
    sent: u64,
}

impl Position {
    fn advance(&mut self, entry: &Entry) {
        if entry.time_ns == self.time_ns {
            self.sent += 1;
        } else {
            *self = Self { time_ns: entry.time_ns, sent: 1 };
        }
    }
}

impl Engine {
    /// Refuses a start whose lines could not be sent anywhere.
    pub(crate) async fn check_destination(&self, container: &Container) -> Result<()> {
        let destination = destination(&container.read().record)?;
        let Some(destination) = destination else { return Ok(()) };
        let failed = |error| {
            let why = destination.unreachable(&error);
            Error::internal(format!("failed to create task for container: failed to initialize logging driver: {why}"))
        };
        destination.connect().await.map(|_| ()).map_err(failed)
    }

    /// Begins to pass a container's log on, if its driver does and nobody does it yet.
    pub(crate) fn forward(&self, container: &Container) {
        let mut inner = container.read();
        if inner.forward.is_some() {
            return;
        }
        let worker = match Worker::of(&inner.record, self.container_directory(&container.id).join(NOTE)) {
            Ok(Some(worker)) => worker,
            Ok(None) => return,
            Err(error) => {
                tracing::error!("passing on the log of container {}: {error}", container.id);
                return;
            }
        };
        let (ends, ending) = watch::channel(false);
        let task = tokio::spawn(worker.run(ending));
        inner.forward = Some(Forward { ends, task });
    }

    /// The container is about to be removed: what is left is sent, if that does not take long.
    pub(crate) async fn finish_forwarding(&self, container: &Container) {
        let Some(mut forward) = container.read().forward.take() else { return };
        forward.ends.send_replace(true);
        if tokio::time::timeout(LAST_LINES, &mut forward.task).await.is_err() {
            forward.task.abort();
            tracing::warn!("container {} is removed before its last lines could be sent", container.id);
        }
    }
}

fn destination(record: &Record) -> Result<Option<Destination>> {
    let config = &record.host_config.log_config;
    Destination::parse(&config.kind, &config.config)
}

struct Worker {
    id: String,
    log: tare_logs::LogConfig,
    destination: Destination,
    source: Source,
    link: Option<Link>,
    note: PathBuf,
    position: Position,
    noted: Instant,
}

impl Worker {
    fn of(record: &Record, note: PathBuf) -> Result<Option<Self>> {
        let Some(destination) = destination(record)? else { return Ok(None) };
        Ok(Some(Self {
            id: record.id.clone(),
            log: record.log.clone(),
            source: Source::of(record, &destination.form)?,
            destination,
            link: None,
            position: read(&note),
            note,
            noted: Instant::now(),
        }))
    }

    async fn run(mut self, mut ending: watch::Receiver<bool>) {
        if let Err(error) = self.work(&mut ending).await {
            tracing::error!("passing on the log of container {}: {error}", self.id);
        }
        self.take_note();
    }

    async fn work(&mut self, ending: &mut watch::Receiver<bool>) -> io::Result<()> {
        let since_ns = (self.position.sent > 0).then_some(self.position.time_ns);
        let mut reader = LogReader::open(&self.log, ReadOptions { follow: true, since_ns, ..ReadOptions::default() })?;
        // Of those with the time of the last one, these have been sent.
        let (again, mut skipped) = (self.position, 0);
        loop {
            if *ending.borrow() {
                reader.set_stopped();
            }
            let (returned, lines, state) = tokio::task::spawn_blocking(move || gather(reader)).await?;
            reader = returned;
            for entry in lines {
                if entry.time_ns == again.time_ns && skipped < again.sent {
                    skipped += 1;
                    continue;
                }
                for message in self.destination.form.messages(&self.source, &entry) {
                    if !self.deliver(&message, ending).await {
                        return Ok(());
                    }
                }
                self.position.advance(&entry);
            }
            if self.noted.elapsed() > NOTE_INTERVAL {
                self.take_note();
            }
            match state? {
                Batch::More => {}
                Batch::End => return Ok(()),
                Batch::Idle => {
                    self.take_note();
                    tokio::select! {
                        woken = readable(&reader) => woken?,
                        Ok(()) = ending.changed() => {}
                    }
                }
            }
        }
    }

    /// Sends a message, however long its destination is away; false: it is given up, because all ends.
    async fn deliver(&mut self, message: &[u8], ending: &mut watch::Receiver<bool>) -> bool {
        let mut wait = FIRST_WAIT;
        loop {
            let error = match self.send(message).await {
                Ok(()) => return true,
                Err(error) => error,
            };
            // Too long for a datagram, or lost like others on the way: the same again would not fare better.
            let hopeless = error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error());
            if hopeless || self.link.as_ref().is_some_and(Link::is_lossy) {
                tracing::debug!("a line of container {} is not sent: {error}", self.id);
                return true;
            }
            if wait == FIRST_WAIT {
                tracing::warn!("passing on the log of container {}: {error}; trying again", self.id);
            }
            self.link = None;
            if *ending.borrow() && wait > LAST_LINES {
                return false;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                Ok(()) = ending.changed() => {}
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let link = match &mut self.link {
            Some(link) => link,
            place => place.insert(self.destination.connect().await?),
        };
        link.send(message).await
    }

    /// Notes how far the log has been sent. Without the note, lines are sent again.
    fn take_note(&mut self) {
        self.noted = Instant::now();
        if let Err(error) = write_json(&self.note, &self.position) {
            tracing::debug!("noting what was sent of the log of container {}: {error}", self.id);
        }
    }
}

fn read(note: &Path) -> Position {
    std::fs::read(note).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

fn gather(mut reader: LogReader) -> (LogReader, Vec<Entry>, io::Result<Batch>) {
    let mut lines = Vec::new();
    let state = read_batch(&mut reader, |entry| {
        lines.push(entry);
        lines.len() >= BATCH
    });
    (reader, lines, state)
}
