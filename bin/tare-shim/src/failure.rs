//! Errors as the daemon is told them.

use std::fmt::Display;
use std::io;

use tare_runtime::ErrorKind;
use tare_shim_protocol::{Failure, FailureKind};

/// A request that does not fit the state of things.
pub(crate) fn state(message: impl Into<String>) -> Failure {
    Failure { kind: FailureKind::State, message: message.into(), errno: 0 }
}

/// A failed step on something.
pub(crate) fn setup(step: &str, object: impl Display, error: &io::Error) -> Failure {
    let errno = error.raw_os_error().unwrap_or(0);
    let reason = match errno {
        0 => error.to_string(),
        errno => tare_sys::errno::name(errno).to_owned(),
    };
    Failure { kind: FailureKind::Setup, message: format!("{step} `{object}`: {reason}"), errno }
}

/// A cgroup that could not be made or limited.
pub(crate) fn cgroup(error: &tare_cgroup::Error) -> Failure {
    Failure { kind: FailureKind::Setup, message: error.to_string(), errno: error.errno().unwrap_or(0) }
}

/// A process that could not be started.
pub(crate) fn runtime(error: &tare_runtime::Error) -> Failure {
    let kind = match error.kind() {
        ErrorKind::NotFound => FailureKind::NotFound,
        ErrorKind::Permission => FailureKind::Permission,
        ErrorKind::State => FailureKind::State,
        ErrorKind::Hook | ErrorKind::Setup => FailureKind::Setup,
    };
    Failure { kind, message: error.to_string(), errno: error.errno() }
}
