//! Relaying UDP: each client gets a socket of its own towards the container, by which answers find their way back.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, recvfrom, send, sendto, socket_with,
};

use crate::poll::{Interest, Poller, Ready, Token, Watch};

/// Clients at a time for one port; a further one takes the place of the one that has been silent for longest.
const CLIENTS_MAX: usize = 128;
/// How long a silent client is remembered. Docker's number.
const IDLE_TIME: Duration = Duration::from_secs(90);
/// Datagrams taken per event, so that a flood does not keep everything else waiting.
const DATAGRAMS: usize = 64;

/// One port.
#[derive(Debug)]
pub(super) struct UdpRelay {
    key: u64,
    socket: OwnedFd,
    watch: Watch,
    target: SocketAddr,
    clients: Vec<Client>,
}

#[derive(Debug)]
struct Client {
    key: u64,
    address: SocketAddr,
    socket: OwnedFd,
    watch: Watch,
    used: Instant,
}

impl UdpRelay {
    pub(super) fn new(poller: &mut Poller, socket: OwnedFd, target: SocketAddr) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let key = poller.key();
        let mut watch = Watch::default();
        poller.set(&socket, Token::UdpPort(key), &mut watch, Some(Interest::READ))?;
        Ok(Self { key, socket, watch, target, clients: Vec::new() })
    }

    /// Clients are forgotten: what they send next goes to the new address.
    pub(super) fn retarget(&mut self, poller: &Poller, from: IpAddr, to: IpAddr) {
        if self.target.ip() == from {
            self.target.set_ip(to);
            self.clients.drain(..).for_each(|client| client.close(poller));
        }
    }

    pub(super) fn ready(&mut self, poller: &mut Poller, ready: Ready, buffer: &mut [u8]) {
        match ready.token {
            Token::UdpPort(key) if key == self.key => self.take_from_clients(poller, buffer),
            Token::UdpTarget(key) => self.take_from_target(key, buffer),
            _ => {}
        }
    }

    fn take_from_clients(&mut self, poller: &mut Poller, buffer: &mut [u8]) {
        for _ in 0..DATAGRAMS {
            let (bytes, address) = match recvfrom(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((bytes, _, Some(address))) => (bytes, SocketAddr::try_from(address)),
                // An earlier answer could not be delivered: the next call goes on.
                Err(Errno::CONNREFUSED | Errno::INTR) => continue,
                _ => return,
            };
            let Ok(address) = address else { continue };
            // Datagrams may be lost, as everywhere.
            if let Ok(client) = self.client(poller, address) {
                client.used = Instant::now();
                let _ = send(&client.socket, buffer.get(..bytes).unwrap_or_default(), SendFlags::NOSIGNAL);
            }
        }
    }

    fn take_from_target(&mut self, key: u64, buffer: &mut [u8]) {
        let Some(client) = self.clients.iter_mut().find(|client| client.key == key) else { return };
        for _ in 0..DATAGRAMS {
            let bytes = match recv(&client.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((bytes, _)) => bytes,
                // Nobody listens in the container (yet).
                Err(Errno::CONNREFUSED | Errno::INTR) => continue,
                Err(_) => return,
            };
            client.used = Instant::now();
            let bytes = buffer.get(..bytes).unwrap_or_default();
            let _ = sendto(&self.socket, bytes, SendFlags::NOSIGNAL, &client.address);
        }
    }

    fn client(&mut self, poller: &mut Poller, address: SocketAddr) -> io::Result<&mut Client> {
        let place = match self.clients.iter().position(|client| client.address == address) {
            Some(place) => place,
            None => {
                if self.clients.len() >= CLIENTS_MAX
                    && let Some((oldest, _)) = self.clients.iter().enumerate().min_by_key(|(_, client)| client.used)
                {
                    self.clients.swap_remove(oldest).close(poller);
                }
                self.clients.push(Client::open(poller, address, self.target)?);
                self.clients.len() - 1
            }
        };
        self.clients.get_mut(place).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.clients.iter().map(|client| client.used + IDLE_TIME).min()
    }

    pub(super) fn expire(&mut self, poller: &Poller, now: Instant) {
        for client in self.clients.extract_if(.., |client| client.used + IDLE_TIME <= now) {
            client.close(poller);
        }
    }

    /// Forgets all clients; returns the socket.
    pub(super) fn stop(mut self, poller: &Poller) -> OwnedFd {
        let _ = poller.set(&self.socket, Token::UdpPort(self.key), &mut self.watch, None);
        self.clients.drain(..).for_each(|client| client.close(poller));
        self.socket
    }
}

impl Client {
    fn open(poller: &mut Poller, address: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        if target.ip().is_unspecified() {
            // The kernel would take that for the host itself.
            return Err(io::ErrorKind::NetworkUnreachable.into());
        }
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
        connect(&socket, &target)?;
        let key = poller.key();
        let mut watch = Watch::default();
        poller.set(&socket, Token::UdpTarget(key), &mut watch, Some(Interest::READ))?;
        Ok(Self { key, address, socket, watch, used: Instant::now() })
    }

    fn close(mut self, poller: &Poller) {
        let _ = poller.set(&self.socket, Token::UdpTarget(self.key), &mut self.watch, None);
    }
}
