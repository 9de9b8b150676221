//! Names and addresses, as a container sees them, and the files they are in.
//!
//! One file per network, shared by its containers, and one per container:
//! ```text
//! network back                     # <directory>/networks/<network ID>
//! 172.18.0.2 web www 0123456789ab
//! 172.18.0.3 db
//!
//! network <network ID>             # <directory>/containers/<container ID>
//! link cache db
//! on <network ID>                  # where the link above is good; everywhere without this
//! upstream 10.0.0.2 container
//! upstream 127.0.0.53 host
//! ```
//! Both are replaced by renaming; a server looks before each answer whether they are still the ones it has read.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::resolv::Upstream;

/// Bytes of a file that are read: a network of 65,534 containers with a dozen names each.
const LARGEST: u64 = 16 << 20;

/// The names of one network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Its ID: the name of the file, not in it.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Addresses with their names, the container's own name first.
    pub records: Vec<(IpAddr, Vec<String>)>,
}

/// What is a container's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// IDs of its networks; those before are asked before.
    pub networks: Vec<String>,
    /// Names that only this container knows.
    pub links: Vec<Link>,
    /// Servers that know the rest, in order; none: there is no rest (internal networks).
    pub upstream: Vec<Upstream>,
}

/// A name that only one container knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// The name.
    pub alias: String,
    /// The name it stands for.
    pub target: String,
    /// The ID of the network it is good for; all without it.
    pub network: Option<String>,
}

/// Everything a container's server knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    networks: Vec<Network>,
    links: Vec<Link>,
}

impl Zone {
    /// The names of some networks, in order, and links.
    pub fn new(networks: Vec<Network>, links: Vec<Link>) -> Self {
        Self { networks, links }
    }

    /// The addresses of a name (lower case), `None` when nobody has it.
    pub(super) fn addresses_of(&self, name: &str) -> Option<Vec<IpAddr>> {
        self.networks.iter().find_map(|network| {
            let link = self.links.iter().find(|link| {
                link.alias.eq_ignore_ascii_case(name) && link.network.as_ref().is_none_or(|id| *id == network.id)
            });
            network.addresses_of(link.map_or(name, |link| link.target.as_str()))
        })
    }

    /// The name of an address, with its network's.
    pub(super) fn name_of(&self, address: IpAddr) -> Option<String> {
        self.networks.iter().find_map(|network| {
            let (_, names) = network.records.iter().find(|(other, _)| *other == address)?;
            Some(format!("{}.{}", names.first()?, network.name))
        })
    }
}

impl Network {
    fn addresses_of(&self, name: &str) -> Option<Vec<IpAddr>> {
        let bare = strip_network(name, &self.name);
        let has =
            |own: &String| own.eq_ignore_ascii_case(name) || bare.is_some_and(|bare| own.eq_ignore_ascii_case(bare));
        let mut found = self.records.iter().filter(|(_, names)| names.iter().any(has)).peekable();
        found.peek()?;
        Some(found.map(|(address, _)| *address).collect())
    }

    /// Reads a network's file; lines that make no sense are skipped.
    pub fn parse(text: &str) -> Self {
        let mut network = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("network") => network.name = words.next().unwrap_or_default().to_owned(),
                Some(word) => {
                    let names = words.map(str::to_owned).collect();
                    network.records.extend(word.parse().ok().map(|address| (address, names)));
                }
                None => {}
            }
        }
        network
    }

    /// The file's text.
    pub fn render(&self) -> String {
        let mut text = format!("network {}\n", self.name);
        for (address, names) in &self.records {
            text.push_str(&format!("{address} {}\n", names.join(" ")));
        }
        text
    }
}

/// `web` for `web.back` in the network `back`.
fn strip_network<'a>(name: &'a str, network: &str) -> Option<&'a str> {
    let (bare, suffix) = name.split_at_checked(name.len().checked_sub(network.len())?)?;
    bare.strip_suffix('.').filter(|bare| suffix.eq_ignore_ascii_case(network) && !bare.is_empty())
}

