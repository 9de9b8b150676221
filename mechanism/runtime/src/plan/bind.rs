//! Attributes of bind mounts whose options are all that counts, as mount(8) has it.

use std::os::fd::AsFd;

use rustix::fs::fstatfs;
use rustix::io::Errno;
use tare_sys::mount::{MountAttr, attr};

use super::options::Options;

/// Attributes that a less privileged user namespace cannot take off.
const LOCKED: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
const ATIMES: u64 = attr::ATIME | attr::NODIRATIME;

/// What a bind mount in a user namespace may not change of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Locks {
    /// Attributes that the options take off.
    off: u64,
    /// Access times that they ask for.
    atimes: Option<u64>,
}

/// The mount's own attributes. Those that no option sets are cleared, but for access times, which stay the source's unless
/// an option sets some. In a user namespace what the source has stays, and an option against that is an error.
pub(super) fn attributes(options: &Options, user_namespace: bool) -> (MountAttr, Option<Locks>) {
    let own = options.own;
    if !options.any_own {
        return (own, None);
    }
    let set = own.set;
    let atimes = (set & ATIMES != 0 || options.relatime).then_some(set & ATIMES);
    if user_namespace {
        let own = MountAttr { set: set & !ATIMES, clear: attr::NOSYMFOLLOW & !set, ..MountAttr::default() };
        return (own, Some(Locks { off: options.own.clear & LOCKED, atimes }));
    }
    let mut clear = (LOCKED | attr::NOSYMFOLLOW) & !set;
    if atimes.is_some() {
        // The whole field, before one of its values is set.
        clear |= attr::ATIME | attr::NODIRATIME & !set;
    }
    (MountAttr { set, clear, ..MountAttr::default() }, None)
}

impl Locks {
    /// `EPERM` if the options ask for what the source's attributes forbid.
    pub(crate) fn check(self, source: impl AsFd) -> Result<(), Errno> {
        let flags = u64::try_from(fstatfs(source)?.f_flags).unwrap_or_default();
        if self.allow(of(flags)) { Ok(()) } else { Err(Errno::PERM) }
    }

    fn allow(self, source: u64) -> bool {
        self.off & source == 0 && self.atimes.is_none_or(|atimes| atimes == source & ATIMES)
    }
}

/// `f_flags` of `statfs(2)` as attributes.
fn of(flags: u64) -> u64 {
    /// `ST_NOATIME`, `ST_NODIRATIME` and `ST_RELATIME` of `linux/statfs.h`; the others have the attributes' own numbers.
    const NOATIME: u64 = 0x400;
    const NODIRATIME: u64 = 0x800;
    const RELATIME: u64 = 0x1000;
    let atimes = match flags & (NOATIME | RELATIME) {
        0 => attr::STRICTATIME,
        flags if flags & NOATIME != 0 => attr::NOATIME,
        _ => 0,
    };
    flags & LOCKED | atimes | if flags & NODIRATIME != 0 { attr::NODIRATIME } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::options::parse;

    fn asked(text: &str, user_namespace: bool) -> (MountAttr, Option<Locks>) {
        attributes(&parse(&text.split(',').map(str::to_owned).collect::<Vec<_>>()), user_namespace)
    }

    #[test]
    fn options_are_all_that_counts() {
        let rest = attr::NODEV | attr::NOEXEC | attr::NOSYMFOLLOW;
        assert_eq!(asked("rbind,rprivate,rro", false).0, MountAttr::default());
        assert_eq!(
            asked("bind,ro,nosuid", false).0,
            MountAttr { set: attr::RDONLY | attr::NOSUID, clear: rest, ..MountAttr::default() }
        );
        // Access times stay what they are, but for those that are asked for.
        for (text, set, clear) in [
            ("bind,atime", 0, 0),
            ("bind,norelatime", 0, 0),
            ("bind,relatime", 0, ATIMES),
            ("bind,nodiratime", attr::NODIRATIME, attr::ATIME),
            ("bind,strictatime", attr::STRICTATIME, ATIMES),
        ] {
            let own = asked(text, false).0;
            assert_eq!((own.set & ATIMES, own.clear & ATIMES), (set, clear), "{text}");
        }
    }

    #[test]
    fn a_user_namespace_keeps_what_the_source_has() {
        let (own, locks) = asked("bind,ro,dev,symfollow", true);
        assert_eq!(own, MountAttr { set: attr::RDONLY, clear: attr::NOSYMFOLLOW, ..MountAttr::default() });
        let locks = locks.unwrap();
        assert!(locks.allow(attr::NOSUID | attr::NOATIME) && !locks.allow(attr::NODEV));
        let locks = asked("bind,relatime", true).1.unwrap();
        assert!(locks.allow(0) && !locks.allow(attr::NOATIME) && !locks.allow(attr::STRICTATIME));
        assert_eq!(asked("bind", true), (MountAttr::default(), None));
    }
}
