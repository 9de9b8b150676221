//! `wait`: until containers stop; prints their exit codes.

use tare_docker_api::container::WaitResponse;
use tare_docker_client::{Client, Error, Request};

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::Matches;

/// `wait`
pub static COMMAND: Command = Command {
    names: &["container wait", "wait"],
    usage: "CONTAINER [CONTAINER...]",
    about: "Block until one or more containers stop, then print their exit codes",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let client = cli.client()?;
    let mut errors = Vec::new();
    for name in &m.args {
        match exit_code(client, name).await {
            Ok(code) => cli.out.println(code.to_string())?,
            Err(error) => errors.push(error.into()),
        }
    }
    CliError::join(errors).map_or(Ok(0), Err)
}

async fn exit_code(client: &Client, name: &str) -> Result<i64, Error> {
    let answer = client.send(Request::post(format!("/containers/{name}/wait"))).await?;
    Ok(answer.json::<WaitResponse>().await?.status_code)
}