impl Container {
    /// Reads a container's file; lines that make no sense are skipped.
    pub fn parse(text: &str) -> Self {
        let mut container = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words[..] {
                ["network", id] => container.networks.push(id.to_owned()),
                ["link", alias, target] => {
                    container.links.push(Link { alias: alias.to_owned(), target: target.to_owned(), network: None });
                }
                ["on", id] => {
                    if let Some(link) = container.links.last_mut() {
                        link.network = Some(id.to_owned());
                    }
                }
                ["upstream", address, side @ ("host" | "container")] => {
                    container.upstream.push(Upstream { address: address.to_owned(), from_host: side == "host" });
                }
                _ => {}
            }
        }
        container
    }

    /// The file's text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for id in &self.networks {
            text.push_str(&format!("network {id}\n"));
        }
        for link in &self.links {
            text.push_str(&format!("link {} {}\n", link.alias, link.target));
            if let Some(id) = &link.network {
                text.push_str(&format!("on {id}\n"));
            }
        }
        for upstream in &self.upstream {
            let side = if upstream.from_host { "host" } else { "container" };
            text.push_str(&format!("upstream {} {side}\n", upstream.address));
        }
        text
    }
}

/// Writes (or replaces) a network's file below a directory.
pub fn write_network(directory: &Path, network_id: &str, network: &Network) -> io::Result<()> {
    replace(&network_path(directory, network_id)?, &network.render())
}

/// Writes (or replaces) a container's file below a directory.
pub fn write_container(directory: &Path, container_id: &str, container: &Container) -> io::Result<()> {
    replace(&container_path(directory, container_id)?, &container.render())
}

/// Removes a network's file; one that is not there is no failure.
pub fn remove_network(directory: &Path, network_id: &str) -> io::Result<()> {
    remove(&network_path(directory, network_id)?)
}

/// Removes a container's file; one that is not there is no failure.
pub fn remove_container(directory: &Path, container_id: &str) -> io::Result<()> {
    remove(&container_path(directory, container_id)?)
}

fn network_path(directory: &Path, id: &str) -> io::Result<PathBuf> {
    Ok(directory.join("networks").join(checked(id)?))
}

fn container_path(directory: &Path, id: &str) -> io::Result<PathBuf> {
    Ok(directory.join("containers").join(checked(id)?))
}

/// IDs become file names: digits and letters only.
fn checked(id: &str) -> io::Result<&str> {
    let good = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    good.then_some(id).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("invalid ID `{id}`")))
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    // One writer (the engine); readers never see the temporary name, because IDs have no dots.
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&temporary, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// A container's zone, read from its files and read again when they are replaced.
#[derive(Debug)]
pub struct ZoneFiles {
    directory: PathBuf,
    container_id: String,
    container: Container,
    /// What was read, to notice when it is replaced: the container's file, then one per network.
    seen: Vec<Option<Version>>,
    zone: Zone,
}

/// Tells a file from the one that replaces it: a new inode, or one used again at another time.
type Version = (u64, i64, i64, u64);

impl ZoneFiles {
    /// The files of a container below a directory; they are read by [`ZoneFiles::zone`].
    pub fn new(directory: &Path, container_id: &str) -> Self {
        Self {
            directory: directory.to_owned(),
            container_id: container_id.to_owned(),
            container: Container::default(),
            seen: Vec::new(),
            zone: Zone::default(),
        }
    }

    /// What the files say now. A file that is missing says nothing.
    pub fn zone(&mut self) -> &Zone {
        if self.seen.is_empty() || self.versions() != self.seen {
            self.read();
        }
        &self.zone
    }

    /// Servers that know the rest, as of the last [`ZoneFiles::zone`].
    pub fn upstream(&self) -> &[Upstream] {
        &self.container.upstream
    }

    fn read(&mut self) {
        // Versions first: a file that is replaced in between is read again at the next question.
        let own = container_path(&self.directory, &self.container_id);
        let own_version = own.as_ref().ok().and_then(|path| version(path));
        self.container = Container::parse(&own.and_then(|path| read_file(&path)).unwrap_or_default());
        let paths = self.network_paths();
        self.seen = std::iter::once(own_version).chain(paths.iter().map(|path| version(path))).collect();
        let read = |path: &PathBuf| {
            let id = path.file_name()?.to_str()?.to_owned();
            Some(Network { id, ..Network::parse(&read_file(path).ok()?) })
        };
        self.zone = Zone::new(paths.iter().filter_map(read).collect(), self.container.links.clone());
    }

