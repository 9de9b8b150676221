//! `import`: an image from an archive of a file system.

use tare_docker_api::stream::media;
use tare_docker_client::{Query, Request};
use tare_reference::Reference;

use super::pull::platform_flag;
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::opts::platform;
use crate::progress;
use crate::streams::transfer;

/// `import`
pub static COMMAND: Command = Command {
    names: &["image import", "import"],
    usage: "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
    about: "Import the contents from a tarball to create a filesystem image",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[
        Flag::list("change", "Apply Dockerfile instruction to the created image").short('c'),
        Flag::text("message", "Set commit message for imported image").short('m'),
        Flag::text("platform", "Set platform if server is multi-platform capable"),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let (source, reference) = (m.arg(0), m.arg(1));
    let remote = source.starts_with("https://") || source.starts_with("http://");
    let body = match source {
        _ if remote => None,
        "-" => Some(transfer::input_body(&cli.input)?),
        path => Some(transfer::file_body(path)?),
    };
    let platform = match platform_flag(m).as_str() {
        "" => String::new(),
        text => platform::format(&platform::parse(text).map_err(|e| CliError::new(e.0))?),
    };
    if !reference.is_empty() {
        Reference::parse_normalized(reference).map_err(|e| CliError::new(e.to_string()))?;
    }
    let query = Query::new()
        .add("fromSrc", if remote { source } else { "-" })
        .some("repo", reference)
        .some("message", m.text("message"))
        .some("platform", platform);
    let query = m.list("change").iter().fold(query, |query, change| query.add("changes", change));
    let mut request = Request::post("/images/create").query(query);
    if let Some(body) = body {
        request = request.body(media::TAR, body);
    }
    let response = cli.client()?.send(request).await?;
    progress::show(response, Some(&cli.out), drop).await?;
    Ok(0)
}
