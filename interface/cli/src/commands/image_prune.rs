//! `image prune`: removes unused images.

use tare_docker_api::filters::Filters;
use tare_docker_api::image::ImagePruneReport;
use tare_docker_client::{Query, Request};

use super::common::{PRUNE_FILTER, PRUNE_FORCE, confirm, prune_filters};
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::output::text::size4;

/// `image prune`
pub static COMMAND: Command = Command {
    names: &["image prune"],
    usage: "[OPTIONS]",
    about: "Remove unused images",
    common: 0,
    arity: Arity::None,
    interspersed: true,
    flags: &[
        Flag::bool("all", "Remove all unused images, not just dangling ones").short('a'),
        PRUNE_FILTER,
        PRUNE_FORCE,
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let all = m.bool("all");
    let filters = prune_filters(cli, m)?;
    let what = if all { "all images without at least one container associated to them" } else { "all dangling images" };
    let question = format!("WARNING! This will remove {what}.\nAre you sure you want to continue?");
    if !m.bool("force") && !confirm(cli, &question).await? {
        return Ok(0);
    }
    let (bytes, text) = prune(cli, filters, all).await?;
    if !text.is_empty() {
        cli.out.println(text)?;
    }
    cli.out.println(format!("Total reclaimed space: {}", size4(bytes)))?;
    Ok(0)
}

/// Prunes; gives the bytes freed and what to say.
pub async fn prune(cli: &Cli, mut filters: Filters, all: bool) -> Result<(i64, String), CliError> {
    filters.add("dangling", (!all).to_string());
    let request = Request::post("/images/prune").query(Query::new().add("filters", filters.to_json()));
    let report: ImagePruneReport = cli.client()?.send(request).await?.json().await?;
    let mut text = String::new();
    for item in report.images_deleted.iter() {
        if text.is_empty() {
            text.push_str("Deleted Images:\n");
        }
        let line = match item.untagged.is_empty() {
            true => format!("deleted: {}\n", item.deleted),
            false => format!("untagged: {}\n", item.untagged),
        };
        text.push_str(&line);
    }
    Ok((i64::try_from(report.space_reclaimed).unwrap_or(i64::MAX), text))
}
