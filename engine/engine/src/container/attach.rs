//! Attaching clients to a container.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tare_shim_protocol::{Attach, FdRole, Op};

use super::Container;
use super::state::Status;
use crate::Engine;
use crate::error::{Error, Result};
use crate::host::stream::until_read;
use crate::options::{AttachOptions, LogOptions};

/// Longest wait for a client that was told it is attached and has not yet handed over its stream. It does so in
/// microseconds; a client that vanished in between must not hold up a start.
const TICKET_TIMEOUT: Duration = Duration::from_secs(1);

/// Docker's default detach sequence: Ctrl-P, Ctrl-Q.
const DETACH_KEYS: [u8; 2] = [0x10, 0x11];

/// A client that is about to attach: the container will not start without it. See [`AttachTicket::connect`].
#[derive(Debug)]
pub struct AttachTicket {
    /// The container has a terminal.
    pub tty: bool,
    /// Output comes in frames.
    pub multiplexed: bool,
    engine: Arc<Engine>,
    container: Arc<Container>,
    options: AttachOptions,
    detach_keys: Vec<u8>,
    _waiting: WaitingTicket,
}

/// Counts tickets; the start waits for the count to reach zero.
#[derive(Debug)]
pub(crate) struct WaitingTicket(Arc<Container>);

impl WaitingTicket {
    fn new(container: &Arc<Container>) -> Self {
        container.announce(|progress| progress.tickets += 1);
        Self(Arc::clone(container))
    }
}

impl Drop for WaitingTicket {
    fn drop(&mut self) {
        self.0.announce(|progress| progress.tickets -= 1);
    }
}

impl Container {
    /// Waits for clients that are about to attach.
    pub(crate) async fn await_tickets(&self) {
        let mut progress = self.watch();
        // Out of patience is fine: the start goes on.
        let _ = tokio::time::timeout(TICKET_TIMEOUT, progress.wait_for(|progress| progress.tickets == 0)).await;
    }
}

impl Engine {
    /// Checks that a client may attach and announces it.
    pub fn attach(self: &Arc<Self>, name: &str, options: AttachOptions) -> Result<AttachTicket> {
        let container = self.find(name)?;
        let detach_keys = detach_keys(options.detach_keys.as_deref())?;
        let tty = {
            let inner = container.read();
            match inner.state.status {
                Status::Paused => {
                    return Err(Error::conflict(format!(
                        "container {name} is paused, unpause the container before attach"
                    )));
                }
                Status::Restarting => {
                    return Err(Error::conflict(format!(
                        "container {name} is restarting, wait until the container is running"
                    )));
                }
                _ => {}
            }
            inner.record.config.tty
        };
        Ok(AttachTicket {
            tty,
            multiplexed: !tty && !options.raw,
            engine: Arc::clone(self),
            _waiting: WaitingTicket::new(&container),
            container,
            options,
            // Keys are typed at terminals. Elsewhere the same bytes are data.
            detach_keys: if tty { detach_keys } else { Vec::new() },
        })
    }

    /// Sets the size of a container's terminal.
    pub async fn resize(&self, name: &str, rows: u16, cols: u16) -> Result<()> {
        let container = self.find(name)?;
        let shim = container.shim()?;
        shim.call(Op::Resize { exec: None, rows, cols }, Vec::new())
            .await
            .map_err(|error| Error::internal(error.to_string()))?;
        let mut attributes = super::attributes(&container.read().record);
        attributes.insert("height".to_owned(), rows.to_string());
        attributes.insert("width".to_owned(), cols.to_string());
        self.events.publish("container", "resize", &container.id, attributes);
        Ok(())
    }
}

