//! Streams between requests and the engine.

use std::io;

use futures_util::StreamExt;
use http_body_util::BodyStream;
use hyper::body::Incoming;
use tare_docker_api::stream::{JsonMessage, media};
use tare_engine::{ByteSource, ProgressStream};
use tokio_util::io::StreamReader;

use crate::body::Body;
use crate::error::Result;
use crate::reply::{Reply, encode_line, messages};

/// A request's body as bytes to read.
pub fn source(body: Incoming) -> ByteSource {
    let frames = BodyStream::new(body).filter_map(|frame| async move {
        match frame {
            // Trailers carry nothing here.
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(error) => Some(Err(io::Error::other(error))),
        }
    });
    Box::pin(StreamReader::new(Box::pin(frames)))
}

/// Progress as JSON lines. An error that comes before any progress is the request's; a later one is the last line.
pub async fn progress(mut stream: ProgressStream) -> Result<Reply> {
    let first = match stream.recv().await {
        Some(first) => Some(first?),
        None => None,
    };
    Ok(progress_after(first, stream))
}

/// Progress as JSON lines, with errors always in a line.
pub fn progress_after(first: Option<JsonMessage>, stream: ProgressStream) -> Reply {
    let mut head = Vec::new();
    if let Some(first) = first {
        encode_line(&first, &mut head);
    }
    let head = futures_util::stream::iter((!head.is_empty()).then(|| Ok(head.into())));
    let rest = messages(stream, |message, out| match message {
        Ok(message) => encode_line(&message, out),
        Err(error) => encode_line(&JsonMessage::error(error.message), out),
    });
    Reply::body(media::JSON, Body::chunks(head.chain(rest)))
}
