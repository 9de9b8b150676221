//! The nf_tables table of one engine, as data.
//!
//! - [`rules`]: chains and rules. They never change: what networks and ports there are is in sets and maps only, so
//!   that publishing a port is one element and costs the same with one port as with a thousand.
//! - [`items`]: what bridges and published ports put into those sets;
//! - [`passages`]: rules in the tables of others, where those would drop what this one accepts.
//!
//! The chain `user` is for the machine's owner: it is called first for every forwarded packet, and never touched here.

pub mod items;
mod passages;
pub mod rules;

use tare_nftables::transaction::{Chain, Set, Value};
use tare_nftables::value::{ChainKind, DataType, Family, Hook};

/// Family of the table: rules for IPv4 and IPv6 in one.
pub const FAMILY: Family = Family::Inet;

/// The table's name.
pub fn table_name(instance: &str) -> String {
    format!("tare-{instance}")
}

/// Whether a table is an engine's, whichever that is.
pub(crate) fn is_table_name(name: &str) -> bool {
    name.starts_with("tare-")
}

/// Chain that belongs to the machine's owner.
pub const USER: &str = "user";

/// Interfaces of this engine's bridges.
pub const BRIDGES: &str = "bridges";
/// Bridges whose containers reach nothing outside.
pub const INTERNAL: &str = "internal";
/// Pairs of interfaces between which everything may be forwarded: a bridge and itself, a trusted interface and a bridge.
pub const WITHIN: &str = "within";
/// Bridges that everything may be forwarded to, published or not.
pub const OPEN_4: &str = "open4";
/// Bridges that everything may be forwarded to, published or not.
pub const OPEN_6: &str = "open6";
/// Bridges whose containers answer pings from everywhere, and are reached by their own addresses on published ports.
pub const ROUTED_4: &str = "routed4";
/// Bridges whose containers answer pings from everywhere, and are reached by their own addresses on published ports.
pub const ROUTED_6: &str = "routed6";
/// Published ports of containers in such networks.
pub const REACHED_4: &str = "reached4";
/// Published ports of containers in such networks.
pub const REACHED_6: &str = "reached6";
/// Bridge and its own subnets.
pub const OWN_4: &str = "own4";
/// Bridge and its own subnets.
pub const OWN_6: &str = "own6";
/// Subnets that leave the host under the host's address.
pub const MASQUERADED_4: &str = "masquerade4";
/// Subnets that leave the host under the host's address.
pub const MASQUERADED_6: &str = "masquerade6";
/// Subnets that leave the host under an address of their own.
pub const SOURCES_4: &str = "source4";
/// Subnets that leave the host under an address of their own.
pub const SOURCES_6: &str = "source6";
/// Ports published on one address.
pub const PUBLISHED_4: &str = "publish4";
/// Ports published on one address.
pub const PUBLISHED_6: &str = "publish6";
/// Ports published on all addresses.
pub const ANYWHERE_4: &str = "anywhere4";
/// Ports published on all addresses.
pub const ANYWHERE_6: &str = "anywhere6";

const ADDRESS_PORT_4: &[DataType] = &[DataType::Ipv4, DataType::Port];
const ADDRESS_PORT_6: &[DataType] = &[DataType::Ipv6, DataType::Port];

/// All sets. A set that must change its type gets a new name: the kernel cannot change it, and the table of an older
/// engine may still be there.
pub const SETS: &[Set<'static>] = &[
    set(BRIDGES, &[DataType::InterfaceName], Value::Nothing, false),
    set(INTERNAL, &[DataType::InterfaceName], Value::Nothing, false),
    set(WITHIN, &[DataType::InterfaceName, DataType::InterfaceName], Value::Nothing, false),
    set(OPEN_4, &[DataType::InterfaceName], Value::Nothing, false),
    set(OPEN_6, &[DataType::InterfaceName], Value::Nothing, false),
    set(ROUTED_4, &[DataType::InterfaceName], Value::Nothing, false),
    set(ROUTED_6, &[DataType::InterfaceName], Value::Nothing, false),
    set(REACHED_4, &[DataType::Ipv4, DataType::Protocol, DataType::Port], Value::Nothing, false),
    set(REACHED_6, &[DataType::Ipv6, DataType::Protocol, DataType::Port], Value::Nothing, false),
    set(OWN_4, &[DataType::InterfaceName, DataType::Ipv4], Value::Nothing, true),
    set(OWN_6, &[DataType::InterfaceName, DataType::Ipv6], Value::Nothing, true),
    set(MASQUERADED_4, &[DataType::Ipv4], Value::Nothing, true),
    set(MASQUERADED_6, &[DataType::Ipv6], Value::Nothing, true),
    set(SOURCES_4, &[DataType::Ipv4], Value::Data(&[DataType::Ipv4]), true),
    set(SOURCES_6, &[DataType::Ipv6], Value::Data(&[DataType::Ipv6]), true),
    set(PUBLISHED_4, &[DataType::Ipv4, DataType::Protocol, DataType::Port], Value::Data(ADDRESS_PORT_4), false),
    set(PUBLISHED_6, &[DataType::Ipv6, DataType::Protocol, DataType::Port], Value::Data(ADDRESS_PORT_6), false),
    set(ANYWHERE_4, &[DataType::Protocol, DataType::Port], Value::Data(ADDRESS_PORT_4), false),
    set(ANYWHERE_6, &[DataType::Protocol, DataType::Port], Value::Data(ADDRESS_PORT_6), false),
];

/// Chain names.
pub(crate) const LOOPBACK: &str = "loopback";
pub(crate) const ARRIVING: &str = "arriving";
pub(crate) const FROM_HOST: &str = "from_host";
pub(crate) const LEAVING: &str = "leaving";
pub(crate) const FORWARD: &str = "forward";

/// All chains, with the priorities that `nft` calls raw, dstnat, srcnat and filter.
pub(crate) const CHAINS: &[Chain<'static>] = &[
    Chain { name: USER, base: None },
    Chain { name: LOOPBACK, base: Some((ChainKind::Filter, Hook::Prerouting, -300)) },
    Chain { name: ARRIVING, base: Some((ChainKind::Nat, Hook::Prerouting, -100)) },
    Chain { name: FROM_HOST, base: Some((ChainKind::Nat, Hook::Output, -100)) },
    Chain { name: LEAVING, base: Some((ChainKind::Nat, Hook::Postrouting, 100)) },
    Chain { name: FORWARD, base: Some((ChainKind::Filter, Hook::Forward, 0)) },
];

const fn set(name: &'static str, key: &'static [DataType], value: Value<'static>, interval: bool) -> Set<'static> {
    Set { name, key, value, interval }
}
