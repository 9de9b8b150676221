//! What bridges and published ports put into the sets.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tare_nftables::Transaction;
use tare_nftables::netfilter::ListedElement;
use tare_nftables::transaction::{Element, ElementValue};
use tare_nftables::value::{Key, KeyReader};

use super::{
    ANYWHERE_4, ANYWHERE_6, BRIDGES, INTERNAL, MASQUERADED_4, MASQUERADED_6, OPEN_4, OPEN_6, OWN_4, OWN_6, PUBLISHED_4,
    PUBLISHED_6, REACHED_4, REACHED_6, ROUTED_4, ROUTED_6, SOURCES_4, SOURCES_6, WITHIN,
};
use crate::bridge::BridgeSpec;
use crate::cidr::Cidr;
use crate::ports::PortMapping;

/// One element of one set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// Name of the set.
    pub set: &'static str,
    /// The element.
    pub element: ListedElement,
}

/// The elements of a bridge.
pub fn of_bridge(spec: &BridgeSpec) -> BTreeSet<Item> {
    let interface = || Key::new().interface(&spec.bridge);
    let mut items = BTreeSet::from([plain(BRIDGES, interface())]);
    if spec.internal {
        items.insert(plain(INTERNAL, interface()));
    }
    if spec.icc {
        items.insert(plain(WITHIN, interface().interface(&spec.bridge)));
    }
    let trusted = |trusted: &String| plain(WITHIN, Key::new().interface(trusted).interface(&spec.bridge));
    items.extend(spec.trusted.iter().map(trusted));
    let open = [(spec.open_v4, OPEN_4), (spec.open_v6, OPEN_6), (spec.routed_v4, ROUTED_4), (spec.routed_v6, ROUTED_6)];
    items.extend(open.into_iter().filter(|(open, _)| *open).map(|(_, set)| plain(set, interface())));
    for subnet in spec.subnets.iter().map(|subnet| subnet.subnet.network()) {
        let own = if subnet.is_ipv6() { OWN_6 } else { OWN_4 };
        let end = |address| interface().address(address).into_bytes();
        let element = ListedElement { last: Some(end(subnet.last())), ..element(end(subnet.first())) };
        items.insert(Item { set: own, element });
        let routed = if subnet.is_ipv6() { spec.routed_v6 } else { spec.routed_v4 };
        if spec.masquerade && !spec.internal && !routed {
            let (masqueraded, sources, source) = match subnet.is_ipv6() {
                false => (MASQUERADED_4, SOURCES_4, spec.source_v4.map(IpAddr::V4)),
                true => (MASQUERADED_6, SOURCES_6, spec.source_v6.map(IpAddr::V6)),
            };
            let set = if source.is_some() { sources } else { masqueraded };
            items.extend(range(set, subnet.first(), subnet.last()).map(|mut item| {
                if let Some(source) = source.filter(|_| !item.element.ends_range) {
                    item.element.value = Key::new().address(source).into_bytes();
                }
                item
            }));
        }
    }
    items
}

/// Those of some items that belong to a bridge, by its name: for a bridge that is only known from them.
pub fn of_interface(items: &BTreeSet<Item>, bridge: &str) -> BTreeSet<Item> {
    let name = Key::new().interface(bridge).into_bytes();
    let by_name = |item: &&Item| {
        let own = [BRIDGES, INTERNAL, WITHIN, OPEN_4, OPEN_6, ROUTED_4, ROUTED_6, OWN_4, OWN_6].contains(&item.set);
        own && item.element.key.starts_with(&name) || item.set == WITHIN && item.element.key.ends_with(&name)
    };
    let mut found: BTreeSet<Item> = items.iter().filter(by_name).cloned().collect();
    let leaving: Vec<_> = found.iter().flat_map(|own| leaving(items, own)).collect();
    found.extend(leaving);
    found
}

/// Those of some items that say under which address the subnet in an item of [`OWN_4`] or [`OWN_6`] leaves the host.
fn leaving(items: &BTreeSet<Item>, own: &Item) -> Vec<Item> {
    let sets = match own.set {
        OWN_4 => [MASQUERADED_4, SOURCES_4],
        OWN_6 => [MASQUERADED_6, SOURCES_6],
        _ => return Vec::new(),
    };
    let Some((first, last)) = ends(own) else { return Vec::new() };
    let keys: Vec<_> = range(own.set, first, last).map(|item| (item.element.key, item.element.ends_range)).collect();
    let is_its = |item: &&Item| {
        let key = |(key, ends): &(Vec<u8>, bool)| *key == item.element.key && *ends == item.element.ends_range;
        sets.contains(&item.set) && keys.iter().any(key)
    };
    items.iter().filter(is_its).cloned().collect()
}

