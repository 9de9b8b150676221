//! What a request that fails is answered: a status and a sentence.

use std::fmt;

use http::StatusCode;
use tare_docker_api::filters::FilterError;

/// A failed request. The body is `{"message":"…"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status.
    pub status: StatusCode,
    /// The sentence, without a newline.
    pub message: String,
}

/// What handlers return.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// Any status.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Failure { status, message: message.into() }
    }

    /// 400: the request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Failure::new(StatusCode::BAD_REQUEST, message)
    }

    /// 500.
    pub fn internal(message: impl Into<String>) -> Self {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// 501: the engine has no such thing; the message names it.
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Failure::new(StatusCode::NOT_IMPLEMENTED, message)
    }

    /// 404 for an unknown path or a wrong method.
    pub fn page_not_found() -> Self {
        Failure::new(StatusCode::NOT_FOUND, "page not found")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<FilterError> for Failure {
    fn from(error: FilterError) -> Self {
        Failure::bad_request(error.to_string())
    }
}
