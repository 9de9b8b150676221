//! `builder prune`: drops what builds keep for the next one.

use tare_docker_api::image::BuildPruneReport;
use tare_docker_client::{Query, Request};

use super::common::{PRUNE_FILTER, PRUNE_FORCE, confirm, prune_filters};
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::output::text::size4;

/// `builder prune`
pub static COMMAND: Command = Command {
    names: &["builder prune"],
    usage: "",
    about: "Remove build cache",
    common: 0,
    arity: Arity::None,
    interspersed: true,
    flags: &[
        Flag::bool("all", "Remove all unused build cache, not just dangling ones").short('a'),
        PRUNE_FILTER,
        PRUNE_FORCE,
        Flag::bytes("keep-storage", "Amount of disk space to keep for cache"),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let filters = prune_filters(cli, m)?;
    let what = if m.bool("all") { "all build cache" } else { "all dangling build cache" };
    let question = format!("WARNING! This will remove {what}. Are you sure you want to continue?");
    if !m.bool("force") && !confirm(cli, &question)? {
        return Err(CliError::new("builder prune has been cancelled"));
    }
    let mut query = Query::new().add("filters", filters.to_json());
    query = query.flag("all", m.bool("all"));
    if m.bytes("keep-storage") > 0 {
        query = query.add("keep-storage", m.bytes("keep-storage").to_string());
    }
    let report: BuildPruneReport = cli.client()?.send(Request::post("/build/prune").query(query)).await?.json().await?;
    if !report.caches_deleted.is_empty() {
        let ids: String = report.caches_deleted.iter().map(|id| format!("{id}\n")).collect();
        cli.out.println(format!("Deleted build cache objects:\n{ids}"))?;
    }
    let bytes = i64::try_from(report.space_reclaimed).unwrap_or(i64::MAX);
    cli.out.println(format!("Total reclaimed space: {}", size4(bytes)))?;
    Ok(0)
}
