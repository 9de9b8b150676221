//! How much has been copied: shown while it goes on where somebody looks, and in one sentence at the end.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::select;

use crate::cli::Output;
use crate::error::CliError;
use crate::opts::size::human_size;

/// Time between two looks at the count.
const PERIOD: Duration = Duration::from_millis(75);
/// Significant digits of sizes.
const DIGITS: usize = 3;

/// Counts bytes.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Counts some more.
    pub fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// All so far.
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn size(bytes: u64) -> String {
    human_size(i64::try_from(bytes).unwrap_or(i64::MAX), DIGITS)
}

/// Waits for `work`; meanwhile a line on `out`, if it is a terminal, says how far it is.
pub async fn shown<T>(
    out: &Output,
    header: &str,
    counter: &Counter,
    work: impl Future<Output = T>,
) -> Result<T, CliError> {
    if !out.is_terminal() {
        return Ok(work.await);
    }
    let mut work = std::pin::pin!(work);
    let mut last = None;
    // Remember the place and hide the cursor.
    out.print("\x1b[s\x1b[?25l")?;
    let result = loop {
        let now = counter.total();
        if last != Some(now) {
            out.print(format!("\x1b[u\x1b[2K{header}{}", size(now)))?;
            last = Some(now);
        }
        select! {
            result = &mut work => break result,
            () = tokio::time::sleep(PERIOD) => {}
        }
    };
    out.print("\x1b[?25h\x1b[u\x1b[2K")?;
    Ok(result)
}

/// What is said at the end: bytes of the content, and of what went over the connection where that differs.
pub fn summary(content: u64, transferred: u64, destination: &str) -> String {
    if content == transferred {
        return format!("Successfully copied {} to {destination}", size(content));
    }
    format!("Successfully copied {} (transferred {}) to {destination}", size(content), size(transferred))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences() {
        insta::assert_snapshot!(summary(2048, 2048, "/tmp/x"), @"Successfully copied 2.05kB to /tmp/x");
        insta::assert_snapshot!(summary(3, 1536, "c:/x"), @"Successfully copied 3B (transferred 1.54kB) to c:/x");
    }
}
