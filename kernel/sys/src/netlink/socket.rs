//! The socket: sends batches, reads acknowledgements and dumps.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink};

use super::attribute::{Attributes, read_u16, read_u32, text};
use super::batch::{ACK, Batch, DUMP, HEADER, patch};
use super::error::{Error, Result};

/// Requests per system call: with every one of them refused, the answers (about 1 KiB of accounted memory each) still
/// fit in the default receive buffer of 208 KiB.
const REQUESTS_PER_SEND: usize = 128;
/// Bytes of the receive buffer: the largest part of a dump the kernel sends (`netlink_recvmsg` caps it at 32 KiB).
const RECEIVE_BUFFER: usize = 32 * 1024;
/// How often an interrupted dump is started again.
const DUMP_ATTEMPTS: u32 = 10;

/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// `NLM_F_DUMP_INTR`.
const DUMP_INTERRUPTED: u16 = 0x10;
/// `NLM_F_CAPPED`: the error does not repeat the request's payload.
const CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: attributes follow.
const ACK_ATTRIBUTES: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`.
const ERROR_MESSAGE: u16 = 1;
/// Offset of the sequence number in the header.
const SEQUENCE: usize = 8;
/// Offset of the flags in the header.
const FLAGS: usize = 6;

/// A subsystem of the kernel that speaks netlink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes.
    Route,
    /// nf_tables, connection tracking.
    Netfilter,
}

/// A netlink socket. It belongs to the network namespace of the thread that opened it, for ever.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket.
    pub fn open(protocol: Protocol) -> Result<Self> {
        let protocol = match protocol {
            // NETLINK_ROUTE is protocol 0.
            Protocol::Route => None,
            Protocol::Netfilter => Some(rustix::net::netlink::NETFILTER),
        };
        let fd = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
            .map_err(|errno| Error::call("netlink socket", errno))?;
        crate::network::set_netlink_error_detail(&fd).map_err(|error| Error::call("netlink options", error))?;
        Ok(Self { fd, sequence: 0, buffer: Vec::new() })
    }

    /// Executes the requests in order. All of them are tried; the first failure that is not tolerated is returned.
    pub fn execute(&mut self, mut batch: Batch) -> Result<()> {
        let mut first_failure = None;
        let mut from = 0;
        while from < batch.requests.len() {
            let to = batch.requests.len().min(from + REQUESTS_PER_SEND);
            let failure = self.exchange(&mut batch, from, to, &[], &[])?;
            first_failure = first_failure.or(failure);
            from = to;
        }
        first_failure.map_or(Ok(()), Err)
    }

    /// Executes the requests between two messages that make them one transaction (nfnetlink): all or nothing. `begin`
    /// and `end` are complete messages.
    pub fn execute_transaction(&mut self, mut batch: Batch, begin: &[u8], end: &[u8]) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let count = batch.requests.len();
        self.exchange(&mut batch, 0, count, begin, end)?.map_or(Ok(()), Err)
    }

    /// Sends requests `from..to`, collects answers up to the acknowledgement of the last one, returns the first
    /// failure. An error that answers `begin` is the whole transaction's.
    fn exchange(
        &mut self,
        batch: &mut Batch,
        from: usize,
        to: usize,
        begin: &[u8],
        end: &[u8],
    ) -> Result<Option<Error>> {
        let first = self.number(batch, from, to);
        let Some(span) = span(batch, from, to) else { return Err(Error::Malformed { step: "netlink batch" }) };
        let bytes = batch.bytes.get(span).unwrap_or_default();
        if begin.is_empty() {
            self.send(bytes)?;
        } else {
            let mut whole = Vec::with_capacity(begin.len() + bytes.len() + end.len());
            whole.extend_from_slice(begin);
            patch(&mut whole, SEQUENCE, &first.wrapping_sub(1).to_ne_bytes());
            whole.extend_from_slice(bytes);
            whole.extend_from_slice(end);
            self.send(&whole)?;
        }
        let mut failure = None;
        let mut finished = false;
        while !finished {
            match self.receive() {
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(Error::call("netlink answer", errno)),
                Ok(length) => {
                    for answer in answers(self.buffer.get(..length).unwrap_or_default()) {
                        let index = answer.sequence.wrapping_sub(first) as usize;
                        if answer.kind != ERROR || (index >= to - from && index != u32::MAX as usize) {
                            continue;
                        }
                        finished |= index == to - from - 1;
                        failure = failure.or_else(|| refusal(&answer, batch, from, index));
                    }
                }
            }
        }
        if finished || failure.is_some() {
            Ok(failure)
        } else {
            Err(Error::Malformed { step: "netlink acknowledgement" })
        }
    }

    /// Gives requests their sequence numbers and the last one the acknowledgement flag; returns the first number. One
    /// number before it stays free for the message that begins a transaction.
    fn number(&mut self, batch: &mut Batch, from: usize, to: usize) -> u32 {
        let first = self.sequence.wrapping_add(2);
        self.sequence = first;
        for request in batch.requests.get(from..to).unwrap_or_default() {
            patch(&mut batch.bytes, request.start + SEQUENCE, &self.sequence.to_ne_bytes());
            self.sequence = self.sequence.wrapping_add(1);
        }
        if let Some(last) = batch.requests.get(to - 1) {
            let flags = read_u16(&batch.bytes, last.start + FLAGS).unwrap_or_default();
            patch(&mut batch.bytes, last.start + FLAGS, &(flags | ACK).to_ne_bytes());
        }
        first
    }

    /// Sends one request and collects what `parse` makes of its answers (message type, payload). With [`DUMP`] among
    /// its flags that is a whole listing, started again when it was disturbed by concurrent changes.
    pub fn query<T>(&mut self, mut batch: Batch, mut parse: impl FnMut(u16, &[u8]) -> Option<T>) -> Result<Vec<T>> {
        let step = batch.requests.first().map_or("netlink query", |request| request.step);
        let dump = read_u16(&batch.bytes, FLAGS).is_some_and(|flags| flags & DUMP == DUMP);
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(found) = self.query_once(&mut batch, dump, &mut parse)? {
                return Ok(found);
            }
        }
        Err(Error::Unsettled { step, attempts: DUMP_ATTEMPTS })
    }

    /// `None` when the dump was interrupted.
    fn query_once<T>(
        &mut self,
        batch: &mut Batch,
        dump: bool,
        parse: &mut impl FnMut(u16, &[u8]) -> Option<T>,
    ) -> Result<Option<Vec<T>>> {
        let first = self.number(batch, 0, 1);
        self.send(&batch.bytes)?;
        let mut found = Vec::new();
        let mut consistent = true;
        loop {
            let length = self.receive().map_err(|errno| Error::call("netlink answer", errno))?;
            for answer in answers(self.buffer.get(..length).unwrap_or_default()) {
                if answer.sequence != first {
                    continue;
                }
                consistent &= answer.flags & DUMP_INTERRUPTED == 0;
                match answer.kind {
                    ERROR | DONE => {
                        if let Some(failure) = refusal(&answer, batch, 0, 0) {
                            return Err(failure);
                        }
                        // A dump ends with DONE, anything else with the acknowledgement.
                        if answer.kind == DONE || !dump {
                            return Ok(consistent.then_some(found));
                        }
                    }
                    kind => found.extend(parse(kind, answer.payload)),
                }
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        rustix::io::retry_on_intr(|| rustix::net::sendto(&self.fd, bytes, SendFlags::empty(), &kernel))
            .map(drop)
            .map_err(|errno| Error::call("netlink request", errno))
    }

    fn receive(&mut self) -> std::result::Result<usize, Errno> {
        if self.buffer.is_empty() {
            self.buffer.resize(RECEIVE_BUFFER, 0);
        }
        let fd = self.fd.as_fd();
        let buffer = &mut self.buffer;
        rustix::io::retry_on_intr(|| rustix::net::recv(fd, &mut buffer[..], RecvFlags::DONTWAIT))
            .map(|(length, _)| length)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn span(batch: &Batch, from: usize, to: usize) -> Option<std::ops::Range<usize>> {
    let start = batch.requests.get(from)?.start;
    let end = batch.requests.get(to).map_or(batch.bytes.len(), |next| next.start);
    Some(start..end)
}

/// One message from the kernel.
struct Answer<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

fn answers(mut bytes: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    std::iter::from_fn(move || {
        let length = read_u32(bytes, 0)? as usize;
        let answer = Answer {
            kind: read_u16(bytes, 4)?,
            flags: read_u16(bytes, FLAGS)?,
            sequence: read_u32(bytes, SEQUENCE)?,
            payload: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(answer)
    })
}

/// The failure that an `NLMSG_ERROR` or `NLMSG_DONE` reports, unless it is success or tolerated. An index outside the
/// batch is the message that begins the transaction.
fn refusal(answer: &Answer<'_>, batch: &Batch, from: usize, index: usize) -> Option<Error> {
    let errno = read_u32(answer.payload, 0).map_or(0, u32::cast_signed).wrapping_neg();
    if errno <= 0 {
        return None;
    }
    let request = from.checked_add(index).and_then(|index| batch.requests.get(index));
    if request.is_some_and(|request| request.tolerated.contains(&errno)) {
        return None;
    }
    let (step, object) = match (request, batch.requests.first()) {
        (Some(request), _) => (request.step, request.object.clone()),
        (None, Some(request)) => ("commit transaction beginning with", format!("{} {}", request.step, request.object)),
        (None, None) => ("netlink request", String::new()),
    };
    Some(Error::Refused { step, object, errno, message: explanation(answer) })
}

fn explanation(answer: &Answer<'_>) -> String {
    if answer.kind != ERROR || answer.flags & ACK_ATTRIBUTES == 0 {
        return String::new();
    }
    let request = read_u32(answer.payload, 4).map_or(0, |length| length as usize);
    let echoed = if answer.flags & CAPPED == 0 { request.saturating_sub(HEADER).next_multiple_of(4) } else { 0 };
    Attributes::after(answer.payload, 4 + HEADER + echoed).get(ERROR_MESSAGE).map(text).unwrap_or_default()
}
