//! What can go wrong, in the words docker's client uses.

use crate::host::Host;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The daemon said no.
    #[error("Error response from daemon: {message}")]
    Api {
        /// HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// The daemon said no without words.
    #[error(
        "request returned {status} {reason} for API route and version {target}, check if the server supports the \
         requested API version"
    )]
    Mute {
        /// HTTP status.
        status: u16,
        /// Its standard name.
        reason: &'static str,
        /// What was asked for.
        target: String,
    },
    /// There is no daemon at `host`, or it does not let us in.
    #[error("{text}")]
    Connect {
        /// The sentence.
        text: String,
    },
    /// Our own daemon could not be started.
    #[error("cannot start the daemon: {0}")]
    Start(String),
    /// The conversation broke.
    #[error("error during connect: {0}")]
    Exchange(String),
    /// The answer is not what it should be.
    #[error("error reading the daemon's answer to {target}: {why}")]
    Answer {
        /// What was asked for.
        target: String,
        /// What is wrong.
        why: String,
    },
    /// ssh has failed.
    #[error("error during connect: {0}")]
    Ssh(String),
    /// `-H` with ssh makes no sense.
    #[error("Failed to initialize: {0}")]
    Destination(String),
    /// TLS cannot be spoken with what there is.
    #[error("unable to resolve docker endpoint: {0}")]
    Tls(String),
    /// `-H` makes no sense.
    #[error("unable to resolve docker endpoint: {0}")]
    Host(String),
}

impl Error {
    /// HTTP status, when the daemon answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Error::Api { status, .. } | Error::Mute { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the daemon says that something does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Says what was asked for, where docker says so.
    pub(crate) fn during(self, method: &http::Method, target: &str) -> Error {
        let method = method.as_str();
        let method =
            method.get(..1).unwrap_or_default().to_owned() + &method.get(1..).unwrap_or_default().to_lowercase();
        match self {
            Error::Ssh(why) => Error::Ssh(format!("{method} \"http://docker.example.com{target}\": {why}")),
            other => other,
        }
    }

    pub(crate) fn connect(host: &Host, error: &std::io::Error) -> Error {
        use std::io::ErrorKind;
        if let Host::Ssh(_) = host {
            return Error::Ssh(error.to_string());
        }
        let text = match (error.kind(), host) {
            (ErrorKind::PermissionDenied, _) => {
                format!("permission denied while trying to connect to the docker API at {host}")
            }
            (ErrorKind::NotFound, Host::Unix(path)) => format!(
                "failed to connect to the docker API at {host}; check if the path is correct and if the daemon is \
                 running: dial unix {}: connect: no such file or directory",
                path.display()
            ),
            (ErrorKind::ConnectionRefused | ErrorKind::TimedOut, _) | (_, Host::Unix(_)) => {
                format!("Cannot connect to the Docker daemon at {host}. Is the docker daemon running?")
            }
            (_, Host::Tcp(_)) if is_plain(error) => {
                format!("failed to connect to the docker API at {host}: server gave HTTP response to HTTPS client")
            }
            _ => format!("failed to connect to the docker API at {host}: {error}"),
        };
        Error::Connect { text }
    }

    /// A connection failed of which nothing else is known.
    pub(crate) fn dial(host: &Host, error: &std::io::Error) -> Error {
        let words = tare_sys::errno::words(error);
        let text = match host {
            Host::Unix(path) => format!("dial unix {}: connect: {words}", path.display()),
            Host::Tcp(address) => format!("dial tcp {address}: connect: {words}"),
            Host::Ssh(_) => error.to_string(),
        };
        Error::Connect { text }
    }

    /// The conversation broke; docker's hints go before what went wrong with TLS.
    pub(crate) fn exchange(host: &Host, error: &(dyn std::error::Error + 'static)) -> Error {
        if let Some(failed) = crate::ssh::Failed::find(error) {
            return Error::Ssh(failed.to_string());
        }
        let mut text = format!("{host}: {error}");
        let mut source = error.source();
        let mut refused = false;
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            if let Some(rustls::Error::AlertReceived(_)) = cause.downcast_ref().or_else(|| inner(cause)) {
                refused = true;
            }
            source = cause.source();
        }
        if refused {
            text = format!(
                "The server probably has client authentication (--tlsverify) enabled; check your TLS client \
                 certification settings: {text}"
            );
        }
        Error::Exchange(text)
    }
}

/// Whether the other side speaks something else than TLS.
fn is_plain(error: &std::io::Error) -> bool {
    let invalid = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
    error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) == Some(&invalid)
}

/// The error of TLS that an error of I/O is about.
fn inner<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    cause.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref()
}
