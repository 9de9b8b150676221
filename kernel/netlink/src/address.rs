//! Addresses of links.

use std::net::{IpAddr, Ipv4Addr};

use crate::{family, read_address, with_octets};
use tare_sys::netlink::attribute::{Attributes, read_u32};
use tare_sys::netlink::batch::{Batch, CREATE, DUMP, EXCLUSIVE};
use tare_sys::netlink::{Result, Socket};

const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const GETADDR: u16 = 22;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
/// `IFA_F_NODAD`: usable at once, without looking for a duplicate. Whoever assigns addresses here knows them all.
const NO_DUPLICATE_DETECTION: u8 = 0x02;
/// `IFA_F_PERMANENT`
const PERMANENT: u8 = 0x80;
/// `RT_SCOPE_UNIVERSE`
const SCOPE_UNIVERSE: u8 = 0;
const EEXIST: i32 = 17;
const EADDRNOTAVAIL: i32 = 99;

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Interface index.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of the network prefix in bits.
    pub prefix: u8,
}

/// How an address came to a link and how far it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assigned {
    /// The address.
    pub address: Address,
    /// It does not expire (`IFA_F_PERMANENT`).
    pub permanent: bool,
    /// It is valid everywhere (`RT_SCOPE_UNIVERSE`), not on this machine or link only.
    pub global: bool,
}

/// Gives a link an address; the kernel adds the route to its network. One that is there already is no failure.
pub fn add(batch: &mut Batch, address: &Address) {
    batch.tolerant_request(NEWADDR, CREATE | EXCLUSIVE, "add address", &name(address), &[EEXIST], |message| {
        message.raw(&header(address));
        with_octets(address.address, |bytes| {
            message.bytes(IFA_LOCAL, bytes);
            message.bytes(IFA_ADDRESS, bytes);
        });
        if let Some(broadcast) = broadcast(address) {
            message.bytes(IFA_BROADCAST, &broadcast.octets());
        }
    });
}

/// Takes an address from a link. One that is not there is no failure.
pub fn remove(batch: &mut Batch, address: &Address) {
    batch.tolerant_request(DELADDR, 0, "remove address", &name(address), &[EADDRNOTAVAIL], |message| {
        message.raw(&header(address));
        with_octets(address.address, |bytes| {
            message.bytes(IFA_LOCAL, bytes);
            message.bytes(IFA_ADDRESS, bytes);
        });
    });
}

/// The addresses of all links.
pub fn list(socket: &mut Socket) -> Result<Vec<Address>> {
    let mut batch = Batch::new();
    batch.request(GETADDR, DUMP, "list", "addresses", |message| message.raw(&[0; 8]));
    socket.query(batch, parse)
}

/// The addresses of all links with what is known of each.
pub fn assigned(socket: &mut Socket) -> Result<Vec<Assigned>> {
    let mut batch = Batch::new();
    batch.request(GETADDR, DUMP, "list", "addresses", |message| message.raw(&[0; 8]));
    socket.query(batch, |kind, payload| {
        let address = parse(kind, payload)?;
        let [flags, scope] = *payload.get(2..4)? else { return None };
        Some(Assigned { address, permanent: flags & PERMANENT != 0, global: scope == SCOPE_UNIVERSE })
    })
}

fn name(address: &Address) -> String {
    format!("{}/{}", address.address, address.prefix)
}

/// `struct ifaddrmsg`.
fn header(address: &Address) -> [u8; 8] {
    let [a, b, c, d] = address.index.to_ne_bytes();
    let flags = if address.address.is_ipv6() { NO_DUPLICATE_DETECTION } else { 0 };
    [family(address.address), address.prefix, flags, 0, a, b, c, d]
}

fn broadcast(address: &Address) -> Option<Ipv4Addr> {
    let IpAddr::V4(v4) = address.address else { return None };
    // Networks of one or two addresses have no broadcast address.
    let host_bits = u32::MAX.checked_shr(address.prefix.into()).filter(|_| address.prefix < 31)?;
    Some(Ipv4Addr::from(v4.to_bits() | host_bits))
}

/// Reads a message of the kernel; `None` if it is not about an address.
pub fn parse(kind: u16, payload: &[u8]) -> Option<Address> {
    if kind != NEWADDR {
        return None;
    }
    let attributes = Attributes::after(payload, 8);
    // On point-to-point links IFA_ADDRESS is the other end.
    let bytes = attributes.get(IFA_LOCAL).or_else(|| attributes.get(IFA_ADDRESS))?;
    Some(Address { index: read_u32(payload, 4)?, address: read_address(bytes)?, prefix: *payload.get(1)? })
}
