//! `start`: starts containers, or one with its streams attached.

use tare_docker_api::container::ContainerJson;
use tare_docker_client::Query;

use super::run::detach_sequence;
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::streams::pump::Pump;
use crate::streams::session::{Failure, Outcome, Session};

/// `start`
pub static COMMAND: Command = Command {
    names: &["container start", "start"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Start one or more stopped containers",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[
        Flag::bool("attach", "Attach STDOUT/STDERR and forward signals").short('a'),
        Flag::text("checkpoint", "Restore from this checkpoint").hidden().unsupported(NO_CHECKPOINTS),
        Flag::text("checkpoint-dir", "Use a custom checkpoint storage directory").hidden().unsupported(NO_CHECKPOINTS),
        Flag::text("detach-keys", "Override the key sequence for detaching a container"),
        Flag::bool("interactive", "Attach container's STDIN").short('i'),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

const NO_CHECKPOINTS: &str = "checkpoints are not available";

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let (keys, key_bytes) = detach_sequence(cli, m)?;
    if !m.bool("attach") && !m.bool("interactive") {
        return start_all(cli, &m.args).await;
    }
    if m.args.len() > 1 {
        return Err(CliError::new("you cannot start and attach multiple containers at once"));
    }
    let client = cli.client()?;
    let container: ContainerJson = client.get_json(&format!("/containers/{}/json", m.arg(0)), Query::new()).await?;
    let tty = container.config.tty;
    let stdin = m.bool("interactive") && container.config.open_stdin;
    let pump = Pump::new(cli, (stdin, true, true), tty, key_bytes);
    let auto_remove = container.host_config.auto_remove;
    let session = Session { cli, client, id: &container.id, pump, auto_remove, proxy: !tty };
    match session.run(&keys).await {
        Ok(Outcome::Exited(code) | Outcome::Ended(code)) => Ok(code),
        Ok(Outcome::Detached) => Ok(0),
        Err(Failure::Start(error)) => Err(error.into()),
        Err(Failure::Other(error)) => Err(error),
    }
}

/// Starts containers one after the other, in the order given: they may depend on each other.
async fn start_all(cli: &Cli, names: &[String]) -> Result<i32, CliError> {
    let client = cli.client()?;
    let mut failed = Vec::new();
    for name in names {
        match client.post(&format!("/containers/{name}/start"), Query::new()).await {
            Ok(()) => cli.out.println(name)?,
            Err(error) => {
                cli.err.println(error.to_string())?;
                failed.push(name.as_str());
            }
        }
    }
    if failed.is_empty() {
        Ok(0)
    } else {
        Err(CliError::new(format!("failed to start containers: {}", failed.join(", "))))
    }
}
