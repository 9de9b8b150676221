//! Queries about names that others know: the first server is asked, when it does not help the next.
//!
//! Every attempt has a socket of its own, whose port the kernel picks at random, and a random ID; an answer counts only if
//! it comes from the server asked, with that ID and the question asked. The socket belongs to the container's network
//! namespace, so that a container reaches by its name server only what it reaches itself, except for servers that only the
//! host can ask (`from_host`).

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, netdevice, recv, send, socket_with, sockopt,
};
use rustix::process::{Resource, getrlimit};
use rustix::rand::{GetRandomFlags, getrandom};
use tare_network::dns::{SERVER_FAILURE, Transport, failure};
use tare_network::resolv::Upstream;

use super::Asker;
use super::stream::{push_message, take_message};
use crate::poll::{Interest, Poller, Token, Watch};
use crate::queue::Queue;

/// Servers asked about a name. Docker's number.
const SERVERS_MAX: usize = 3;
/// How long a server has to answer. Docker's number.
const SERVER_TIME: Duration = Duration::from_secs(4);
/// Queries on their way at a time. Docker's number.
const FORWARDS_MAX: usize = 1024;
/// What part of all descriptors they may take: the container's clients need some too.
const DESCRIPTORS_PART: u64 = 2;
/// Where name servers listen.
const PORT: u16 = 53;
/// Bytes of a message before the question.
const HEADER_BYTES: usize = 12;
/// Set in the third byte of a message that is a reply.
const RESPONSE: u8 = 0x80;
/// The bits of the fourth byte that say how it went.
const CODE: u8 = 0x0f;
/// Response code: the server will not answer us.
const REFUSED: u8 = 5;

/// All queries on their way.
#[derive(Debug)]
pub(super) struct Forwards {
    netns: OwnedFd,
    forwards: Vec<Forward>,
    most: usize,
}

#[derive(Debug)]
struct Forward {
    asker: Asker,
    query: Vec<u8>,
    /// Servers that have not been asked.
    servers: std::vec::IntoIter<Upstream>,
    attempt: Attempt,
    /// What a server has answered that would not help.
    refusal: Option<Vec<u8>>,
}

/// One server being asked.
#[derive(Debug)]
struct Attempt {
    key: u64,
    socket: OwnedFd,
    watch: Watch,
    id: [u8; 2],
    deadline: Instant,
    /// Bytes to send, and bytes received, where messages are sent in a stream.
    output: Queue,
    input: Queue,
}

/// How an attempt stands.
enum Progress {
    Waiting,
    Answered(Vec<u8>),
    Failed,
}

