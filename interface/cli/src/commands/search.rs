//! `search`: images on Docker Hub or another registry that can be searched.

use tare_docker_api::image::SearchResult;
use tare_docker_client::{Query, Request};

use super::common::{FILTER, filters};
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::credentials::registry_auth;
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::output::rows::{Format, Row};
use crate::output::text::ellipsis;

/// `search`
pub static COMMAND: Command = Command {
    names: &["search"],
    usage: "[OPTIONS] TERM",
    about: "Search Docker Hub for images",
    common: 10,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[
        FILTER,
        Flag::text("format", "Pretty-print search using a Go template"),
        Flag::int("limit", "Max number of search results"),
        Flag::bool("no-trunc", "Don't truncate output"),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

const TABLE: &str = "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";
const HEADER: &[(&str, &str)] =
    &[("Name", "NAME"), ("Description", "DESCRIPTION"), ("StarCount", "STARS"), ("IsOfficial", "OFFICIAL")];

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let term = m.arg(0);
    let limit = m.int("limit");
    let query = Query::new()
        .add("term", term)
        .some("limit", if limit > 0 { limit.to_string() } else { String::new() })
        .some("filters", filters(m).to_json());
    if filters(m).contains("is-automated") {
        cli.warn(
            "the \"is-automated\" filter is deprecated, and searching for \"is-automated=true\" will not yield any results \
             in future.",
        )?;
    }
    let auth = registry_auth(cli, domain(term)).await?;
    let request = Request::get("/images/search").query(query).header("x-registry-auth", auth);
    let results: Vec<SearchResult> = cli.client()?.send(request).await?.json().await?;
    let format = match m.text("format") {
        "" | "table" => TABLE,
        other => other,
    };
    let json = format == "json" || format.contains("json .}}");
    let rows = results.iter().map(|r| row(r, !m.bool("no-trunc"), json)).collect();
    Format::parse(format)?.write(&cli.out, HEADER, rows)?;
    Ok(0)
}

/// The registry that a term names.
fn domain(term: &str) -> &str {
    match term.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

fn row(result: &SearchResult, short: bool, json: bool) -> Row {
    let description = result.description.replace(['\n', '\r'], " ");
    let official = match (result.is_official, json) {
        (true, true) => "true",
        (true, false) => "[OK]",
        (false, true) => "false",
        (false, false) => "",
    };
    Row::new("*registry.searchContext")
        .with("Name", result.name.as_str())
        .with("Description", if short { ellipsis(&description, 45) } else { description })
        .with("StarCount", result.star_count.to_string())
        .with("IsOfficial", official)
}
