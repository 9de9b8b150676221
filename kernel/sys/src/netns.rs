//! Running something in another network namespace.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::netlink::{Error, Result};

/// Runs `work` in a network namespace, on a thread that ends with it: the caller's namespace does not change.
pub fn run_in<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> Result<T> {
    on_thread(move || {
        enter(netns)?;
        Ok(work())
    })
}

/// Runs `work` in a new network namespace, on a thread that ends with it.
pub fn run_in_new<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    on_thread(move || {
        crate::network::unshare_network().map_err(|error| Error::call("new network namespace", error))?;
        Ok(work())
    })
}

/// Moves the calling thread into a network namespace.
pub fn enter(netns: BorrowedFd<'_>) -> Result<()> {
    move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))
        .map_err(|errno| Error::call("enter network namespace", errno))
}

/// The calling thread's network namespace.
pub fn current() -> Result<OwnedFd> {
    std::fs::File::open("/proc/thread-self/ns/net")
        .map(OwnedFd::from)
        .map_err(|error| Error::call("open /proc/thread-self/ns/net", error))
}

fn on_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let panicked = || Error::call("thread in a network namespace", io::Error::other("panicked"));
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, work)
            .map_err(|error| Error::call("start a thread", error))?;
        thread.join().map_err(|_| panicked())?
    })
}
