//! Sockets that a service manager has opened (`sd_listen_fds(3)`): `-H fd://`.

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, bail};
use rustix::net::AddressFamily;
use tare_docker_http::Listener;
use tokio::net::{TcpListener, UnixListener};

/// Names of the sockets, separated by colons.
const NAMES: &str = "LISTEN_FDNAMES";

/// The sockets that were there when the daemon started.
pub(super) struct Inherited(Vec<Socket>);

struct Socket {
    number: i32,
    name: String,
    /// `None` once it is listened on.
    fd: Option<OwnedFd>,
}

impl Inherited {
    /// Takes them. To be called before anything else is opened: what has their numbers is the service manager's then.
    pub(super) fn take() -> Result<Self> {
        let numbers = sd_notify::listen_fds().context("socket activation")?;
        let names = std::env::var(NAMES).unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        let sockets = numbers.map(|number| {
            let fd =
                tare_sys::inherited::duplicate(number).with_context(|| format!("inherited descriptor {number}"))?;
            Ok(Socket { number, name: names.next().unwrap_or_default(), fd: Some(fd) })
        });
        sockets.collect::<Result<_>>().map(Self)
    }

    /// Listens on those that `which` names. Each goes to the first address that wants it.
    pub(super) fn listen(&mut self, which: &str) -> Result<Vec<Listener>> {
        if self.0.is_empty() {
            bail!("no sockets found via socket activation: make sure the service was started by systemd");
        }
        let number: Option<i32> = which.parse().ok();
        let all = matches!(which, "" | "*");
        let wanted = |socket: &Socket| match number {
            Some(number) => socket.number == number,
            None => all || socket.name == which,
        };
        let mut listeners = Vec::new();
        let mut found = false;
        for socket in self.0.iter_mut().filter(|socket| wanted(socket)) {
            found = true;
            if let Some(fd) = socket.fd.take() {
                let number = socket.number;
                listeners.push(
                    listener(fd).with_context(|| format!("failed to listen on systemd activated file: fd {number}"))?,
                );
            }
        }
        match number {
            _ if found => Ok(listeners),
            Some(_) => bail!("too few socket activated files passed in by systemd"),
            None => bail!("failed to parse systemd fd address: should be a number: {which}"),
        }
    }
}

fn listener(fd: OwnedFd) -> Result<Listener> {
    if !rustix::net::sockopt::socket_acceptconn(&fd).with_context(|| format!("descriptor {}", fd.as_raw_fd()))? {
        bail!("it does not listen");
    }
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(match rustix::net::sockopt::socket_domain(&fd)? {
        AddressFamily::UNIX => Listener::Unix(UnixListener::from_std(fd.into())?),
        AddressFamily::INET | AddressFamily::INET6 => Listener::Tcp(TcpListener::from_std(fd.into())?),
        other => bail!("address family {other:?} is not supported"),
    })
}
