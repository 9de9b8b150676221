//! Published ports' sockets: held so that the port is taken while the container runs, whatever becomes of the daemon, and
//! relayed where the kernel cannot translate addresses (`::1`, and IPv6 to a container without it).

mod tcp;
mod udp;

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

use tare_shim_protocol::{HeldSocket, Protocol};

use self::tcp::TcpRelay;
use self::udp::UdpRelay;
use crate::poll::{Poller, Ready, Token};

/// All published ports.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    /// Only held.
    held: Vec<OwnedFd>,
    tcp: Vec<TcpRelay>,
    udp: Vec<UdpRelay>,
}

impl Relays {
    /// Takes a published port. What cannot be relayed is an error.
    pub(crate) fn publish(&mut self, poller: &mut Poller, held: HeldSocket, socket: OwnedFd) -> io::Result<()> {
        match (held.relay, held.protocol) {
            (None, _) => self.held.push(socket),
            (Some(target), Protocol::Tcp) => self.tcp.push(TcpRelay::new(poller, socket, target)?),
            (Some(target), Protocol::Udp) => self.udp.push(UdpRelay::new(poller, socket, target)?),
            (Some(_), Protocol::Sctp) => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "SCTP cannot be relayed"));
            }
        }
        Ok(())
    }

    /// Relays to another address what has been relayed to this one.
    pub(crate) fn retarget(&mut self, poller: &Poller, from: IpAddr, to: IpAddr) {
        self.tcp.iter_mut().for_each(|relay| relay.retarget(from, to));
        self.udp.iter_mut().for_each(|relay| relay.retarget(poller, from, to));
    }

    /// An event on one of the sockets.
    pub(crate) fn ready(&mut self, poller: &mut Poller, ready: Ready, buffer: &mut [u8]) {
        match ready.token {
            Token::TcpPort(_) | Token::TcpClient(_) | Token::TcpTarget(_) => {
                self.tcp.iter_mut().for_each(|relay| relay.ready(poller, ready));
            }
            _ => self.udp.iter_mut().for_each(|relay| relay.ready(poller, ready, buffer)),
        }
    }

    /// The next time at which something is to be done without an event.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let tcp = self.tcp.iter().filter_map(TcpRelay::next_deadline);
        self.udp.iter().filter_map(UdpRelay::next_deadline).chain(tcp).min()
    }

    /// Does what was to be done at a time.
    pub(crate) fn expire(&mut self, poller: &Poller, now: Instant) {
        self.udp.iter_mut().for_each(|relay| relay.expire(poller, now));
        self.tcp.iter_mut().for_each(|relay| relay.expire(poller, now));
    }

    /// The container has ended: nothing is relayed any more, but the ports stay taken.
    pub(crate) fn stop(&mut self, poller: &Poller) {
        self.held.extend(self.tcp.drain(..).map(|relay| relay.stop(poller)));
        self.held.extend(self.udp.drain(..).map(|relay| relay.stop(poller)));
    }
}
