//! Answers: status, headers, and bodies read whole, in chunks, or as a stream of JSON values.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use tare_docker_api::system::ErrorResponse;

use crate::error::Error;
use crate::{Inner, Sender};

/// Largest body that is read whole, in bytes: an inspect is kilobytes, a list of ten thousand containers some ten megabytes.
const MAX_BODY: usize = 256 << 20;
/// Largest error text, in bytes, as in docker's client.
const MAX_ERROR: usize = 1 << 20;
/// Largest value in a stream of them, in bytes: progress lines and events are a few kilobytes.
const MAX_VALUE: usize = 16 << 20;

/// The daemon's answer.
pub struct Response {
    head: http::response::Parts,
    body: Incoming,
    target: String,
    /// The connection, kept for the next request once the body has been read.
    sender: Option<Sender>,
    inner: Arc<Inner>,
}

impl Response {
    pub(crate) fn new(
        response: http::Response<Incoming>,
        target: String,
        sender: Sender,
        inner: Arc<Inner>,
    ) -> Response {
        let (head, body) = response.into_parts();
        Response { head, body, target, sender: Some(sender), inner }
    }

    /// HTTP status.
    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    /// A header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The next part of the body; `None` at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.body.frame().await {
                None => {
                    if let Some(sender) = self.sender.take() {
                        self.inner.keep(sender);
                    }
                    return Ok(None);
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(Error::exchange(self.inner.connection.host(), &error)),
            }
        }
    }

    async fn read(&mut self, limit: usize) -> Result<Bytes, Error> {
        let mut all = BytesMut::new();
        while let Some(part) = self.chunk().await? {
            if all.len() + part.len() > limit {
                return Err(Error::Answer { target: self.target.clone(), why: format!("more than {limit} bytes") });
            }
            all.extend_from_slice(&part);
        }
        Ok(all.freeze())
    }

    /// The whole body.
    pub async fn bytes(mut self) -> Result<Bytes, Error> {
        self.read(MAX_BODY).await
    }

    /// The whole body, decoded.
    pub async fn json<T: DeserializeOwned>(mut self) -> Result<T, Error> {
        let body = self.read(MAX_BODY).await?;
        serde_json::from_slice(&body).map_err(|e| Error::Answer { target: self.target.clone(), why: e.to_string() })
    }

    /// Reads the rest of a small body, so that the connection can be used again.
    pub async fn discard(mut self) {
        // An answer that nobody wants may as well break.
        let _ = self.read(MAX_ERROR).await;
    }

    /// The body as values one after another (progress, events, statistics).
    pub fn json_stream<T: DeserializeOwned>(self) -> JsonStream<T> {
        JsonStream {
            response: self,
            buffer: BytesMut::new(),
            scanned: Scan::default(),
            marker: std::marker::PhantomData,
        }
    }

    /// The error that a bad status stands for.
    pub(crate) async fn into_error(mut self) -> Error {
        let status = self.status();
        let reason = self.head.status.canonical_reason().unwrap_or("");
        let body = match self.read(MAX_ERROR).await {
            Ok(body) => body,
            Err(error) => return error,
        };
        if body.is_empty() {
            return Error::Mute { status, reason, target: self.target.clone() };
        }
        let json = self.header("content-type").is_some_and(|t| t.starts_with("application/json"));
        let message = if json {
            match serde_json::from_slice::<ErrorResponse>(&body) {
                Err(error) => return Error::Answer { target: self.target.clone(), why: error.to_string() },
                Ok(answer) if answer.message.is_empty() => {
                    format!("API returned a {status} ({reason}) but provided no error-message")
                }
                Ok(answer) => answer.message.trim().to_owned(),
            }
        } else {
            String::from_utf8_lossy(&body).trim().to_owned()
        };
        Error::Api { status, message }
    }
}

/// A stream of JSON values, with or without white space between them.
pub struct JsonStream<T> {
    response: Response,
    buffer: BytesMut,
    scanned: Scan,
    marker: std::marker::PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> JsonStream<T> {
    /// The next value; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<T>, Error> {
        let target = self.response.target.clone();
        let bad = |why: String| Error::Answer { target: target.clone(), why };
        loop {
            if let Some(end) = self.scanned.end_of_value(&self.buffer) {
                let value = serde_json::from_slice(&self.buffer[..end]).map_err(|e| bad(e.to_string()))?;
                self.buffer.advance(end);
                self.scanned = Scan::default();
                return Ok(Some(value));
            }
            if self.buffer.len() > MAX_VALUE {
                return Err(bad(format!("a value of more than {MAX_VALUE} bytes")));
            }
            match self.response.chunk().await? {
                Some(part) => self.buffer.extend_from_slice(&part),
                None if self.buffer.trim_ascii().is_empty() => return Ok(None),
                None => return Err(bad("unexpected EOF".to_owned())),
            }
        }
    }
}

/// How far a buffer has been searched for the end of the object that it begins with.
#[derive(Default)]
struct Scan {
    at: usize,
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl Scan {
    /// Position after the first complete object or array in `buffer`, which only grows between calls.
    fn end_of_value(&mut self, buffer: &[u8]) -> Option<usize> {
        while let Some(byte) = buffer.get(self.at) {
            self.at += 1;
            match (self.quoted, byte) {
                (true, _) if self.escaped => self.escaped = false,
                (true, b'\\') => self.escaped = true,
                (_, b'"') => self.quoted = !self.quoted,
                (false, b'{' | b'[') => self.depth += 1,
                (false, b'}' | b']') => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(self.at);
                    }
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_where_their_brackets_close() {
        let text = br#" {"a":"}\"{"} [{}]"#;
        for cut in 0..text.len() {
            let mut scan = Scan::default();
            let first = scan.end_of_value(&text[..cut]).or_else(|| scan.end_of_value(text));
            assert_eq!(first, Some(13), "cut at {cut}");
        }
        assert_eq!(Scan::default().end_of_value(&text[13..]), Some(5));
    }
}
