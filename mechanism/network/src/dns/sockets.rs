//! The server's sockets: on a port of 127.0.0.11 that nobody else wants, with port 53 rewritten to it. Bound to port 53
//! itself, they would keep programs in the container from listening on port 53 of all addresses.
//!
//! Ports are rewritten in the packets, there and back, without connection tracking: turning that on in a namespace takes
//! the kernel 2.5 ms, and time for every packet afterwards. Where the container tracks connections itself, it sees the
//! server's own port both ways.

use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};
use tare_netlink::netns::run_in;
use tare_nftables::expression::{Comparison, Expression, Header, Meta, Register};
use tare_nftables::transaction::Chain;
use tare_nftables::value::{ChainKind, Family, Hook};
use tare_nftables::{Netfilter, Transaction};

use crate::error::{Error, Result};
use crate::netns::Netns;
use crate::ports::Protocol;
use crate::resolv::EMBEDDED;

/// Connections waiting for the server.
const BACKLOG: i32 = 128;
/// The table inside the container.
const TABLE: &str = "tare-dns";
/// Queries on their way out, before the container may track connections.
const QUERIES: Chain<'static> = Chain { name: "queries", base: Some((ChainKind::Filter, Hook::Output, -300)) };
/// Answers on their way in, after it may have.
const ANSWERS: Chain<'static> = Chain { name: "answers", base: Some((ChainKind::Filter, Hook::Input, 300)) };
/// Offset of an IPv4 header's source and destination address.
const SOURCE: u32 = 12;
const DESTINATION: u32 = 16;
/// Offset of a TCP or UDP header's source and destination port.
const SOURCE_PORT: u32 = 0;
const DESTINATION_PORT: u32 = 2;
const PORT: u16 = 53;

/// The embedded server's sockets, non-blocking, in a container's network namespace for ever.
#[derive(Debug)]
pub struct DnsSockets {
    /// Receives queries.
    pub udp: OwnedFd,
    /// Listens.
    pub tcp: OwnedFd,
}

impl DnsSockets {
    /// Makes the sockets inside a namespace and leads port 53 of [`EMBEDDED`] to them.
    pub fn open(netns: &Netns) -> Result<Self> {
        run_in(netns.fd(), Self::open_here)?
    }

    fn open_here() -> Result<Self> {
        let udp = bound(SocketType::DGRAM)?;
        let tcp = bound(SocketType::STREAM)?;
        listen(&tcp, BACKLOG).map_err(|errno| failed("listen", errno))?;
        Netfilter::open()?.commit(translation(&[(Protocol::Udp, port_of(&udp)?), (Protocol::Tcp, port_of(&tcp)?)]))?;
        Ok(Self { udp, tcp })
    }
}

fn bound(kind: SocketType) -> Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, kind, flags, None).map_err(|errno| failed("open socket", errno))?;
    bind(&socket, &SocketAddrV4::new(EMBEDDED, 0)).map_err(|errno| failed("bind", errno))?;
    Ok(socket)
}

fn port_of(socket: &OwnedFd) -> Result<u16> {
    let address = getsockname(socket).map_err(|errno| failed("getsockname", errno))?;
    SocketAddr::try_from(address).map(|address| address.port()).map_err(|errno| failed("getsockname", errno))
}

fn failed(step: &'static str, errno: rustix::io::Errno) -> Error {
    Error::io(step, EMBEDDED, errno.into())
}

fn translation(ports: &[(Protocol, u16)]) -> Transaction<'static> {
    let mut transaction = Transaction::new(Family::Ipv4, TABLE);
    transaction.ensure_table();
    for chain in [QUERIES, ANSWERS] {
        transaction.ensure_chain(&chain);
        transaction.flush_chain(chain.name);
    }
    for &(protocol, port) in ports {
        let query = rewrite(protocol, DESTINATION, DESTINATION_PORT, PORT, port);
        transaction.add_rule(QUERIES.name, &query, "to the embedded name server");
        let answer = rewrite(protocol, SOURCE, SOURCE_PORT, port, PORT);
        transaction.add_rule(ANSWERS.name, &answer, "from the embedded name server");
    }
    transaction
}

/// Replaces the port at `place` in packets that have the server's address at `address`.
fn rewrite(protocol: Protocol, address: u32, place: u32, from: u16, to: u16) -> [Expression<'static>; 8] {
    /// Offset of the checksum in a TCP and a UDP header.
    const TCP_CHECKSUM: u32 = 16;
    const UDP_CHECKSUM: u32 = 6;
    let r0 = Register(0);
    let equal = |value: &[u8]| Expression::Compare(r0, Comparison::Equal, value.to_vec());
    let checksum = if protocol == Protocol::Tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
    [
        Expression::Payload { header: Header::Network, offset: address, length: 4, to: r0 },
        equal(&EMBEDDED.octets()),
        Expression::Meta(Meta::TransportProtocol, r0),
        equal(&[protocol.number()]),
        Expression::Payload { header: Header::Transport, offset: place, length: 2, to: r0 },
        equal(&from.to_be_bytes()),
        Expression::Load(r0, to.to_be_bytes().to_vec()),
        Expression::Store { offset: place, from: r0, checksum },
    ]
}
