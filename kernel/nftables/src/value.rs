//! Families, hooks, data types, keys, verdicts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which packets a table sees (`NFPROTO_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// The kernel's number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ipv4 => 2,
            Self::Ipv6 => 10,
        }
    }

    /// The family with a number of the kernel's; others (bridges, devices) have none here.
    pub fn of_number(number: u8) -> Option<Self> {
        [Self::Inet, Self::Ipv4, Self::Ipv6].into_iter().find(|family| family.number() == number)
    }

    /// Its name, as `nft` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ipv4 => "ip",
            Self::Ipv6 => "ip6",
        }
    }
}

/// Where a base chain is called (`NF_INET_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Arriving packets, before routing.
    Prerouting = 0,
    /// Packets for this host.
    Input = 1,
    /// Packets passing through.
    Forward = 2,
    /// Packets of this host's processes.
    Output = 3,
    /// Departing packets, after routing.
    Postrouting = 4,
}

/// The type of a base chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// Every packet.
    Filter,
    /// The first packet of each connection.
    Nat,
}

impl ChainKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

/// The type of (a part of) a set's key or a map's value. The kernel only wants the length; the number is for whoever
/// lists the set with `nft`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataType {
    /// IPv4 address.
    Ipv4,
    /// IPv6 address.
    Ipv6,
    /// Transport protocol.
    Protocol,
    /// Port.
    Port,
    /// Interface name.
    InterfaceName,
}

impl DataType {
    pub(crate) const fn length(self) -> u32 {
        match self {
            Self::Ipv4 => 4,
            Self::Ipv6 | Self::InterfaceName => 16,
            Self::Protocol => 1,
            Self::Port => 2,
        }
    }

    /// The number that `nft` (libnftables, `enum datatypes`) knows it by.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Protocol => 12,
            Self::Port => 13,
            Self::InterfaceName => 41,
        }
    }
}

/// Builds keys and values: each part is padded to 4 bytes when there are several, as registers are.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Vec<u8>);

impl Key {
    /// An empty key.
    pub fn new() -> Self {
        Self(Vec::with_capacity(32))
    }

    /// Appends an IPv4 or IPv6 address.
    #[must_use]
    pub fn address(mut self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => self.0.extend_from_slice(&v4.octets()),
            IpAddr::V6(v6) => self.0.extend_from_slice(&v6.octets()),
        }
        self
    }

    /// Appends a transport protocol number.
    #[must_use]
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.0.extend_from_slice(&[protocol, 0, 0, 0]);
        self
    }

    /// Appends a port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        let [high, low] = port.to_be_bytes();
        self.0.extend_from_slice(&[high, low, 0, 0]);
        self
    }

    /// Appends an interface name.
    #[must_use]
    pub fn interface(mut self, name: &str) -> Self {
        self.0.extend_from_slice(&interface_name(name));
        self
    }

    /// The bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// An interface name as the kernel compares it: 16 bytes, filled up with zeros (and cut there; longer names do not
/// exist).
pub fn interface_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    bytes
}

/// The inverse of [`Key`], for listed elements.
#[derive(Debug, Clone)]
pub struct KeyReader<'a>(pub &'a [u8]);

impl KeyReader<'_> {
    /// An IPv4 address.
    pub fn ipv4(&mut self) -> Option<Ipv4Addr> {
        self.take().map(Ipv4Addr::from_octets)
    }

    /// An IPv6 address.
    pub fn ipv6(&mut self) -> Option<Ipv6Addr> {
        self.take().map(Ipv6Addr::from_octets)
    }

    /// A transport protocol number.
    pub fn protocol(&mut self) -> Option<u8> {
        self.take::<4>().map(|bytes| bytes[0])
    }

    /// A port.
    pub fn port(&mut self) -> Option<u16> {
        self.take::<4>().map(|[high, low, _, _]| u16::from_be_bytes([high, low]))
    }

    /// An interface name.
    pub fn interface(&mut self) -> Option<String> {
        let bytes = self.take::<16>()?;
        let length = bytes.iter().position(|byte| *byte == 0)?;
        String::from_utf8(bytes.get(..length)?.to_vec()).ok()
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }
}

/// What happens to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// This base chain lets it pass; the others of the hook still see it.
    Accept,
    /// Gone, whatever others say.
    Drop,
    /// Back to the calling chain.
    Return,
    /// Into another chain, coming back after it.
    Jump(&'a str),
}

impl Verdict<'_> {
    /// `NF_*` and `NFT_*`.
    pub(crate) const fn code(self) -> u32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Jump(_) => (-3_i32).cast_unsigned(),
            Self::Return => (-5_i32).cast_unsigned(),
        }
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back() {
        let bytes = Key::new()
            .address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)))
            .protocol(6)
            .port(8080)
            .interface("tare0")
            .address(IpAddr::V6(Ipv6Addr::LOCALHOST))
            .into_bytes();
        assert_eq!(bytes.len(), 4 + 4 + 4 + 16 + 16);
        let mut reader = KeyReader(&bytes);
        assert_eq!(reader.ipv4(), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!((reader.protocol(), reader.port()), (Some(6), Some(8080)));
        assert_eq!(reader.interface().as_deref(), Some("tare0"));
        assert_eq!(reader.ipv6(), Some(Ipv6Addr::LOCALHOST));
        assert_eq!(reader.port(), None);
    }

    #[test]
    fn interface_names_are_cut_at_what_the_kernel_allows() {
        assert_eq!(&interface_name("0123456789abcdefgh"), b"0123456789abcde\0");
    }
}