    fn versions(&self) -> Vec<Option<Version>> {
        let own = container_path(&self.directory, &self.container_id).ok();
        let networks = self.network_paths();
        std::iter::once(own.and_then(|path| version(&path))).chain(networks.iter().map(|path| version(path))).collect()
    }

    fn network_paths(&self) -> Vec<PathBuf> {
        self.container.networks.iter().filter_map(|id| network_path(&self.directory, id).ok()).collect()
    }
}

fn version(path: &Path) -> Option<Version> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.ctime(), metadata.ctime_nsec(), metadata.size()))
}

fn read_file(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(name: &str, records: &[(&str, &str)]) -> Network {
        let record =
            |(address, names): &(&str, &str)| (address.parse().unwrap(), names.split(' ').map(str::to_owned).collect());
        Network { name: name.into(), records: records.iter().map(record).collect(), ..Network::default() }
    }

    #[test]
    fn files_are_read_again_when_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let mut files = ZoneFiles::new(directory.path(), "c1");
        assert_eq!(files.zone(), &Zone::default());
        let container = Container {
            networks: vec!["n1".into(), "n2".into()],
            links: vec![
                Link { alias: "cache".into(), target: "db".into(), network: None },
                Link { alias: "there".into(), target: "web".into(), network: Some("n2".into()) },
            ],
            upstream: vec![Upstream { address: "10.0.0.2".into(), from_host: true }],
        };
        write_container(directory.path(), "c1", &container).unwrap();
        write_network(directory.path(), "n1", &network("back", &[("172.18.0.2", "web www")])).unwrap();
        assert!(files.zone().addresses_of("web").is_some());
        assert!(files.zone().addresses_of("cache").is_none());
        assert!(files.zone().addresses_of("there").is_none(), "the link is good for the other network");
        assert_eq!(files.upstream(), container.upstream);
        write_network(directory.path(), "n1", &network("back", &[("172.18.0.3", "db")])).unwrap();
        assert!(files.zone().addresses_of("web").is_none());
        assert!(files.zone().addresses_of("cache").is_some());
        write_network(directory.path(), "n2", &network("front", &[("fd00::1", "web")])).unwrap();
        assert!(files.zone().addresses_of("web").is_some());
        assert_eq!(files.zone().addresses_of("there"), Some(vec!["fd00::1".parse().unwrap()]));
        for _ in 0..2 {
            remove_network(directory.path(), "n1").unwrap();
            remove_container(directory.path(), "c1").unwrap();
        }
        assert_eq!(files.zone(), &Zone::default());
        let left: Vec<_> =
            fs::read_dir(directory.path().join("networks")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["n2"]);
    }

    #[test]
    fn ids_cannot_leave_the_directory() {
        for bad in ["", "..", "../x", "a/b", "a.new"] {
            assert!(write_network(Path::new("/nonexistent"), bad, &Network::default()).is_err(), "{bad}");
        }
        let directory = tempfile::tempdir().unwrap();
        write_container(directory.path(), "c1", &Container { networks: vec!["../x".into()], ..Container::default() })
            .unwrap();
        assert_eq!(ZoneFiles::new(directory.path(), "c1").zone(), &Zone::default());
    }

    proptest! {
        #[test]
        fn text_and_back(records in prop::collection::vec((any::<IpAddr>(), prop::collection::vec("[a-z][a-z0-9_.-]{0,9}", 1..4)), 0..6)) {
            let network = Network { name: "back".into(), records, ..Network::default() };
            prop_assert_eq!(Network::parse(&network.render()), network);
        }

        #[test]
        fn any_text_is_read(text in "([a-z0-9.: ]|network|link|on|upstream|\n){0,60}") {
            let _ = Network::parse(&text);
            let container = Container::parse(&text);
            prop_assert_eq!(Container::parse(&container.render()), container);
        }
    }
}
