//! What the caller hears: lines as they come, with `q` nothing but the ID, or step by step.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tare_docker_api::stream::{ErrorDetail, JsonMessage, StreamKind};
use tare_engine::{Error, Result};
use tokio::sync::mpsc;

use crate::events::{Event, What};

/// Where a build's words go. Clones go to the same place.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// The classic builder's lines.
    Lines {
        sender: mpsc::Sender<Result<JsonMessage>>,
        /// What was said while only the ID is wanted: shown if the build fails.
        held: Option<Arc<Mutex<Vec<JsonMessage>>>>,
    },
    /// Step by step.
    Events {
        sender: mpsc::Sender<Event>,
        /// The step that goes on; none is 0.
        step: Arc<AtomicU64>,
        /// How many there were.
        steps: Arc<AtomicU64>,
    },
}

/// Why a build failed.
#[derive(Debug)]
pub enum Failure {
    /// Anything.
    Error(Error),
    /// A command ended with a code.
    Command {
        /// With its shell.
        command: Vec<String>,
        /// Not 0.
        code: i64,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Error(error)
    }
}

/// BuildKit's words.
impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Error(error) => f.write_str(&error.message),
            Failure::Command { command, code } => {
                write!(f, "process {:?} did not complete successfully: exit code: {code}", command.join(" "))
            }
        }
    }
}

impl Output {
    pub(crate) fn lines(sender: mpsc::Sender<Result<JsonMessage>>, quiet: bool) -> Output {
        Output::Lines { sender, held: quiet.then(Arc::default) }
    }

    pub(crate) fn events(sender: mpsc::Sender<Event>) -> Output {
        Output::Events { sender, step: Arc::default(), steps: Arc::default() }
    }

    /// Says a text, to those who read lines.
    pub(crate) async fn say(&self, text: impl Into<String>) {
        if let Output::Lines { .. } = self {
            self.message(JsonMessage::stream(text)).await;
        }
    }

    /// Passes on a line, or how far a pull is.
    pub(crate) async fn message(&self, message: JsonMessage) {
        match self {
            Output::Lines { held: Some(held), .. } => {
                held.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            }
            // Without a listener the build is about to be given up.
            Output::Lines { sender, held: None } => drop(sender.send(Ok(message)).await),
            Output::Events { .. } => {
                let Some(detail) = message.progress_detail.filter(|_| !message.id.is_empty()) else { return };
                let is_done = detail.total > 0 && detail.current >= detail.total;
                let what = What::Progress {
                    id: message.id.clone(),
                    name: format!("{} {}", message.status.to_lowercase(), message.id),
                    current: detail.current,
                    total: detail.total,
                    is_done,
                };
                self.tell(what).await;
            }
        }
    }

    /// Passes on what a command says.
    pub(crate) async fn log(&self, kind: StreamKind, text: String) {
        if text.is_empty() {
            return;
        }
        match self {
            // The classic builder shows standard error in red.
            Output::Lines { .. } if kind == StreamKind::Stderr => {
                self.say(format!("\u{1b}[91m{text}\u{1b}[0m")).await;
            }
            Output::Lines { .. } => self.say(text).await,
            Output::Events { .. } => {
                self.tell(What::Log { is_error: kind == StreamKind::Stderr, text }).await;
            }
        }
    }

    /// Says what the caller should know. Those who follow steps see it at the first one.
    pub(crate) async fn warn(&self, text: impl Into<String>) {
        match self {
            Output::Lines { .. } => self.say(format!("[Warning] {}\n", text.into())).await,
            // Without a listener the build is about to be given up.
            Output::Events { sender, .. } => {
                drop(sender.send(Event { step: 1, what: What::Warning(text.into()) }).await);
            }
        }
    }

    /// A step begins, for those who follow steps.
    pub(crate) async fn begin(&self, name: impl Into<String>) {
        if let Output::Events { step, steps, .. } = self {
            step.store(steps.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            self.tell(What::Started(name.into())).await;
        }
    }

    /// The step that goes on has ended; without one, nothing has.
    pub(crate) async fn end<T, E: std::fmt::Display>(&self, result: &std::result::Result<T, E>) {
        if let Output::Events { step, .. } = self
            && step.load(Ordering::Relaxed) != 0
        {
            self.tell(What::Done(result.as_ref().err().map(ToString::to_string))).await;
            step.store(0, Ordering::Relaxed);
        }
    }

    /// Does the work of a step.
    pub(crate) async fn step<T, E: std::fmt::Display>(
        &self,
        name: impl Into<String>,
        work: impl Future<Output = std::result::Result<T, E>>,
    ) -> std::result::Result<T, E> {
        self.begin(name).await;
        let result = work.await;
        self.end(&result).await;
        result
    }

    /// A piece of the step that goes on is done at once.
    pub(crate) async fn detail(&self, name: impl Into<String>) {
        if let Output::Events { .. } = self {
            let name = name.into();
            self.tell(What::Progress { id: name.clone(), name, current: 0, total: 0, is_done: true }).await;
        }
    }

    /// A piece of the step that goes on, as long as some work takes.
    pub(crate) async fn part<T, E>(
        &self,
        name: &str,
        work: impl Future<Output = std::result::Result<T, E>>,
    ) -> std::result::Result<T, E> {
        let piece =
            |is_done| What::Progress { id: name.to_owned(), name: name.to_owned(), current: 0, total: 0, is_done };
        self.tell(piece(false)).await;
        let result = work.await;
        if result.is_ok() {
            self.tell(piece(true)).await;
        }
        result
    }

    /// Tells something about the step that goes on.
    pub(crate) async fn tell(&self, what: What) {
        if let Output::Events { sender, step, .. } = self {
            let step = step.load(Ordering::Relaxed);
            if step != 0 {
                // Without a listener the build is about to be given up.
                let _ = sender.send(Event { step, what }).await;
            }
        }
    }

    /// Says how the build ended, to those who read lines.
    pub(crate) async fn finish(self, result: std::result::Result<String, Failure>) {
        let Output::Lines { sender, held } = self else { return };
        let last = match result {
            Ok(id) => match held {
                Some(_) => Ok(JsonMessage::stream(format!("{id}\n"))),
                None => return,
            },
            Err(failure) => {
                let held = held.map(|held| std::mem::take(&mut *held.lock().unwrap_or_else(PoisonError::into_inner)));
                for message in held.into_iter().flatten() {
                    let _ = sender.send(Ok(message)).await;
                }
                match failure {
                    Failure::Error(error) => Err(error),
                    Failure::Command { command, code } => {
                        let message = format!("The command '{}' returned a non-zero code: {code}", command.join(" "));
                        let detail = ErrorDetail { code, message: message.clone() };
                        Ok(JsonMessage { error_detail: Some(detail), error: message, ..JsonMessage::default() })
                    }
                }
            }
        };
        // The caller may have gone.
        let _ = sender.send(last).await;
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
