//! Where lines are sent: a syslog server, the journal, a GELF server.

use std::io;
use std::path::Path;
use std::time::Duration;

use tare_docker_api::go::Map;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream};

use super::message::{Compression, Gelf, Syslog, SyslogForm};
use crate::error::{Error, Result};

/// Where the journal takes entries (`systemd-journald.service(8)`).
const JOURNAL: &str = "/run/systemd/journal/socket";
/// Where this machine's syslog may listen, as Docker looks for it.
const SYSLOG: &[&str] = &["/dev/log", "/var/run/syslog", "/var/run/log"];
/// Longest wait for a connection, or until something is sent.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A destination and the form it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) form: Form,
    address: Address,
}

/// How messages look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    Syslog(Syslog),
    Journal,
    Gelf(Gelf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    /// One of [`SYSLOG`].
    LocalSyslog,
    UnixDatagram(String),
    UnixStream(String),
    /// `host:port`
    Udp(String),
    /// `host:port`
    Tcp(String),
}

/// An open way to a destination.
#[derive(Debug)]
pub(crate) enum Link {
    UnixDatagram(UnixDatagram),
    UnixStream(UnixStream),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Destination {
    /// The options of a driver that sends, besides those that all of these have; `None`: there is no such driver.
    pub(crate) fn options(driver: &str) -> Option<&'static [&'static str]> {
        match driver {
            "gelf" => Some(&[
                "gelf-address",
                "gelf-compression-level",
                "gelf-compression-type",
                "gelf-tcp-max-reconnect",
                "gelf-tcp-reconnect-delay",
            ]),
            "journald" => Some(&[]),
            "syslog" => Some(&["syslog-address", "syslog-facility", "syslog-format"]),
            _ => None,
        }
    }

    /// Reads a driver's options; `None`: the driver sends nothing. Errors are Docker's.
    pub(crate) fn parse(driver: &str, options: &Map<String>) -> Result<Option<Self>> {
        let option = |name: &str| options.get(name).map_or("", String::as_str);
        Ok(Some(match driver {
            "gelf" => gelf(option)?,
            "journald" => Self { form: Form::Journal, address: Address::UnixDatagram(JOURNAL.to_owned()) },
            "syslog" => {
                let form = SyslogForm::parse(option("syslog-format"))
                    .ok_or_else(|| Error::invalid("Invalid syslog format"))?;
                let facility = facility(option("syslog-facility"))?;
                let address = syslog_address(option("syslog-address"))?;
                Self { form: Form::Syslog(Syslog { form, facility }), address }
            }
            _ => return Ok(None),
        }))
    }

    /// Opens a way there.
    pub(crate) async fn connect(&self) -> io::Result<Link> {
        let connected = tokio::time::timeout(TIMEOUT, self.address.connect()).await;
        connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Why there is no way there, in Docker's words.
    pub(crate) fn unreachable(&self, error: &io::Error) -> String {
        let reason = match error.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number).to_string().to_lowercase(),
            None => error.to_string(),
        };
        let reason = reason.split(" (os error").next().unwrap_or_default();
        match (&self.form, &self.address) {
            (Form::Journal, _) => "journald is not enabled on this host".to_owned(),
            (_, Address::LocalSyslog) => "Unix syslog delivery error".to_owned(),
            (Form::Gelf(_), Address::Udp(at) | Address::Tcp(at)) => {
                format!("gelf: cannot connect to GELF endpoint: {at} dial tcp {at}: connect: {reason}")
            }
            (_, Address::Tcp(at) | Address::Udp(at)) => format!("dial tcp {at}: connect: {reason}"),
            (_, Address::UnixDatagram(at) | Address::UnixStream(at)) => format!("dial unix {at}: connect: {reason}"),
        }
    }
}

