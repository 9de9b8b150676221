//! `/etc/resolv.conf` of containers (`resolv.conf(5)`): made from the host's.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

/// The embedded server's address in every container.
pub const EMBEDDED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// Where a file comes from usually.
const USUAL_PATH: &str = "/etc/resolv.conf";
/// Where systemd-resolved keeps the real servers.
const SYSTEMD_PATH: &str = "/run/systemd/resolve/resolv.conf";
/// systemd-resolved's own server, which containers do not reach.
const SYSTEMD_SERVER: &str = "127.0.0.53";
/// Servers for when the host has none that containers could use.
const PUBLIC_4: [&str; 2] = ["8.8.8.8", "8.8.4.4"];
const PUBLIC_6: [&str; 2] = ["2001:4860:4860::8888", "2001:4860:4860::8844"];

/// Who answers a container's questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Answers {
    /// The servers, as far as they can be reached from a network of the container's own.
    #[default]
    Servers,
    /// The servers, as for the host, in whose network the container is.
    AsHost,
    /// The embedded server (user networks).
    Embedded,
}

/// How a container's file differs from the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Who answers the container.
    pub answers: Answers,
    /// The container has IPv6 to the outside.
    pub ipv6: bool,
    /// Servers instead of the host's; empty: the host's.
    pub nameservers: Vec<String>,
    /// Search domains instead of the host's; empty: the host's; `.` alone: none.
    pub search: Vec<String>,
    /// Options instead of the host's; empty: the host's.
    pub options: Vec<String>,
}

/// A container's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// Its text.
    pub text: String,
    /// Servers that the embedded one asks, in order.
    pub upstream: Vec<Upstream>,
}

/// A server that the embedded one asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its address, possibly with a zone (`fe80::1%eth0`).
    pub address: String,
    /// It is reached from the host's network namespace, not from the container's.
    pub from_host: bool,
}

/// What matters of a file.
#[derive(Debug, Default)]
struct Parsed {
    nameservers: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
    /// Lines with other keywords, kept.
    other: Vec<String>,
    /// What is no address.
    invalid: Vec<String>,
}

/// The host's file to start from: `/etc/resolv.conf`, but for a container that asks from a network of its own the one with
/// the real servers where systemd-resolved runs.
pub fn host_file(answers: Answers) -> (PathBuf, String) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let text = read(USUAL_PATH);
    if answers == Answers::Servers && parse(&text).nameservers == [SYSTEMD_SERVER] {
        return (SYSTEMD_PATH.into(), read(SYSTEMD_PATH));
    }
    (USUAL_PATH.into(), text)
}

/// A container's file, from the text of the host's and where that is.
pub fn render(path: &Path, host: &str, wanted: &Wanted) -> Rendered {
    let mut parsed = parse(host);
    let overridden = override_with(&mut parsed, wanted);
    let kind = match wanted.answers {
        Answers::Servers => " (legacy)",
        Answers::AsHost => "",
        Answers::Embedded => " (internal resolver)",
    };
    let mut comments = vec![format!("# Based on host file: '{}'{kind}", path.display())];
    let mut upstream = Vec::new();
    let mut ndots = has_ndots(&parsed.options).then_some(if wanted.options.is_empty() { "host" } else { "override" });
    match wanted.answers {
        Answers::Servers if wanted.nameservers.is_empty() => keep_reachable(&mut parsed, wanted, &mut comments),
        Answers::Servers | Answers::AsHost => {}
        Answers::Embedded => {
            upstream = take_upstream(&mut parsed, wanted, &mut comments);
            if ndots.is_none() {
                parsed.options.push("ndots:0".into());
                ndots = Some("internal");
            }
        }
    }
    if !parsed.invalid.is_empty() {
        comments.push(format!("# Invalid nameservers: [{}]", parsed.invalid.join(" ")));
    }
    comments.push(format!("# Overrides: [{}]", overridden.join(" ")));
    comments.extend(ndots.map(|from| format!("# Option ndots from: {from}")));
    Rendered { text: text(&parsed, &comments), upstream }
}

fn has_ndots(options: &[String]) -> bool {
    options.iter().any(|option| option.starts_with("ndots:"))
}