impl Forwards {
    pub(super) fn new(netns: OwnedFd) -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = usize::try_from(descriptors / DESCRIPTORS_PART).map_or(FORWARDS_MAX, |part| part.min(FORWARDS_MAX));
        Self { netns, forwards: Vec::new(), most }
    }

    /// Asks the first server that can be asked; whether there is one.
    pub(super) fn begin(&mut self, poller: &mut Poller, query: &[u8], asker: Asker, servers: &[Upstream]) -> bool {
        if self.forwards.len() >= self.most {
            return false;
        }
        let servers: Vec<_> = servers.iter().take(SERVERS_MAX).cloned().collect();
        let mut servers = servers.into_iter();
        let Some(attempt) = next_attempt(poller, &self.netns, &mut servers, query, asker.transport()) else {
            return false;
        };
        self.forwards.push(Forward { asker, query: query.to_owned(), servers, attempt, refusal: None });
        true
    }

    /// An event on an attempt's socket. Returns what has come to an end.
    pub(super) fn ready(&mut self, poller: &mut Poller, key: u64, buffer: &mut [u8]) -> Option<(Asker, Vec<u8>)> {
        let place = self.forwards.iter().position(|forward| forward.attempt.key == key)?;
        let forward = self.forwards.get_mut(place)?;
        let progress = match forward.asker.transport() {
            Transport::Udp => forward.attempt.datagram(&forward.query, buffer),
            Transport::Tcp => forward.attempt.stream(&forward.query, buffer),
        };
        match progress {
            Progress::Answered(mut reply) => {
                // The client's own ID.
                reply.iter_mut().zip(&forward.query).take(2).for_each(|(to, from)| *to = *from);
                if ![SERVER_FAILURE, REFUSED].contains(&(reply.get(3)? & CODE)) {
                    let Forward { asker, attempt, .. } = self.forwards.swap_remove(place);
                    attempt.close(poller);
                    return Some((asker, reply));
                }
                forward.refusal = Some(reply);
                self.ask_next(poller, place)
            }
            Progress::Failed => self.ask_next(poller, place),
            Progress::Waiting if forward.attempt.watch(poller).is_err() => self.ask_next(poller, place),
            Progress::Waiting => None,
        }
    }

    /// Asks the next server. Returns what to answer if there is none.
    fn ask_next(&mut self, poller: &mut Poller, place: usize) -> Option<(Asker, Vec<u8>)> {
        let forward = self.forwards.get_mut(place)?;
        let transport = forward.asker.transport();
        let next = next_attempt(poller, &self.netns, &mut forward.servers, &forward.query, transport);
        if let Some(next) = next {
            std::mem::replace(&mut forward.attempt, next).close(poller);
            return None;
        }
        let Forward { asker, query, attempt, refusal, .. } = self.forwards.swap_remove(place);
        attempt.close(poller);
        Some((asker, refusal.or_else(|| failure(&query, SERVER_FAILURE))?))
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.forwards.iter().map(|forward| forward.attempt.deadline).min()
    }

    /// Goes on to the next server where one has not answered in time. Returns one that has come to an end, to be called
    /// again.
    pub(super) fn expire(&mut self, poller: &mut Poller, now: Instant) -> Option<(Asker, Vec<u8>)> {
        let is_late = |forward: &Forward| forward.attempt.deadline <= now;
        while let Some(place) = self.forwards.iter().position(is_late) {
            let ended = self.ask_next(poller, place);
            if ended.is_some() {
                return ended;
            }
        }
        None
    }

    pub(super) fn stop(self, poller: &Poller) {
        self.forwards.into_iter().for_each(|forward| forward.attempt.close(poller));
    }
}

/// Asks the next server that can be asked.
fn next_attempt(
    poller: &mut Poller,
    netns: &OwnedFd,
    servers: &mut std::vec::IntoIter<Upstream>,
    query: &[u8],
    transport: Transport,
) -> Option<Attempt> {
    servers.find_map(|server| {
        let socket = if server.from_host {
            open(&server.address, transport)
        } else {
            tare_sys::netns::run_in(netns.as_fd(), || open(&server.address, transport))
                .unwrap_or_else(|_| Err(io::ErrorKind::NetworkUnreachable.into()))
        };
        Attempt::begin(poller, socket.ok()?, query, transport).ok()
    })
}

/// A socket connected to a server, or about to be, in the calling thread's network namespace.
fn open(address: &str, transport: Transport) -> io::Result<OwnedFd> {
    let address = parse(address)?;
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = match transport {
        Transport::Udp => SocketType::DGRAM,
        Transport::Tcp => SocketType::STREAM,
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno.into()),
    }
}

/// An address, possibly with the name or the number of the interface behind which it is (`fe80::1%eth0`).
fn parse(text: &str) -> io::Result<SocketAddr> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let Some((address, zone)) = text.split_once('%') else {
        let address: IpAddr = text.parse().map_err(invalid)?;
        return Ok((address, PORT).into());
    };
    let zone = match zone.parse() {
        Ok(number) => number,
        Err(_) => {
            // Any socket does for the question.
            let socket = socket_with(AddressFamily::INET6, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
            netdevice::name_to_index(socket, zone)?
        }
    };
    Ok(SocketAddrV6::new(address.parse().map_err(invalid)?, PORT, 0, zone).into())
}

impl Attempt {
    fn begin(poller: &mut Poller, socket: OwnedFd, query: &[u8], transport: Transport) -> io::Result<Self> {
        let mut id = [0; 2];
        getrandom(&mut id, GetRandomFlags::empty())?;
        let message = [&id, query.get(id.len()..).unwrap_or_default()].concat();
        let mut output = Queue::default();
        match transport {
            Transport::Udp => {
                send(&socket, &message, SendFlags::NOSIGNAL)?;
            }
            Transport::Tcp => push_message(&mut output, &message),
        }
        let deadline = Instant::now() + SERVER_TIME;
        let (watch, input) = (Watch::default(), Queue::default());
        let mut attempt = Self { key: poller.key(), socket, watch, id, deadline, output, input };
        attempt.watch(poller)?;
        Ok(attempt)
    }