impl Address {
    async fn connect(&self) -> io::Result<Link> {
        match self {
            Self::LocalSyslog => {
                for path in SYSLOG {
                    if let Ok(link) = datagram(path) {
                        return Ok(link);
                    }
                    if let Ok(stream) = UnixStream::connect(path).await {
                        return Ok(Link::UnixStream(stream));
                    }
                }
                Err(io::ErrorKind::NotFound.into())
            }
            Self::UnixDatagram(path) => datagram(path),
            Self::UnixStream(path) => UnixStream::connect(path).await.map(Link::UnixStream),
            Self::Tcp(at) => TcpStream::connect(at).await.map(Link::Tcp),
            Self::Udp(at) => {
                let mut failed = io::Error::from(io::ErrorKind::NotFound);
                for address in tokio::net::lookup_host(at).await? {
                    let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                    let socket = UdpSocket::bind(own).await?;
                    match socket.connect(address).await {
                        Ok(()) => return Ok(Link::Udp(socket)),
                        Err(error) => failed = error,
                    }
                }
                Err(failed)
            }
        }
    }
}

fn datagram(path: &str) -> io::Result<Link> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(Link::UnixDatagram(socket))
}

impl Link {
    /// Whether what is sent may be lost on the way anyhow: then nothing is sent twice.
    pub(crate) fn is_lossy(&self) -> bool {
        matches!(self, Self::Udp(_))
    }

