//! Shims kept ready. Starting a process and, on cgroup v1, joining a cgroup (which can wait ten milliseconds for a grace
//! period of the kernel) happen ahead of time, off the start path.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::spawn::{Spare, reap, spawn};

/// Shims kept ready at most. Each costs some tens of kilobytes.
const SPARES_MAX: usize = 6;
/// The pool is filled up when so few are left. Filling is done in one go and seldom: on cgroup v1 the first of several
/// joins waits for the kernel's grace period, in which no process of the machine can start or end.
const SPARES_MIN: usize = 2;
/// The pool waits for so long without a start before it fills up, unless nothing is left.
const QUIET: Duration = Duration::from_millis(30);

/// The pool.
#[derive(Debug)]
pub(crate) struct Spares {
    /// The shim's program: a process that enters a container would otherwise lead it to the host's file. So an engine
    /// has the shims that came with it, too, until it is started again.
    program: OwnedFd,
    cgroup_parent: String,
    ready: Mutex<Ready>,
    wanted: Notify,
    /// Fills the pool.
    refilling: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Ready {
    spares: VecDeque<Spare>,
    last_name: u64,
}

impl Spares {
    /// Starts the pool; it fills in the background.
    pub(crate) fn start(binary: &Path, cgroup_parent: String) -> io::Result<Arc<Self>> {
        let spares = Arc::new(Self {
            program: tare_sys::sealed::open(binary)?,
            cgroup_parent,
            ready: Mutex::default(),
            wanted: Notify::new(),
            refilling: Mutex::default(),
        });
        *spares.refilling() = Some(tokio::spawn(refill(Arc::clone(&spares))));
        Ok(spares)
    }

    fn refilling(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.refilling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shim, from the pool or started now. The pool is filled again by [`Spares::replenish`], when the start that took
    /// one is over and the processors are free.
    pub(crate) fn take(&self) -> io::Result<Spare> {
        loop {
            let ready = self.ready().spares.pop_front();
            match ready {
                Some(spare) if !is_alive(&spare) => tracing::warn!("the waiting shim {} was killed", spare.pid),
                Some(spare) => return Ok(spare),
                None => return self.spawn(),
            }
        }
    }

    /// Replaces what was taken.
    pub(crate) fn replenish(&self) {
        self.wanted.notify_one();
    }

    /// A shim that starts now, whoever waits.
    pub(crate) fn spawn(&self) -> io::Result<Spare> {
        let number = {
            let mut ready = self.ready();
            ready.last_name += 1;
            ready.last_name
        };
        // The daemon's own process ID keeps names apart from those that a predecessor left behind.
        let spare = spawn(self.program.as_fd(), &format!("{}-{number}", std::process::id()), &self.cgroup_parent)?;
        tokio::spawn(reap(spare.pid));
        Ok(spare)
    }

    /// Ends the pool: no shim is started any more, and those that are ready come out, to be ended.
    pub(crate) async fn drain(&self) -> Vec<Spare> {
        let refilling = self.refilling().take();
        if let Some(refilling) = refilling {
            refilling.abort();
            // One that it is just starting is ready after this. An aborted task's result says only that.
            let _ = refilling.await;
        }
        self.ready().spares.drain(..).collect()
    }
}

/// Whether a shim still waits: somebody may have killed it, or the kernel for want of memory.
fn is_alive(spare: &Spare) -> bool {
    let mut fds = [PollFd::new(&spare.socket, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    !matches!(poll(&mut fds, Some(&now)), Ok(1..))
}

async fn refill(spares: Arc<Spares>) {
    loop {
        while spares.ready().spares.len() < SPARES_MAX {
            match spares.spawn() {
                Ok(spare) => spares.ready().spares.push_back(spare),
                Err(error) => {
                    tracing::error!("cannot start a shim: {error}");
                    break;
                }
            }
        }
        spares.wanted.notified().await;
        while spares.ready().spares.len() > SPARES_MIN {
            spares.wanted.notified().await;
        }
        while !spares.ready().spares.is_empty() {
            if tokio::time::timeout(QUIET, spares.wanted.notified()).await.is_err() {
                break;
            }
        }
    }
}
