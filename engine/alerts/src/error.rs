//! What can be wrong with a request about alerts.

/// A kind and a sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// There is an alert of this name.
    #[error("alert {0:?} exists already")]
    Taken(String),
    /// There is none.
    #[error("no such alert: {0}")]
    NotFound(String),
    /// The target did not take a test message.
    #[error("{0}")]
    Target(String),
    /// The state database.
    #[error(transparent)]
    Store(#[from] tare_state::Error),
    /// A document for or from the state database.
    #[error("document of an alert: {0}")]
    Document(#[from] serde_json::Error),
}