    fn watch(&mut self, poller: &Poller) -> io::Result<()> {
        let sends = !self.output.is_empty();
        let interest = Interest { read: !sends, write: sends };
        poller.set(&self.socket, Token::NameForward(self.key), &mut self.watch, Some(interest))
    }

    fn datagram(&self, query: &[u8], buffer: &mut [u8]) -> Progress {
        loop {
            match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((bytes, _)) => {
                    let reply = buffer.get(..bytes).unwrap_or_default();
                    if is_answer(reply, query, self.id) {
                        return Progress::Answered(reply.to_vec());
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Progress::Waiting,
                Err(_) => return Progress::Failed,
            }
        }
    }

    fn stream(&mut self, query: &[u8], buffer: &mut [u8]) -> Progress {
        if !self.output.is_empty() {
            if !matches!(sockopt::socket_error(&self.socket), Ok(Ok(()))) {
                return Progress::Failed;
            }
            return match send(&self.socket, self.output.front(), SendFlags::NOSIGNAL) {
                Ok(bytes) => {
                    self.output.consume(bytes);
                    Progress::Waiting
                }
                Err(Errno::AGAIN | Errno::INTR) => Progress::Waiting,
                Err(_) => Progress::Failed,
            };
        }
        match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((bytes @ 1.., _)) => self.input.push(buffer.get(..bytes).unwrap_or_default()),
            Err(Errno::AGAIN | Errno::INTR) => {}
            _ => return Progress::Failed,
        }
        match take_message(&mut self.input) {
            Some(reply) if is_answer(&reply, query, self.id) => Progress::Answered(reply),
            Some(_) => Progress::Failed,
            None => Progress::Waiting,
        }
    }

    fn close(mut self, poller: &Poller) {
        let _ = poller.set(&self.socket, Token::NameForward(self.key), &mut self.watch, None);
    }
}

/// Whether a message is the reply with this ID to a query.
fn is_answer(reply: &[u8], query: &[u8], id: [u8; 2]) -> bool {
    let Some(question) = question(query) else { return false };
    let repeated = reply.get(HEADER_BYTES..).and_then(|rest| rest.get(..question.len()));
    reply.starts_with(&id)
        && reply.get(2).is_some_and(|flags| flags & RESPONSE != 0)
        && repeated.is_some_and(|repeated| repeated.eq_ignore_ascii_case(question))
}

/// The bytes of a query's question: labels to the empty one, type and class. [`tare_network::dns::answer`] has found it
/// to be good.
fn question(query: &[u8]) -> Option<&[u8]> {
    let question = query.get(HEADER_BYTES..)?;
    let mut at = 0;
    loop {
        let length = usize::from(*question.get(at)?);
        at += 1 + length;
        if length == 0 {
            return question.get(..at + 4);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x03org\x00\x00\x01\x00\x01more";

    #[test]
    fn only_the_answer_to_the_question_counts() {
        let mut reply = QUERY.to_vec();
        reply[2] |= RESPONSE;
        assert!(is_answer(&reply, QUERY, [0x12, 0x34]));
        assert!(is_answer(&reply.to_ascii_uppercase(), QUERY, [0x12, 0x34]));
        assert!(!is_answer(&reply, QUERY, [0x12, 0x35]));
        assert!(!is_answer(QUERY, QUERY, [0x12, 0x34]));
        // Another name, type and class; cut off.
        for place in [14, 22, 24] {
            let mut other = reply.clone();
            other[place] ^= 3;
            assert!(!is_answer(&other, QUERY, [0x12, 0x34]), "{place}");
        }
        assert!(!is_answer(&reply[..24], QUERY, [0x12, 0x34]));
    }

    #[test]
    fn addresses() {
        assert_eq!(parse("10.0.0.2").unwrap().to_string(), "10.0.0.2:53");
        assert_eq!(parse("fe80::1%lo").unwrap().to_string(), "[fe80::1%1]:53");
        assert_eq!(parse("fe80::1%7").unwrap().to_string(), "[fe80::1%7]:53");
        assert!(parse("example.org").is_err() && parse("10.0.0.2%lo").is_err() && parse("fe80::1%none").is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(query in prop::collection::vec(any::<u8>(), 0..60), reply in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = is_answer(&reply, &query, [0, 0]);
        }
    }
}
