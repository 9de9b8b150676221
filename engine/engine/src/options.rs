//! What the use cases take and give, beside the types of Docker's API.

use std::io;

use bytes::Bytes;
use tare_docker_api::filters::Filters;
use tokio::sync::mpsc;

use crate::error::Error;

/// Bytes coming in (an archive, an image).
pub type ByteSource = std::pin::Pin<Box<dyn tokio::io::AsyncRead + Send>>;

/// Where an archive to import comes from.
pub enum ImportSource {
    /// The caller sends it.
    Sent(ByteSource),
    /// The engine fetches it; HTTP where no scheme is named.
    Url(String),
}

/// Bytes going out; an error ends them.
pub type ByteStream = mpsc::Receiver<io::Result<Bytes>>;

/// Progress of a pull, push or load. An error that comes first means that nothing was done at all.
pub type ProgressStream = mpsc::Receiver<Result<tare_docker_api::stream::JsonMessage, Error>>;

/// How to stop a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// Signal name or number in place of the container's own.
    pub signal: Option<String>,
    /// Seconds until SIGKILL; -1 waits for ever; `None` takes the container's.
    pub timeout_s: Option<i64>,
}

/// How to attach to a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Forward the client's bytes.
    pub stdin: bool,
    /// Send standard output.
    pub stdout: bool,
    /// Send standard error.
    pub stderr: bool,
    /// Stay attached; without it only the log is sent.
    pub stream: bool,
    /// Send what was logged before.
    pub logs: bool,
    /// Detach key sequence in Docker's notation (`ctrl-p,ctrl-q`); `None` for the default.
    pub detach_keys: Option<String>,
    /// Never frame output (websockets).
    pub raw: bool,
}

/// Which log lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// Not before, nanoseconds since the epoch.
    pub since_ns: Option<i64>,
    /// Not after, nanoseconds since the epoch.
    pub until_ns: Option<i64>,
    /// Prefix lines with their time.
    pub timestamps: bool,
    /// Prefix lines with their attributes.
    pub details: bool,
    /// Only the last lines; `None` for all.
    pub tail: Option<usize>,
    /// Go on with what comes.
    pub follow: bool,
}

/// An open log: chunks already framed as Docker frames them.
#[derive(Debug)]
pub struct LogStream {
    /// The container has a terminal: the chunks are raw.
    pub tty: bool,
    /// The chunks.
    pub chunks: ByteStream,
}

/// Which containers to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Not only running ones.
    pub all: bool,
    /// At most so many, newest first; implies `all`.
    pub limit: Option<usize>,
    /// Measure sizes.
    pub size: bool,
    /// `filters` of the request.
    pub filters: Filters,
}

/// How to remove a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill it first.
    pub force: bool,
    /// Remove its anonymous volumes.
    pub volumes: bool,
    /// Remove a link, not a container.
    pub link: bool,
}

/// What to wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// Not running now or later.
    #[default]
    NotRunning,
    /// The next exit.
    NextExit,
    /// Removal.
    Removed,
}

impl WaitCondition {
    /// Parses the request's `condition`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "" | "not-running" => Ok(Self::NotRunning),
            "next-exit" => Ok(Self::NextExit),
            "removed" => Ok(Self::Removed),
            other => Err(Error::invalid(format!("invalid condition: {other:?}"))),
        }
    }
}

/// Which events.
#[derive(Debug, Clone, Default)]
pub struct EventOptions {
    /// Past events from then on, nanoseconds since the epoch.
    pub since_ns: Option<i64>,
    /// Up to then; in the past the stream ends at once.
    pub until_ns: Option<i64>,
    /// `filters` of the request.
    pub filters: Filters,
}

/// How an image is pulled, pushed or searched for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password or access token.
    pub password: String,
    /// Refresh token in place of a password.
    pub identity_token: String,
    /// Token sent as it is.
    pub registry_token: String,
    /// The registry the credentials are for, as the client names it.
    pub server_address: String,
}

/// What a list of images tells beside what it always does.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImageDetails {
    /// Counts what each image has in common with others.
    pub shared_size: bool,
    /// The manifests behind each image, for every platform.
    pub manifests: bool,
}
