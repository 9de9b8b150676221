//! `rename`: gives a container another name.

use tare_docker_client::Query;

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::Matches;

/// `rename`
pub static COMMAND: Command = Command {
    names: &["container rename", "rename"],
    usage: "CONTAINER NEW_NAME",
    about: "Rename a container",
    common: 0,
    arity: Arity::Exactly(2),
    interspersed: true,
    flags: &[],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let (old, new) = (m.arg(0).trim(), m.arg(1).trim());
    if old.is_empty() || new.is_empty() {
        return Err(CliError::new("Error: Neither old nor new names may be empty"));
    }
    let query = Query::new().add("name", new);
    let renamed = cli.client()?.post(&format!("/containers/{old}/rename"), query).await;
    renamed.map_err(|e| CliError::new(format!("failed to rename container: {e}")))?;
    Ok(0)
}
