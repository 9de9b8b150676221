//! Descriptors that the caller has left for the container.

use std::os::fd::OwnedFd;

use anyhow::Context as _;

/// Those from 3 up, in order.
pub(super) struct Preserved {
    pub(super) fds: Vec<OwnedFd>,
    /// How many of them are for socket activation (`sd_listen_fds(3)`).
    listen: u16,
}

impl Preserved {
    /// Takes as many as are asked for (`--preserve-fds`) and as are there for socket activation; the first number that
    /// is not open ends it. To be called before anything else is opened: what has these numbers is the caller's then.
    pub(super) fn take(count: u16) -> anyhow::Result<Self> {
        const FIRST: i32 = 3;
        const NOT_OPEN: i32 = rustix::io::Errno::BADF.raw_os_error();
        let listen: u16 = std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse().ok()).unwrap_or_default();
        let mut fds = Vec::new();
        for number in FIRST..FIRST + i32::from(count) + i32::from(listen) {
            match tare_sys::inherited::duplicate(number) {
                // One of the duplicates themselves: nothing was there.
                Ok(_) if fds.iter().any(|own: &OwnedFd| std::os::fd::AsRawFd::as_raw_fd(own) == number) => break,
                Ok(fd) => fds.push(fd),
                Err(error) if error.raw_os_error() == Some(NOT_OPEN) => break,
                Err(error) => return Err(error).with_context(|| format!("preserve descriptor {number}")),
            }
        }
        Ok(Self { fds, listen })
    }

    /// The variables that tell the process of socket activation.
    pub(super) fn environment(&self) -> impl Iterator<Item = String> {
        let variables = [format!("LISTEN_FDS={}", self.listen), "LISTEN_PID=1".to_owned()];
        variables.into_iter().filter(|_| self.listen > 0)
    }
}
