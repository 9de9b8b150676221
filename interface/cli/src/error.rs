//! Errors as the command line shows them: a text for stderr and an exit status.

use std::fmt;

/// Exit status of failures of the client or daemon in `run`, and of flags that cannot be parsed.
pub const EXIT_USAGE: i32 = 125;
/// Exit status of a process ended by SIGPIPE, which is what writing to a closed pipe means.
pub const EXIT_PIPE: i32 = 128 + 13;

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// What stderr gets, without newline; empty: nothing.
    pub message: String,
    /// Exit status.
    pub code: i32,
}

impl CliError {
    /// A failure with the usual exit status, 1.
    pub fn new(message: impl Into<String>) -> CliError {
        CliError { message: message.into(), code: 1 }
    }

    /// A failure with a status of its own.
    pub fn with_code(message: impl Into<String>, code: i32) -> CliError {
        CliError { message: message.into(), code }
    }

    /// Ends the program with a status and no text.
    pub fn silent(code: i32) -> CliError {
        CliError { message: String::new(), code }
    }

    /// Several failures as one: their texts, one a line. `None` when there are none.
    pub fn join(errors: Vec<CliError>) -> Option<CliError> {
        let code = errors.first()?.code;
        let texts: Vec<String> = errors.into_iter().map(|e| e.message).filter(|m| !m.is_empty()).collect();
        Some(CliError { message: texts.join("\n"), code })
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

impl From<tare_docker_client::Error> for CliError {
    fn from(error: tare_docker_client::Error) -> CliError {
        CliError::new(error.to_string())
    }
}

impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> CliError {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return CliError::silent(EXIT_PIPE);
        }
        CliError::new(error.to_string())
    }
}
