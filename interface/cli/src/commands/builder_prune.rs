//! `builder prune`: drops what builds keep for the next one.

use tare_docker_api::filters::Filters;
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
        PRUNE_FILTER.help("Provide filter values (e.g. \"until=24h\")"),
        PRUNE_FORCE,
        Flag::bytes("keep-storage", "Amount of disk space to keep for cache"),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let filters = prune_filters(cli, m)?;
    let what = if m.bool("all") { "all build cache" } else { "all dangling build cache" };
    let question = format!("WARNING! This will remove {what}. Are you sure you want to continue?");
    if !m.bool("force") && !confirm(cli, &question).await? {
        return Ok(0);
    }
    let (bytes, text) = prune(cli, &filters, m.bool("all"), m.bytes("keep-storage")).await?;
    if !text.is_empty() {
        cli.out.println(text)?;
    }
    cli.out.println(format!("Total reclaimed space: {}", size4(bytes)))?;
    Ok(0)
}

/// Drops what builds keep, but for `keep` bytes of it. Gives the bytes won and what to print.
pub async fn prune(cli: &Cli, filters: &Filters, all: bool, keep: i64) -> Result<(i64, String), CliError> {
    let keep = if keep > 0 { keep.to_string() } else { String::new() };
    let query = Query::new().some("filters", filters.to_json()).flag("all", all).some("keep-storage", keep);
    let report: BuildPruneReport = cli.client()?.send(Request::post("/build/prune").query(query)).await?.json().await?;
    let ids: String = report.caches_deleted.iter().map(|id| format!("{id}\n")).collect();
    let text = if ids.is_empty() { ids } else { format!("Deleted build cache objects:\n{ids}") };
    Ok((i64::try_from(report.space_reclaimed).unwrap_or(i64::MAX), text))
}
