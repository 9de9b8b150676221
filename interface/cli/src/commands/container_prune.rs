//! `container prune`: removes stopped containers.

use tare_docker_api::container::PruneReport;
use tare_docker_api::filters::Filters;
use tare_docker_client::{Query, Request};

use super::common::{PRUNE_FILTER, PRUNE_FORCE, confirm, prune_filters};
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::Matches;
use crate::output::text::size4;

/// `container prune`
pub static COMMAND: Command = Command {
    names: &["container prune"],
    usage: "[OPTIONS]",
    about: "Remove all stopped containers",
    common: 0,
    arity: Arity::None,
    interspersed: true,
    flags: &[PRUNE_FILTER, PRUNE_FORCE],
    run: |cli, m| Box::pin(run(cli, m)),
};

const QUESTION: &str = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let filters = prune_filters(cli, m)?;
    if !m.bool("force") && !confirm(cli, QUESTION).await? {
        return Ok(0);
    }
    let (bytes, text) = prune(cli, &filters).await?;
    if !text.is_empty() {
        cli.out.println(text)?;
    }
    cli.out.println(format!("Total reclaimed space: {}", size4(bytes)))?;
    Ok(0)
}

/// Prunes; gives the bytes freed and what to say.
pub async fn prune(cli: &Cli, filters: &Filters) -> Result<(i64, String), CliError> {
    let query = Query::new().some("filters", filters.to_json());
    let request = Request::post("/containers/prune").query(query);
    let report: PruneReport = cli.client()?.send(request).await?.json().await?;
    if report.containers_deleted.is_empty() {
        return Ok((0, String::new()));
    }
    let text = format!("Deleted Containers:\n{}\n", report.containers_deleted.join("\n"));
    Ok((i64::try_from(report.space_reclaimed).unwrap_or(i64::MAX), text))
}
