//! Streams from the engine to clients.

use futures_util::StreamExt;
use tare_docker_api::stream::{JsonMessage, media};
use tare_engine::ProgressStream;

use crate::body::Body;
use crate::error::Result;
use crate::reply::{Reply, encode_line, messages};

/// Progress as JSON lines. An error that comes before any progress is the request's; a later one is the last line.
pub async fn progress(mut stream: ProgressStream) -> Result<Reply> {
    let first = match stream.recv().await {
        Some(first) => Some(first?),
        None => None,
    };
    Ok(progress_after(first, stream))
}

/// Progress as JSON lines, errors among them; the answer begins with the first line, so that clients who read none know
/// that the work is done, or under way.
pub async fn progress_with_errors(mut stream: ProgressStream) -> Reply {
    let first = stream.recv().await.map(|first| first.unwrap_or_else(|error| JsonMessage::error(error.message)));
    progress_after(first, stream)
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

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn an_answer_with_errors_in_it_begins_with_the_first_line() {
        let (sender, stream) = mpsc::channel(1);
        let mut reply = pin!(progress_with_errors(stream));
        assert!(futures_util::poll!(&mut reply).is_pending());
        sender.send(Ok(JsonMessage::stream("Loaded".to_owned()))).await.unwrap();
        let Reply::Response(response) = reply.await else { panic!("not a response") };
        assert_eq!(response.status(), 200);
    }
}
