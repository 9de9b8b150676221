//! ctnetlink: forgetting tracked connections, so that packets of a UDP flow do not go on to where a port no longer is.

use std::net::IpAddr;

use tare_sys::netlink::attribute::{Attributes, read_u16};
use tare_sys::netlink::batch::DUMP;
use tare_sys::netlink::{Batch, Result};

use crate::netfilter::{GENERIC_HEADER, Netfilter};
use crate::value::Family;

/// `NFNL_SUBSYS_CTNETLINK`.
const CONNTRACK: u8 = 1;
const NEW: u8 = 0;
const GET: u8 = 1;
const DELETE: u8 = 2;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ZONE: u16 = 18;
const CTA_FILTER: u16 = 25;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
/// `CTA_FILTER_FLAG(CTA_PROTO_NUM)`.
const FILTER_BY_PROTOCOL: u32 = 1 << 3;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
/// `CTA_IP_V4_SRC`, `CTA_IP_V6_SRC`.
const SOURCES: [u16; 2] = [1, 3];
/// `CTA_IP_V4_DST`, `CTA_IP_V6_DST`.
const DESTINATIONS: [u16; 2] = [2, 4];
const ENOENT: i32 = 2;

/// A tracked connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// `IPPROTO_*`.
    pub protocol: u8,
    /// Where its first packet was sent to.
    pub destination: (IpAddr, u16),
    /// Where it went: something else when the destination was translated.
    pub target: (IpAddr, u16),
}

/// A connection with what the kernel needs to find it again.
struct Entry {
    family: u8,
    original: Vec<u8>,
    zone: Option<Vec<u8>>,
    connection: Connection,
}

impl Netfilter {
    /// Forgets the connections of a protocol (`IPPROTO_*`) that `doomed` picks out; returns how many there were.
    pub fn forget_connections(
        &mut self,
        ipv6: bool,
        protocol: u8,
        doomed: impl Fn(&Connection) -> bool,
    ) -> Result<usize> {
        let family = if ipv6 { Family::Ipv6 } else { Family::Ipv4 }.number();
        let mut batch = Batch::new();
        batch.request(message_type(GET), DUMP, "list", "tracked connections", |message| {
            message.raw(&[family, 0, 0, 0]);
            // Kernels before 5.8 do not know the filter and list everything.
            message.nest(CTA_TUPLE_ORIG, |tuple| tuple.nest(CTA_TUPLE_PROTO, |part| part.u8(CTA_PROTO_NUM, protocol)));
            message.nest(CTA_FILTER, |filter| filter.u32(CTA_FILTER_ORIG_FLAGS, FILTER_BY_PROTOCOL));
        });
        let entries = self.socket.query(batch, |kind, payload| {
            let entry = if kind == message_type(NEW) { parse(payload) } else { None };
            entry.filter(|entry| entry.connection.protocol == protocol && doomed(&entry.connection))
        })?;
        let mut deletions = Batch::new();
        for entry in &entries {
            delete(&mut deletions, entry);
        }
        self.socket.execute(deletions)?;
        Ok(entries.len())
    }
}

fn message_type(kind: u8) -> u16 {
    u16::from_be_bytes([CONNTRACK, kind])
}

/// Deletes exactly the connection with this tuple (and none other: without a tuple the kernel would delete all).
fn delete(batch: &mut Batch, entry: &Entry) {
    let object = format!("port {}", entry.connection.destination.1);
    batch.tolerant_request(message_type(DELETE), 0, "forget connection to", &object, &[ENOENT], |message| {
        message.raw(&[entry.family, 0, 0, 0]);
        message.nest(CTA_TUPLE_ORIG, |tuple| tuple.raw(&entry.original));
        if let Some(zone) = &entry.zone {
            message.bytes(CTA_ZONE, zone);
        }
    });
}

/// Where a connection went is where its replies come from.
fn parse(payload: &[u8]) -> Option<Entry> {
    let attributes = Attributes::after(payload, GENERIC_HEADER);
    let original = attributes.get(CTA_TUPLE_ORIG)?;
    let (protocol, destination) = end(original, DESTINATIONS, CTA_PROTO_DST_PORT)?;
    let (_, target) = end(attributes.get(CTA_TUPLE_REPLY)?, SOURCES, CTA_PROTO_SRC_PORT)?;
    Some(Entry {
        family: *payload.first()?,
        original: original.to_vec(),
        zone: attributes.get(CTA_ZONE).map(<[u8]>::to_vec),
        connection: Connection { protocol, destination, target },
    })
}

/// The protocol, and address and port of one end of a tuple.
fn end(tuple: &[u8], addresses: [u16; 2], port: u16) -> Option<(u8, (IpAddr, u16))> {
    let tuple = Attributes::new(tuple);
    let (ip, ports) = (Attributes::new(tuple.get(CTA_TUPLE_IP)?), Attributes::new(tuple.get(CTA_TUPLE_PROTO)?));
    let bytes = addresses.iter().find_map(|kind| ip.get(*kind))?;
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    let port = u16::from_be(read_u16(ports.get(port)?, 0)?);
    Some((*ports.get(CTA_PROTO_NUM)?.first()?, (address, port)))
}
