//! The launcher thread (cgroup v1): it waits in the cgroup of a container to come, so that what it clones is born there.
//!
//! Moving a process into a v1 cgroup makes it wait for a grace period of the kernel, some ten milliseconds on an idle
//! machine; being born in one costs nothing. A thread can be in another v1 cgroup than the rest of its process.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};

use tare_cgroup::{Cgroup, Error};

/// Bytes of stack, for the runtime's work before and after the clone; only touched pages count.
const STACK_BYTES: usize = 256 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// A waiting thread.
#[derive(Debug)]
pub(crate) struct Launcher {
    jobs: Sender<Job>,
    joined: Receiver<Result<(), Error>>,
    thread: JoinHandle<()>,
}

impl Launcher {
    /// Starts the thread and lets it join `group`, which must exist; does not wait for that.
    pub(crate) fn start(group: Cgroup) -> io::Result<Self> {
        let (jobs, todo) = channel::<Job>();
        let (report, joined) = channel();
        let thread = Builder::new().stack_size(STACK_BYTES).spawn(move || {
            // Nobody listens only if nobody waits.
            let _ = report.send(group.add_current_thread());
            drop((report, group));
            while let Ok(job) = todo.recv() {
                job();
            }
        })?;
        Ok(Self { jobs, joined, thread })
    }

    /// Waits until the thread is in its group.
    pub(crate) fn wait_joined(&self) -> Result<(), Error> {
        self.joined.recv().unwrap_or(Ok(()))
    }

    /// Runs something on the thread. `None`: it has died.
    pub(crate) fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (report, result) = channel();
        let job = Box::new(move || {
            let _ = report.send(work());
        });
        self.jobs.send(job).ok()?;
        result.recv().ok()
    }

    /// Ends the thread; it has left its group then.
    pub(crate) fn end(self) {
        drop(self.jobs);
        // An error says that it has panicked, which does not matter any more.
        let _ = self.thread.join();
    }
}
