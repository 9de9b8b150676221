//! `commit`: an image from a container's changes.

use tare_docker_api::container::IdResponse;
use tare_docker_client::{Query, Request};
use tare_reference::Reference;

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};

/// `commit`
pub static COMMAND: Command = Command {
    names: &["container commit", "commit"],
    usage: "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    about: "Create a new image from a container's changes",
    common: 0,
    arity: Arity::Range(1, 2),
    interspersed: false,
    flags: &[
        Flag::text("author", "Author (e.g., \"John Hannibal Smith <hannibal@a-team.com>\")").short('a'),
        Flag::list("change", "Apply Dockerfile instruction to the created image").short('c'),
        Flag::text("message", "Commit message").short('m'),
        Flag::bool("no-pause", "Disable pausing container during commit"),
        Flag::bool("pause", "Pause container during commit (deprecated: use --no-pause instead)")
            .short('p')
            .default("true")
            .deprecated("and enabled by default. Use --no-pause to disable pausing during commit."),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    if m.given("pause") && m.given("no-pause") {
        return Err(CliError::new("conflicting options: --no-pause and --pause cannot be used together"));
    }
    let no_pause = if m.given("pause") { !m.bool("pause") } else { m.bool("no-pause") };
    let (repository, tag) = target(m.arg(1))?;
    let query = Query::new()
        .add("container", m.arg(0))
        .add("repo", repository)
        .add("tag", tag)
        .add("comment", m.text("message"))
        .add("author", m.text("author"));
    let query = m.list("change").iter().fold(query, |query, change| query.add("changes", change));
    let query = if no_pause { query.add("pause", "0") } else { query };
    let created: IdResponse = cli.client()?.send(Request::post("/commit").query(query)).await?.json().await?;
    cli.out.println(created.id)?;
    Ok(0)
}

/// Repository and tag of the new image; both empty for one without a name.
fn target(name: &str) -> Result<(String, String), CliError> {
    if name.is_empty() {
        return Ok(Default::default());
    }
    let reference = Reference::parse_normalized(name).map_err(|e| CliError::new(e.to_string()))?;
    if reference.digest().is_some() {
        return Err(CliError::new("refusing to create a tag with a digest reference"));
    }
    let reference = reference.with_default_tag();
    Ok((reference.name(), reference.tag().unwrap_or_default().to_owned()))
}
