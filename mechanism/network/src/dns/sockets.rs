//! The server's sockets: on a port of 127.0.0.11 that nobody else wants, with port 53 translated to it. Bound to port 53
//! itself, they would keep programs in the container from listening on port 53 of all addresses.

use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};
use tare_netlink::namespace::run_in;
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
const CHAIN: &str = "output";
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

/// The answers come back by themselves: the kernel knows the connection.
fn translation(ports: &[(Protocol, u16)]) -> Transaction<'static> {
    let (r0, r1) = (Register(0), Register(1));
    let equal = |value: &[u8]| Expression::Compare(r0, Comparison::Equal, value.to_vec());
    let mut transaction = Transaction::new(Family::Ipv4, TABLE);
    transaction.ensure_table();
    transaction.ensure_chain(&Chain { name: CHAIN, base: Some((ChainKind::Nat, Hook::Output, -100)) });
    transaction.flush_chain(CHAIN);
    for (protocol, port) in ports {
        let rule = [
            Expression::Payload { header: Header::Network, offset: 16, length: 4, to: r0 },
            equal(&EMBEDDED.octets()),
            Expression::Meta(Meta::TransportProtocol, r0),
            equal(&[protocol.number()]),
            Expression::Payload { header: Header::Transport, offset: 2, length: 2, to: r0 },
            equal(&PORT.to_be_bytes()),
            Expression::Load(r0, EMBEDDED.octets().to_vec()),
            Expression::Load(r1, port.to_be_bytes().to_vec()),
            Expression::DestinationNat { family: Family::Ipv4, address: r0, port: r1 },
        ];
        transaction.add_rule(CHAIN, &rule, "embedded name server");
    }
    transaction
}
