//! `diff`: what a container changed in its filesystem.

use tare_docker_api::container::Change;
use tare_docker_client::Query;

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::Matches;

/// `diff`
pub static COMMAND: Command = Command {
    names: &["container diff", "diff"],
    usage: "CONTAINER",
    about: "Inspect changes to files or directories on a container's filesystem",
    common: 0,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let path = format!("/containers/{}/changes", m.arg(0));
    let changes: Option<Vec<Change>> = cli.client()?.get_json(&path, Query::new()).await?;
    let mut text = String::new();
    for change in changes.unwrap_or_default() {
        let kind = match change.kind {
            0 => 'C',
            1 => 'A',
            2 => 'D',
            _ => ' ',
        };
        text.push_str(&format!("{kind} {}\n", change.path));
    }
    cli.out.print(text)?;
    Ok(0)
}