fn override_with(parsed: &mut Parsed, wanted: &Wanted) -> Vec<&'static str> {
    let mut overridden = Vec::new();
    if !wanted.nameservers.is_empty() {
        parsed.nameservers.clone_from(&wanted.nameservers);
        parsed.invalid.clear();
        overridden.push("nameservers");
    }
    if !wanted.search.is_empty() {
        parsed.search = if wanted.search == ["."] { Vec::new() } else { wanted.search.clone() };
        overridden.push("search");
    }
    if !wanted.options.is_empty() {
        parsed.options.clone_from(&wanted.options);
        overridden.push("options");
    }
    overridden
}

/// Puts the embedded server in the place of the servers, which it asks. Those on the host's loopback, and IPv6 ones
/// where the container has none, are asked from the host.
fn take_upstream(parsed: &mut Parsed, wanted: &Wanted, comments: &mut Vec<String>) -> Vec<Upstream> {
    let servers = std::mem::replace(&mut parsed.nameservers, vec![EMBEDDED.to_string()]);
    let mut upstream: Vec<_> = servers
        .into_iter()
        .map(|address| {
            let loopback = wanted.nameservers.is_empty() && is_loopback(&address);
            let from_host = loopback || (address.contains(':') && !wanted.ipv6);
            Upstream { address, from_host }
        })
        .collect();
    if upstream.is_empty() {
        comments.push("# Used default nameservers.".into());
        upstream = public(wanted.ipv6).map(|address| Upstream { address, from_host: false }).collect();
    }
    let listed = upstream.iter().map(|server| match server.from_host {
        true => format!("host({})", server.address),
        false => server.address.clone(),
    });
    comments.push(format!("# ExtServers: [{}]", listed.collect::<Vec<_>>().join(" ")));
    upstream
}

/// Keeps the servers that a container can reach by itself, or takes public ones.
fn keep_reachable(parsed: &mut Parsed, wanted: &Wanted, comments: &mut Vec<String>) {
    parsed.nameservers.retain(|server| !is_loopback(server) && (wanted.ipv6 || !server.contains(':')));
    if parsed.nameservers.is_empty() {
        comments.push("# Used default nameservers.".into());
        parsed.nameservers = public(wanted.ipv6).collect();
    }
}

fn public(ipv6: bool) -> impl Iterator<Item = String> {
    PUBLIC_4.iter().chain(PUBLIC_6.iter().filter(move |_| ipv6)).map(|server| (*server).to_owned())
}

fn is_loopback(server: &str) -> bool {
    address_of(server).is_some_and(|address| address.is_loopback())
}

/// The address of a server without its zone.
fn address_of(server: &str) -> Option<IpAddr> {
    server.split_once('%').map_or(server, |(address, _)| address).parse().ok()
}

fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace();
        let keyword = words.next().unwrap_or_default();
        let words: Vec<String> = words.map(str::to_owned).collect();
        match (keyword, words.first()) {
            ("nameserver", Some(server)) if address_of(server).is_some() => parsed.nameservers.push(server.clone()),
            ("nameserver", Some(server)) => parsed.invalid.push(server.clone()),
            ("nameserver", None) => {}
            ("domain" | "search", Some(_)) => parsed.search = words,
            ("options", Some(_)) => parsed.options.extend(words),
            ("domain" | "search" | "options", None) => {}
            _ => parsed.other.push(line.to_owned()),
        }
    }
    parsed
}

