//! The size of the window, sent to the terminal in the container: at the start and whenever it changes.

use std::time::Duration;

use tare_docker_client::{Client, Error, Query};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Output;

/// How often the first size is tried again: the process may not have its terminal yet.
const ATTEMPTS: u32 = 10;
/// Pause before the first of these attempts; it grows by as much with each.
const PAUSE: Duration = Duration::from_millis(10);

/// `/containers/ID` or `/exec/ID`.
#[derive(Clone, Debug)]
pub struct Resizable {
    path: String,
}

impl Resizable {
    /// A container's terminal.
    pub fn container(id: &str) -> Resizable {
        Resizable { path: format!("/containers/{id}/resize") }
    }

    /// The terminal of a command in a container.
    pub fn exec(id: &str) -> Resizable {
        Resizable { path: format!("/exec/{id}/resize") }
    }

    /// Sets the size, in characters.
    pub async fn set(&self, client: &Client, rows: u16, columns: u16) -> Result<(), Error> {
        client.post(&self.path, Query::new().add("h", rows.to_string()).add("w", columns.to_string())).await
    }

    /// Sets the present size, and each size that the window of `out` gets, for ever.
    pub async fn follow(&self, client: &Client, out: &Output, err: &Output) {
        // From here on no change is missed: the signal is caught before the size is asked for.
        let mut changes = signal(SignalKind::window_change()).ok();
        let mut failed = self.update(client, out).await.is_err();
        for attempt in 1..=ATTEMPTS {
            if !failed {
                break;
            }
            tokio::time::sleep(PAUSE * attempt).await;
            failed = self.update(client, out).await.is_err();
        }
        if failed {
            let _ = err.println("failed to resize tty, using default size");
        }
        while let Some(stream) = &mut changes {
            if stream.recv().await.is_none() {
                break;
            }
            // The container may have ended just now.
            let _ = self.update(client, out).await;
        }
        std::future::pending::<()>().await;
    }

    async fn update(&self, client: &Client, out: &Output) -> Result<(), Error> {
        match out.size() {
            Some((rows, columns)) => self.set(client, rows, columns).await,
            None => Ok(()),
        }
    }
}
