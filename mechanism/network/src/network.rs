//! [`Network`]: the host side, shared by all threads of an engine.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tare_netlink::{Protocol, Socket};
use tare_netlink::{address, link, path};
use tare_nftables::{Netfilter, Transaction};

use crate::bridge::Bridge;
use crate::cidr::Cidr;
use crate::error::{Error, Result};
use crate::firewall::items::{self, Item};
use crate::firewall::{self, FAMILY, SETS};
use crate::netns::ReadyNamespaces;
use crate::pools::{HostLock, Pools};

/// Elements changed in one transaction: with the longest keys (about 130 bytes on the wire) they stay below the default
/// send buffer of 208 KiB.
const ITEMS_PER_TRANSACTION: usize = 1000;

const ENOENT: i32 = 2;
/// What the kernel says when a map has another value for the key.
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;

/// How a [`Network`] works.
#[derive(Debug, Clone)]
pub struct Config {
    /// Tells engines on the same host apart: part of the names of everything made here. 8 hexadecimal digits.
    pub instance: String,
    /// Packets of containers are let through other firewalls' chains that drop what nothing else decides about
    /// ([`Network::renew_passages`]).
    pub passages: bool,
    /// Network namespaces kept ready for [`Network::new_netns`]; with 0 they are made when asked for.
    pub ready_namespaces: usize,
}

/// Networks, endpoints and published ports of one engine on one host.
#[derive(Debug)]
pub struct Network {
    /// Name of the nf_tables table, and alias of every link made here.
    pub(crate) mark: String,
    route: Mutex<Socket>,
    /// For what blocks its caller for many milliseconds, so that it does not block the others.
    teardown: Mutex<Socket>,
    netfilter: Mutex<Netfilter>,
    /// Listing connections takes long where there are many.
    conntrack: Mutex<Netfilter>,
    state: Mutex<State>,
    pub(crate) passages: bool,
    pub(crate) ready: Option<ReadyNamespaces>,
}

/// What should exist, as far as this process has been told.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) bridges: HashMap<String, Bridge>,
    /// Published ports, by set and key.
    pub(crate) ports: BTreeMap<(&'static str, Vec<u8>), Item>,
}

impl Network {
    /// Opens the sockets and makes (or renews) the nf_tables table. What is in its sets and in the owner's chain stays.
    pub fn open(config: Config) -> Result<Self> {
        let network = Self {
            mark: firewall::table_name(&config.instance),
            route: Mutex::new(Socket::open(Protocol::Route)?),
            teardown: Mutex::new(Socket::open(Protocol::Route)?),
            netfilter: Mutex::new(Netfilter::open()?),
            conntrack: Mutex::new(Netfilter::open()?),
            state: Mutex::default(),
            passages: config.passages,
            ready: if config.ready_namespaces == 0 {
                None
            } else {
                Some(ReadyNamespaces::start(config.ready_namespaces)?)
            },
        };
        network.netfilter().commit(firewall::rules::table(&network.mark))?;
        Ok(network)
    }

    /// Puts the table and everything this process knows of back, for when someone flushed the ruleset.
    pub fn restore_rules(&self) -> Result<()> {
        let desired = self.desired();
        self.netfilter().commit(firewall::rules::table(&self.mark))?;
        self.sync(&desired).map(drop)?;
        self.renew_passages()
    }

    /// Removes the table, and the rules in others' chains: for the end of an engine's life on this host.
    pub fn remove_rules(&self) -> Result<()> {
        self.close_passages()?;
        let mut transaction = Transaction::new(FAMILY, &self.mark);
        transaction.delete_table();
        match self.netfilter().commit(transaction) {
            Err(error) if error.errno() == Some(ENOENT) => Ok(()),
            result => Ok(result?),
        }
    }

    /// Chooses a subnet that no network in `taken` and no route or address of this host overlaps, of a given prefix
    /// length or of the pool's.
    pub fn choose_subnet(
        &self,
        pools: &Pools,
        ipv6: bool,
        size: Option<u8>,
        taken: &[Cidr],
        _lock: &HostLock,
    ) -> Result<Cidr> {
        let live = self.live_networks()?;
        let subnet = match size {
            Some(size) => pools.choose_sized(ipv6, size, taken, &live),
            None => pools.choose(ipv6, taken, &live),
        };
        subnet.ok_or(Error::NoSubnet)
    }

    /// The subnets of other engines like this one on the host. A bridge may be without an address, and no route shows them.
    fn claimed(&self) -> Result<Vec<Cidr>> {
        let mut netfilter = self.netfilter();
        let chains = netfilter.base_chains()?;
        let of_other = |table: &String| firewall::is_table_name(table) && *table != self.mark;
        let tables: BTreeSet<String> = chains.into_iter().map(|chain| chain.table).filter(of_other).collect();
        let mut subnets = Vec::new();
        for table in tables {
            for set in [firewall::OWN_4, firewall::OWN_6] {
                let elements = netfilter.elements(FAMILY, &table, set)?.unwrap_or_default();
                subnets.extend(elements.into_iter().filter_map(|element| items::subnet(&Item { set, element })));
            }
        }
        Ok(subnets)
    }

