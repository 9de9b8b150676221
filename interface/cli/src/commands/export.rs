//! `export`: a container's file system as an archive.

use tare_docker_client::Request;

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::streams::transfer::Sink;

/// `export`
pub static COMMAND: Command = Command {
    names: &["container export", "export"],
    usage: "[OPTIONS] CONTAINER",
    about: "Export a container's filesystem as a tar archive",
    common: 0,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[Flag::text("output", "Write to a file, instead of STDOUT").short('o')],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let sink = Sink::open(cli, m.text("output"), "failed to export container")?;
    let response = cli.client()?.send(Request::get(format!("/containers/{}/export", m.arg(0)))).await?;
    sink.fill(response).await?;
    Ok(0)
}