/// The subnet in an item of [`OWN_4`] or [`OWN_6`].
pub(crate) fn subnet(item: &Item) -> Option<Cidr> {
    let (first, last) = ends(item)?;
    let prefix = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (first.to_bits() ^ last.to_bits()).leading_zeros(),
        (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits() ^ last.to_bits()).leading_zeros(),
        _ => return None,
    };
    Cidr::new(first, u8::try_from(prefix).ok()?)
}

/// The first and the last address of such an item.
fn ends(item: &Item) -> Option<(IpAddr, IpAddr)> {
    let address = |bytes: &[u8]| {
        let mut reader = KeyReader(bytes);
        reader.interface()?;
        if item.set == OWN_4 { reader.ipv4().map(IpAddr::V4) } else { reader.ipv6().map(IpAddr::V6) }
    };
    Some((address(&item.element.key)?, address(item.element.last.as_ref()?)?))
}

/// The element of a published port; `None` when the families differ and the port's socket must be relayed, and for a port
/// that leads nowhere for now.
pub fn of_port(mapping: &PortMapping) -> Option<Item> {
    if mapping.container_ip.is_unspecified() {
        return None;
    }
    if mapping.is_direct() {
        let set = if mapping.container_ip.is_ipv6() { REACHED_6 } else { REACHED_4 };
        let key = Key::new().address(mapping.container_ip).protocol(mapping.protocol.number());
        return Some(plain(set, key.port(mapping.container_port)));
    }
    let (one, any) = match (mapping.host_ip, mapping.container_ip) {
        (IpAddr::V4(_), IpAddr::V4(_)) => (PUBLISHED_4, ANYWHERE_4),
        // ::1 cannot be routed, see the rules.
        (IpAddr::V6(host), IpAddr::V6(_)) if !host.is_loopback() => (PUBLISHED_6, ANYWHERE_6),
        _ => return None,
    };
    let anywhere = mapping.host_ip.is_unspecified();
    let key = if anywhere { Key::new() } else { Key::new().address(mapping.host_ip) };
    let key = key.protocol(mapping.protocol.number()).port(mapping.host_port).into_bytes();
    let value = Key::new().address(mapping.container_ip).port(mapping.container_port).into_bytes();
    Some(Item { set: if anywhere { any } else { one }, element: ListedElement { value, ..element(key) } })
}

/// Appends the additions and deletions of items, set by set.
pub fn change(transaction: &mut Transaction<'_>, delete: &BTreeSet<Item>, add: &BTreeSet<Item>) {
    for (set, elements) in by_set(delete) {
        transaction.delete_elements(set, &elements);
    }
    for (set, elements) in by_set(add) {
        transaction.add_elements(set, &elements);
    }
}

fn by_set(items: &BTreeSet<Item>) -> Vec<(&'static str, Vec<Element<'static>>)> {
    let mut sets: Vec<(&'static str, Vec<Element<'static>>)> = Vec::new();
    for item in items {
        match sets.last_mut().filter(|(set, _)| *set == item.set) {
            Some((_, elements)) => elements.push(to_element(&item.element)),
            None => sets.push((item.set, vec![to_element(&item.element)])),
        }
    }
    sets
}

fn to_element(listed: &ListedElement) -> Element<'static> {
    let value = if listed.value.is_empty() { ElementValue::Nothing } else { ElementValue::Data(listed.value.clone()) };
    Element { key: listed.key.clone(), last: listed.last.clone(), ends_range: listed.ends_range, value }
}

fn element(key: Vec<u8>) -> ListedElement {
    ListedElement { key, last: None, ends_range: false, value: Vec::new() }
}

fn plain(set: &'static str, key: Key) -> Item {
    Item { set, element: element(key.into_bytes()) }
}

/// A subnet in a set of ranges: its first address, and the one after its last as the end (none after the very last).
fn range(set: &'static str, first: IpAddr, last: IpAddr) -> impl Iterator<Item = Item> {
    let key = |address| Key::new().address(address).into_bytes();
    let first = element(key(first));
    let end = after(last).map(|address| ListedElement { ends_range: true, ..element(key(address)) });
    std::iter::once(first).chain(end).map(move |element| Item { set, element })
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4.to_bits().checked_add(1).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(v6) => v6.to_bits().checked_add(1).map(|bits| IpAddr::V6(bits.into())),
    }
}
