//! Settings about registries as people write them: checked, in Docker's words, and in the forms that Docker shows.

use std::net::IpAddr;

/// `insecure-registries` by what they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Insecure {
    /// `host` or `host:port`
    pub hosts: Vec<String>,
    /// Networks, `10.0.0.0/8`.
    pub networks: Vec<String>,
}

/// Networks whose registries need no TLS whatever the settings say.
const ALWAYS: [&str; 2] = ["::1/128", "127.0.0.0/8"];

/// `registry-mirrors`, each once and with a slash at its end. Errors: the first that is no mirror's URL.
pub fn mirrors(texts: &[String]) -> Result<Vec<String>, String> {
    let mut mirrors: Vec<String> = Vec::new();
    for text in texts {
        let mirror = mirror(text)?;
        if !mirrors.contains(&mirror) {
            mirrors.push(mirror);
        }
    }
    Ok(mirrors)
}

fn mirror(text: &str) -> Result<String, String> {
    const SCHEMES: &str = "must use either 'https://' or 'http://'";
    let invalid = |why: String| Err(format!("invalid mirror: {why}"));
    if text.split_once("://").is_none_or(|(scheme, _)| scheme.is_empty()) {
        return invalid(format!("no scheme specified for {text:?}: {SCHEMES}"));
    }
    let mut url = match url::Url::parse(text) {
        Ok(url) => url,
        Err(error) => return invalid(format!("{text:?} is not a valid URI: parse {text:?}: {error}")),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return invalid(format!("unsupported scheme {:?} in {text:?}: {SCHEMES}", url.scheme()));
    }
    if url.query().is_some_and(|query| !query.is_empty()) || url.fragment().is_some_and(|part| !part.is_empty()) {
        return invalid(format!("query or fragment at end of the URI {text:?}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Whoever reads logs need not know it. It cannot fail for these schemes.
        let _ = url.set_password(Some("xxxxx"));
        return invalid(format!("username/password not allowed in URI {:?}", url.as_str().trim_end_matches('/')));
    }
    Ok(format!("{}/", text.strip_suffix('/').unwrap_or(text)))
}

/// `insecure-registries`. Errors: the first that is neither a host nor a network.
pub fn insecure(texts: &[String]) -> Result<Insecure, String> {
    let mut insecure = Insecure::default();
    for text in texts.iter().map(String::as_str).chain(ALWAYS) {
        if text.starts_with('-') || text.ends_with('-') {
            return Err(format!("invalid index name ({text}). Cannot begin or end with a hyphen"));
        }
        let text = without_scheme(text);
        if text.contains("://") {
            return Err(format!("insecure registry {text} should not contain '://'"));
        }
        let (list, entry) = match network(text) {
            Some(network) => (&mut insecure.networks, network),
            None => {
                check_host(text).map_err(|why| format!("insecure registry {text} is not valid: {why}"))?;
                (&mut insecure.hosts, text.to_owned())
            }
        };
        if !list.contains(&entry) {
            list.push(entry);
        }
    }
    Ok(insecure)
}

/// Schemes are not wanted, but taken.
pub(crate) fn without_scheme(text: &str) -> &str {
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    scheme.map_or(text, |scheme| &text[scheme.len()..])
}

/// A network, with the address that it begins with.
fn network(text: &str) -> Option<String> {
    let (address, prefix) = text.split_once('/')?;
    let prefix: u32 = prefix.parse().ok()?;
    let first: IpAddr = match address.parse().ok()? {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.checked_sub(prefix)?).unwrap_or(0);
            std::net::Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.checked_sub(prefix)?).unwrap_or(0);
            std::net::Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    };
    Some(format!("{first}/{prefix}"))
}

fn check_host(text: &str) -> Result<(), String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
        _ => (text, ""),
    };
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if !tare_reference::is_domain(host) && bare.parse::<IpAddr>().is_err() {
        return Err(format!("invalid host {bare:?}"));
    }
    match port {
        "" => Ok(()),
        port => port.parse::<u16>().map(|_| ()).map_err(|_| format!("invalid port {port:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn mirrors_end_with_a_slash_and_come_once() {
        let given = owned(&["http://m:5000", "https://n/x/", "http://m:5000/"]);
        assert_eq!(mirrors(&given).unwrap(), ["http://m:5000/", "https://n/x/"]);
    }

    #[test]
    fn what_is_no_mirror_is_refused() {
        for (text, why) in [
            ("m:5000", "no scheme specified for \"m:5000\": must use either 'https://' or 'http://'"),
            ("://m", "no scheme specified for \"://m\": must use either 'https://' or 'http://'"),
            ("ftp://m", "unsupported scheme \"ftp\" in \"ftp://m\": must use either 'https://' or 'http://'"),
            ("http://m/?q", "query or fragment at end of the URI \"http://m/?q\""),
            ("http://m/#f", "query or fragment at end of the URI \"http://m/#f\""),
            ("http://me:secret@m", "username/password not allowed in URI \"http://me:xxxxx@m\""),
        ] {
            assert_eq!(mirrors(&owned(&[text])).unwrap_err(), format!("invalid mirror: {why}"));
        }
        assert!(mirrors(&owned(&["http://a b"])).unwrap_err().contains("is not a valid URI"));
    }

    #[test]
    fn hosts_and_networks_are_told_apart() {
        let given =
            owned(&["10.1.2.3/8", "r:5000", "HTTP://s", "10.0.0.0/8", "::1", "[::1]:5000", "fd00::1/16", "r:5000"]);
        let found = insecure(&given).unwrap();
        assert_eq!(found.hosts, ["r:5000", "s", "::1", "[::1]:5000"]);
        assert_eq!(found.networks, ["10.0.0.0/8", "fd00::/16", "::1/128", "127.0.0.0/8"]);
        assert_eq!(insecure(&owned(&["0.0.0.0/0"])).unwrap().networks[0], "0.0.0.0/0");
    }

    #[test]
    fn what_is_no_registry_is_refused() {
        for (text, why) in [
            ("-x", "invalid index name (-x). Cannot begin or end with a hyphen"),
            ("ftp://x", "insecure registry ftp://x should not contain '://'"),
            ("x/y", "insecure registry x/y is not valid: invalid host \"x/y\""),
            ("x:99999", "insecure registry x:99999 is not valid: invalid port \"99999\""),
            ("10.0.0.0/99", "insecure registry 10.0.0.0/99 is not valid: invalid host \"10.0.0.0/99\""),
        ] {
            assert_eq!(insecure(&owned(&[text])).unwrap_err(), why);
        }
    }
}
