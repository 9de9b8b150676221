//! `exec`: a further command in a container that runs.

use std::pin::pin;

use tare_docker_api::container::{ContainerJson, ExecConfig, ExecInspect, ExecStart, IdResponse};
use tare_docker_client::{Client, Error, Query, Request};
use tokio::select;

use super::run::{check_tty, detach_sequence};
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::opts::env;
use crate::streams::pump::{DETACHED, End, Pump};
use crate::streams::resize::Resizable;
use crate::streams::signals::Caught;

/// `exec`
pub static COMMAND: Command = Command {
    names: &["container exec", "exec"],
    usage: "[OPTIONS] CONTAINER COMMAND [ARG...]",
    about: "Execute a command in a running container",
    common: 2,
    arity: Arity::AtLeast(2),
    interspersed: false,
    flags: &[
        Flag::bool("detach", "Detached mode: run command in the background").short('d'),
        Flag::text("detach-keys", "Override the key sequence for detaching a container"),
        Flag::list("env", "Set environment variables").short('e').check(|v| env::check(v).map_err(String::from)),
        Flag::list("env-file", "Read in a file of environment variables"),
        Flag::bool("interactive", "Keep STDIN open even if not attached").short('i'),
        Flag::bool("privileged", "Give extended privileges to the command"),
        Flag::bool("tty", "Allocate a pseudo-TTY").short('t'),
        Flag::text("user", "Username or UID (format: \"<name|uid>[:<group|gid>]\")").short('u'),
        Flag::text("workdir", "Working directory inside the container").short('w'),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

/// Exit status when the daemon went away before the command's own was known.
const EXIT_LOST: i32 = 255;

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let (config, key_bytes) = configuration(cli, m)?;
    let client = cli.client()?;
    let container = m.arg(0);
    let detach = m.bool("detach");
    if !detach && let Err(refusal) = check_tty(cli, config.attach_stdin, config.tty) {
        // That there is no such container is the better thing to say.
        let _: ContainerJson = client.get_json(&format!("/containers/{container}/json"), Query::new()).await?;
        return Err(refusal);
    }
    let created: IdResponse = client.post_json(&format!("/containers/{container}/exec"), Query::new(), &config).await?;
    if created.id.is_empty() {
        return Err(CliError::new("exec ID empty"));
    }
    let start = Request::post(format!("/exec/{}/start", created.id));
    let start = start.json(&ExecStart { detach, tty: config.tty, console_size: config.console_size });
    if detach {
        client.send(start).await?.discard().await;
        return Ok(0);
    }
    attached(cli, client, &created.id, start, &config, key_bytes).await
}

fn configuration(cli: &Cli, m: &Matches) -> Result<(ExecConfig, Vec<u8>), CliError> {
    let (detach_keys, key_bytes) = detach_sequence(cli, m)?;
    let lookup = |name: &str| std::env::var(name).ok();
    let mut variables = env::files(m.list("env-file"), Some(&lookup)).map_err(|e| CliError::new(e.0))?;
    variables.extend(m.list("env").iter().map(|value| env::completed(value, &lookup)));
    let (tty, detach) = (m.bool("tty"), m.bool("detach"));
    let config = ExecConfig {
        user: m.text("user").to_owned(),
        privileged: m.bool("privileged"),
        tty,
        console_size: if tty { cli.out.size().map(|(rows, columns)| [rows.into(), columns.into()]) } else { None },
        attach_stdin: !detach && m.bool("interactive"),
        attach_stdout: !detach,
        attach_stderr: !detach,
        detach_keys,
        env: if variables.is_empty() { Default::default() } else { variables.into() },
        working_dir: m.text("workdir").to_owned(),
        cmd: Some(m.args.get(1..).unwrap_or_default().to_vec()),
    };
    Ok((config, key_bytes))
}

async fn attached(
    cli: &Cli,
    client: &Client,
    id: &str,
    start: Request,
    config: &ExecConfig,
    key_bytes: Vec<u8>,
) -> Result<i32, CliError> {
    let streams = (config.attach_stdin, config.attach_stdout, config.attach_stderr);
    let pump = Pump::new(cli, streams, config.tty, key_bytes);
    let connection = client.hijack(start).await?;
    let raw = pump.raw_mode()?;
    let ending = if raw.is_some() { Some(Caught::ending()) } else { None };
    let follows_size = config.tty && cli.input.is_terminal();
    let mut pumping = pin!(pump.run(connection, raw));
    let resizable = Resizable::exec(id);
    let resizing = async {
        if follows_size {
            resizable.follow(client, &cli.out, &cli.err).await;
        }
        std::future::pending::<()>().await;
    };
    let ended = async {
        match ending {
            Some(caught) => caught.end().await,
            None => std::future::pending().await,
        }
    };
    let end = select! {
        end = &mut pumping => end?,
        code = ended => return Ok(code),
        () = resizing => End::Done,
    };
    if end == End::Detached {
        return Err(CliError::new(DETACHED));
    }
    match client.get_json::<ExecInspect>(&format!("/exec/{id}/json"), Query::new()).await {
        Ok(inspect) => Ok(i32::try_from(inspect.exit_code.unwrap_or(0)).unwrap_or(EXIT_LOST)),
        Err(Error::Connect { .. }) => Err(CliError::silent(EXIT_LOST)),
        Err(error) => Err(error.into()),
    }
}
