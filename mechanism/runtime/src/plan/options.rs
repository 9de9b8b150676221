//! Mount options: which are attributes of the mount, which go to the file system.

use tare_sys::mount::{MountAttr, attr, propagation};

/// What the options of one mount ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Attributes of the mount itself.
    pub(crate) own: MountAttr,
    /// Some option is about these attributes, if only to say that one is not set.
    pub(crate) any_own: bool,
    /// `relatime`, which is what no attribute means.
    pub(crate) relatime: bool,
    /// Attributes of it and all below it.
    pub(crate) recursive: MountAttr,
    /// Propagation types in order, and whether each is for all below too.
    pub(crate) propagation: Vec<(u64, bool)>,
    /// `bind` (false) or `rbind` (true).
    pub(crate) bind: Option<bool>,
    /// `remount`: change what is mounted there already.
    pub(crate) remount: bool,
    /// `tmpcopyup`: a tmpfs starts with a copy of what it hides.
    pub(crate) copy_up: bool,
    /// `idmap` (false) or `ridmap` (true).
    pub(crate) idmap: Option<bool>,
    /// The rest: parameters of the file system.
    pub(crate) parameters: Vec<(String, Option<String>)>,
}

/// Option, bits to set, bits to clear. Each is also known with an `r` in front, for all mounts below too.
const ATTRIBUTES: &[(&str, u64, u64)] = &[
    ("ro", attr::RDONLY, 0),
    ("rw", 0, attr::RDONLY),
    ("nosuid", attr::NOSUID, 0),
    ("suid", 0, attr::NOSUID),
    ("nodev", attr::NODEV, 0),
    ("dev", 0, attr::NODEV),
    ("noexec", attr::NOEXEC, 0),
    ("exec", 0, attr::NOEXEC),
    ("noatime", attr::NOATIME, attr::ATIME),
    ("atime", 0, attr::ATIME),
    ("relatime", 0, attr::ATIME),
    ("norelatime", 0, 0),
    ("strictatime", attr::STRICTATIME, attr::ATIME),
    ("nostrictatime", 0, attr::ATIME),
    ("nodiratime", attr::NODIRATIME, 0),
    ("diratime", 0, attr::NODIRATIME),
    ("nosymfollow", attr::NOSYMFOLLOW, 0),
    ("symfollow", 0, attr::NOSYMFOLLOW),
];

const PROPAGATION: &[(&str, u64, bool)] = &[
    ("private", propagation::PRIVATE, false),
    ("rprivate", propagation::PRIVATE, true),
    ("slave", propagation::SLAVE, false),
    ("rslave", propagation::SLAVE, true),
    ("shared", propagation::SHARED, false),
    ("rshared", propagation::SHARED, true),
    ("unbindable", propagation::UNBINDABLE, false),
    ("runbindable", propagation::UNBINDABLE, true),
];

/// Options of mount(8) that change nothing here: defaults, and what has no meaning for a mount of a container.
const IGNORED: &[&str] = &["", "defaults", "silent", "loud", "iversion", "noiversion", "acl", "noacl", "nofail"];

pub(crate) fn parse(options: &[String]) -> Options {
    let mut all = Options::default();
    for option in options.iter().map(String::as_str) {
        if let Some(&(_, set, clear)) = ATTRIBUTES.iter().find(|(name, ..)| *name == option) {
            add(&mut all.own, set, clear);
            all.any_own = true;
            all.relatime |= option == "relatime";
        } else if let Some(&(_, kind, recursive)) = PROPAGATION.iter().find(|(name, ..)| *name == option) {
            all.propagation.push((kind, recursive));
        } else if let Some(&(_, set, clear)) =
            option.strip_prefix('r').and_then(|base| ATTRIBUTES.iter().find(|(name, ..)| *name == base))
        {
            add(&mut all.recursive, set, clear);
        } else {
            other(&mut all, option);
        }
    }
    all
}

fn other(all: &mut Options, option: &str) {
    match option {
        "bind" => all.bind = Some(all.bind.unwrap_or(false)),
        "rbind" => all.bind = Some(true),
        "remount" => all.remount = true,
        "tmpcopyup" => all.copy_up = true,
        "idmap" => all.idmap = Some(false),
        "ridmap" => all.idmap = Some(true),
        _ if IGNORED.contains(&option) => {}
        _ => all.parameters.push(match option.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (option.to_owned(), None),
        }),
    }
}

/// A later option takes back an earlier one.
fn add(attributes: &mut MountAttr, set: u64, clear: u64) {
    attributes.set = attributes.set & !clear | set;
    attributes.clear = attributes.clear & !set | clear;
    if clear & attr::ATIME == attr::ATIME {
        // mount_setattr(2) wants the whole field cleared before one of its values is set.
        attributes.clear |= attr::ATIME;
    }
}

/// The mount options that are understood here; file systems have more.
pub fn mount_option_names() -> Vec<String> {
    let attributes = ATTRIBUTES.iter().map(|(name, ..)| *name);
    let plain = ["bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"];
    let mut all: Vec<String> = attributes.clone().map(|name| format!("r{name}")).collect();
    all.extend(attributes.chain(PROPAGATION.iter().map(|(name, ..)| *name)).chain(plain).map(str::to_owned));
    all.sort_unstable();
    all
}

/// The propagation type of `rootfsPropagation`.
pub(crate) fn propagation_type(name: &str) -> Option<(u64, bool)> {
    PROPAGATION.iter().find(|(own, ..)| *own == name).map(|(_, kind, recursive)| (*kind, *recursive))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Options {
        parse(&text.split(',').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_bind_mount() {
        let parsed = options("rbind,rprivate,ro,nosuid,rro");
        assert_eq!(parsed.bind, Some(true));
        assert_eq!(parsed.propagation, [(propagation::PRIVATE, true)]);
        assert_eq!(parsed.own, MountAttr { set: attr::RDONLY | attr::NOSUID, ..MountAttr::default() });
        assert_eq!(parsed.recursive, MountAttr { set: attr::RDONLY, ..MountAttr::default() });
        assert!(parsed.parameters.is_empty());
    }

    #[test]
    fn a_tmpfs() {
        let parsed = options("nosuid,strictatime,mode=755,size=65536k,noswap,tmpcopyup,defaults");
        assert_eq!(parsed.own.set, attr::NOSUID | attr::STRICTATIME);
        assert_eq!(parsed.own.clear, attr::ATIME);
        let parameters: Vec<_> =
            parsed.parameters.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        assert_eq!(parameters, [("mode", Some("755")), ("size", Some("65536k")), ("noswap", None)]);
        assert!(parsed.copy_up);
    }

    #[test]
    fn the_last_of_two_opposites_wins() {
        assert_eq!(options("ro,rw").own, MountAttr { clear: attr::RDONLY, ..MountAttr::default() });
        assert_eq!(options("noatime,relatime").own, MountAttr { clear: attr::ATIME, ..MountAttr::default() });
        // `relatime` begins with an r, but is not the recursive form of `elatime`.
        assert!(options("relatime").recursive.is_empty());
        assert_eq!(options("rrelatime").recursive.clear, attr::ATIME);
    }
}
