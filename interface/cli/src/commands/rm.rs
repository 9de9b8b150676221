//! `rm`: removes containers.

use tare_docker_client::Query;

use super::common::{Outcome, each, echo};
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};

/// `rm`
pub static COMMAND: Command = Command {
    names: &["container rm", "container remove", "rm"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Remove one or more containers",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[
        Flag::bool("force", "Force the removal of a running container (uses SIGKILL)").short('f'),
        Flag::bool("link", "Remove the specified link").short('l'),
        Flag::bool("volumes", "Remove anonymous volumes associated with the container").short('v'),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let force = m.bool("force");
    let query = Query::new().flag("v", m.bool("volumes")).flag("link", m.bool("link")).flag("force", force);
    each(cli, &m.args, async |client, name| {
        let name = name.trim_matches('/');
        if name.is_empty() {
            return Err(CliError::new("container name cannot be empty"));
        }
        match client.delete(&format!("/containers/{name}"), query.clone()).await {
            // What is not there is as gone as it should be.
            Err(error) if force && error.is_not_found() => Ok(Outcome::Silent),
            result => echo(result),
        }
    })
    .await
}
