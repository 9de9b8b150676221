//! `save`: images into an archive.

use tare_docker_client::{Query, Request};

use super::load::platforms;
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::streams::transfer::Sink;

/// `save`
pub static COMMAND: Command = Command {
    names: &["image save", "save"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Save one or more images to a tar archive (streamed to STDOUT by default)",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[
        Flag::text("output", "Write to a file, instead of STDOUT").short('o'),
        Flag::commas(
            "platform",
            "Save only the given platform(s). Formatted as a comma-separated list of \"os[/arch[/variant]]\" (e.g., \
             \"linux/amd64,linux/arm64/v8\")",
        ),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let names = m.args.iter().fold(Query::new(), |query, name| query.add("names", name));
    let query = platforms(m.list("platform"), names)?;
    let sink = Sink::open(cli, m.text("output"), "failed to save image")?;
    let response = cli.client()?.send(Request::get("/images/get").query(query)).await?;
    sink.fill(response).await?;
    Ok(0)
}