    /// Sends one message: a datagram each, or one after the other.
    pub(crate) async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let sent = async {
            match self {
                Self::UnixDatagram(socket) => socket.send(message).await.map(|_| ()),
                Self::Udp(socket) => socket.send(message).await.map(|_| ()),
                Self::UnixStream(stream) => stream.write_all(message).await,
                Self::Tcp(stream) => stream.write_all(message).await,
            }
        };
        tokio::time::timeout(TIMEOUT, sent).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

/// `udp://host:port`, `tcp://host`, `unix:///path`, `unixgram:///path`; empty: this machine's.
fn syslog_address(text: &str) -> Result<Address> {
    /// The port of syslog.
    const PORT: &str = "514";
    if text.is_empty() {
        return Ok(Address::LocalSyslog);
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if matches!(scheme, "unix" | "unixgram") {
        if !Path::new(rest).exists() {
            return Err(Error::invalid(format!("stat {rest}: no such file or directory")));
        }
        let path = rest.to_owned();
        return Ok(if scheme == "unix" { Address::UnixStream(path) } else { Address::UnixDatagram(path) });
    }
    let at = if rest.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty() && !port.ends_with(']')) {
        rest.to_owned()
    } else {
        format!("{rest}:{PORT}")
    };
    match scheme {
        "udp" => Ok(Address::Udp(at)),
        "tcp" => Ok(Address::Tcp(at)),
        "tcp+tls" => Err(Error::not_implemented("syslog-address: tcp+tls is not supported by this engine yet")),
        _ => Err(Error::invalid(format!("unsupported scheme: '{scheme}'"))),
    }
}

/// A facility's number, by its name or itself.
fn facility(text: &str) -> Result<u8> {
    const NAMES: [&str; 12] =
        ["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"];
    const DAEMON: u8 = 3;
    const MAX: u8 = 23;
    const LOCAL0: u8 = 16;
    let local = |digit: &str| digit.parse::<u8>().ok().filter(|number| *number < 8).map(|number| LOCAL0 + number);
    let named = NAMES.iter().position(|name| *name == text).and_then(|at| u8::try_from(at).ok());
    let known = match text {
        "" => Some(DAEMON),
        _ => named.or_else(|| text.strip_prefix("local").map_or_else(|| text.parse().ok(), local)),
    };
    known.filter(|number| *number <= MAX).ok_or_else(|| Error::invalid("invalid syslog facility"))
}

fn gelf<'a>(option: impl Fn(&str) -> &'a str) -> Result<Destination> {
    let text = option("gelf-address");
    if text.is_empty() {
        return Err(Error::invalid("gelf-address is a required parameter"));
    }
    let (scheme, at) = text.split_once("://").unwrap_or(("", text));
    let at = at.trim_end_matches('/').to_owned();
    let udp = match scheme {
        "udp" => true,
        "tcp" => false,
        _ => return Err(Error::invalid("gelf: endpoint needs to be TCP or UDP")),
    };
    if at.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
        return Err(Error::invalid("gelf: please provide gelf-address as proto://host:port"));
    }
    let (kind, level) = (option("gelf-compression-type"), option("gelf-compression-level"));
    let unknown =
        |value: &str, name| Error::invalid(format!("unknown value {value:?} for log opt {name:?} for gelf log driver"));
    if !udp && [kind, level].iter().any(|option| !option.is_empty()) {
        return Err(Error::invalid("compression is only supported on UDP"));
    }
    for name in ["gelf-tcp-max-reconnect", "gelf-tcp-reconnect-delay"] {
        if udp && !option(name).is_empty() {
            return Err(Error::invalid(format!("{name:?} is only valid for TCP")));
        }
        if !option(name).is_empty() && option(name).parse::<u32>().is_err() {
            return Err(Error::invalid(format!("{name:?} must be a positive integer")));
        }
    }
    let level = match level {
        "" => Some(1),
        text => text.parse::<i8>().ok().filter(|level| (-1..=9).contains(level)),
    };
    let level = level.ok_or_else(|| unknown(option("gelf-compression-level"), "gelf-compression-level"))?;
    let compression = match kind {
        _ if !udp => Compression::None,
        "" | "gzip" => Compression::Gzip(level),
        "zlib" => Compression::Zlib(level),
        "none" => Compression::None,
        other => return Err(unknown(other, "gelf-compression-type")),
    };
    let address = if udp { Address::Udp(at) } else { Address::Tcp(at) };
    Ok(Destination { form: Form::Gelf(Gelf { compression, in_datagrams: udp }), address })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(driver: &str, options: &[(&str, &str)]) -> std::result::Result<Destination, String> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Destination::parse(driver, &options).map(Option::unwrap).map_err(|error| error.message)
    }

    #[test]
    fn addresses_of_syslog() {
        let address = |text: &str| parsed("syslog", &[("syslog-address", text)]).map(|found| found.address);
        assert_eq!(address(""), Ok(Address::LocalSyslog));
        assert_eq!(address("udp://192.0.2.1"), Ok(Address::Udp("192.0.2.1:514".to_owned())));
        assert_eq!(address("tcp://[::1]:601"), Ok(Address::Tcp("[::1]:601".to_owned())));
        assert_eq!(address("tcp://[::1]"), Ok(Address::Tcp("[::1]:514".to_owned())));
        assert_eq!(address("unixgram:///dev/null"), Ok(Address::UnixDatagram("/dev/null".to_owned())));
        assert_eq!(address("unix:///no/such"), Err("stat /no/such: no such file or directory".to_owned()));
        assert_eq!(address("http://x"), Err("unsupported scheme: 'http'".to_owned()));
        assert!(address("tcp+tls://x").unwrap_err().contains("not supported"));
    }

    #[test]
    fn facilities() {
        for (text, number) in [("", 3), ("kern", 0), ("ftp", 11), ("local0", 16), ("local7", 23), ("23", 23)] {
            assert_eq!(facility(text), Ok(number), "{text}");
        }
        for text in ["local8", "24", "none", "-1", "local"] {
            assert_eq!(facility(text).unwrap_err().message, "invalid syslog facility", "{text}");
        }
    }

    #[test]
    fn options_of_gelf() {
        let with = |name: &str, value: &str| parsed("gelf", &[("gelf-address", "udp://h:12201"), (name, value)]);
        assert!(with("tag", "x").is_ok() && with("gelf-compression-level", "-1").is_ok());
        assert_eq!(
            with("gelf-compression-type", "x").unwrap_err(),
            r#"unknown value "x" for log opt "gelf-compression-type" for gelf log driver"#
        );
        assert_eq!(
            with("gelf-tcp-max-reconnect", "1").unwrap_err(),
            r#""gelf-tcp-max-reconnect" is only valid for TCP"#
        );
        assert_eq!(parsed("gelf", &[]).unwrap_err(), "gelf-address is a required parameter");
        for (address, said) in [
            ("http://h:1", "gelf: endpoint needs to be TCP or UDP"),
            ("udp://h", "gelf: please provide gelf-address as proto://host:port"),
        ] {
            assert_eq!(parsed("gelf", &[("gelf-address", address)]).unwrap_err(), said);
        }
    }
}
