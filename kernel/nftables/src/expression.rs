//! What rules are made of: small instructions that load packet data into registers, compare, and decide.

use std::fmt;

use tare_sys::netlink::Message;

use crate::value::{Family, Verdict};

/// A 4-byte register; longer values take the following ones as well. Sixteen exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(pub u8);

/// The register that verdicts go to (`NFT_REG_VERDICT`).
const VERDICT: u32 = 0;
/// `NFT_REG32_00`.
const FIRST_REGISTER: u32 = 8;

impl Register {
    const fn number(self) -> u32 {
        FIRST_REGISTER + self.0 as u32
    }
}

/// Properties of a packet that are not in it (`NFT_META_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meta {
    /// Name of the interface it came in by (16 bytes).
    InputInterface = 6,
    /// Name of the interface it goes out by (16 bytes).
    OutputInterface = 7,
    /// `NFPROTO_IPV4` or `NFPROTO_IPV6` (1 byte).
    NetworkProtocol = 15,
    /// `IPPROTO_*` (1 byte).
    TransportProtocol = 16,
}

/// Properties of the connection (`NFT_CT_*`), 4 bytes in the machine's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// One bit for established, related…: [`ESTABLISHED`], [`RELATED`].
    State = 0,
    /// Bits like [`DESTINATION_CHANGED`].
    Status = 2,
}

/// State bit: packets were seen in both directions.
pub const ESTABLISHED: u32 = 1 << 1;
/// State bit: belongs to another connection (ICMP errors…).
pub const RELATED: u32 = 1 << 2;
/// Status bit `IPS_DST_NAT`.
pub const DESTINATION_CHANGED: u32 = 1 << 5;

/// A header that data is loaded from (`NFT_PAYLOAD_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// IPv4 or IPv6.
    Network = 1,
    /// TCP, UDP, SCTP.
    Transport = 2,
}

/// Equal or not (`NFT_CMP_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// Goes on when equal.
    Equal = 0,
    /// Goes on when not equal.
    NotEqual = 1,
}

/// One instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression<'a> {
    /// Loads a property of the packet.
    Meta(Meta, Register),
    /// Loads a property of the connection.
    Connection(Connection, Register),
    /// Loads `length` bytes of a header.
    Payload {
        /// From which header.
        header: Header,
        /// From which byte on.
        offset: u32,
        /// How many bytes.
        length: u32,
        /// Where to.
        to: Register,
    },
    /// Writes two bytes into the transport header, and corrects its checksum.
    Store {
        /// At which byte.
        offset: u32,
        /// Where the bytes are.
        from: Register,
        /// At which byte the checksum is: 16 for TCP, 6 for UDP.
        checksum: u32,
    },
    /// Loads the kind (`RTN_*`) of the destination address, 4 bytes in the machine's order.
    DestinationKind(Register),
    /// Goes on when a register compares like this.
    Compare(Register, Comparison, Vec<u8>),
    /// Keeps only these bits of a register.
    Mask(Register, Vec<u8>),
    /// Goes on when (`absent`: unless) the key is in a set.
    Lookup {
        /// Name of the set.
        set: &'a str,
        /// Where the key is.
        from: Register,
        /// Goes on when it is not in the set.
        absent: bool,
    },
    /// Loads what a map has for a key; stops when it has nothing.
    Map {
        /// Name of the map.
        map: &'a str,
        /// Where the key is.
        from: Register,
        /// Where the value goes.
        to: Register,
    },
    /// Does what a map of verdicts has for a key; goes on when it has nothing.
    VerdictMap {
        /// Name of the map.
        map: &'a str,
        /// Where the key is.
        from: Register,
    },
    /// Loads a constant.
    Load(Register, Vec<u8>),
    /// Decides.
    Verdict(Verdict<'a>),
    /// Changes the connection's destination to an address and port.
    DestinationNat {
        /// Of which protocol the address is.
        family: Family,
        /// Where the address is.
        address: Register,
        /// Where the port is.
        port: Register,
    },
    /// Changes the connection's source to an address and port.
    SourceNat {
        /// Of which protocol the address is.
        family: Family,
        /// Where the address is.
        address: Register,
        /// Where the port is; `None` leaves it, if it can be had.
        port: Option<Register>,
    },
    /// Changes the connection's source to the address of the interface it leaves by.
    Masquerade,
    /// Counts packets and bytes.
    Counter,
}

