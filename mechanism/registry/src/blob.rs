//! Blobs as streams: resumed where they broke off, cut when they stall, large ones fetched in parts side by side.

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tare_reference::Digest;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::Endpoint;
use crate::patience::{Attempts, LEAST, Patience};
use crate::repository::Repository;
use crate::{Error, Result};

/// Chunks (some 16 KiB each) that wait for whoever reads a blob that is fetched in one piece.
const CHUNKS: usize = 64;
/// Bytes of one part of a large blob.
const PART: u64 = 8 << 20;
/// Parts fetched at the same time; with [`PART`] the memory that a large blob may take.
const PARTS: usize = 3;
/// Longest blob (bytes) that is fetched into memory.
const MAX_DOCUMENT: u64 = 8 << 20;
/// Bytes that are gathered before a part is passed on that nobody reads yet: its memory is that of its bytes, however
/// small the pieces are in which they come.
const GATHERED: usize = 16 << 10;

/// A blob on its way. Dropping it stops the transfer.
pub struct Blob {
    fetcher: Fetcher,
    /// Running parts, the first one being read.
    running: std::collections::VecDeque<Running>,
    /// Where the part after the last running one starts.
    next: u64,
    part: u64,
    parallel: usize,
}

struct Running {
    chunks: mpsc::Receiver<Result<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Repository {
    /// Fetches a blob from `offset` on. `size` is what its descriptor says; a registry that sends something else
    /// gives an error. Content is not verified here.
    pub fn blob(&self, digest: &Digest, size: u64, offset: u64) -> Blob {
        let config = self.registry.config();
        let large = size.saturating_sub(offset) > config.split_above;
        Blob {
            fetcher: Fetcher { repository: self.clone(), digest: digest.clone(), size },
            running: std::collections::VecDeque::new(),
            next: offset,
            part: if large { PART } else { u64::MAX },
            parallel: if large { PARTS } else { 1 },
        }
    }
}

impl Repository {
    /// Fetches a small blob, verified.
    pub async fn document(&self, digest: &Digest, size: u64) -> Result<Bytes> {
        if size > MAX_DOCUMENT {
            return Err(Error::TooLarge { what: "blob", limit: MAX_DOCUMENT });
        }
        let mut blob = self.blob(digest, size, 0);
        let mut bytes = BytesMut::new();
        while let Some(chunk) = blob.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        let hash: [u8; 32] = Sha256::digest(&bytes).into();
        let actual = Digest::from_sha256(&hash);
        if actual == *digest {
            Ok(bytes.freeze())
        } else {
            Err(Error::Digest { what: "blob", expected: digest.clone(), actual })
        }
    }
}

impl Blob {
    /// The next bytes; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            self.start();
            let Some(first) = self.running.front_mut() else { return Ok(None) };
            match first.chunks.recv().await {
                Some(Ok(bytes)) => return Ok(Some(bytes)),
                Some(Err(e)) => {
                    self.running.clear();
                    self.next = self.fetcher.size;
                    return Err(e);
                }
                None => drop(self.running.pop_front()),
            }
        }
    }

    /// Keeps as many parts running as may.
    fn start(&mut self) {
        while self.running.len() < self.parallel && self.next < self.fetcher.size {
            let end = self.next.saturating_add(self.part).min(self.fetcher.size);
            // a part that is not being read yet must not stop for want of a reader
            let capacity =
                if self.parallel > 1 { usize::try_from(PART).unwrap_or(CHUNKS) / GATHERED + 1 } else { CHUNKS };
            let (sender, chunks) = mpsc::channel(capacity);
            let mut out =
                Out { to: sender, gathered: BytesMut::new(), least: if self.parallel > 1 { GATHERED } else { 0 } };
            let (fetcher, start) = (self.fetcher.clone(), self.next);
            let task = tokio::spawn(async move { fetcher.run(start, end, &mut out).await });
            self.running.push_back(Running { chunks, task });
            self.next = end;
        }
    }
}

#[derive(Clone)]
struct Fetcher {
    repository: Repository,
    digest: Digest,
    size: u64,
}

/// Where fetched bytes go.
struct Out {
    to: mpsc::Sender<Result<Bytes>>,
    gathered: BytesMut,
    /// Passed on are at least so many bytes, but for the last.
    least: usize,
}

impl Out {
    /// Passes bytes on, or keeps them for the next time; false if nobody wants them.
    async fn put(&mut self, bytes: Bytes) -> bool {
        if bytes.len() >= self.least && self.gathered.is_empty() {
            return self.to.send(Ok(bytes)).await.is_ok();
        }
        self.gathered.extend_from_slice(&bytes);
        self.gathered.len() < self.least || self.flush().await
    }

