//! `unpause`: lets the processes of paused containers go on.

use tare_docker_client::Query;

use super::common::{each, echo};
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::Matches;

/// `unpause`
pub static COMMAND: Command = Command {
    names: &["container unpause", "unpause"],
    usage: "CONTAINER [CONTAINER...]",
    about: "Unpause all processes within one or more containers",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    each(cli, &m.args, async |client, name| {
        echo(client.post(&format!("/containers/{name}/unpause"), Query::new()).await)
    })
    .await
}
