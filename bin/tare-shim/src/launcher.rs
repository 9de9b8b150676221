//! The launcher thread, which does the work of starting a container and then ends.
//!
//! On cgroup v1 it waits in the cgroup of a container to come, so that what it clones is born there: moving a process into
//! a v1 cgroup makes it wait for a grace period of the kernel, some ten milliseconds on an idle machine; being born in one
//! costs nothing. A thread can be in another v1 cgroup than the rest of its process.
//!
//! Everywhere it keeps the shim small: its stack, and the heap that reading a specification takes, go with it.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use rustix::fs::Access;

/// Bytes of address space for the stack. Only touched pages count, and the C library keeps the stacks of ended threads for
/// the next one unless they are larger than this (its limit is 40 MiB).
const STACK_BYTES: usize = 48 * 1024 * 1024;
/// The same where address space is limited.
const SMALL_STACK_BYTES: usize = 256 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// A waiting thread.
#[derive(Debug)]
pub(crate) struct Launcher {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
    /// Its thread ID, once it runs.
    id: Arc<AtomicI32>,
}

impl Launcher {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        start(STACK_BYTES).or_else(|_| start(SMALL_STACK_BYTES))
    }

    /// Gives the thread something to do, after all that it has been given before.
    pub(crate) fn begin(&self, work: impl FnOnce() + Send + 'static) {
        // The thread ends with its last job, or it has panicked: then there is no result to wait for either.
        let _ = self.jobs.send(Box::new(work));
    }

    /// Gives the thread its last job and waits for the result and the thread's end. `None`: it has panicked.
    pub(crate) fn finish<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        // Not a channel: it would be allocated by the thread, and stay in its heap.
        let place = Arc::new(Mutex::new(None));
        let result = Arc::clone(&place);
        self.begin(move || {
            let value = work();
            *lock(&place) = Some(value);
        });
        self.end();
        lock(&result).take()
    }

    /// Ends the thread when it has done its jobs.
    pub(crate) fn end(self) {
        drop(self.jobs);
        // An error says that it has panicked, which does not matter any more.
        let _ = self.thread.join();
        // Joining waits for the thread's memory, but the kernel takes it out of its cgroup a little later. As long as it
        // is in there, killing the cgroup would kill us.
        let path = format!("/proc/self/task/{}", self.id.load(Ordering::SeqCst));
        while rustix::fs::access(path.as_str(), Access::EXISTS).is_ok() {
            std::thread::yield_now();
        }
    }
}

/// A panic of the other thread leaves the value as it was before.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(stack_bytes: usize) -> io::Result<Launcher> {
    let (jobs, todo) = channel::<Job>();
    let id = Arc::new(AtomicI32::new(0));
    let own = Arc::clone(&id);
    let thread = Builder::new().stack_size(stack_bytes).spawn(move || {
        own.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::SeqCst);
        while let Ok(job) = todo.recv() {
            job();
        }
    })?;
    Ok(Launcher { jobs, thread, id })
}
