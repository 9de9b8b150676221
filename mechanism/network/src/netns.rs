//! Network namespaces of containers, held by descriptors: nothing on the host shows them, and they end with their last
//! process and descriptor.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tare_netlink::link;
use tare_netlink::netns::{current, enter, run_in, run_in_new};
use tare_netlink::{Batch, Protocol, Socket};

use crate::error::{Error, Result};
use crate::network::{Network, locked};
use crate::sysctl;

/// New interfaces of a namespace begin without IPv6 while this is 1.
const DISABLE_IPV6: &str = "ipv6/conf/default/disable_ipv6";

/// A container's network namespace.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    inside: Mutex<Option<Inside>>,
}

/// Things opened inside a namespace, which work on it from everywhere.
#[derive(Debug)]
pub(crate) struct Inside {
    pub(crate) route: Socket,
    /// [`DISABLE_IPV6`]; `None` on a kernel without IPv6.
    disable_ipv6: Option<File>,
}

impl Netns {
    /// Takes over a namespace that exists: a running container's `/proc/PID/ns/net`.
    pub fn adopt(fd: OwnedFd) -> Self {
        Self { fd, inside: Mutex::new(None) }
    }

    /// The namespace's descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The namespace's descriptor, when nothing more is to be done inside.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Runs `work` with what is opened inside, opening it first if need be.
    pub(crate) fn inside<T>(&self, work: impl FnOnce(&mut Inside) -> Result<T>) -> Result<T> {
        let mut inside = locked(&self.inside);
        if inside.is_none() {
            *inside = Some(run_in(self.fd.as_fd(), Inside::open)??);
        }
        inside.as_mut().map_or_else(|| unreachable!("opened above"), work)
    }
}

impl Inside {
    fn open() -> Result<Self> {
        Ok(Self { route: Socket::open(Protocol::Route)?, disable_ipv6: sysctl::open(DISABLE_IPV6)? })
    }

    /// Decides whether interfaces made from now on begin with IPv6.
    pub(crate) fn default_ipv6(&self, enabled: bool) -> Result<()> {
        let Some(file) = &self.disable_ipv6 else { return Ok(()) };
        let value: &[u8] = if enabled { b"0" } else { b"1" };
        file.write_all_at(value, 0)
            .map_err(|source| Error::io("write sysctl", format_args!("net/{DISABLE_IPV6}"), source))
    }
}

impl Network {
    /// A new network namespace with its loopback up.
    pub fn new_netns(&self) -> Result<Netns> {
        match &self.ready {
            Some(ready) => ready.take(),
            None => run_in_new(furnish)?,
        }
    }
}

/// Furnishes the calling thread's network namespace, a new one. Low ports and ping need no privileges in containers;
/// changed hardware addresses are announced to the neighbours, who may still know another container by the address.
fn furnish() -> Result<Netns> {
    let fd = current()?;
    let mut inside = Inside::open()?;
    let mut batch = Batch::new();
    link::set_loopback_up(&mut batch);
    inside.route.execute(batch)?;
    sysctl::set("ipv4/ip_unprivileged_port_start", "0")?;
    sysctl::set("ipv4/ping_group_range", "0 2147483647")?;
    sysctl::set("ipv4/conf/default/arp_notify", "1")?;
    sysctl::set_if_present("ipv6/conf/default/ndisc_notify", "1")?;
    Ok(Netns { fd, inside: Mutex::new(Some(inside)) })
}

/// Time between the taking of a ready namespace and the making of others: longer than a container takes to start, because
/// the kernel makes namespaces and interfaces one after the other.
const REFILL_DELAY: Duration = Duration::from_millis(30);

/// A thread that keeps some namespaces ready: making one takes half a millisecond, taking one nothing.
#[derive(Debug)]
pub(crate) struct ReadyNamespaces {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// As many as there should be.
    count: usize,
    state: Mutex<Ready>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Ready {
    namespaces: Vec<Netns>,
    /// The owner is gone.
    ended: bool,
}

impl ReadyNamespaces {
    /// Starts the thread; it works in the network namespace of the caller and ends with this object.
    pub(crate) fn start(count: usize) -> Result<Self> {
        let shared = Arc::new(Shared { count, state: Mutex::default(), changed: Condvar::new() });
        let (home, with_thread) = (current()?, Arc::clone(&shared));
        thread::Builder::new()
            .name("netns-ready".into())
            .spawn(move || with_thread.keep_filled(&home))
            .map_err(|source| Error::io("start thread", "netns-ready", source))?;
        Ok(Self { shared })
    }

    /// A ready one, or (when many containers start at once) one made now.
    fn take(&self) -> Result<Netns> {
        let ready = locked(&self.shared.state).namespaces.pop();
        self.shared.changed.notify_one();
        ready.map_or_else(|| run_in_new(furnish)?, Ok)
    }
}

impl Drop for ReadyNamespaces {
    fn drop(&mut self) {
        locked(&self.shared.state).ended = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn keep_filled(&self, home: &OwnedFd) {
        loop {
            let full = |ready: &mut Ready| !ready.ended && ready.namespaces.len() >= self.count;
            let waited = self.changed.wait_while(locked(&self.state), full);
            if waited.unwrap_or_else(PoisonError::into_inner).ended {
                return;
            }
            thread::sleep(REFILL_DELAY);
            // Whoever takes one sees the failure when it makes its own; here it is tried again after the delay.
            while locked(&self.state).namespaces.len() < self.count {
                let Ok(namespace) = make(home) else { break };
                locked(&self.state).namespaces.push(namespace);
            }
        }
    }
}

/// Makes a namespace on this thread, which returns home: inside, it would keep the namespace alive after its container.
fn make(home: &OwnedFd) -> Result<Netns> {
    tare_sys::network::unshare_network().map_err(|source| Error::io("new", "network namespace", source))?;
    let made = furnish();
    enter(home.as_fd())?;
    made
}
