//! Streams: progress messages (pull, push, load, build) and the frames of attach, exec and logs.

go_types! {
    /// One line of progress.
    pub struct JsonMessage {
        /// Text of a build or load.
        stream: String ["stream" omitempty],
        status: String ["status" omitempty],
        progress_detail: Option<ProgressDetail> ["progressDetail" omitempty],
        /// The bar as text; deprecated, still sent.
        progress: String ["progress" omitempty],
        /// The layer or the tag.
        id: String ["id" omitempty],
        error_detail: Option<ErrorDetail> ["errorDetail" omitempty],
        /// The error as text; deprecated, still sent.
        error: String ["error" omitempty],
        aux: Option<serde_json::Value> ["aux" omitempty],
    }

    /// How far.
    pub struct ProgressDetail {
        current: i64 ["current" omitempty],
        total: i64 ["total" omitempty],
        start: i64 ["start" omitempty],
        hide_counts: bool ["hidecounts" omitempty],
        /// Bytes when empty.
        units: String ["units" omitempty],
    }

    /// An error within a stream.
    pub struct ErrorDetail {
        code: i64 ["code" omitempty],
        message: String ["message" omitempty],
    }
}

impl JsonMessage {
    /// A line of status about a layer or tag; `id` may be empty.
    pub fn status(id: impl Into<String>, status: impl Into<String>) -> Self {
        JsonMessage { id: id.into(), status: status.into(), ..Default::default() }
    }

    /// A line of text.
    pub fn stream(text: impl Into<String>) -> Self {
        JsonMessage { stream: text.into(), ..Default::default() }
    }

    /// An error that ends the stream.
    pub fn error(message: impl Into<String>) -> Self {
        let message = message.into();
        let detail = ErrorDetail { code: 0, message: message.clone() };
        JsonMessage { error_detail: Some(detail), error: message, ..Default::default() }
    }
}

/// The stream a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum StreamKind {
    /// Standard input (never sent by a server).
    Stdin = 0,
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
    /// An error of the engine; clients show it as an error.
    SystemErr = 3,
}

/// Bytes of a frame's header.
pub const FRAME_HEADER: usize = 8;

/// The header of a frame with `len` bytes of payload.
pub const fn frame_header(kind: StreamKind, len: u32) -> [u8; FRAME_HEADER] {
    let [a, b, c, d] = len.to_be_bytes();
    [kind as u8, 0, 0, 0, a, b, c, d]
}

/// Reads a frame's header: the stream and the bytes of payload. `None` for an unknown stream.
pub fn parse_frame_header(header: [u8; FRAME_HEADER]) -> Option<(StreamKind, u32)> {
    let [kind, _, _, _, a, b, c, d] = header;
    let kind = match kind {
        0 => StreamKind::Stdin,
        1 => StreamKind::Stdout,
        2 => StreamKind::Stderr,
        3 => StreamKind::SystemErr,
        _ => return None,
    };
    Some((kind, u32::from_be_bytes([a, b, c, d])))
}

/// Media types of streams.
pub mod media {
    /// A terminal's output, or a connection taken over without `Upgrade`.
    pub const RAW: &str = "application/vnd.docker.raw-stream";
    /// Frames.
    pub const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
    /// A document, or progress.
    pub const JSON: &str = "application/json";
    /// Events since API 1.52.
    pub const JSON_LINES: &str = "application/jsonl";
    /// The same under another name.
    pub const NDJSON: &str = "application/x-ndjson";
    /// Records that start with RS (RFC 7464).
    pub const JSON_SEQ: &str = "application/json-seq";
    /// An archive.
    pub const TAR: &str = "application/x-tar";
}
