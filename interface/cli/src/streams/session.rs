//! A container started with its streams attached: what `run` and `start --attach` have in common.
//!
//! Few round trips, none of them for waiting: attach and wait go out side by side, start follows when both are accepted,
//! and output flows from the first byte.

use std::future::Future;
use std::pin::pin;

use tare_docker_api::container::WaitResponse;
use tare_docker_client::{Client, Error, Query, Request, Response};
use tokio::{join, select};

use super::pump::{End, Pump};
use super::resize::Resizable;
use super::signals::Caught;
use crate::cli::Cli;
use crate::error::{CliError, EXIT_USAGE};

/// What is attached and how.
pub struct Session<'a> {
    /// Where messages go.
    pub cli: &'a Cli,
    /// The daemon.
    pub client: &'a Client,
    /// The container.
    pub id: &'a str,
    /// Its streams.
    pub pump: Pump,
    /// Whether the container goes away when it ends.
    pub auto_remove: bool,
    /// Whether signals are sent on.
    pub proxy: bool,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The container ended with this status.
    Exited(i32),
    /// The user left it running.
    Detached,
    /// A signal ends the client; the container goes on.
    Ended(i32),
}

/// Why a session came to nothing.
#[derive(Debug)]
pub enum Failure {
    /// The container did not start.
    Start(Error),
    /// Anything else.
    Other(CliError),
}

impl From<CliError> for Failure {
    fn from(error: CliError) -> Failure {
        Failure::Other(error)
    }
}

/// Parameters of attach for these streams.
pub fn attach_query(pump: &Pump, detach_keys: &str) -> Query {
    let query = Query::new().some("detachKeys", detach_keys).flag("stderr", pump.err.is_some());
    query.flag("stdin", pump.input.is_some()).flag("stdout", pump.out.is_some()).add("stream", "1")
}

impl Session<'_> {
    /// Attaches, starts, and stays until the end. `detach_keys` as the user gave them.
    pub async fn run(self, detach_keys: &str) -> Result<Outcome, Failure> {
        let Session { cli, client, id, pump, auto_remove, proxy } = self;
        let attach = Request::post(format!("/containers/{id}/attach")).query(attach_query(&pump, detach_keys));
        let condition = if auto_remove { "removed" } else { "next-exit" };
        let wait = Request::post(format!("/containers/{id}/wait")).query(Query::new().add("condition", condition));
        // Signals from here on are for the container: they are sent on as soon as it runs.
        let signals = if proxy { Some(Caught::forwarded()) } else { None };
        let (connection, waiting) = join!(client.hijack(attach), client.send(wait));
        let connection = connection.map_err(CliError::from)?;
        let raw = pump.raw_mode()?;
        let ending = if !proxy && raw.is_some() { Some(Caught::ending()) } else { None };
        let follows_size = pump.tty && cli.out.is_terminal();
        let has_output = pump.out.is_some() || pump.err.is_some();

        let mut pumping = pin!(pump.run(connection, raw));
        let mut early = None;
        let start = format!("/containers/{id}/start");
        let mut starting = pin!(client.post(&start, Query::new()));
        let started = loop {
            select! {
                started = &mut starting => break started,
                end = &mut pumping, if early.is_none() => early = Some(end),
            }
        };
        let status = exit_status(cli, waiting);
        if let Err(error) = started {
            if auto_remove {
                status.await;
            }
            return Err(Failure::Start(error));
        }

        let forwarding = maybe(signals.map(|caught| caught.forward(client, id)));
        let resizable = Resizable::container(id);
        let resizing = maybe(follows_size.then(|| resizable.follow(client, &cli.out, &cli.err)));
        let mut background = pin!(async { join!(forwarding, resizing) });
        let mut ended = pin!(maybe(ending.map(Caught::end)));
        let mut status = pin!(status);
        let end = match early {
            Some(end) => end?,
            None => select! {
                end = &mut pumping => end?,
                code = &mut ended => return Ok(Outcome::Ended(code)),
                code = &mut status => {
                    // The container has ended; the rest of its output is still to come.
                    if has_output {
                        select! {
                            _ = &mut pumping => {}
                            code = &mut ended => return Ok(Outcome::Ended(code)),
                        }
                    }
                    return Ok(Outcome::Exited(code));
                }
                _ = &mut background => End::Done,
            },
        };
        if end == End::Detached {
            return Ok(Outcome::Detached);
        }
        select! {
            code = &mut status => Ok(Outcome::Exited(code)),
            code = &mut ended => Ok(Outcome::Ended(code)),
            _ = &mut background => Ok(Outcome::Exited(0)),
        }
    }
}

/// A future that may not be there: then it never ends.
async fn maybe<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// The status a container ends with; what goes wrong in waiting is told, and is a status of its own.
pub async fn exit_status(cli: &Cli, waiting: Result<Response, Error>) -> i32 {
    let answer = match waiting {
        Ok(response) => response.json::<WaitResponse>().await,
        Err(error) => Err(error),
    };
    let problem = match answer {
        Ok(WaitResponse { error: Some(error), .. }) => error.message,
        Ok(answer) => return i32::try_from(answer.status_code).unwrap_or(EXIT_USAGE),
        Err(error) => error.to_string(),
    };
    let _ = cli.err.println(format!("error waiting for container: {problem}"));
    EXIT_USAGE
}
