//! An address with the length of its network prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `172.17.0.1/16`: an address in a network, or a network when the host bits are zero. The prefix always fits the
/// address's family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// Text that is no address with a prefix length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid CIDR address: {0}")]
pub struct ParseCidrError(String);

impl Cidr {
    /// `None` when the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        (prefix <= width(address)).then_some(Self { address, prefix })
    }

    /// For constants; a prefix above 32 is taken as 32.
    pub(crate) const fn ipv4([a, b, c, d]: [u8; 4], prefix: u8) -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix: if prefix > 32 { 32 } else { prefix } }
    }

    /// The address as given, host bits included.
    pub fn address(self) -> IpAddr {
        self.address
    }

    /// Length of the network prefix in bits.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// IPv6.
    pub fn is_ipv6(self) -> bool {
        self.address.is_ipv6()
    }

    /// The network: host bits zero.
    #[must_use]
    pub fn network(self) -> Self {
        Self { address: self.first(), prefix: self.prefix }
    }

    /// The first address of the network.
    pub fn first(self) -> IpAddr {
        from_number(number(self.address) & !self.host_mask(), self.is_ipv6())
    }

    /// The last address of the network.
    pub fn last(self) -> IpAddr {
        from_number(number(self.address) | self.host_mask(), self.is_ipv6())
    }

    /// True when an address is in the network.
    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv6() == self.is_ipv6() && number(address) & !self.host_mask() == number(self.first())
    }

    /// True when the whole of another network is in this one.
    pub fn covers(self, other: Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }

    /// True when the two networks have an address in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.first()) || other.contains(self.first())
    }

    /// The `index`-th address of the network, `None` beyond its end.
    pub fn nth(self, index: u128) -> Option<IpAddr> {
        (index <= self.host_mask()).then(|| from_number(number(self.first()) + index, self.is_ipv6()))
    }

    /// The position of an address in the network.
    pub fn index_of(self, address: IpAddr) -> Option<u128> {
        self.contains(address).then(|| number(address) & self.host_mask())
    }

    /// The networks of `prefix` bits that this one consists of, in order; none when it is smaller than that.
    pub fn split(self, prefix: u8) -> impl Iterator<Item = Self> {
        let width = width(self.address);
        let step = 1_u128.checked_shl((width - prefix.min(width)).into());
        let possible = prefix >= self.prefix && prefix <= width;
        let mut next = possible.then_some(0_u128);
        std::iter::from_fn(move || {
            let index = next?;
            next = step.and_then(|step| index.checked_add(step)).filter(|index| *index <= self.host_mask());
            self.nth(index).map(|address| Self { address, prefix })
        })
    }

    fn host_mask(self) -> u128 {
        let host_bits = u32::from(width(self.address) - self.prefix);
        1_u128.checked_shl(host_bits).map_or(u128::MAX, |size| size - 1)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// IPv4 numbers come from [`number`] and masks of 32 bits: nothing is lost.
fn from_number(number: u128, ipv6: bool) -> IpAddr {
    if ipv6 {
        return Ipv6Addr::from_bits(number).into();
    }
    Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into()
}

impl FromStr for Cidr {
    type Err = ParseCidrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            // Rust's integers may begin with `+`, prefix lengths may not.
            let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
            let prefix = prefix.parse().ok().filter(|_| digits)?;
            Self::new(address.parse().ok()?, prefix)
        };
        parse().ok_or_else(|| ParseCidrError(text.to_owned()))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn text() {
        for good in ["172.17.0.1/16", "0.0.0.0/0", "::/0", "fd00::1/64", "10.0.0.1/32"] {
            assert_eq!(cidr(good).to_string(), good);
        }
        for bad in [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "::/129",
            "x/8",
            "10.0.0.0/8/8",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn parts() {
        let network = cidr("172.17.5.9/16");
        assert_eq!(network.network(), cidr("172.17.0.0/16"));
        assert_eq!(
            (network.first(), network.last()),
            (cidr("172.17.0.0/0").address(), cidr("172.17.255.255/0").address())
        );
        assert_eq!(network.nth(65_536), None);
        assert!(network.covers(cidr("172.17.4.0/24")) && !network.covers(cidr("172.16.0.0/12")));
        assert!(network.overlaps(cidr("172.16.0.0/12")) && !network.overlaps(cidr("172.18.0.0/16")));
        assert!(!cidr("0.0.0.0/0").overlaps(cidr("::/0")));
        let parts: Vec<_> = cidr("172.20.0.0/14").split(16).map(|part| part.to_string()).collect();
        assert_eq!(parts, ["172.20.0.0/16", "172.21.0.0/16", "172.22.0.0/16", "172.23.0.0/16"]);
        assert_eq!(cidr("10.0.0.0/24").split(16).count(), 0);
        assert_eq!(cidr("::/0").split(1).count(), 2);
        assert_eq!(cidr("::/0").split(0).count(), 1);
        assert_eq!(cidr("10.0.0.0/31").split(32).count(), 2);
    }

    fn any_cidr() -> impl Strategy<Value = Cidr> {
        let v4 = (any::<Ipv4Addr>(), 0..=32_u8).prop_map(|(address, prefix)| (IpAddr::V4(address), prefix));
        let v6 = (any::<Ipv6Addr>(), 0..=128_u8).prop_map(|(address, prefix)| (IpAddr::V6(address), prefix));
        prop_oneof![v4, v6].prop_map(|(address, prefix)| Cidr::new(address, prefix).unwrap())
    }

    proptest! {
        #[test]
        fn text_and_back(cidr in any_cidr()) {
            prop_assert_eq!(cidr.to_string().parse::<Cidr>().unwrap(), cidr);
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Cidr>();
        }

        #[test]
        fn a_network_contains_its_ends_and_indexes_agree(cidr in any_cidr(), index: u128) {
            prop_assert!(cidr.contains(cidr.first()) && cidr.contains(cidr.last()) && cidr.contains(cidr.address()));
            if let Some(address) = cidr.nth(index) {
                prop_assert_eq!(cidr.index_of(address), Some(index));
            }
        }

        #[test]
        fn overlapping_is_symmetric(a in any_cidr(), b in any_cidr()) {
            prop_assert_eq!(a.overlaps(b), b.overlaps(a));
            prop_assert!(!a.covers(b) || a.overlaps(b));
        }
    }
}