/// `RTN_LOCAL`: an address of this host, as [`Expression::DestinationKind`] loads it.
pub const LOCAL_ADDRESS: [u8; 4] = 2_u32.to_ne_bytes();

const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;

/// `NFT_FIB_RESULT_ADDRTYPE`.
const FIB_ADDRESS_KIND: u32 = 3;
/// `NFTA_FIB_F_DADDR`.
const FIB_DESTINATION: u32 = 1 << 1;
/// `NFT_PAYLOAD_CSUM_INET`.
const INTERNET_CHECKSUM: u32 = 1;
/// `NFT_LOOKUP_F_INV`.
const LOOKUP_ABSENT: u32 = 1;
/// `NFT_NAT_SNAT`, `NFT_NAT_DNAT`.
const SOURCE: u32 = 0;
const DESTINATION: u32 = 1;

impl Expression<'_> {
    /// Writes the content of an `NFTA_LIST_ELEM` (attribute numbers in the order of the enums in nf_tables.h).
    pub(crate) fn encode(&self, message: &mut Message) {
        message.text(NFTA_EXPR_NAME, self.name());
        message.nest(NFTA_EXPR_DATA, |data| self.encode_data(data));
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Meta(..) => "meta",
            Self::Connection(..) => "ct",
            Self::Payload { .. } | Self::Store { .. } => "payload",
            Self::DestinationKind(_) => "fib",
            Self::Compare(..) => "cmp",
            Self::Mask(..) => "bitwise",
            Self::Lookup { .. } | Self::Map { .. } | Self::VerdictMap { .. } => "lookup",
            Self::Load(..) | Self::Verdict(_) => "immediate",
            Self::DestinationNat { .. } | Self::SourceNat { .. } => "nat",
            Self::Masquerade => "masq",
            Self::Counter => "counter",
        }
    }

    fn encode_data(&self, data: &mut Message) {
        match self {
            Self::Meta(key, to) => {
                data.be32(1, to.number());
                data.be32(2, *key as u32);
            }
            Self::Connection(key, to) => {
                data.be32(1, to.number());
                data.be32(2, *key as u32);
            }
            Self::Payload { header, offset, length, to } => {
                data.be32(1, to.number());
                data.be32(2, *header as u32);
                data.be32(3, *offset);
                data.be32(4, *length);
            }
            Self::Store { offset, from, checksum } => {
                data.be32(2, Header::Transport as u32);
                data.be32(3, *offset);
                data.be32(4, 2);
                data.be32(5, from.number());
                data.be32(6, INTERNET_CHECKSUM);
                data.be32(7, *checksum);
            }
            Self::DestinationKind(to) => {
                data.be32(1, to.number());
                data.be32(2, FIB_ADDRESS_KIND);
                data.be32(3, FIB_DESTINATION);
            }
            Self::Compare(from, comparison, value) => {
                data.be32(1, from.number());
                data.be32(2, *comparison as u32);
                data.nest(3, |nested| nested.bytes(NFTA_DATA_VALUE, value));
            }
            Self::Mask(register, mask) => encode_mask(data, *register, mask),
            Self::Lookup { set, from, absent } => {
                data.text(1, set);
                data.be32(2, from.number());
                if *absent {
                    data.be32(5, LOOKUP_ABSENT);
                }
            }
            Self::Map { map, from, to } => encode_map(data, map, *from, to.number()),
            Self::VerdictMap { map, from } => encode_map(data, map, *from, VERDICT),
            Self::Load(to, value) => {
                data.be32(1, to.number());
                data.nest(2, |nested| nested.bytes(NFTA_DATA_VALUE, value));
            }
            Self::Verdict(verdict) => {
                data.be32(1, VERDICT);
                data.nest(2, |nested| encode_verdict(nested, *verdict));
            }
            Self::DestinationNat { family, address, port } => {
                encode_nat(data, DESTINATION, *family, *address, Some(*port));
            }
            Self::SourceNat { family, address, port } => encode_nat(data, SOURCE, *family, *address, *port),
            Self::Masquerade | Self::Counter => {}
        }
    }
}

