//! Where a daemon listens: the values of `-H` and `DOCKER_HOST`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::Error;
use crate::ssh::Destination;

/// Socket of our own daemon.
pub const OWN_SOCKET: &str = "/run/tare.sock";
/// Port for `tcp://host` without one.
const DEFAULT_PORT: &str = "2375";

/// A daemon's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A unix socket.
    Unix(PathBuf),
    /// `name:port`
    Tcp(String),
    /// A daemon on another machine, through ssh.
    Ssh(Destination),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Unix(path) => write!(f, "unix://{}", path.display()),
            Host::Tcp(address) => write!(f, "tcp://{address}"),
            Host::Ssh(destination) => destination.fmt(f),
        }
    }
}

impl FromStr for Host {
    type Err = Error;

    fn from_str(text: &str) -> Result<Host, Error> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Host::Unix(OWN_SOCKET.into()));
        }
        let invalid = || Error::Host(format!("invalid bind address format: {text}"));
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        match scheme {
            "unix" if rest.contains("://") => Err(Error::Host(format!("invalid proto, expected unix: {rest}"))),
            "unix" if rest.is_empty() => Ok(Host::Unix(OWN_SOCKET.into())),
            "unix" => Ok(Host::Unix(rest.into())),
            "tcp" if rest.contains("://") => Err(Error::Host(format!("invalid proto, expected tcp: {rest}"))),
            "tcp" => tcp(rest).map(Host::Tcp).ok_or_else(invalid),
            "fd" | "npipe" => Err(Error::Host(format!("protocol not available: {text}"))),
            "ssh" => Destination::parse(text).map(Host::Ssh).map_err(Error::Destination),
            "http" | "https" => Err(Error::Host(format!("invalid bind address format: {text}; use tcp://"))),
            _ => Err(invalid()),
        }
    }
}

/// `host:port` with what is missing filled in.
fn tcp(address: &str) -> Option<String> {
    let address = address.trim_end_matches('/');
    if address.contains(['/', '?', '#', '@', ' ']) {
        return None;
    }
    let (host, port) = match address.rfind(':') {
        Some(colon) if !address[colon..].contains(']') => (&address[..colon], &address[colon + 1..]),
        _ => (address, ""),
    };
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.contains(':') && !bracketed {
        return None;
    }
    let port = if port.is_empty() { DEFAULT_PORT } else { port };
    let number: u16 = port.parse().ok()?;
    Some(format!("{host}:{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        text.parse::<Host>().map_or_else(|e| e.to_string(), |h| h.to_string())
    }

    #[test]
    fn addresses() {
        assert_eq!(parsed("unix:///x/y.sock"), "unix:///x/y.sock");
        assert_eq!(parsed("unix://"), "unix:///run/tare.sock");
        assert_eq!(parsed("tcp://"), "tcp://127.0.0.1:2375");
        assert_eq!(parsed("tcp://h"), "tcp://h:2375");
        assert_eq!(parsed(":99"), "tcp://127.0.0.1:99");
        assert_eq!(parsed("h:99/"), "tcp://h:99");
        assert_eq!(parsed("tcp://[::1]:99"), "tcp://[::1]:99");
        assert_eq!(parsed("tcp://[::1]"), "tcp://[::1]:2375");
    }

    #[test]
    fn nonsense() {
        insta::assert_snapshot!(parsed("foo://x"), @"unable to resolve docker endpoint: invalid bind address format: foo://x");
        insta::assert_snapshot!(parsed("h:port"), @"unable to resolve docker endpoint: invalid bind address format: h:port");
        insta::assert_snapshot!(parsed("fd://3"), @"unable to resolve docker endpoint: protocol not available: fd://3");
        insta::assert_snapshot!(parsed("unix://tcp://x"), @"unable to resolve docker endpoint: invalid proto, expected unix: tcp://x");
        insta::assert_snapshot!(parsed("tcp://::1"), @"unable to resolve docker endpoint: invalid bind address format: tcp://::1");
    }
}
