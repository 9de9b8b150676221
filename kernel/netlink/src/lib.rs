//! rtnetlink (`rtnetlink(7)`, `linux/rtnetlink.h`, `linux/if_link.h`): requests and listings.
//!
//! - [`link`]: bridges, veth pairs, changes, listing;
//! - [`address`]: addresses of links;
//! - [`path`]: the routes of packets.
//!
//! Requests are appended to a [`Batch`] and executed by a [`Socket`]; both are [`tare_sys::netlink`]'s.
#![forbid(unsafe_code)]

pub mod address;
pub mod link;
pub mod path;

use std::net::IpAddr;

pub use tare_sys::netlink::{Batch, Error, Protocol, Result, Socket};
pub use tare_sys::netns;

/// `AF_INET`.
const INET: u8 = 2;
/// `AF_INET6`.
const INET6: u8 = 10;

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { INET } else { INET6 }
}

/// Calls `with` with the address's bytes in network order.
fn with_octets<T>(address: IpAddr, with: impl FnOnce(&[u8]) -> T) -> T {
    match address {
        IpAddr::V4(v4) => with(&v4.octets()),
        IpAddr::V6(v6) => with(&v6.octets()),
    }
}

fn read_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}
