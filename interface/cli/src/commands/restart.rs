//! `restart`: stops and starts containers, one after the other.

use super::stop;
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::Matches;

/// `restart`
pub static COMMAND: Command = Command {
    names: &["container restart", "restart"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Restart one or more containers",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: stop::FLAGS,
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let query = stop::query(m)?;
    let client = cli.client()?;
    let mut errors = Vec::new();
    for name in &m.args {
        match client.post(&format!("/containers/{name}/restart"), query.clone()).await {
            Ok(()) => cli.out.println(name)?,
            Err(error) => errors.push(error.into()),
        }
    }
    CliError::join(errors).map_or(Ok(0), Err)
}
