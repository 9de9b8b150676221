//! rtnetlink (`rtnetlink(7)`, `linux/rtnetlink.h`, `linux/if_link.h`).
//!
//! - [`link`]: bridges, veth pairs, changes, listing;
//! - [`address`]: addresses of links;
//! - [`path`]: the routes of packets.

pub mod address;
pub mod link;
pub mod path;

use std::net::IpAddr;

/// `AF_INET`.
pub(crate) const INET: u8 = 2;
/// `AF_INET6`.
pub(crate) const INET6: u8 = 10;

pub(crate) fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { INET } else { INET6 }
}

/// Calls `with` with the address's bytes in network order.
pub(crate) fn with_octets<T>(address: IpAddr, with: impl FnOnce(&[u8]) -> T) -> T {
    match address {
        IpAddr::V4(v4) => with(&v4.octets()),
        IpAddr::V6(v6) => with(&v6.octets()),
    }
}

pub(crate) fn read_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}
