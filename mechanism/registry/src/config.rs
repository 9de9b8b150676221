//! Settings of the daemon about registries, and credentials that come with a request.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tare_reference::DEFAULT_DOMAIN;

/// Where docker.io's registry is.
const HUB: &str = "registry-1.docker.io";
/// Where docker.io's search is.
pub(crate) const HUB_SEARCH: &str = "https://index.docker.io";

/// Settings. The default has no mirrors and trusts no one but loopback addresses without TLS.
#[derive(Debug, Clone)]
pub struct Config {
    /// `registry-mirrors`: tried in order before docker.io.
    pub mirrors: Vec<String>,
    /// `insecure-registries`: `host`, `host:port` or networks (`10.0.0.0/8`).
    pub insecure: Vec<String>,
    /// Directories with `<host[:port]>/{*.crt,client.cert,client.key}`.
    pub certificates: Vec<PathBuf>,
    /// Sent as `User-Agent`.
    pub user_agent: String,
    /// `proxies`, over the environment's.
    pub proxies: Proxies,
    /// `max-download-attempts`: how often a transfer is tried without a byte gained.
    pub attempts: u32,
    /// Wait before the second attempt; doubles with each further one.
    pub backoff: Duration,
    /// A transfer that gives next to nothing (less than 1 KiB) for so long is cut and tried again; an answer that does not
    /// begin for so long is given up.
    pub stall: Duration,
    /// Where docker.io's registry is, `https://registry-1.docker.io`.
    pub hub: String,
    /// Blobs larger than this many bytes are fetched in parts, some at the same time.
    pub split_above: u64,
}

/// `proxies` of the daemon's settings; empty strings leave it to the environment.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// For `http`.
    pub http: String,
    /// For `https`.
    pub https: String,
    /// Hosts that are reached directly.
    pub none: String,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            mirrors: Vec::new(),
            insecure: Vec::new(),
            certificates: vec![PathBuf::from("/etc/docker/certs.d")],
            user_agent: concat!("tare/", env!("CARGO_PKG_VERSION")).to_owned(),
            proxies: Proxies::default(),
            attempts: 5,
            backoff: Duration::from_millis(500),
            stall: Duration::from_secs(30),
            hub: format!("https://{HUB}"),
            // below it one connection is as fast as several
            split_above: 32 << 20,
        }
    }
}

impl Config {
    /// Whether a registry may be spoken to without verified TLS.
    pub fn is_insecure(&self, domain: &str) -> bool {
        let host = host_of(domain);
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|a| a.is_loopback()) {
            return true;
        }
        self.insecure.iter().any(|entry| {
            let entry = crate::settings::without_scheme(entry).trim_end_matches('/');
            entry == domain || entry == host || address.is_some_and(|a| in_network(a, entry))
        })
    }

    /// Where to look for a repository of `domain`, in order.
    pub(crate) fn endpoints(&self, domain: &str) -> Vec<Endpoint> {
        if domain != DEFAULT_DOMAIN {
            return self.of_host(domain, None);
        }
        let mut endpoints = Vec::new();
        for mirror in &self.mirrors {
            let mirror = mirror.trim_end_matches('/');
            match mirror.split_once("://") {
                Some((_, host)) => endpoints.push(Endpoint {
                    base: mirror.to_owned(),
                    host: host.to_owned(),
                    verify: !self.is_insecure(host),
                    namespace: Some(DEFAULT_DOMAIN.to_owned()),
                    fallback: None,
                }),
                None => endpoints.extend(self.of_host(mirror, Some(DEFAULT_DOMAIN))),
            }
        }
        let host = self.hub.split("://").nth(1).unwrap_or(HUB).to_owned();
        endpoints.push(Endpoint {
            base: self.hub.clone(),
            verify: !self.is_insecure(&host),
            host,
            namespace: None,
            fallback: None,
        });
        endpoints
    }

    fn of_host(&self, host: &str, namespace: Option<&str>) -> Vec<Endpoint> {
        let insecure = self.is_insecure(host);
        vec![Endpoint {
            base: format!("https://{host}"),
            host: host.to_owned(),
            verify: !insecure,
            namespace: namespace.map(str::to_owned),
            // what answers on the port of https is not plain HTTP
            fallback: (insecure && !host.ends_with(":443")).then(|| format!("http://{host}")),
        }]
    }
}

/// One place to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `https://host[:port]`
    pub(crate) base: String,
    pub(crate) host: String,
    /// Whether the certificate must be good.
    pub(crate) verify: bool,
    /// Whose content it mirrors: sent as `?ns=`.
    pub(crate) namespace: Option<String>,
    /// Plain HTTP, if TLS does not work.
    pub(crate) fallback: Option<String>,
}

fn host_of(domain: &str) -> &str {
    if let Some(rest) = domain.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match domain.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => domain,
    }
}

/// Whether an address is in `network/prefix`.
fn in_network(address: IpAddr, network: &str) -> bool {
    let Some((base, prefix)) = network.split_once('/') else { return false };
    match (address, base.parse::<IpAddr>(), prefix.parse::<u32>()) {
        (IpAddr::V4(a), Ok(IpAddr::V4(n)), Ok(prefix @ 0..=32)) => {
            let shift = 32 - prefix;
            shift == 32 || a.to_bits() >> shift == n.to_bits() >> shift
        }
        (IpAddr::V6(a), Ok(IpAddr::V6(n)), Ok(prefix @ 0..=128)) => {
            let shift = 128 - prefix;
            shift == 128 || a.to_bits() >> shift == n.to_bits() >> shift
        }
        _ => false,
    }
}

/// Who asks. The default is anonymous.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// User.
    pub username: String,
    /// Password or access token.
    pub password: String,
    /// An OAuth2 refresh token, instead of user and password.
    pub identity_token: String,
    /// A bearer token to be sent as it is.
    pub registry_token: String,
}

impl Credentials {
    /// Whether there is nothing to send.
    pub fn is_anonymous(&self) -> bool {
        *self == Credentials::default()
    }
}

/// Shows who, never the secrets.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}