    /// The networks that this host has addresses in or routes to (default routes aside), and those of other engines.
    pub fn live_networks(&self) -> Result<Vec<Cidr>> {
        let mut socket = self.route();
        let addresses = address::list(&mut socket)?.into_iter().map(|own| (own.address, own.prefix));
        let routes = path::list(&mut socket)?.into_iter().filter_map(|route| route.destination);
        let network = |(address, prefix): (IpAddr, u8)| Cidr::new(address, prefix).map(Cidr::network);
        let live = addresses.chain(routes).filter_map(network).filter(|network| network.prefix() > 0);
        Ok(live.chain(self.claimed()?).collect())
    }

    /// The MTU (bytes) of the interface that the host's default route goes out of, 1500 without one.
    pub fn default_route_mtu(&self) -> Result<u32> {
        /// Ethernet's.
        const USUAL: u32 = 1500;
        let mut socket = self.route();
        let default =
            path::list(&mut socket)?.into_iter().find(|route| route.destination.is_none() && route.index.is_some());
        let Some(index) = default.and_then(|route| route.index) else { return Ok(USUAL) };
        Ok(link::list(&mut socket)?.into_iter().find(|link| link.index == index).map_or(USUAL, |link| link.mtu))
    }

    /// Everything that should be in the sets.
    pub(crate) fn desired(&self) -> BTreeSet<Item> {
        let state = self.state();
        let bridges = state.bridges.values().flat_map(|bridge| items::of_bridge(&bridge.spec));
        bridges.chain(state.ports.values().cloned()).collect()
    }

    /// Everything that is in the sets.
    pub(crate) fn current(&self) -> Result<BTreeSet<Item>> {
        let mut netfilter = self.netfilter();
        let mut items = BTreeSet::new();
        for set in SETS {
            let elements = netfilter.elements(FAMILY, &self.mark, set.name)?.unwrap_or_default();
            items.extend(elements.into_iter().map(|element| Item { set: set.name, element }));
        }
        Ok(items)
    }

    /// Makes the sets contain exactly these items; returns how many were deleted and added.
    pub(crate) fn sync(&self, desired: &BTreeSet<Item>) -> Result<(usize, usize)> {
        let current = self.current()?;
        let delete: BTreeSet<_> = current.difference(desired).cloned().collect();
        let add: BTreeSet<_> = desired.difference(&current).cloned().collect();
        self.change(&delete, &add)?;
        Ok((delete.len(), add.len()))
    }

    /// Adds items. Others with the same keys are replaced; a table that someone flushed is restored first.
    pub(crate) fn add(&self, items: &BTreeSet<Item>) -> Result<()> {
        match self.change(&BTreeSet::new(), items).map_err(|error| (error.errno(), error)) {
            Ok(()) => Ok(()),
            Err((Some(ENOENT), _)) => {
                self.restore_rules()?;
                self.change(&BTreeSet::new(), items)
            }
            Err((Some(EBUSY | EEXIST), _)) => {
                let same_key = |a: &Item, b: &Item| a.set == b.set && a.element.key == b.element.key && a != b;
                let current = self.current()?;
                let stale = current.into_iter().filter(|old| items.iter().any(|new| same_key(old, new))).collect();
                self.change(&stale, items)
            }
            Err((_, error)) => Err(error),
        }
    }

    /// Deletes items. Those that are not there are no failure.
    pub(crate) fn delete(&self, items: &BTreeSet<Item>) -> Result<()> {
        match self.change(items, &BTreeSet::new()) {
            Err(error) if error.errno() == Some(ENOENT) => {
                let present = self.current()?.intersection(items).cloned().collect();
                self.change(&present, &BTreeSet::new())
            }
            result => result,
        }
    }

    /// Deletes, then adds: in one transaction unless there are very many.
    fn change(&self, delete: &BTreeSet<Item>, add: &BTreeSet<Item>) -> Result<()> {
        let mut netfilter = self.netfilter();
        if delete.len() + add.len() <= ITEMS_PER_TRANSACTION {
            let mut transaction = Transaction::new(FAMILY, &self.mark);
            items::change(&mut transaction, delete, add);
            return Ok(netfilter.commit(transaction)?);
        }
        let nothing = BTreeSet::new();
        for (set, deletes) in [(delete, true), (add, false)] {
            let all: Vec<&Item> = set.iter().collect();
            for some in all.chunks(ITEMS_PER_TRANSACTION) {
                let some = some.iter().copied().cloned().collect();
                let mut transaction = Transaction::new(FAMILY, &self.mark);
                let (delete, add) = if deletes { (&some, &nothing) } else { (&nothing, &some) };
                items::change(&mut transaction, delete, add);
                netfilter.commit(transaction)?;
            }
        }
        Ok(())
    }

    pub(crate) fn route(&self) -> MutexGuard<'_, Socket> {
        locked(&self.route)
    }

    pub(crate) fn teardown(&self) -> MutexGuard<'_, Socket> {
        locked(&self.teardown)
    }

    pub(crate) fn conntrack(&self) -> MutexGuard<'_, Netfilter> {
        locked(&self.conntrack)
    }

    pub(crate) fn netfilter(&self) -> MutexGuard<'_, Netfilter> {
        locked(&self.netfilter)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

/// A thread that panicked in here left nothing half done that matters: sockets discard stale answers, maps are changed
/// in single steps.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
