//! What several commands share: one request for each of many names, filters, questions.

use std::future::Future;

use futures_util::stream::{FuturesOrdered, StreamExt};
use tare_docker_api::filters::Filters;
use tare_docker_client::{Client, Error};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Cli;
use crate::error::CliError;
use crate::flags::{Flag, Matches};

/// Requests in flight at once when a command has many names.
const PARALLEL: usize = 50;

/// Does the same to each name, many at a time, and echoes those that went well, in their order.
pub async fn each<'a, F, Fut>(cli: &'a Cli, names: &'a [String], operation: F) -> Result<i32, CliError>
where
    F: Fn(&'a Client, &'a str) -> Fut,
    Fut: Future<Output = Result<Outcome, CliError>>,
{
    let client = cli.client()?;
    let mut errors = Vec::new();
    let mut waiting = names.iter();
    let mut running: FuturesOrdered<_> =
        waiting.by_ref().take(PARALLEL).map(|n| named(n, operation(client, n))).collect();
    while let Some((name, result)) = running.next().await {
        match result {
            Ok(Outcome::Echo) => cli.out.println(name)?,
            Ok(Outcome::Silent) => {}
            Err(error) => errors.push(error),
        }
        running.extend(waiting.next().map(|n| named(n, operation(client, n))));
    }
    CliError::join(errors).map_or(Ok(0), Err)
}

/// What is said about a name that went well.
pub enum Outcome {
    /// The name.
    Echo,
    /// Nothing.
    Silent,
}

async fn named(name: &str, work: impl Future<Output = Result<Outcome, CliError>>) -> (&str, Result<Outcome, CliError>) {
    (name, work.await)
}

/// For [`each`]: a request whose answer does not matter.
pub fn echo(result: Result<(), Error>) -> Result<Outcome, CliError> {
    Ok(result.map(|()| Outcome::Echo)?)
}

/// `--filter` with its short name.
pub const FILTER: Flag = filter_flag("Filter output based on conditions provided").short('f');
/// `--filter` of prunes, whose short name is taken by `--force`.
pub const PRUNE_FILTER: Flag = filter_flag("Provide filter values (e.g. \"until=<timestamp>\")");
/// `--force` of prunes.
pub const PRUNE_FORCE: Flag = Flag::bool("force", "Do not prompt for confirmation").short('f');

const fn filter_flag(help: &'static str) -> Flag {
    Flag::list("filter", help).type_name("filter").check(check_filter)
}

fn check_filter(value: &str) -> Result<(), String> {
    if value.is_empty() || value.contains('=') {
        return Ok(());
    }
    Err("bad format of filter (expected name=value)".to_owned())
}

/// The filters given.
pub fn filters(m: &Matches) -> Filters {
    let mut filters = Filters::default();
    for (name, value) in m.list("filter").iter().filter_map(|f| f.split_once('=')) {
        filters.add(name.trim().to_lowercase(), value.trim());
    }
    filters
}

/// The filters given, and those that the configuration file has for prunes.
pub fn prune_filters(cli: &Cli, m: &Matches) -> Result<Filters, CliError> {
    let mut filters = filters(m);
    let configured = cli.config()?.values.get("pruneFilters").and_then(|v| v.as_array());
    for text in configured.into_iter().flatten().filter_map(|v| v.as_str()) {
        let Some((name, value)) = text.split_once('=') else { continue };
        let opposite = match name {
            "label" => "label!",
            "label!" => "label",
            _ => "",
        };
        let contradicted = filters.get(opposite).any(|v| v == value);
        if !contradicted {
            filters.add(name, value);
        }
    }
    Ok(filters)
}

/// Asks on the terminal; true after `y`. Without an answer it is no, and so it is with the keys that end a program.
pub async fn confirm(cli: &Cli, question: &str) -> Result<bool, CliError> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    cli.out.print(format!("{question} [y/N] "))?;
    let mut chunks = cli.input.chunks()?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') {
        tokio::select! {
            // An unreadable stdin is no consent either.
            chunk = chunks.recv() => match chunk {
                Some(Ok(bytes)) => answer.extend_from_slice(&bytes),
                Some(Err(_)) | None => break,
            },
            _ = interrupt.recv() => return cli.out.print("\n").map(|()| false),
            _ = terminate.recv() => return cli.out.print("\n").map(|()| false),
        }
    }
    if answer.is_empty() && cli.input.is_terminal() {
        cli.out.print("\n")?;
    }
    let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(line.trim_ascii().eq_ignore_ascii_case(b"y"))
}
