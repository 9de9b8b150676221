//! How long a registry is waited for, and how often it is asked.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use tokio::time::Instant;

use crate::config::Config;
use crate::error::describe;
use crate::{Error, Result};

/// Bytes that must come in the time of [`Config::stall`]: a registry that drips slower than any line counts as one that
/// says nothing.
pub(crate) const LEAST: u64 = 1 << 10;
/// Longest wait between two attempts, by itself.
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// Longest wait that a registry may ask for; one that wants more is given up, as its user would not know what happens.
const MAX_AFTER: Duration = Duration::from_secs(60);

/// The time left for a body's next bytes. What its reader does meanwhile does not count.
#[derive(Debug)]
pub(crate) struct Patience {
    whole: Duration,
    left: Duration,
    gained: u64,
}

impl Patience {
    pub(crate) fn new(config: &Config) -> Patience {
        Patience { whole: config.stall, left: config.stall, gained: 0 }
    }

    /// The next bytes of a body; `None` at its end.
    pub(crate) async fn chunk(&mut self, response: &mut Response) -> Result<Option<Bytes>> {
        let start = Instant::now();
        let chunk = match tokio::time::timeout(self.left, response.chunk()).await {
            Ok(chunk) => chunk.map_err(|e| Error::Transfer(describe(&e, None)))?,
            Err(_) => return Err(Error::Transfer(format!("less than {LEAST} bytes in {:?}", self.whole))),
        };
        self.left = self.left.saturating_sub(start.elapsed());
        self.gained += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if self.gained >= LEAST {
            (self.left, self.gained) = (self.whole, 0);
        }
        Ok(chunk)
    }
}

/// Attempts of the same thing.
pub struct Attempts {
    left: u32,
    backoff: Duration,
}

impl Attempts {
    pub(crate) fn new(config: &Config) -> Attempts {
        Attempts { left: config.attempts, backoff: config.backoff }
    }

    /// Waits before the next attempt, after one that failed; gives the error back if there is none.
    ///
    /// # Errors
    /// The error, when it is not of a kind that passes, comes for the last time, or the registry wants a longer break.
    pub async fn pause_after(&mut self, error: Error) -> Result<()> {
        if error.is_transient() { self.pause_after_any(error).await } else { Err(error) }
    }

    /// The same for whatever kind of error.
    pub(crate) async fn pause_after_any(&mut self, error: Error) -> Result<()> {
        let after = error.after();
        self.left = self.left.saturating_sub(1);
        if self.left == 0 || after.is_some_and(|after| after > MAX_AFTER) {
            return Err(error);
        }
        tracing::debug!(%error, "the registry is asked again");
        tokio::time::sleep(self.backoff.min(MAX_BACKOFF).max(after.unwrap_or_default())).await;
        self.backoff = self.backoff.saturating_mul(2);
        Ok(())
    }
}
