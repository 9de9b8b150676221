//! Which subnet a new network gets.

use std::fs::{File, OpenOptions};
use std::net::Ipv6Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::cidr::Cidr;
use crate::error::{Error, Result};

/// Held by whichever engine on this host chooses a subnet or the name of its default bridge; in `/run` because it must
/// mean the same to all of them.
const LOCK_PATH: &str = "/run/tare-subnets.lock";

/// Pools that subnets are cut from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pools {
    pools: Vec<Pool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pool {
    base: Cidr,
    /// Prefix length of each subnet.
    size: u8,
}

/// While it lives, no other engine on this host chooses a subnet or a name for its default bridge: take it before the
/// choice, keep it until [`Network::ensure_bridge`](crate::Network::ensure_bridge) has made the choice visible.
#[derive(Debug)]
pub struct HostLock {
    _file: File,
}

impl HostLock {
    /// Waits for the lock.
    pub fn acquire() -> Result<Self> {
        Self::acquire_at(Path::new(LOCK_PATH))
    }

    fn acquire_at(path: &Path) -> Result<Self> {
        let step = "lock this host's networks";
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(|source| Error::io(step, path.display(), source))?;
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
            .map_err(|errno| Error::io(step, path.display(), errno.into()))?;
        Ok(Self { _file: file })
    }
}

impl Pools {
    /// Docker's defaults: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in parts of /20.
    pub fn docker() -> Self {
        let pool = |a, b, prefix, size| Pool { base: Cidr::ipv4([a, b, 0, 0], prefix), size };
        let single = (17..=19).map(|second| pool(172, second, 16, 16));
        let divided = [20, 24, 28].into_iter().map(|second| pool(172, second, 14, 16));
        Self { pools: single.chain(divided).chain([pool(192, 168, 16, 20)]).collect() }
    }

    /// Adds a pool of IPv6 subnets of /64 for a host: a unique local /48 (RFC 4193) whose 40 random bits come from `seed`,
    /// something that stays the same on this host and differs from others'.
    #[must_use]
    pub fn with_unique_local(mut self, seed: &[u8]) -> Self {
        // FNV-1a: spreads any seed over all bits, and secrecy is not asked for.
        let hash = seed.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let base = 0xfd_u128 << 120 | u128::from(hash >> 24) << 80;
        self.pools.extend(Cidr::new(Ipv6Addr::from(base).into(), 48).map(|base| Pool { base, size: 64 }));
        self
    }

    /// Pools with the prefix length of the subnets to cut from each (`default-address-pools`). `None` when a subnet
    /// would be larger than its pool or longer than an address.
    pub fn new(pools: &[(Cidr, u8)]) -> Option<Self> {
        let fits = |&(base, size): &(Cidr, u8)| base.split(size).next().is_some();
        let pools_fit = pools.iter().all(fits);
        let pool = |&(base, size): &(Cidr, u8)| Pool { base: base.network(), size };
        pools_fit.then(|| Self { pools: pools.iter().map(pool).collect() })
    }

    /// Each pool with the prefix length of its subnets.
    pub fn iter(&self) -> impl Iterator<Item = (Cidr, u8)> {
        self.pools.iter().map(|pool| (pool.base, pool.size))
    }

    /// The first subnet of a family that overlaps neither `taken` nor `live` ones.
    pub fn choose(&self, ipv6: bool, taken: &[Cidr], live: &[Cidr]) -> Option<Cidr> {
        let free = |candidate: &Cidr| !taken.iter().chain(live).any(|other| other.overlaps(*candidate));
        let mut candidates = self.pools.iter().filter(|pool| pool.base.is_ipv6() == ipv6).flat_map(Pool::subnets);
        candidates.find(free)
    }