fn text(parsed: &Parsed, comments: &[String]) -> String {
    let mut lines = vec![
        "# Generated by Docker Engine.".to_owned(),
        "# This file can be edited; Docker Engine will not make further changes once it".to_owned(),
        "# has been modified.".to_owned(),
        String::new(),
    ];
    lines.extend(parsed.nameservers.iter().map(|server| format!("nameserver {server}")));
    for (keyword, words) in [("search", &parsed.search), ("options", &parsed.options)] {
        if !words.is_empty() {
            lines.push(format!("{keyword} {}", words.join(" ")));
        }
    }
    lines.extend(parsed.other.iter().cloned());
    lines.push(String::new());
    lines.extend(comments.iter().cloned());
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOST: &str = "; comment\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nnameserver fd00::53\nsearch a.example b.example\noptions edns0 trust-ad\nsortlist 130.155.160.0\n";

    fn rendered(host: &str, wanted: &Wanted) -> Rendered {
        render(Path::new("/etc/resolv.conf"), host, wanted)
    }

    #[test]
    fn with_the_embedded_server() {
        let rendered = rendered(HOST, &Wanted { answers: Answers::Embedded, ..Wanted::default() });
        insta::assert_snapshot!(rendered.text, @r"
        # Generated by Docker Engine.
        # This file can be edited; Docker Engine will not make further changes once it
        # has been modified.

        nameserver 127.0.0.11
        search a.example b.example
        options edns0 trust-ad ndots:0
        sortlist 130.155.160.0

        # Based on host file: '/etc/resolv.conf' (internal resolver)
        # ExtServers: [host(127.0.0.53) 10.0.0.2 host(fd00::53)]
        # Overrides: []
        # Option ndots from: internal
        ");
        let from_host: Vec<_> = rendered.upstream.iter().map(|server| server.from_host).collect();
        assert_eq!(from_host, [true, false, true]);
    }

    #[test]
    fn without_it_loopback_servers_go() {
        insta::assert_snapshot!(rendered(HOST, &Wanted::default()).text, @r"
        # Generated by Docker Engine.
        # This file can be edited; Docker Engine will not make further changes once it
        # has been modified.

        nameserver 10.0.0.2
        search a.example b.example
        options edns0 trust-ad
        sortlist 130.155.160.0

        # Based on host file: '/etc/resolv.conf' (legacy)
        # Overrides: []
        ");
    }

    #[test]
    fn nothing_usable_means_public_servers() {
        let text = rendered("nameserver 127.0.0.1\n", &Wanted { ipv6: true, ..Wanted::default() }).text;
        let servers: Vec<_> = text.lines().filter(|line| line.starts_with("nameserver")).collect();
        assert_eq!(
            servers,
            [
                "nameserver 8.8.8.8",
                "nameserver 8.8.4.4",
                "nameserver 2001:4860:4860::8888",
                "nameserver 2001:4860:4860::8844"
            ]
        );
        assert!(text.contains("# Used default nameservers.\n"));
        let embedded = rendered("", &Wanted { answers: Answers::Embedded, ..Wanted::default() });
        assert_eq!(embedded.upstream.len(), 2);
    }

    #[test]
    fn overrides() {
        let wanted = Wanted {
            answers: Answers::Embedded,
            nameservers: vec!["127.0.0.1".into(), "1.1.1.1".into()],
            search: vec![".".into()],
            options: vec!["ndots:3".into()],
            ..Wanted::default()
        };
        let rendered = rendered(HOST, &wanted);
        insta::assert_snapshot!(rendered.text, @r"
        # Generated by Docker Engine.
        # This file can be edited; Docker Engine will not make further changes once it
        # has been modified.

        nameserver 127.0.0.11
        options ndots:3
        sortlist 130.155.160.0

        # Based on host file: '/etc/resolv.conf' (internal resolver)
        # ExtServers: [127.0.0.1 1.1.1.1]
        # Overrides: [nameservers search options]
        # Option ndots from: override
        ");
    }

    #[test]
    fn in_the_hosts_network_nothing_is_taken_away() {
        let options = vec!["ndots:2".into()];
        let rendered = rendered(HOST, &Wanted { answers: Answers::AsHost, options, ..Wanted::default() });
        insta::assert_snapshot!(rendered.text, @r"
        # Generated by Docker Engine.
        # This file can be edited; Docker Engine will not make further changes once it
        # has been modified.

        nameserver 127.0.0.53
        nameserver 10.0.0.2
        nameserver fd00::53
        search a.example b.example
        options ndots:2
        sortlist 130.155.160.0

        # Based on host file: '/etc/resolv.conf'
        # Overrides: [options]
        # Option ndots from: override
        ");
    }

    #[test]
    fn invalid_servers_are_named() {
        let text = rendered("nameserver x\nnameserver\nnameserver fe80::1%eth0\n", &Wanted::default()).text;
        assert!(text.contains("# Invalid nameservers: [x]\n") && !text.contains("nameserver x\n"), "{text}");
        let text = rendered("nameserver fe80::1%eth0\n", &Wanted { ipv6: true, ..Wanted::default() }).text;
        assert!(text.contains("\nnameserver fe80::1%eth0\n"), "{text}");
    }

    proptest! {
        #[test]
        fn any_host_file_gives_a_file_with_a_server(host in "(nameserver|search|options|#|[a-z0-9:.% \n]){0,40}", embedded: bool) {
            let answers = if embedded { Answers::Embedded } else { Answers::Servers };
            let rendered = rendered(&host, &Wanted { answers, ..Wanted::default() });
            prop_assert!(rendered.text.contains("\nnameserver "));
            prop_assert_eq!(rendered.upstream.is_empty(), !embedded);
        }
    }
}
