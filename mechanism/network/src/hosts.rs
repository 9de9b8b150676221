//! `/etc/hosts` of containers: text, and the changes that are made to a file in use.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use crate::in_place;

/// What a container's hosts file says beyond the loopback addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    /// The container has IPv6, at least on its loopback.
    pub ipv6: bool,
    /// Lines that someone asked for (`--add-host`, links), in order: address and names separated by spaces.
    pub extra: Vec<(IpAddr, String)>,
    /// The container's own addresses and names.
    pub own: Vec<(IpAddr, String)>,
}

/// The names of a container itself: `web.example.org web`, or `web` alone.
pub fn own_names(hostname: &str, domain: &str) -> String {
    let full = if domain.is_empty() { hostname.to_owned() } else { format!("{hostname}.{domain}") };
    match full.split_once('.') {
        Some((host, _)) => format!("{full} {host}"),
        None => full,
    }
}

/// The file's text.
pub fn render(hosts: &Hosts) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n");
    if hosts.ipv6 {
        text.push_str(
            "::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::\tip6-localnet\n\
             ff00::\tip6-mcastprefix\n\
             ff02::1\tip6-allnodes\n\
             ff02::2\tip6-allrouters\n",
        );
    }
    for (address, names) in hosts.extra.iter().chain(&hosts.own) {
        text.push_str(&format!("{address}\t{names}\n"));
    }
    text
}

/// Replaces the address of every line whose first name is `alias`.
pub fn update_alias(text: &str, alias: &str, address: IpAddr) -> String {
    let name = format!("\t{alias}");
    let mut result = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(&name) {
        // The name ends here, or it is the first part of one with a domain.
        if !alias.is_empty() && after.starts_with(|c: char| c.is_ascii_whitespace() || c == '.') {
            let end = before.rfind(|c: char| c.is_ascii_whitespace()).map_or(0, |last| last + 1);
            result.push_str(before.get(..end).unwrap_or_default());
            result.push_str(&address.to_string());
        } else {
            result.push_str(before);
        }
        result.push_str(&name);
        rest = after;
    }
    result.push_str(rest);
    result
}

/// [`update_alias`] on a file that is mounted into a container. False when there was nothing to change.
pub fn update_alias_in_place(path: &Path, alias: &str, address: IpAddr) -> io::Result<bool> {
    in_place::change(path, |text| Some(update_alias(text, alias, address)))
}

/// Adds lines at the end.
pub fn add_lines(text: &str, lines: &[(IpAddr, String)]) -> String {
    let mut result = text.to_owned();
    if !lines.is_empty() && !text.is_empty() && !text.ends_with('\n') {
        result.push('\n');
    }
    for (address, names) in lines {
        result.push_str(&format!("{address}\t{names}\n"));
    }
    result
}

/// Removes lines that say just this.
pub fn remove_lines(text: &str, lines: &[(IpAddr, String)]) -> String {
    let lines: Vec<_> = lines.iter().map(|(address, names)| format!("{address}\t{names}")).collect();
    let kept = text.split_inclusive('\n').filter(|line| !lines.iter().any(|gone| gone == line.trim_end_matches('\n')));
    kept.collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_file() {
        let names = own_names("web", "example.org");
        let hosts = Hosts {
            ipv6: true,
            extra: vec![(ip("10.0.0.9"), "db".into()), (ip("172.17.0.2"), "cache 0123456789ab redis".into())],
            own: vec![(ip("172.17.0.3"), names.clone()), (ip("fd00::3"), names)],
        };
        insta::assert_snapshot!(render(&hosts), @r"
        127.0.0.1	localhost
        ::1	localhost ip6-localhost ip6-loopback
        fe00::	ip6-localnet
        ff00::	ip6-mcastprefix
        ff02::1	ip6-allnodes
        ff02::2	ip6-allrouters
        10.0.0.9	db
        172.17.0.2	cache 0123456789ab redis
        172.17.0.3	web.example.org web
        fd00::3	web.example.org web
        ");
        assert_eq!(render(&Hosts::default()), "127.0.0.1\tlocalhost\n");
        assert_eq!(own_names("web", ""), "web");
        assert_eq!(own_names("web.example.org", ""), "web.example.org web");
    }

    #[test]
    fn lines_come_and_go() {
        let lines = [(ip("172.18.0.2"), "web.example.org web".to_owned()), (ip("fd00::2"), "web".to_owned())];
        let text = "127.0.0.1\tlocalhost\n172.18.0.2\tweb\n# own";
        let more = add_lines(text, &lines);
        assert_eq!(more, format!("{text}\n172.18.0.2\tweb.example.org web\nfd00::2\tweb\n"));
        assert_eq!(remove_lines(&more, &lines), format!("{text}\n"));
        assert_eq!(add_lines("", &[]), "");
    }

    #[test]
    fn the_line_of_an_alias_moves() {
        let text = "127.0.0.1\tlocalhost\n172.17.0.2\tdb 0123 redis\n172.17.0.2\tdb.example.org db\n172.17.0.5\tdb2\n";
        let expected =
            "127.0.0.1\tlocalhost\n172.17.0.9\tdb 0123 redis\n172.17.0.9\tdb.example.org db\n172.17.0.5\tdb2\n";
        assert_eq!(update_alias(text, "db", ip("172.17.0.9")), expected);
        for untouched in ["0123", "redis", "d", "", "b"] {
            assert_eq!(update_alias(text, untouched, ip("172.17.0.9")), text, "{untouched}");
        }
        assert_eq!(update_alias("\tdb\n", "db", ip("::1")), "::1\tdb\n");
    }

    #[test]
    fn a_file_in_use_keeps_its_inode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts");
        std::fs::write(&path, "172.17.200.200\tdb\n10.0.0.1\tx\n").unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        assert!(update_alias_in_place(&path, "db", ip("172.17.0.2")).unwrap());
        assert!(!update_alias_in_place(&path, "db", ip("172.17.0.2")).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "172.17.0.2\tdb\n10.0.0.1\tx\n");
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(update_alias_in_place(&link, "db", ip("172.17.0.3")).is_err());
        std::fs::write(&path, vec![b'x'; 2 << 20]).unwrap();
        let error = update_alias_in_place(&path, "db", ip("172.17.0.3")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    proptest! {
        #[test]
        fn nothing_but_addresses_changes(text in "[ \ta-c.\n]{0,60}", alias in "[a-c]{1,2}") {
            let updated = update_alias(&text, &alias, ip("10.9.8.7"));
            let again = update_alias(&updated, &alias, ip("10.9.8.7"));
            prop_assert_eq!(&again, &updated);
            prop_assert_eq!(updated.lines().count(), text.lines().count());
        }
    }
}
