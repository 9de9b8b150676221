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
    let empty = match (old, new) {
        ("", _) => Some("invalid container name or ID: value is empty"),
        (_, "") => Some("new name cannot be blank"),
        _ => None,
    };
    if let Some(why) = empty {
        return Err(CliError::new(format!("failed to rename container: {why}")));
    }
    let query = Query::new().add("name", new);
    let renamed = cli.client()?.post(&format!("/containers/{old}/rename"), query).await;
    renamed.map_err(|e| CliError::new(format!("failed to rename container: {e}")))?;
    Ok(0)
}
