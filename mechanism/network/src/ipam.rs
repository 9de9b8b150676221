//! Which address of a network is whose. Pure: the engine keeps one [`Ipam`] per network and family.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::cidr::Cidr;

/// The addresses of one network.
#[derive(Debug, Clone)]
pub struct Ipam {
    subnet: Cidr,
    /// Where addresses that nobody asked for are taken from.
    range: Cidr,
    gateway: IpAddr,
    /// Positions in the subnet that are taken.
    taken: BTreeSet<u128>,
    /// No free position of the range is below this one.
    lowest: u128,
}

/// An address that cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// Someone has it, or it is reserved.
    #[error("address {0} is in use")]
    InUse(IpAddr),
    /// It is not in the network.
    #[error("address {0} is not in subnet {1}")]
    OutOfSubnet(IpAddr, Cidr),
    /// The range for addresses is not in the network.
    #[error("range {0} is not in subnet {1}")]
    RangeOutOfSubnet(Cidr, Cidr),
    /// All are taken.
    #[error("no address is free in {0}")]
    Exhausted(Cidr),
}

impl Ipam {
    /// Addresses of `subnet`, taken from `range` where given. The gateway (by default the first address after the
    /// network's own), the network's address, the broadcast address and `auxiliary` ones are reserved.
    pub fn new(
        subnet: Cidr,
        range: Option<Cidr>,
        gateway: Option<IpAddr>,
        auxiliary: &[IpAddr],
    ) -> Result<Self, IpamError> {
        let subnet = subnet.network();
        let range = range.unwrap_or(subnet).network();
        if !subnet.covers(range) {
            return Err(IpamError::RangeOutOfSubnet(range, subnet));
        }
        let gateway = gateway.or_else(|| subnet.nth(first_host(subnet))).ok_or(IpamError::Exhausted(subnet))?;
        let lowest = subnet.index_of(range.first()).unwrap_or_default();
        let mut ipam = Self { subnet, range, gateway, taken: BTreeSet::new(), lowest };
        if has_network_address(subnet) {
            ipam.taken.insert(0);
        }
        if has_network_address(subnet) && !subnet.is_ipv6() {
            ipam.taken.extend(subnet.index_of(subnet.last()));
        }
        ipam.allocate_exact(gateway)?;
        for address in auxiliary {
            // Docker takes an auxiliary address that is the gateway or repeated.
            match ipam.allocate_exact(*address) {
                Ok(()) | Err(IpamError::InUse(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(ipam)
    }

    /// The network.
    pub fn subnet(&self) -> Cidr {
        self.subnet
    }

    /// The gateway's address.
    pub fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// Number of addresses that are taken or reserved.
    pub fn taken(&self) -> usize {
        self.taken.len()
    }

    /// Takes the lowest free address of the range.
    pub fn allocate(&mut self) -> Result<IpAddr, IpamError> {
        let exhausted = IpamError::Exhausted(self.range);
        let mut index = self.lowest;
        for taken in self.taken.range(index..) {
            if *taken != index {
                break;
            }
            index = index.checked_add(1).ok_or(exhausted)?;
        }
        let address = self.subnet.nth(index).filter(|address| self.range.contains(*address)).ok_or(exhausted)?;
        self.taken.insert(index);
        self.lowest = index.saturating_add(1);
        Ok(address)
    }

    /// Takes this address, which may be outside the range.
    pub fn allocate_exact(&mut self, address: IpAddr) -> Result<(), IpamError> {
        let index = self.subnet.index_of(address).ok_or(IpamError::OutOfSubnet(address, self.subnet))?;
        if self.taken.insert(index) { Ok(()) } else { Err(IpamError::InUse(address)) }
    }

    /// Gives an address back. Releasing one that is free, reserved or foreign changes nothing.
    pub fn release(&mut self, address: IpAddr) {
        let reserved = address == self.gateway
            || has_network_address(self.subnet)
                && (address == self.subnet.first() || (!self.subnet.is_ipv6() && address == self.subnet.last()));
        let Some(index) = self.subnet.index_of(address).filter(|_| !reserved) else { return };
        if self.taken.remove(&index) && self.range.contains(address) {
            self.lowest = self.lowest.min(index);
        }
    }
}

/// Networks of one or two addresses use all of them for hosts (RFC 3021, RFC 6164).
fn has_network_address(subnet: Cidr) -> bool {
    subnet.index_of(subnet.last()).is_some_and(|last| last > 1)
}

fn first_host(subnet: Cidr) -> u128 {
    u128::from(has_network_address(subnet))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn counts_up_from_the_second_address() {
        let mut ipam = Ipam::new(cidr("172.17.0.0/16"), None, None, &[ip("172.17.0.4")]).unwrap();
        assert_eq!(ipam.gateway(), ip("172.17.0.1"));
        let first: Vec<_> = (0..3).map(|_| ipam.allocate().unwrap().to_string()).collect();
        assert_eq!(first, ["172.17.0.2", "172.17.0.3", "172.17.0.5"]);
        ipam.release(ip("172.17.0.3"));
        assert_eq!(ipam.allocate(), Ok(ip("172.17.0.3")));
        assert_eq!(ipam.allocate(), Ok(ip("172.17.0.6")));
    }

    #[test]
    fn a_range_inside_the_subnet() {
        let mut ipam = Ipam::new(cidr("172.28.0.0/16"), Some(cidr("172.28.5.0/30")), None, &[]).unwrap();
        assert_eq!(ipam.gateway(), ip("172.28.0.1"));
        let all: Vec<_> = std::iter::from_fn(|| ipam.allocate().ok()).map(|address| address.to_string()).collect();
        assert_eq!(all, ["172.28.5.0", "172.28.5.1", "172.28.5.2", "172.28.5.3"]);
        assert_eq!(ipam.allocate(), Err(IpamError::Exhausted(cidr("172.28.5.0/30"))));
        assert_eq!(ipam.allocate_exact(ip("172.28.9.9")), Ok(()));
        ipam.release(ip("172.28.5.2"));
        assert_eq!(ipam.allocate(), Ok(ip("172.28.5.2")));
    }

    #[test]
    fn refusals() {
        let mut ipam = Ipam::new(cidr("10.0.0.0/30"), None, None, &[]).unwrap();
        for taken in ["10.0.0.0", "10.0.0.1", "10.0.0.3"] {
            assert_eq!(ipam.allocate_exact(ip(taken)), Err(IpamError::InUse(ip(taken))));
            ipam.release(ip(taken));
            assert_eq!(ipam.allocate_exact(ip(taken)), Err(IpamError::InUse(ip(taken))));
        }
        let message = ipam.allocate_exact(ip("10.0.1.1")).unwrap_err().to_string();
        assert_eq!(message, "address 10.0.1.1 is not in subnet 10.0.0.0/30");
        assert!(Ipam::new(cidr("10.0.0.0/24"), Some(cidr("10.0.1.0/25")), None, &[]).is_err());
        assert!(Ipam::new(cidr("10.0.0.0/24"), None, Some(ip("10.0.1.1")), &[]).is_err());
    }

    #[test]
    fn small_and_large_networks() {
        let mut pair = Ipam::new(cidr("10.0.0.0/31"), None, None, &[]).unwrap();
        assert_eq!((pair.gateway(), pair.allocate()), (ip("10.0.0.0"), Ok(ip("10.0.0.1"))));
        assert!(pair.allocate().is_err());
        let mut v6 = Ipam::new(cidr("fd00::/64"), None, None, &[]).unwrap();
        assert_eq!((v6.gateway(), v6.allocate()), (ip("fd00::1"), Ok(ip("fd00::2"))));
        assert_eq!(v6.allocate_exact(ip("fd00::ffff:ffff:ffff:ffff")), Ok(()));
    }

    proptest! {
        #[test]
        fn no_address_is_given_twice(operations in prop::collection::vec((0..3_u8, 0..32_u128), 0..200)) {
            let subnet = cidr("10.0.0.0/27");
            let mut ipam = Ipam::new(subnet, None, None, &[]).unwrap();
            let mut held = BTreeSet::new();
            for (operation, index) in operations {
                let address = subnet.nth(index).unwrap();
                match operation {
                    0 => if let Ok(address) = ipam.allocate() {
                        prop_assert!(held.insert(address));
                        let lower = (2..subnet.index_of(address).unwrap()).map(|index| subnet.nth(index).unwrap());
                        prop_assert!(lower.into_iter().all(|address| held.contains(&address)), "not the lowest");
                    } else {
                        prop_assert_eq!(held.len(), 29);
                    },
                    1 => prop_assert_eq!(ipam.allocate_exact(address).is_ok(), index > 1 && index < 31 && held.insert(address)),
                    _ => if held.remove(&address) { ipam.release(address) },
                }
            }
        }
    }
}
