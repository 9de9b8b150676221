//! `logs`: what a container wrote.

use tare_docker_api::container::ContainerJson;
use tare_docker_api::stream::media;
use tare_docker_api::time::{Time, timestamp_arg};
use tare_docker_api::versions::ApiVersion;
use tare_docker_client::{Query, Request, Response};

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::streams::demux::{Demux, Target};
use crate::streams::pump;

/// `logs`
pub static COMMAND: Command = Command {
    names: &["container logs", "logs"],
    usage: "[OPTIONS] CONTAINER",
    about: "Fetch the logs of a container",
    common: 0,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[
        Flag::bool("details", "Show extra details provided to logs"),
        Flag::bool("follow", "Follow log output").short('f'),
        Flag::text(
            "since",
            "Show logs since timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
        ),
        Flag::text("tail", "Number of lines to show from the end of the logs").short('n').default("all"),
        Flag::bool("timestamps", "Show timestamps").short('t'),
        Flag::text(
            "until",
            "Show logs before a timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
        ),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

/// From this version on the content type says whether there are frames.
const TYPED_SINCE: ApiVersion = ApiVersion { major: 1, minor: 42 };

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let client = cli.client()?;
    let path = format!("/containers/{}", m.arg(0));
    let now = Time::now().local();
    let instant = |name: &str| match m.text(name) {
        "" => Ok(String::new()),
        text => timestamp_arg(text, now).map_err(|e| CliError::new(format!("invalid value for \"{name}\": {e}"))),
    };
    let query = Query::new()
        .flag("details", m.bool("details"))
        .flag("follow", m.bool("follow"))
        .some("since", instant("since")?)
        .add("stderr", "1")
        .add("stdout", "1")
        .add("tail", m.text("tail"))
        .flag("timestamps", m.bool("timestamps"))
        .some("until", instant("until")?);
    let response = client.send(Request::get(format!("{path}/logs")).query(query)).await?;
    let framed = match response.header("content-type") {
        Some(media::MULTIPLEXED) => true,
        Some(media::RAW) if client.version().await? >= TYPED_SINCE => false,
        _ => !client.get_json::<ContainerJson>(&format!("{path}/json"), Query::new()).await?.config.tty,
    };
    print(cli, response, framed).await?;
    Ok(0)
}

async fn print(cli: &Cli, mut response: Response, framed: bool) -> Result<(), CliError> {
    let mut demux = Demux::default();
    let mut pieces = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let framing = if framed {
            demux.feed(chunk, &mut pieces)
        } else {
            pieces.push((Target::Out, chunk));
            Ok(())
        };
        for (target, piece) in pieces.drain(..) {
            let output = if target == Target::Err { &cli.err } else { &cli.out };
            pump::write(output, piece).await?;
        }
        framing.map_err(|e| CliError::new(e.to_string()))?;
    }
    Ok(())
}
