//! `attach`: the streams of a container that runs.

use std::pin::pin;

use tare_docker_api::container::{ContainerJson, WaitResponse};
use tare_docker_client::{Client, Query, Request};
use tokio::{join, select};

use super::run::{check_tty, detach_sequence};
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::streams::pump::{DETACHED, End, Pump};
use crate::streams::resize::Resizable;
use crate::streams::session::attach_query;
use crate::streams::signals::Caught;

/// `attach`
pub static COMMAND: Command = Command {
    names: &["container attach", "attach"],
    usage: "[OPTIONS] CONTAINER",
    about: "Attach local standard input, output, and error streams to a running container",
    common: 0,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[
        Flag::text("detach-keys", "Override the key sequence for detaching a container"),
        Flag::bool("no-stdin", "Do not attach STDIN"),
        Flag::bool("sig-proxy", "Proxy all received signals to the process").default("true"),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let (keys, key_bytes) = detach_sequence(cli, m)?;
    let client = cli.client()?;
    let name = m.arg(0);
    let wait = client.send(Request::post(format!("/containers/{name}/wait")));
    let (waiting, container) = join!(wait, running(client, name));
    let container = container?;
    let tty = container.config.tty;
    check_tty(cli, !m.bool("no-stdin"), tty)?;
    let stdin = !m.bool("no-stdin") && container.config.open_stdin;
    let pump = Pump::new(cli, (stdin, true, true), tty, key_bytes);
    let proxy = m.bool("sig-proxy") && !tty;
    let signals = if proxy { Some(Caught::forwarded()) } else { None };
    let attach = Request::post(format!("/containers/{name}/attach")).query(attach_query(&pump, &keys));
    let connection = client.hijack(attach).await?;
    // One that ended in between would leave us with streams that say nothing.
    running(client, name).await?;

    let raw = pump.raw_mode()?;
    let ending = if !proxy && raw.is_some() { Some(Caught::ending()) } else { None };
    let follows_size = tty && cli.out.is_terminal();
    let mut pumping = pin!(pump.run(connection, raw));
    let background = async {
        let resizing = async {
            if follows_size {
                redraw(cli, client, name).await;
            }
            std::future::pending::<()>().await;
        };
        let forwarding = async {
            match signals {
                Some(caught) => caught.forward(client, name).await,
                None => std::future::pending().await,
            }
        };
        join!(resizing, forwarding)
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
        _ = background => End::Done,
    };
    if end == End::Detached {
        return Err(CliError::new(DETACHED));
    }
    let answer: WaitResponse = waiting?.json().await?;
    match answer.error {
        Some(error) => Err(CliError::new(error.message)),
        None => Ok(i32::try_from(answer.status_code).unwrap_or(1)),
    }
}

/// The container, if it is one that can be attached to.
async fn running(client: &Client, name: &str) -> Result<ContainerJson, CliError> {
    let container: ContainerJson = client.get_json(&format!("/containers/{name}/json"), Query::new()).await?;
    let refuse = |why: &str| Err(CliError::new(format!("cannot attach to a {why}")));
    match &container.state {
        state if !state.running => refuse("stopped container, start it first"),
        state if state.paused => refuse("paused container, unpause it first"),
        state if state.restarting => refuse("restarting container, wait until it is running"),
        _ => Ok(container),
    }
}

/// Makes the program in the terminal draw itself: it only does when the size changes, so the size is wrong first.
async fn redraw(cli: &Cli, client: &Client, name: &str) {
    let resizable = Resizable::container(name);
    if let Some((rows, columns)) = cli.out.size() {
        // Failures show in what follows.
        let _ = resizable.set(client, rows.saturating_add(1), columns.saturating_add(1)).await;
    }
    resizable.follow(client, &cli.out, &cli.err).await;
}
