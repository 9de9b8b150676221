//! `load`: images from an archive.

use tare_docker_api::stream::media;
use tare_docker_client::{Query, Request};

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::opts::platform;
use crate::progress;
use crate::streams::transfer;

/// `load`
pub static COMMAND: Command = Command {
    names: &["image load", "load"],
    usage: "[OPTIONS]",
    about: "Load an image from a tar archive or STDIN",
    common: 0,
    arity: Arity::None,
    interspersed: true,
    flags: &[
        Flag::text("input", "Read from tar archive file, instead of STDIN").short('i'),
        Flag::commas(
            "platform",
            "Load only the given platform(s). Formatted as a comma-separated list of \"os[/arch[/variant]]\" (e.g., \
             \"linux/amd64,linux/arm64/v8\").",
        ),
        Flag::bool("quiet", "Suppress the load output").short('q'),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let body = match m.text("input") {
        "" if cli.input.is_terminal() => return Err(CliError::new("requested load from stdin, but stdin is empty")),
        "" => transfer::input_body(&cli.input)?,
        path => transfer::file_body(path)?,
    };
    let quiet = m.bool("quiet") || !cli.out.is_terminal();
    let query = platforms(m.list("platform"), Query::new())?.add("quiet", if quiet { "1" } else { "0" });
    let request = Request::post("/images/load").query(query).body(media::TAR, body);
    let response = cli.client()?.send(request).await?;
    progress::show(response, Some(&cli.out), drop).await?;
    Ok(0)
}

/// Adds `--platform` of `load` and `save`.
pub fn platforms(values: &[String], mut query: Query) -> Result<Query, CliError> {
    for value in values {
        let platform = platform::parse(value).map_err(|e| CliError::new(format!("invalid platform: {e}")))?;
        query = query.add("platform", serde_json::to_string(&platform).map_err(|e| CliError::new(e.to_string()))?);
    }
    Ok(query)
}
