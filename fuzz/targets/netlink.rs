//! Messages of the kernel about links, addresses, routes and nf_tables.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, payload)) = data.split_first_chunk() else { return };
    let kind = u16::from_le_bytes(*kind);
    let _ = tare_netlink::link::parse(kind, payload);
    let _ = tare_netlink::address::parse(kind, payload);
    let _ = tare_netlink::path::parse(kind, payload);
    tare_nftables::netfilter::parse(payload);
});