    async fn flush(&mut self) -> bool {
        self.gathered.is_empty() || self.to.send(Ok(self.gathered.split().freeze())).await.is_ok()
    }
}

/// How an attempt ended.
enum End {
    /// All bytes are there.
    Done,
    /// Whoever reads has gone.
    Unwanted,
    /// Worth another attempt.
    Broken(Error),
    /// Not worth one.
    Failed(Error),
}

impl Fetcher {
    /// Fetches `start..end`, here or there, in as many attempts as bring something.
    async fn run(&self, mut start: u64, end: u64, out: &mut Out) {
        let config = self.repository.registry.config();
        let mut last = None;
        for endpoint in self.repository.endpoints.iter() {
            let mut attempts = Attempts::new(config);
            loop {
                let before = start;
                let error = match self.attempt(endpoint, &mut start, end, out).await {
                    End::Done | End::Unwanted => {
                        out.flush().await;
                        return;
                    }
                    End::Broken(e) => e,
                    End::Failed(e) => {
                        last = Some(e);
                        break;
                    }
                };
                tracing::debug!(blob = %self.digest, offset = start, %error, "transfer broke off");
                if start - before >= LEAST {
                    attempts = Attempts::new(config);
                }
                if let Err(e) = attempts.pause_after_any(error).await {
                    last = Some(e);
                    break;
                }
            }
        }
        let error = last.unwrap_or_else(|| Error::Transfer("no registry to ask".to_owned()));
        // nobody may be listening any more
        if out.flush().await {
            let _ = out.to.send(Err(error)).await;
        }
    }

    async fn attempt(&self, endpoint: &Endpoint, start: &mut u64, end: u64, out: &mut Out) -> End {
        let whole = *start == 0 && end == self.size;
        let mut headers = HeaderMap::new();
        if !whole && let Ok(value) = HeaderValue::from_str(&format!("bytes={}-{}", *start, end.saturating_sub(1))) {
            headers.insert(RANGE, value);
        }
        let path = format!("blobs/{}", self.digest);
        let response = match self.repository.request(endpoint, Method::GET, &path, &headers).await {
            Ok(response) => response,
            Err(e) if e.is_transport() => return End::Broken(e),
            Err(e) => return End::Failed(e),
        };
        let skip = match response.status() {
            StatusCode::OK => match self.check_length(response.content_length()) {
                Ok(()) => *start,
                Err(e) => return End::Failed(e),
            },
            StatusCode::PARTIAL_CONTENT => match range(&response) {
                Some((from, whole)) if from <= *start => match self.check_length(whole) {
                    Ok(()) => *start - from,
                    Err(e) => return End::Failed(e),
                },
                _ => return End::Failed(Error::Transfer(format!("{}: unasked range", self.digest))),
            },
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return End::Broken(self.repository.refused("GET", response, self.digest.as_str()).await);
            }
            _ => return End::Failed(self.repository.refused("GET", response, self.digest.as_str()).await),
        };
        copy(Patience::new(self.repository.registry.config()), response, skip, start, end, out).await
    }

    /// A whole blob must have the length its descriptor says, where the server tells one.
    fn check_length(&self, whole: Option<u64>) -> Result<()> {
        match whole {
            Some(length) if length != self.size => Err(Error::Transfer(format!(
                "{}: the registry sends {length} bytes, the manifest says {}",
                self.digest, self.size
            ))),
            _ => Ok(()),
        }
    }
}

/// Passes `start..end` on, after `skip` bytes that are known already.
async fn copy(
    mut patience: Patience,
    mut response: Response,
    mut skip: u64,
    start: &mut u64,
    end: u64,
    out: &mut Out,
) -> End {
    while *start < end {
        let mut chunk = match patience.chunk(&mut response).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return End::Broken(Error::Transfer("unexpected EOF".to_owned())),
            Err(e) => return End::Broken(e),
        };
        let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
        skip -= skipped as u64;
        let mut wanted = chunk.split_off(skipped);
        wanted.truncate(usize::try_from(end - *start).unwrap_or(usize::MAX));
        if wanted.is_empty() {
            continue;
        }
        *start += wanted.len() as u64;
        if !out.put(wanted).await {
            return End::Unwanted;
        }
    }
    End::Done
}

/// `Content-Range: bytes 100-199/200`: where it starts, and the length of the whole if the server tells.
fn range(response: &Response) -> Option<(u64, Option<u64>)> {
    let range = response.headers().get(CONTENT_RANGE)?.to_str().ok()?;
    let (part, whole) = range.strip_prefix("bytes ")?.split_once('/')?;
    Some((part.split('-').next()?.trim().parse().ok()?, whole.trim().parse().ok()))
}
