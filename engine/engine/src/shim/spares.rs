//! Shims kept ready. Starting a process and, on cgroup v1, joining a cgroup (which can wait ten milliseconds for a grace
//! period of the kernel) happen ahead of time, off the start path.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::spawn::{Spare, reap, spawn};

/// Shims kept ready: enough for a start while the one before is being replaced. Each costs some tens of kilobytes.
const SPARES_READY: usize = 3;

/// The pool.
#[derive(Debug)]
pub(crate) struct Spares {
    binary: PathBuf,
    cgroup_parent: String,
    ready: Mutex<Ready>,
    taken: Notify,
}

#[derive(Debug, Default)]
struct Ready {
    spares: VecDeque<Spare>,
    last_name: u64,
}

impl Spares {
    /// Starts the pool; it fills in the background.
    pub(crate) fn start(binary: PathBuf, cgroup_parent: String) -> Arc<Self> {
        let spares = Arc::new(Self { binary, cgroup_parent, ready: Mutex::default(), taken: Notify::new() });
        tokio::spawn(refill(Arc::clone(&spares)));
        spares
    }

    /// A shim, from the pool or started now.
    pub(crate) fn take(&self) -> io::Result<Spare> {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner).spares.pop_front();
        self.taken.notify_one();
        match ready {
            Some(spare) => Ok(spare),
            None => self.spawn(),
        }
    }

    fn spawn(&self) -> io::Result<Spare> {
        let number = {
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            ready.last_name += 1;
            ready.last_name
        };
        // The daemon's own process ID keeps names apart from those that a predecessor left behind.
        let spare = spawn(&self.binary, &format!("{}-{number}", std::process::id()), &self.cgroup_parent)?;
        tokio::spawn(reap(spare.pid));
        Ok(spare)
    }

    /// Ends the ready shims: their control sockets close.
    pub(crate) fn drain(&self) -> Vec<Spare> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).spares.drain(..).collect()
    }
}

async fn refill(spares: Arc<Spares>) {
    loop {
        while spares.ready.lock().unwrap_or_else(PoisonError::into_inner).spares.len() < SPARES_READY {
            match spares.spawn() {
                Ok(spare) => spares.ready.lock().unwrap_or_else(PoisonError::into_inner).spares.push_back(spare),
                Err(error) => {
                    tracing::error!("cannot start a shim ({}): {error}", spares.binary.display());
                    break;
                }
            }
        }
        spares.taken.notified().await;
    }
}
