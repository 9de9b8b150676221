//! What can go wrong with a registry. Texts that users know from Docker are kept.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use tare_reference::Digest;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with a registry.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Pulling needs other credentials, or there is no such repository: registries do not tell which.
    #[error("pull access denied for {0}, repository does not exist or may require 'docker login'")]
    PullDenied(String),
    /// Pushing needs other credentials.
    #[error("push access denied, repository does not exist or may require authorization: server message: {0}")]
    PushDenied(String),
    /// The registry wants user and password, and there are none.
    #[error("authorization failed: no basic auth credentials")]
    NoBasicCredentials,
    /// User and password, or token, are wrong.
    #[error("{0}")]
    Unauthorized(String),
    /// No such tag, manifest or blob.
    #[error("{0}: not found")]
    NotFound(String),
    /// No answer.
    #[error("failed to do request: {method} \"{url}\": {reason}")]
    Request {
        /// `Head`, `Get`…
        method: String,
        /// Where to.
        url: String,
        /// In the words of Go's network errors.
        reason: String,
    },
    /// An answer that is no success.
    #[error("unexpected status from {method} request to {url}: {status}{}", detail(.message))]
    Status {
        /// `HEAD`, `GET`…
        method: String,
        /// Where to.
        url: String,
        /// `500 Internal Server Error`
        status: String,
        /// What the registry said, shortened.
        message: String,
        /// When the registry wants to be asked again.
        after: Option<Duration>,
    },
    /// 429.
    #[error("toomanyrequests: {message}")]
    TooManyRequests {
        /// What the registry said, shortened.
        message: String,
        /// When the registry wants to be asked again.
        after: Option<Duration>,
    },
    /// An image of the schema that Docker removed.
    #[error(
        "Docker Image Format v1 and Docker Image manifest version 2, schema 1 support has been removed. Suggest the \
         author of {0} to upgrade the image to the OCI Format or Docker Image manifest v2, schema 2. More information \
         at https://docs.docker.com/go/deprecated-image-specs/"
    )]
    Schema1(String),
    /// Content that is not what its name says.
    #[error("unexpected digest of {what}: {actual}, expected {expected}")]
    Digest {
        /// `manifest`
        what: &'static str,
        /// What it should be.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// A blob ended early or late, attempt after attempt.
    #[error("failed to copy: {0}")]
    Transfer(String),
    /// More than a stated limit.
    #[error("{what} exceeds {limit} bytes")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The limit in bytes.
        limit: u64,
    },
    /// An answer that cannot be understood.
    #[error("invalid {what} from {url}: {reason}")]
    Malformed {
        /// What should have been there.
        what: &'static str,
        /// From where.
        url: String,
        /// Why.
        reason: String,
    },
    /// A setting that makes no sense.
    #[error("{0}")]
    Config(String),
}

/// Go's words for a connection that was closed instead of an answer.
const EOF: &str = "EOF";
/// Go's words for a connection that was cut.
const RESET: &str = "read: connection reset by peer";
/// Go's words for a server that says nothing.
pub(crate) const SILENCE: &str = "net/http: timeout awaiting response headers";
/// Go's words for a server that does not speak TLS.
const PLAIN_HTTP: &str = "http: server gave HTTP response to HTTPS client";

fn detail(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

impl Error {
    /// The server speaks HTTP where TLS was tried.
    pub(crate) fn is_plain_http(&self) -> bool {
        matches!(self, Error::Request { reason, .. } if reason == PLAIN_HTTP)
    }

    /// The same in the words of what is not about an image: only what Go's client says.
    pub(crate) fn without_task(self) -> Self {
        match self {
            Error::Request { method, url, reason } => Error::Config(format!("{method} {url:?}: {reason}")),
            other => other,
        }
    }

    /// No answer at all, rather than a refusal.
    pub(crate) fn is_transport(&self) -> bool {
        matches!(self, Error::Request { .. })
    }

    /// A connection that broke, or a server in trouble: the next attempt may be luckier. A server that is not there or
    /// says nothing has had its time already.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Error::Request { reason, .. } => reason == EOF || reason == RESET,
            Error::Transfer(_) => true,
            Error::Status { status, .. } => status.starts_with('5') || status.starts_with("408"),
            Error::TooManyRequests { after, .. } => after.is_some(),
            _ => false,
        }
    }

    /// When the registry wants to be asked again.
    pub(crate) fn after(&self) -> Option<Duration> {
        match self {
            Error::Status { after, .. } | Error::TooManyRequests { after, .. } => *after,
            _ => None,
        }
    }
}

/// What Go's HTTP client would say.
pub(crate) fn describe(error: &reqwest::Error, address: Option<std::net::SocketAddr>) -> String {
    let host = error.url().and_then(|u| u.host_str()).unwrap_or_default();
    let dial = address.map_or_else(|| format!("dial tcp {host}"), |a| format!("dial tcp {a}"));
    let mut cause = error.source();
    let mut last = error.to_string();
    while let Some(inner) = cause {
        if let Some(tls) = tls_error(inner) {
            return describe_tls(tls);
        }
        if let Some(io) = inner.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::ConnectionRefused => return format!("{dial}: connect: connection refused"),
                io::ErrorKind::NetworkUnreachable => return format!("{dial}: connect: network is unreachable"),
                io::ErrorKind::HostUnreachable => return format!("{dial}: connect: no route to host"),
                io::ErrorKind::TimedOut if error.is_connect() => return format!("{dial}: i/o timeout"),
                io::ErrorKind::ConnectionReset => return RESET.to_owned(),
                io::ErrorKind::UnexpectedEof if error.is_body() || error.is_decode() => {
                    return "unexpected EOF".to_owned();
                }
                io::ErrorKind::UnexpectedEof => return EOF.to_owned(),
                _ => {}
            }
        }
        last = inner.to_string();
        cause = inner.source();
    }
    if error.is_connect() && error.is_timeout() {
        return format!("{dial}: i/o timeout");
    }
    if error.is_timeout() {
        return SILENCE.to_owned();
    }
    if last.contains("failed to lookup address") {
        return format!("dial tcp: lookup {host}: no such host");
    }
    if last.contains("before message completed") || last.contains("connection closed") {
        return EOF.to_owned();
    }
    // an answer that ends before its length
    if last.contains("end of file before message length reached") || last.contains("unexpected EOF") {
        return "unexpected EOF".to_owned();
    }
    last
}

/// A TLS error, also one wrapped in I/O errors, whose `source` passes over what they wrap.
fn tls_error<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(tls) = error.downcast_ref() {
        return Some(tls);
    }
    let inner = error.downcast_ref::<io::Error>()?.get_ref()?;
    tls_error(inner)
}

fn describe_tls(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidMessage(_) => PLAIN_HTTP.to_owned(),
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            "tls: failed to verify certificate: x509: certificate signed by unknown authority".to_owned()
        }
        rustls::Error::InvalidCertificate(
            rustls::CertificateError::Expired | rustls::CertificateError::ExpiredContext { .. },
        ) => "tls: failed to verify certificate: x509: certificate has expired or is not yet valid".to_owned(),
        rustls::Error::InvalidCertificate(reason) => format!("tls: failed to verify certificate: x509: {reason}"),
        other => format!("tls: {other}"),
    }
}
