//! The embedded name server, on the sockets of a container of user-defined networks: answers from the files that the daemon
//! writes ([`tare_network::dns`]), and asks the servers in there about all other names.
//!
//! [`stream`]: clients that connect; [`forward`]: queries that others are asked.

mod forward;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recvfrom, sendto};
use tare_network::dns::{Answer, SERVER_FAILURE, Transport, ZoneFiles, answer, failure};

use self::forward::Forwards;
use self::stream::Streams;
use crate::poll::{Interest, Poller, Ready, Token, Watch};

/// Datagrams taken per event, so that a flood does not keep everything else waiting.
const DATAGRAMS: usize = 64;
/// Bytes of the largest datagram that is a query; more than any name and its options take.
const QUERY_BYTES_MAX: usize = 4096;

/// What the server is made from.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// Receives queries.
    pub udp: OwnedFd,
    /// Listens.
    pub tcp: OwnedFd,
    /// The network namespace they are in.
    pub netns: OwnedFd,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Names {
    udp: OwnedFd,
    watch: Watch,
    streams: Streams,
    forwards: Forwards,
    directory: PathBuf,
    container_id: String,
    files: ZoneFiles,
}

/// Who gets an answer.
#[derive(Debug, Clone, Copy)]
enum Asker {
    Datagram(SocketAddr),
    /// The connection with this key.
    Stream(u64),
}

impl Asker {
    fn transport(self) -> Transport {
        match self {
            Self::Datagram(_) => Transport::Udp,
            Self::Stream(_) => Transport::Tcp,
        }
    }
}

impl Names {
    /// Starts serving a container's names from the files below `directory`.
    pub(crate) fn new(poller: &Poller, sockets: Sockets, directory: &Path, container_id: &str) -> io::Result<Self> {
        let Sockets { udp, tcp, netns } = sockets;
        rustix::io::ioctl_fionbio(&udp, true)?;
        let mut watch = Watch::default();
        poller.set(&udp, Token::NameQuery, &mut watch, Some(Interest::READ))?;
        Ok(Self {
            udp,
            watch,
            streams: Streams::new(poller, tcp)?,
            forwards: Forwards::new(netns),
            directory: directory.to_owned(),
            container_id: container_id.to_owned(),
            files: ZoneFiles::new(directory, container_id),
        })
    }

    /// An event on one of the sockets.
    pub(crate) fn ready(&mut self, poller: &mut Poller, ready: Ready, buffer: &mut [u8]) {
        match ready.token {
            Token::NameQuery => self.take_datagrams(poller, buffer),
            Token::NameListener => self.streams.accept(poller),
            Token::NameClient(key) => {
                self.streams.ready(key, ready, buffer);
                self.serve_stream(poller, key);
            }
            Token::NameForward(key) => {
                if let Some((asker, reply)) = self.forwards.ready(poller, key, buffer) {
                    self.deliver(poller, asker, &reply);
                }
            }
            _ => {}
        }
    }

    fn take_datagrams(&mut self, poller: &mut Poller, buffer: &mut [u8]) {
        for _ in 0..DATAGRAMS {
            let (bytes, address) = match recvfrom(&self.udp, &mut *buffer, RecvFlags::empty()) {
                Ok((bytes, _, Some(address))) => (bytes, SocketAddr::try_from(address)),
                // An earlier answer found nobody: the next call goes on.
                Err(Errno::CONNREFUSED | Errno::INTR) => continue,
                _ => return,
            };
            let (Ok(address), Some(query)) = (address, buffer.get(..bytes)) else { continue };
            if query.len() <= QUERY_BYTES_MAX
                && let Some(reply) = self.ask(poller, query, Asker::Datagram(address))
            {
                self.send(address, &reply);
            }
        }
    }

    /// Answers what a connection has asked so far.
    fn serve_stream(&mut self, poller: &mut Poller, key: u64) {
        while let Some(query) = self.streams.next_query(key) {
            if let Some(reply) = self.ask(poller, &query, Asker::Stream(key)) {
                self.streams.answer(key, &reply);
            }
        }
        self.streams.settle(poller, key);
    }

    /// The answer to a query, unless it comes later or never.
    fn ask(&mut self, poller: &mut Poller, query: &[u8], asker: Asker) -> Option<Vec<u8>> {
        match answer(query, self.files.zone(), asker.transport()) {
            Answer::Reply(reply) => Some(reply),
            Answer::Drop => {
                if let Asker::Stream(key) = asker {
                    self.streams.hang_up(key);
                }
                None
            }
            Answer::Forward if self.forwards.begin(poller, query, asker, self.files.upstream()) => None,
            Answer::Forward => failure(query, SERVER_FAILURE),
        }
    }

    fn deliver(&mut self, poller: &mut Poller, asker: Asker, reply: &[u8]) {
        match asker {
            Asker::Datagram(address) => self.send(address, reply),
            Asker::Stream(key) => {
                self.streams.answer(key, reply);
                self.serve_stream(poller, key);
            }
        }
    }

    fn send(&self, address: SocketAddr, reply: &[u8]) {
        // Datagrams may be lost, as everywhere; clients ask again.
        let _ = sendto(&self.udp, reply, SendFlags::NOSIGNAL, &address);
    }

    /// The next time at which something is to be done without an event.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.forwards.next_deadline().into_iter().chain(self.streams.next_deadline()).min()
    }

    /// Does what was to be done at a time.
    pub(crate) fn expire(&mut self, poller: &mut Poller, now: Instant) {
        while let Some((asker, reply)) = self.forwards.expire(poller, now) {
            self.deliver(poller, asker, &reply);
        }
        self.streams.expire(poller, now);
    }

    /// Gives memory back: the files are read again at the next query.
    pub(crate) fn relax(&mut self) {
        self.files = ZoneFiles::new(&self.directory, &self.container_id);
    }

    /// The container has ended: closes everything, and with it the last that holds its network namespace.
    pub(crate) fn stop(mut self, poller: &Poller) {
        let _ = poller.set(&self.udp, Token::NameQuery, &mut self.watch, None);
        self.streams.stop(poller);
        self.forwards.stop(poller);
    }
}
