//! `kill`: sends a signal to containers.

use tare_docker_client::Query;

use super::common::{each, echo};
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};

/// `kill`
pub static COMMAND: Command = Command {
    names: &["container kill", "kill"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Kill one or more running containers",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[Flag::text("signal", "Signal to send to the container").short('s')],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let query = Query::new().some("signal", m.text("signal"));
    each(cli, &m.args, async |client, name| echo(client.post(&format!("/containers/{name}/kill"), query.clone()).await))
        .await
}
