//! What can go wrong, and the class that decides how Docker reports it.

use std::fmt::Display;

use rustix::io::Errno;

/// Classes of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command was not found (Docker's exit code 127).
    NotFound,
    /// The command may not be executed (Docker's exit code 126).
    Permission,
    /// The container is not in the state that the request needs.
    State,
    /// A hook has failed.
    Hook,
    /// Anything else on the way to the command.
    Setup,
}

/// An error of this crate: step, object and errno in one line.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
    errno: i32,
}

impl Error {
    /// Its class.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The error number behind it, or 0.
    pub fn errno(&self) -> i32 {
        self.errno
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>, errno: Option<Errno>) -> Self {
        Self { kind, message: message.into(), errno: errno.map_or(0, Errno::raw_os_error) }
    }

    /// A request that cannot be met as it stands.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Setup, message, None)
    }

    /// A failed operation of the standard library.
    pub(crate) fn io(step: impl Display, object: impl Display, error: &std::io::Error) -> Self {
        Self::os(step, object, Errno::from_io_error(error).unwrap_or(Errno::IO))
    }

    /// A failed system call on something.
    pub(crate) fn os(step: impl Display, object: impl Display, errno: Errno) -> Self {
        Self::new(ErrorKind::Setup, format!("{step} `{object}`: {}", name(errno)), Some(errno))
    }
}

/// `ENOENT`
pub(crate) fn name(errno: Errno) -> &'static str {
    tare_sys::errno::name(errno.raw_os_error())
}

/// `no such file or directory`: the C library's text as Go writes it, for the sentences that Docker's users know.
pub(crate) fn text(errno: Errno) -> String {
    tare_sys::errno::words(&errno.into())
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        assert_eq!(text(Errno::NOENT), "no such file or directory");
        assert_eq!(text(Errno::ACCESS), "permission denied");
        assert_eq!(Error::os("open_tree", "/x", Errno::NOENT).to_string(), "open_tree `/x`: ENOENT");
    }
}
