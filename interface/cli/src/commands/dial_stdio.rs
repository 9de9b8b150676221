//! `system dial-stdio`: standard input and output become a connection to the daemon. `-H ssh://` runs it on the other machine.

use bytes::Bytes;
use tare_docker_client::connect::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::Matches;
use crate::streams::pump;

/// `system dial-stdio`
pub static COMMAND: Command = Command {
    names: &["system dial-stdio"],
    usage: "",
    about: "Proxy the stdio stream to the daemon connection. Should not be invoked manually.",
    common: 0,
    arity: Arity::None,
    interspersed: true,
    flags: &[],
    run: |cli, m| Box::pin(run(cli, m)),
};

/// Bytes copied at once.
const CHUNK: usize = 32 << 10;

async fn run(cli: &Cli, _: &Matches) -> Result<i32, CliError> {
    let opened = cli.client()?.dial().await;
    let stream = opened.map_err(|e| CliError::new(format!("failed to open the raw stream connection: {e}")))?;
    let (answers, questions) = tokio::io::split(stream);
    let receive = receive(cli, answers);
    tokio::pin!(receive);
    tokio::select! {
        sent = send(cli, questions) => {
            // Kept until the daemon has said everything.
            let _questions = sent?;
            receive.await?;
        }
        // The daemon has ended it: whatever is typed now, nobody gets.
        received = &mut receive => received?,
    }
    Ok(0)
}

/// Sends the input to its end, and closes that direction.
async fn send(cli: &Cli, mut stream: WriteHalf<Stream>) -> Result<WriteHalf<Stream>, CliError> {
    let failed = |error: std::io::Error| CliError::new(format!("error while Copy (stdin to stream): {error}"));
    let mut chunks = cli.input.chunks().map_err(failed)?;
    while let Some(chunk) = chunks.recv().await {
        stream.write_all(&chunk.map_err(failed)?).await.map_err(failed)?;
        stream.flush().await.map_err(failed)?;
    }
    // Where the daemon is gone already, there is nobody to tell.
    let _ = stream.shutdown().await;
    Ok(stream)
}

async fn receive(cli: &Cli, mut stream: ReadHalf<Stream>) -> Result<(), CliError> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = stream.read(&mut buffer).await;
        match read.map_err(|error| CliError::new(format!("error while Copy (stream to stdout): {error}")))? {
            0 => return Ok(()),
            count => pump::write(&cli.out, Bytes::copy_from_slice(&buffer[..count])).await?,
        }
    }
}