impl AttachTicket {
    /// Hands over the client's stream with the bytes that were read from it already.
    pub async fn connect(self, stream: OwnedFd, early: Vec<u8>) -> Result<()> {
        if self.options.logs || self.container.read().state.is_alive() {
            until_read(&stream).await;
        }
        let (shim, attach) = self.register(early);
        let Some(shim) = shim else {
            if !self.options.stream {
                return self.replay(&stream, None).await;
            }
            // The ticket holds up a start until this client is in the list.
            self.container.read().waiting_clients.push((Attach { hold: false, ..attach }, stream));
            self.engine.container_event(&self.container, "attach");
            return Ok(());
        };
        self.engine.container_event(&self.container, "attach");
        if !self.options.stream {
            return self.replay(&stream, None).await;
        }
        let id = attach.id;
        let replay = if self.options.logs {
            Some(stream.try_clone().map_err(|error| Error::io("dup", "client", error))?)
        } else {
            None
        };
        let attached = shim
            .call(Op::Attach(attach), vec![(FdRole::Client, stream)])
            .await
            .map_err(|error| Error::internal(error.to_string()))?;
        if let Some(stream) = replay {
            self.replay(&stream, Some((attached.log_file, attached.log_end))).await?;
            shim.call(Op::Release { id }, Vec::new()).await.map_err(|error| Error::internal(error.to_string()))?;
        }
        Ok(())
    }

    /// The shim to attach to, if the container runs, and what to ask of it.
    fn register(&self, early: Vec<u8>) -> (Option<Arc<crate::shim::Connection>>, Attach) {
        let mut inner = self.container.read();
        inner.last_client += 1;
        let attach = Attach {
            id: inner.last_client,
            stdin: self.options.stdin && inner.record.config.open_stdin,
            stdout: self.options.stdout,
            stderr: self.options.stderr,
            multiplexed: self.multiplexed,
            detach_keys: self.detach_keys.clone(),
            input: early,
            hold: self.options.logs,
        };
        (inner.shim.clone(), attach)
    }

    /// Writes what was logged up to `end` to the client.
    async fn replay(&self, stream: &OwnedFd, end: Option<(u64, u64)>) -> Result<()> {
        let options = LogOptions { stdout: self.options.stdout, stderr: self.options.stderr, ..LogOptions::default() };
        let mut log = self.engine.open_log(&self.container, &options, end, !self.multiplexed)?;
        let stream = stream.try_clone().map_err(|error| Error::io("dup", "client", error))?;
        rustix::io::ioctl_fionbio(&stream, false).map_err(|error| Error::io("fcntl", "client", error))?;
        let mut stream = std::fs::File::from(stream);
        while let Some(chunk) = log.chunks.recv().await {
            let chunk = chunk.map_err(|error| Error::io("read", "log", error))?;
            stream = crate::blocking(move || {
                use std::io::Write as _;
                stream.write_all(&chunk).map_err(|error| Error::io("write to", "client", error))?;
                Ok(stream)
            })
            .await?;
        }
        Ok(())
    }
}

/// Parses Docker's notation: `ctrl-` and a letter or one of `@[\]^_`, or a single character, separated by commas.
pub(crate) fn detach_keys(text: Option<&str>) -> Result<Vec<u8>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(DETACH_KEYS.to_vec()) };
    let invalid = || Error::invalid(format!("Invalid detach keys ({text}) provided"));
    text.split(',')
        .map(|key| match key.strip_prefix("ctrl-").map(str::as_bytes) {
            Some([letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
            Some([sign @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]) => Ok(sign & 0x1f),
            Some(_) => Err(invalid()),
            None => match key.as_bytes() {
                [byte] if byte.is_ascii() => Ok(*byte),
                _ => Err(invalid()),
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detach_keys_are_parsed() {
        assert_eq!(detach_keys(None).unwrap(), [0x10, 0x11]);
        assert_eq!(detach_keys(Some("ctrl-a,b,ctrl-[")).unwrap(), [1, b'b', 0x1b]);
        for bad in ["ctrl-", "ctrl-A", "ab", ",", "ctrl-ab"] {
            assert_eq!(detach_keys(Some(bad)).unwrap_err().message, format!("Invalid detach keys ({bad}) provided"));
        }
    }
}
