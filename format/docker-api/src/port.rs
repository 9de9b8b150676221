//! Container ports as `80`, `80/tcp`, `8000-8010/udp`.

use std::fmt;
use std::str::FromStr;

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `tcp`, also where none is named.
    #[default]
    Tcp,
    /// `udp`.
    Udp,
    /// `sctp`.
    Sctp,
}

impl Protocol {
    /// As it is written after the slash.
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Protocol {
    type Err = PortError;
    fn from_str(text: &str) -> Result<Self, PortError> {
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
            .into_iter()
            .find(|p| p.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| PortError(text.to_owned()))
    }
}

/// A container port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerPort {
    /// Never 0.
    pub number: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// A text that is not a port.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid port specification: {0:?}")]
pub struct PortError(pub String);

impl fmt::Display for ContainerPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

impl FromStr for ContainerPort {
    type Err = PortError;
    fn from_str(text: &str) -> Result<Self, PortError> {
        let (first, last, protocol) = parse_range(text)?;
        if first != last {
            return Err(PortError(text.to_owned()));
        }
        Ok(ContainerPort { number: first, protocol })
    }
}

/// Reads `first[-last][/protocol]`.
pub fn parse_range(text: &str) -> Result<(u16, u16, Protocol), PortError> {
    let fail = || PortError(text.to_owned());
    let (numbers, protocol) = match text.split_once('/') {
        Some((numbers, protocol)) => (numbers, protocol.parse().map_err(|_| fail())?),
        None => (text, Protocol::Tcp),
    };
    let number = |s: &str| {
        let digits = !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if digits { s.parse::<u16>().ok().filter(|n| *n != 0).ok_or_else(fail) } else { Err(fail()) }
    };
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err(fail()) } else { Ok((first, last, protocol)) }
}
