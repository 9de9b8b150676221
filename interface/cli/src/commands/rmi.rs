//! `rmi`: removes images.

use tare_docker_api::image::DeleteItem;
use tare_docker_client::{Error, Query, Request};

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::opts::platform;

/// `rmi`
pub static COMMAND: Command = Command {
    names: &["image rm", "image remove", "image rmi", "rmi"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Remove one or more images",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[
        Flag::bool("force", "Force removal of the image").short('f'),
        Flag::bool("no-prune", "Do not delete untagged parents"),
        Flag::commas(
            "platform",
            "Remove only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
        ),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let force = m.bool("force");
    let mut query = Query::new().flag("force", force).flag("noprune", m.bool("no-prune"));
    for text in m.list("platform") {
        let platform = platform::parse(text).map_err(|e| CliError::new(e.to_string()))?;
        query = query.add("platforms", serde_json::to_string(&platform).unwrap_or_default());
    }
    let client = cli.client()?;
    let (mut errors, mut fatal): (Vec<CliError>, bool) = (Vec::new(), false);
    for image in &m.args {
        let request = Request::delete(format!("/images/{image}")).query(query.clone());
        let removed: Result<Vec<DeleteItem>, Error> = match client.send(request).await {
            Ok(answer) => answer.json().await,
            Err(error) => Err(error),
        };
        match removed {
            Ok(items) => cli.out.print(lines(&items))?,
            Err(error) => {
                fatal |= !error.is_not_found();
                errors.push(error.into());
            }
        }
    }
    match CliError::join(errors) {
        None => Ok(0),
        // What is not there is as gone as it should be, but is said.
        Some(error) if force && !fatal => {
            cli.err.println(error.message)?;
            Ok(0)
        }
        Some(error) => Err(error),
    }
}

fn lines(items: &[DeleteItem]) -> String {
    let line = |item: &DeleteItem| match item.deleted.is_empty() {
        true => format!("Untagged: {}\n", item.untagged),
        false => format!("Deleted: {}\n", item.deleted),
    };
    items.iter().map(line).collect()
}