fn encode_mask(data: &mut Message, register: Register, mask: &[u8]) {
    let length = u32::try_from(mask.len()).unwrap_or(u32::MAX);
    data.be32(1, register.number());
    data.be32(2, register.number());
    data.be32(3, length);
    data.nest(4, |nested| nested.bytes(NFTA_DATA_VALUE, mask));
    data.nest(5, |nested| nested.bytes(NFTA_DATA_VALUE, &vec![0; mask.len()]));
}

fn encode_map(data: &mut Message, map: &str, from: Register, to: u32) {
    data.text(1, map);
    data.be32(2, from.number());
    data.be32(3, to);
}

fn encode_nat(data: &mut Message, kind: u32, family: Family, address: Register, port: Option<Register>) {
    data.be32(1, kind);
    data.be32(2, family.number().into());
    data.be32(3, address.number());
    if let Some(port) = port {
        data.be32(5, port.number());
    }
}

/// Writes `NFTA_DATA_VERDICT`.
pub(crate) fn encode_verdict(message: &mut Message, verdict: Verdict<'_>) {
    message.nest(NFTA_DATA_VERDICT, |nested| {
        nested.be32(NFTA_VERDICT_CODE, verdict.code());
        if let Verdict::Jump(chain) = verdict {
            nested.text(NFTA_VERDICT_CHAIN, chain);
        }
    });
}

/// In the notation of `nft --debug=netlink`, roughly; for plans in tests and logs.
impl fmt::Display for Expression<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meta(key, to) => write!(f, "r{} = {key:?}", to.0),
            Self::Connection(key, to) => write!(f, "r{} = Connection{key:?}", to.0),
            Self::Payload { header, offset, length, to } => write!(f, "r{} = {header:?}[{offset};{length}]", to.0),
            Self::Store { offset, from, .. } => write!(f, "Transport[{offset};2] = r{}", from.0),
            Self::DestinationKind(to) => write!(f, "r{} = DestinationKind", to.0),
            Self::Compare(from, Comparison::Equal, value) => write!(f, "r{} == {}", from.0, hex(value)),
            Self::Compare(from, Comparison::NotEqual, value) => write!(f, "r{} != {}", from.0, hex(value)),
            Self::Mask(register, mask) => write!(f, "r{} &= {}", register.0, hex(mask)),
            Self::Lookup { set, from, absent: false } => write!(f, "r{} in @{set}", from.0),
            Self::Lookup { set, from, absent: true } => write!(f, "r{} not in @{set}", from.0),
            Self::Map { map, from, to } => write!(f, "r{} = @{map}[r{}]", to.0, from.0),
            Self::VerdictMap { map, from } => write!(f, "verdict @{map}[r{}]", from.0),
            Self::Load(to, value) => write!(f, "r{} = {}", to.0, hex(value)),
            Self::Verdict(verdict) => write!(f, "{verdict}"),
            Self::DestinationNat { family, address, port } => write!(f, "dnat {family:?} r{}:r{}", address.0, port.0),
            Self::SourceNat { family, address, port: None } => write!(f, "snat {family:?} r{}", address.0),
            Self::SourceNat { family, address, port: Some(port) } => {
                write!(f, "snat {family:?} r{}:r{}", address.0, port.0)
            }
            Self::Masquerade => f.write_str("masquerade"),
            Self::Counter => f.write_str("counter"),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::from("0x"), |text, byte| text + &format!("{byte:02x}"))
}
