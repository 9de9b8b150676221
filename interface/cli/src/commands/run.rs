//! `run`: makes a container, starts it, and stays with it unless told otherwise.

use tare_docker_client::{Query, Request};

use super::create::{Creation, with_help};
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::{CliError, EXIT_USAGE};
use crate::flags::Matches;
use crate::opts::{detach_keys, flags};
use crate::streams::pump::Pump;
use crate::streams::session::{Failure, Outcome, Session};

/// `run`
pub static COMMAND: Command = Command {
    names: &["container run", "run"],
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create and run a new container from an image",
    common: 1,
    arity: Arity::AtLeast(1),
    interspersed: false,
    flags: &flags::RUN,
    run: |cli, m| Box::pin(run(cli, m)),
};

/// Exit status when the container's command cannot be executed.
const EXIT_CANNOT_EXECUTE: i32 = 126;
/// What the errors of getting to a daemon begin with.
const NO_CONNECTION: &str = "failed to connect to the docker API";
/// Exit status when the container's command is not there.
const EXIT_NOT_FOUND: i32 = 127;

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let mut creation = Creation::read(cli, m).map_err(|e| with_help(&e, "run", EXIT_USAGE))?;
    let config = &mut creation.request.config;
    let detach = m.bool("detach");
    if detach {
        if !m.list("attach").is_empty() {
            return Err(CliError::new("conflicting options: cannot specify both --attach and --detach"));
        }
        config.attach_stdin = false;
        config.attach_stdout = false;
        config.attach_stderr = false;
        config.stdin_once = false;
    } else {
        check_tty(cli, config.attach_stdin, config.tty)?;
    }
    let (keys, key_bytes) = detach_sequence(cli, m)?;
    let tty = config.tty;
    let attached = (config.attach_stdin, config.attach_stdout, config.attach_stderr);
    let auto_remove = creation.request.host_config.auto_remove;
    let id = creation.create(cli).await.map_err(status_error)?;
    if attached == (false, false, false) {
        return start_detached(cli, &id, auto_remove).await;
    }
    let pump = Pump::new(cli, attached, tty, key_bytes);
    let session = Session { cli, client: cli.client()?, id: &id, pump, auto_remove, proxy: m.bool("sig-proxy") };
    match session.run(&keys).await {
        Ok(Outcome::Exited(code) | Outcome::Ended(code)) => Ok(code),
        Ok(Outcome::Detached) => Ok(0),
        Err(Failure::Start(error)) => Err(status_error(error.into())),
        Err(Failure::Other(error)) => Err(error),
    }
}

/// Starts a container and prints its ID, which is there even when it does not start.
async fn start_detached(cli: &Cli, id: &str, auto_remove: bool) -> Result<i32, CliError> {
    let client = cli.client()?;
    let started = client.post(&format!("/containers/{id}/start"), Query::new()).await;
    cli.out.println(id)?;
    if let Err(error) = started {
        if auto_remove {
            // It is removed when the command returns, or was before this could be asked.
            let removed = Query::new().add("condition", "removed");
            let wait = Request::post(format!("/containers/{id}/wait")).query(removed);
            if let Ok(response) = client.send(wait).await {
                response.discard().await;
            }
        }
        return Err(status_error(error.into()));
    }
    Ok(0)
}

/// Refuses a terminal for a container whose input would not come from one.
pub fn check_tty(cli: &Cli, attach_stdin: bool, tty: bool) -> Result<(), CliError> {
    if tty && attach_stdin && !cli.input.is_terminal() {
        return Err(CliError::new("cannot attach stdin to a TTY-enabled container because stdin is not a terminal"));
    }
    Ok(())
}

/// The keys that detach, as the flag or the configuration has them, and as bytes.
pub fn detach_sequence(cli: &Cli, m: &Matches) -> Result<(String, Vec<u8>), CliError> {
    let keys = match m.text("detach-keys") {
        "" => cli.config()?.text("detachKeys").to_owned(),
        keys => keys.to_owned(),
    };
    let bytes = detach_keys::parse(&keys).map_err(|e| CliError::new(e.0))?;
    Ok((keys, bytes))
}

/// The exit status of a container that could not be made or started, which depends on the words of the reason.
fn status_error(error: CliError) -> CliError {
    // No daemon is no command that is not there, whatever the words.
    let daemon = !error.message.starts_with(NO_CONNECTION);
    let says = |words: &[&str]| daemon && words.iter().any(|w| error.message.contains(w));
    let missing = ["executable file not found", "no such file or directory", "system cannot find the file specified"];
    let code = if says(&missing) {
        EXIT_NOT_FOUND
    } else if says(&["permission denied", "is a directory"]) {
        EXIT_CANNOT_EXECUTE
    } else {
        EXIT_USAGE
    };
    with_help(&error, "run", code)
}
