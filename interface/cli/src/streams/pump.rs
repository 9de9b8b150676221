//! A taken-over connection, pumped both ways: standard input to the container, its output to stdout and stderr.

use std::io;

use bytes::{Bytes, BytesMut};
use tare_docker_client::Hijacked;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::demux::{Demux, Target};
use super::escape::Escape;
use super::input::Input;
use super::terminal::Raw;
use crate::cli::{Cli, Output};
use crate::error::CliError;

/// Bytes read from the connection at once.
const CHUNK: usize = 32 << 10;

/// What is connected to what.
pub struct Pump {
    /// Standard input, when it is attached.
    pub input: Option<Input>,
    /// Where the container's output goes; `None` drops it.
    pub out: Option<Output>,
    /// Where its errors go; `None` drops them.
    pub err: Option<Output>,
    /// Whether the container has a terminal: no frames then, raw mode, keys that detach.
    pub tty: bool,
    /// The keys that detach.
    pub detach_keys: Vec<u8>,
}

/// How pumping ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The container's output, or with no output attached the input, came to its end.
    Done,
    /// Somebody typed the keys that detach.
    Detached,
}

/// Docker's words for [`End::Detached`] where it is an error.
pub const DETACHED: &str = "read escape sequence";

impl Pump {
    /// Standard streams of `cli` for a container or an exec.
    pub fn new(cli: &Cli, streams: (bool, bool, bool), tty: bool, detach_keys: Vec<u8>) -> Pump {
        let (stdin, stdout, stderr) = streams;
        Pump {
            input: stdin.then(|| cli.input.clone()),
            out: stdout.then(|| cli.out.clone()),
            // A terminal has one output.
            err: stderr.then(|| if tty { cli.out.clone() } else { cli.err.clone() }),
            tty,
            detach_keys,
        }
    }

    /// Switches the terminal to raw mode if this connection needs it.
    pub fn raw_mode(&self) -> Result<Option<Raw>, CliError> {
        match &self.input {
            Some(input) if self.tty && input.is_terminal() => {
                let raw = Raw::enter().map_err(|e| {
                    CliError::new(format!(
                        "unable to setup input stream: unable to set IO streams as raw terminal: {e}"
                    ))
                })?;
                Ok(Some(raw))
            }
            _ => Ok(None),
        }
    }

    /// Pumps until the end. `raw` is given up as soon as there is nothing more to come, before anything else is printed.
    pub async fn run(self, connection: Hijacked, raw: Option<Raw>) -> Result<End, CliError> {
        let (reader, writer) = tokio::io::split(connection);
        let watched = self.tty.then(|| Escape::new(self.detach_keys.clone()));
        let has_output = self.out.is_some() || self.err.is_some();
        let output = self.output(reader);
        let input = input(self.input.clone(), writer, watched);
        tokio::pin!(output, input);
        let end = tokio::select! {
            done = &mut output, if has_output => done.map(|()| End::Done),
            end = &mut input => match end {
                // Our end is closed; theirs goes on.
                End::Done if has_output => output.await.map(|()| End::Done),
                end => Ok(end),
            },
        };
        drop(raw);
        end
    }

    async fn output(&self, mut reader: ReadHalf<Hijacked>) -> Result<(), CliError> {
        let mut demux = Demux::default();
        let mut buffer = BytesMut::new();
        let mut pieces = Vec::new();
        loop {
            buffer.reserve(CHUNK);
            match reader.read_buf(&mut buffer).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // A daemon that ends takes its connections with it; what was said until then has been shown.
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(e) => return Err(e.into()),
            }
            let bytes = buffer.split().freeze();
            let framing = if self.tty {
                pieces.push((Target::Out, bytes));
                Ok(())
            } else {
                demux.feed(bytes, &mut pieces)
            };
            for (target, piece) in pieces.drain(..) {
                let output = match target {
                    Target::Out => &self.out,
                    Target::Err => &self.err,
                };
                if let Some(output) = output {
                    write(output, piece).await?;
                }
            }
            framing.map_err(|e| CliError::new(e.to_string()))?;
        }
    }
}

/// Writes to an output without holding up everything else when nobody reads it.
pub async fn write(output: &Output, bytes: Bytes) -> Result<(), CliError> {
    if output.takes(bytes.len()) {
        return output.write(&bytes);
    }
    let output = output.clone();
    let written = tokio::task::spawn_blocking(move || output.write(&bytes)).await;
    written.unwrap_or_else(|e| Err(CliError::new(e.to_string())))
}

/// Sends the input; at its end closes our direction. Ends only then, or when the keys that detach are typed.
async fn input(input: Option<Input>, mut writer: WriteHalf<Hijacked>, mut watched: Option<Escape>) -> End {
    if let Some(mut chunks) = input.and_then(|input| input.chunks().ok()) {
        while let Some(Ok(chunk)) = chunks.recv().await {
            let mut filtered = Vec::new();
            let (bytes, detached) = match &mut watched {
                None => (&chunk[..], false),
                Some(escape) => {
                    let detached = escape.feed(&chunk, &mut filtered);
                    (&filtered[..], detached)
                }
            };
            // A container that reads no more has ended or closed its input; its output says the rest.
            let sent = send(&mut writer, bytes).await;
            if detached {
                return End::Detached;
            }
            if sent.is_err() {
                break;
            }
        }
        if let Some(escape) = &watched {
            let _ = send(&mut writer, escape.rest()).await;
        }
    }
    let _ = writer.shutdown().await;
    End::Done
}

/// Sends bytes now: what is encrypted may be held back otherwise.
async fn send(writer: &mut WriteHalf<Hijacked>, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}
