//! What the caller reads: lines as they come, or with `q` nothing but the ID.

use std::sync::{Arc, Mutex, PoisonError};

use tare_docker_api::stream::{ErrorDetail, JsonMessage};
use tare_engine::{Error, Result};
use tokio::sync::mpsc;

/// Where a build's words go. Clones go to the same place.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    sender: mpsc::Sender<Result<JsonMessage>>,
    /// What was said while only the ID is wanted: shown if the build fails.
    held: Option<Arc<Mutex<Vec<JsonMessage>>>>,
}

/// Why a build failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Anything.
    Error(Error),
    /// A command ended with a code.
    Command { message: String, code: i64 },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Error(error)
    }
}

impl Output {
    pub(crate) fn new(sender: mpsc::Sender<Result<JsonMessage>>, quiet: bool) -> Output {
        Output { sender, held: quiet.then(Arc::default) }
    }

    /// Says a text.
    pub(crate) async fn say(&self, text: impl Into<String>) {
        self.message(JsonMessage::stream(text)).await;
    }

    pub(crate) async fn message(&self, message: JsonMessage) {
        match &self.held {
            Some(held) => held.lock().unwrap_or_else(PoisonError::into_inner).push(message),
            // Without a listener the build is about to be given up.
            None => drop(self.sender.send(Ok(message)).await),
        }
    }

    /// Says how the build ended.
    pub(crate) async fn finish(self, result: Result<String, Failure>) {
        let last = match result {
            Ok(id) => match self.held {
                Some(_) => Ok(JsonMessage::stream(format!("{id}\n"))),
                None => return,
            },
            Err(failure) => {
                let held =
                    self.held.map(|held| std::mem::take(&mut *held.lock().unwrap_or_else(PoisonError::into_inner)));
                for message in held.into_iter().flatten() {
                    let _ = self.sender.send(Ok(message)).await;
                }
                match failure {
                    Failure::Error(error) => Err(error),
                    Failure::Command { message, code } => {
                        let detail = ErrorDetail { code, message: message.clone() };
                        Ok(JsonMessage { error_detail: Some(detail), error: message, ..JsonMessage::default() })
                    }
                }
            }
        };
        // The caller may have gone.
        let _ = self.sender.send(last).await;
    }
}

/// Bytes of a container as texts: a character that comes in two pieces stays whole.
#[derive(Debug, Default)]
pub(crate) struct Decoder(Vec<u8>);

impl Decoder {
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.0.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.0) {
            Ok(_) => self.0.len(),
            // Cut off at the end, not wrong.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.0.len(),
        };
        let rest = self.0.split_off(whole);
        let text = String::from_utf8_lossy(&self.0).into_owned();
        self.0 = rest;
        text
    }

    pub(crate) fn rest(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.0)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_stay_whole() {
        let mut decoder = Decoder::default();
        let (first, second) = "aé".as_bytes().split_at(2);
        assert_eq!(decoder.push(first), "a");
        assert_eq!(decoder.push(second), "é");
        assert_eq!(decoder.push(b"x\xff"), "x\u{fffd}");
        assert_eq!(decoder.push(b"\xc3"), "");
        assert_eq!(decoder.rest(), "\u{fffd}");
    }
}
