//! `stop` and `restart`: both take a signal and a patience.

use tare_docker_client::Query;

use super::common::{each, echo};
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};

/// `stop`
pub static COMMAND: Command = Command {
    names: &["container stop", "stop"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Stop one or more running containers",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: FLAGS,
    run: |cli, m| Box::pin(run(cli, m)),
};

/// Flags of `stop` and `restart`.
pub static FLAGS: &[Flag] = &[
    Flag::text("signal", "Signal to send to the container").short('s'),
    Flag::int("time", "Seconds to wait before killing the container").deprecated("use --timeout instead"),
    Flag::int("timeout", "Seconds to wait before killing the container").short('t'),
];

/// The parameters that the flags stand for.
pub fn query(m: &Matches) -> Result<Query, CliError> {
    let query = Query::new().some("signal", m.text("signal"));
    match (m.given("timeout"), m.given("time")) {
        (true, true) => Err(CliError::new("conflicting options: cannot specify both --timeout and --time")),
        (true, false) => Ok(query.add("t", m.int("timeout").to_string())),
        (false, true) => Ok(query.add("t", m.int("time").to_string())),
        (false, false) => Ok(query),
    }
}

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let query = query(m)?;
    each(cli, &m.args, async |client, name| echo(client.post(&format!("/containers/{name}/stop"), query.clone()).await))
        .await
}
