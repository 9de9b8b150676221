//! The hosts file of a container: text made once, and one line of it rewritten in place when a link's target moves.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::path::Path;

/// Largest hosts file that is rewritten, in bytes: the container may have put anything there.
const BYTES_MAX: u64 = 1024 * 1024;

/// What a hosts file says.
#[derive(Debug, Clone, Default)]
pub struct Spec<'a> {
    /// The container has IPv6.
    pub ipv6: bool,
    /// Further names (`--add-host`).
    pub extra: &'a [(String, IpAddr)],
    /// The container's own addresses with its names.
    pub own: &'a [(IpAddr, Vec<String>)],
    /// Linked containers' addresses with their names, the alias first.
    pub links: &'a [(IpAddr, Vec<String>)],
}

/// Renders the file as Docker orders it: loopback, extra names, links, the container itself.
pub fn render(spec: &Spec<'_>) -> String {
    let mut text = "127.0.0.1\tlocalhost\n".to_owned();
    if spec.ipv6 {
        text.push_str(
            "::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n\
             ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
        );
    }
    for (name, address) in spec.extra {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{address}\t{name}");
    }
    for (address, names) in spec.links.iter().chain(spec.own) {
        let _ = writeln!(text, "{address}\t{}", names.join(" "));
    }
    text
}

/// Gives the line whose first name is `alias` a new address, keeping the file's inode: it is mounted in the container.
/// Says whether there was such a line.
pub fn update_alias_in_place(path: &Path, alias: &str, address: IpAddr) -> io::Result<bool> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let mut text = String::new();
    (&mut file).take(BYTES_MAX).read_to_string(&mut text)?;
    let Some(changed) = with_alias(&text, alias, address) else { return Ok(false) };
    file.seek(SeekFrom::Start(0))?;
    file.write_all(changed.as_bytes())?;
    file.set_len(changed.len() as u64)?;
    Ok(true)
}

/// The pure part: `None` when no line's first name is the alias.
fn with_alias(text: &str, alias: &str, address: IpAddr) -> Option<String> {
    let mut found = false;
    let lines: Vec<String> = text
        .split_inclusive('\n')
        .map(|line| match line.split_once('\t') {
            Some((_, names)) if names.split_whitespace().next() == Some(alias) => {
                found = true;
                format!("{address}\t{names}")
            }
            _ => line.to_owned(),
        })
        .collect();
    found.then(|| lines.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_in_dockers_order() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let text = render(&Spec {
            ipv6: false,
            extra: &[("db.test".to_owned(), ip("10.0.0.1"))],
            own: &[(ip("172.17.0.3"), names(&["abc.lan", "abc"]))],
            links: &[(ip("172.17.0.2"), names(&["insideweb", "0123456789ab", "web"]))],
        });
        insta::assert_snapshot!(text, @r"
        127.0.0.1	localhost
        10.0.0.1	db.test
        172.17.0.2	insideweb 0123456789ab web
        172.17.0.3	abc.lan abc
        ");
    }

    #[test]
    fn an_alias_moves_and_the_inode_stays() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        std::fs::write(&path, "127.0.0.1\tlocalhost\n172.17.0.200\tweb 0123 web\n1.2.3.4\twebster\n").unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        assert!(update_alias_in_place(&path, "web", "172.17.0.9".parse().unwrap()).unwrap());
        assert!(!update_alias_in_place(&path, "nobody", "172.17.0.9".parse().unwrap()).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "127.0.0.1\tlocalhost\n172.17.0.9\tweb 0123 web\n1.2.3.4\twebster\n");
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
    }
}
