//! Contexts: names for daemons.

use crate::cli::Cli;
use crate::error::CliError;

/// The host of the context that was asked for; `None`: our own daemon.
pub fn endpoint(cli: &Cli) -> Result<Option<String>, CliError> {
    match cli.globals.context.as_str() {
        "" | "default" => Ok(None),
        name => Err(CliError::new(format!("context \"{name}\": context not found"))),
    }
}
