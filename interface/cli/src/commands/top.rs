//! `top`: the processes of a container.

use tare_docker_api::container::TopResponse;
use tare_docker_client::Query;

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::Matches;
use crate::output::tabs;

/// `top`
pub static COMMAND: Command = Command {
    names: &["container top", "top"],
    usage: "CONTAINER [ps OPTIONS]",
    about: "Display the running processes of a container",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: false,
    flags: &[],
    run: |cli, m| Box::pin(run(cli, m)),
};

/// Smallest width of a column.
const COLUMN: usize = 20;

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let query = Query::new().some("ps_args", m.args.get(1..).unwrap_or(&[]).join(" "));
    let answer: TopResponse = cli.client()?.get_json(&format!("/containers/{}/top", m.arg(0)), query).await?;
    let mut text = answer.titles.join("\t") + "\n";
    for process in &answer.processes {
        text.push_str(&process.join("\t"));
        text.push('\n');
    }
    cli.out.print(tabs::align(&text, COLUMN))?;
    Ok(0)
}