    /// The first subnet of a given size ("any /24") that overlaps neither `taken` nor `live` ones.
    pub fn choose_sized(&self, ipv6: bool, size: u8, taken: &[Cidr], live: &[Cidr]) -> Option<Cidr> {
        let sized = |pool: &Pool| (pool.base, size.max(pool.base.prefix()));
        let pools: Vec<_> = self.pools.iter().filter(|pool| pool.base.prefix() <= size).map(sized).collect();
        Self::new(&pools)?.choose(ipv6, taken, live)
    }
}

impl Pool {
    /// Pools with more subnets than this are not searched to the end: a /8 of /30 would take seconds when all is taken.
    const MOST: usize = 65_536;

    fn subnets(&self) -> impl Iterator<Item = Cidr> + use<> {
        self.base.split(self.size).take(Self::MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidrs(texts: &[&str]) -> Vec<Cidr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn dockers_pools_in_order() {
        let pools = Pools::docker();
        let mut taken = Vec::new();
        while let Some(subnet) = pools.choose(false, &taken, &[]) {
            taken.push(subnet);
        }
        let text: Vec<_> = taken.iter().map(ToString::to_string).collect();
        assert_eq!(text.len(), 15 + 16);
        assert_eq!((text[0].as_str(), text[14].as_str()), ("172.17.0.0/16", "172.31.0.0/16"));
        assert_eq!((text[15].as_str(), text[30].as_str()), ("192.168.0.0/20", "192.168.240.0/20"));
        assert_eq!(pools.choose(true, &[], &[]), None);
    }

    #[test]
    fn live_routes_are_avoided() {
        let live = cidrs(&["172.16.0.0/14", "172.20.3.7/32", "10.0.0.0/8"]);
        let chosen = Pools::docker().choose(false, &cidrs(&["172.21.0.0/16"]), &live);
        assert_eq!(chosen, Some("172.22.0.0/16".parse().unwrap()));
    }

    #[test]
    fn pools_of_ones_own() {
        let pools = Pools::new(&[("10.99.0.0/16".parse().unwrap(), 24), ("fd00:1::/48".parse().unwrap(), 64)]).unwrap();
        let taken = cidrs(&["10.99.0.0/24", "fd00:1::/64"]);
        assert_eq!(pools.choose(false, &taken, &[]).unwrap().to_string(), "10.99.1.0/24");
        assert_eq!(pools.choose(true, &taken, &[]).unwrap().to_string(), "fd00:1:0:1::/64");
        assert_eq!(Pools::new(&[("10.0.0.0/24".parse().unwrap(), 16)]), None);
        assert_eq!(Pools::new(&[("10.0.0.0/24".parse().unwrap(), 33)]), None);
    }

    #[test]
    fn unique_local_subnets() {
        let pools = |seed: &[u8]| Pools::docker().with_unique_local(seed);
        let first = pools(b"host a").choose(true, &[], &[]).unwrap();
        let second = pools(b"host a").choose(true, &[first], &[]).unwrap();
        assert!(first.to_string().starts_with("fd") && first.prefix() == 64, "{first}");
        assert_eq!(first.nth(1 << 64), None);
        assert_eq!(second.index_of(first.address()), None);
        let site = |subnet: Cidr| Cidr::new(subnet.address(), 48).unwrap().network();
        assert_eq!(site(first), site(second));
        assert_ne!(site(pools(b"host b").choose(true, &[], &[]).unwrap()), site(first));
        assert_eq!(pools(b"host a").choose(false, &[], &[]), Pools::docker().choose(false, &[], &[]));
    }

    #[test]
    fn any_subnet_of_a_size() {
        let pools = Pools::docker();
        let taken = cidrs(&["172.17.0.0/24"]);
        assert_eq!(pools.choose_sized(false, 24, &taken, &[]).unwrap().to_string(), "172.17.1.0/24");
        assert_eq!(pools.choose_sized(false, 15, &taken, &[]).unwrap().to_string(), "172.20.0.0/15");
        assert_eq!(pools.choose_sized(false, 8, &taken, &[]), None);
        assert_eq!(pools.choose_sized(false, 200, &taken, &[]), None);
    }
}
