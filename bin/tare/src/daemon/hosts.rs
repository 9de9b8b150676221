//! Addresses to listen on: the values of `-H`, with dockerd's defaults and errors.

use std::fmt;

/// Our socket, where none is named.
pub(super) const DEFAULT_SOCKET: &str = "/run/tare.sock";
/// Docker's default host and ports of TCP.
const DEFAULT_HOST: &str = "localhost";
const DEFAULT_PORT: u16 = 2375;
const DEFAULT_TLS_PORT: u16 = 2376;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Address {
    /// Sockets that the service manager has opened: all (empty or `*`), one by its number, or those of a name.
    Inherited(String),
    /// `host:port`
    Tcp(String),
    /// A path.
    Unix(String),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inherited(which) => write!(f, "fd://{which}"),
            Address::Tcp(address) => write!(f, "tcp://{address}"),
            Address::Unix(path) => write!(f, "unix://{path}"),
        }
    }
}

impl Address {
    /// Reads one. `tls` changes what an empty text stands for.
    pub(super) fn parse(text: &str, tls: bool) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(match tls {
                true => Address::Tcp(format!("{DEFAULT_HOST}:{DEFAULT_TLS_PORT}")),
                false => Address::Unix(DEFAULT_SOCKET.to_owned()),
            });
        }
        let invalid = |why: String| format!("invalid bind address ({text}): {why}");
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        match scheme {
            "fd" => Ok(Address::Inherited(rest.to_owned())),
            "unix" if rest.contains("://") => Err(invalid(format!("invalid unix address: {rest}"))),
            "unix" if rest.is_empty() => Ok(Address::Unix(DEFAULT_SOCKET.to_owned())),
            "unix" => Ok(Address::Unix(rest.to_owned())),
            "tcp" => tcp(rest).map(Address::Tcp).map_err(invalid),
            other => Err(invalid(format!("unsupported proto '{other}'"))),
        }
    }
}

/// `host:port` with what is missing filled in.
fn tcp(rest: &str) -> Result<String, String> {
    if rest.contains(['/', '?', '#']) {
        return Err("should not contain a path element".to_owned());
    }
    let (host, port) = match rest.rfind(':') {
        Some(colon) if !rest[colon..].contains(']') => (&rest[..colon], &rest[colon + 1..]),
        _ => (rest, ""),
    };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("parse \"tcp://{rest}\": invalid port \":{port}\" after host"));
    }
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.contains(':') && !bracketed {
        return Err(format!("parse \"tcp://{rest}\": too many colons in address"));
    }
    let host = if host.is_empty() { DEFAULT_HOST } else { host };
    let port: u16 = match port {
        "" => DEFAULT_PORT,
        port => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| format!("invalid port: {port}"))?,
    };
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        Address::parse(text, false).map_or_else(|error| error, |address| address.to_string())
    }

    #[test]
    fn what_is_missing_is_filled_in() {
        for (text, whole) in [
            ("", "unix:///run/tare.sock"),
            ("unix://", "unix:///run/tare.sock"),
            (" unix:///x/y.sock ", "unix:///x/y.sock"),
            ("fd://", "fd://"),
            ("fd://3", "fd://3"),
            ("tcp://", "tcp://localhost:2375"),
            ("0.0.0.0:99", "tcp://0.0.0.0:99"),
            ("0.0.0.0", "tcp://0.0.0.0:2375"),
            (":99", "tcp://localhost:99"),
            ("tcp://[::]:99", "tcp://[::]:99"),
            ("tcp://[::1]", "tcp://[::1]:2375"),
            ("tcp://name", "tcp://name:2375"),
        ] {
            assert_eq!(parsed(text), whole, "{text:?}");
        }
        assert_eq!(Address::parse("", true).unwrap().to_string(), "tcp://localhost:2376");
    }

    #[test]
    fn nonsense_is_named() {
        for (text, why) in [
            ("foo://x", "unsupported proto 'foo'"),
            ("unix://tcp://x", "invalid unix address: tcp://x"),
            ("tcp://x:1/y", "should not contain a path element"),
            ("tcp://x:y", "parse \"tcp://x:y\": invalid port \":y\" after host"),
            ("tcp://x:0", "invalid port: 0"),
            ("tcp://x:65536", "invalid port: 65536"),
            ("tcp://::1", "parse \"tcp://::1\": too many colons in address"),
        ] {
            assert_eq!(parsed(text), format!("invalid bind address ({text}): {why}"));
        }
    }
}
