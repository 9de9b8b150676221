//! Routes.

use std::net::IpAddr;

use crate::{INET, INET6, family, read_address, with_octets};
use tare_sys::netlink::attribute::{Attributes, read_u32};
use tare_sys::netlink::batch::{Batch, CREATE, DUMP, REPLACE};
use tare_sys::netlink::{Result, Socket};

const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const GETROUTE: u16 = 26;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_TABLE: u16 = 15;

/// `RT_TABLE_MAIN`.
const MAIN: u8 = 254;
/// `RTPROT_BOOT`: made by an administrator's tool.
const BOOT: u8 = 3;
/// `RTN_UNICAST`.
const UNICAST: u8 = 1;
/// Bytes of `struct rtmsg`.
const ROUTE_HEADER: usize = 12;
const ESRCH: i32 = 3;

/// A route of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Destination network; `None` for the default route.
    pub destination: Option<(IpAddr, u8)>,
    /// IPv6 (tells the default routes apart).
    pub ipv6: bool,
    /// Interface index it goes out of.
    pub index: Option<u32>,
    /// Next router.
    pub gateway: Option<IpAddr>,
}

/// Adds (or replaces) the default route through a gateway.
pub fn set_default(batch: &mut Batch, index: u32, gateway: IpAddr) {
    batch.request(NEWROUTE, CREATE | REPLACE, "set default route", &gateway.to_string(), |message| {
        message.raw(&header(family(gateway)));
        with_octets(gateway, |bytes| message.bytes(RTA_GATEWAY, bytes));
        message.u32(RTA_OIF, index);
    });
}

/// Removes the default route of a family. Having none is no failure.
pub fn remove_default(batch: &mut Batch, ipv6: bool) {
    let object = if ipv6 { "IPv6" } else { "IPv4" };
    batch.tolerant_request(DELROUTE, 0, "remove default route", object, &[ESRCH], |message| {
        message.raw(&header(if ipv6 { INET6 } else { INET }));
    });
}

/// The unicast routes of the main table, both families.
pub fn list(socket: &mut Socket) -> Result<Vec<Route>> {
    let mut batch = Batch::new();
    batch.request(GETROUTE, DUMP, "list", "routes", |message| message.raw(&[0; ROUTE_HEADER]));
    socket.query(batch, parse)
}

/// `struct rtmsg` of a default route.
fn header(family: u8) -> [u8; ROUTE_HEADER] {
    [family, 0, 0, 0, MAIN, BOOT, 0, UNICAST, 0, 0, 0, 0]
}

/// Reads a message of the kernel; `None` if it is not about a route through a gateway or link of the main table.
pub fn parse(kind: u16, payload: &[u8]) -> Option<Route> {
    let [family, prefix, _, _, table, _, _, route_type] = *payload.first_chunk()?;
    let attributes = Attributes::after(payload, ROUTE_HEADER);
    let table = attributes.get(RTA_TABLE).and_then(|bytes| read_u32(bytes, 0)).unwrap_or(table.into());
    if kind != NEWROUTE || route_type != UNICAST || table != u32::from(MAIN) {
        return None;
    }
    let destination = attributes.get(RTA_DST).and_then(read_address);
    Some(Route {
        destination: destination.map(|address| (address, prefix)),
        ipv6: family == INET6,
        index: attributes.get(RTA_OIF).and_then(|bytes| read_u32(bytes, 0)),
        gateway: attributes.get(RTA_GATEWAY).and_then(read_address),
    })
}
