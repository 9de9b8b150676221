//! What mounts propagate, and whether the host's mounts let them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use tare_sys::mountinfo::{self, MOUNTINFO};

use crate::container::mounts::says_propagation;
use crate::container::record::{MountKind, Record};
use crate::error::{Error, Result};

/// The propagation of a container's root: a bind with shared or slave propagation needs one that lets it through. An error
/// if the mount that a bind is taken from does not pass anything on; `data_root` is the engine's, whose binds fall back.
pub(crate) fn of_root(record: &Record, data_root: &Path) -> Result<&'static str> {
    let (mut host, mut root) = (None, "");
    for mount in record.mounts.iter().filter(|mount| mount.kind == MountKind::Bind) {
        let shared = match mount.propagation.as_str() {
            "shared" | "rshared" => true,
            "slave" | "rslave" => false,
            _ => continue,
        };
        let source = Path::new(&mount.source);
        let path = source.canonicalize().map_err(|error| Error::io("resolve", source.display(), error))?;
        if host.is_none() {
            let text = std::fs::read(MOUNTINFO).map_err(|error| Error::io("read", MOUNTINFO, error))?;
            host = Some(parse(&text));
        }
        let Some(from) = mount_of(host.as_deref().unwrap_or_default(), &path) else {
            return Err(Error::internal(format!("Can't find mount point of {}", mount.source)));
        };
        let wrong = |kind| {
            let point = from.point.display();
            Error::internal(format!("path {} is mounted on {point} but it is not a {kind} mount", mount.source))
        };
        if shared {
            from.shared.then_some(()).ok_or_else(|| wrong("shared"))?;
            root = "shared";
        } else if !from.shared && !from.slave {
            let engines = source.starts_with(data_root) || data_root.starts_with(source);
            (engines && !says_propagation(mount, &record.host_config))
                .then_some(())
                .ok_or_else(|| wrong("shared or slave"))?;
        } else if root.is_empty() {
            root = "rslave";
        }
    }
    Ok(root)
}

/// A mount of the host.
#[derive(Debug, PartialEq, Eq)]
struct HostMount {
    point: PathBuf,
    shared: bool,
    slave: bool,
}

fn parse(text: &[u8]) -> Vec<HostMount> {
    let mount = |mount: mountinfo::Mount<'_>| {
        let has = |tag: &[u8]| mount.tags.iter().any(|known| known.starts_with(tag));
        let (shared, slave) = (has(b"shared:"), has(b"master:"));
        HostMount { point: OsString::from_vec(mount.point).into(), shared, slave }
    };
    mountinfo::mounts(text).map(mount).collect()
}

/// The mount a path is on: of several at one place, the last, which is on top.
fn mount_of<'a>(mounts: &'a [HostMount], path: &Path) -> Option<&'a HostMount> {
    let length = |mount: &&HostMount| OsStr::as_bytes(mount.point.as_os_str()).len();
    mounts.iter().filter(|mount| path.starts_with(&mount.point)).max_by_key(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &[u8] = b"22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:5 / /with\\040space rw shared:7 - tmpfs tmpfs rw
24 22 0:6 / /srv rw,nosuid master:3 propagate_from:2 - tmpfs tmpfs rw
25 24 0:7 / /srv/inner rw - tmpfs shared:1 rw
26 24 0:8 / /srv/inner rw shared:4 master:3 - tmpfs tmpfs rw
broken
";

    #[test]
    fn mounts_are_found() {
        let mounts = parse(HOST);
        let found = |path: &str| {
            let mount = mount_of(&mounts, Path::new(path)).unwrap();
            (mount.point.to_str().unwrap(), mount.shared, mount.slave)
        };
        assert_eq!(mounts.len(), 5);
        assert_eq!(found("/srvx"), ("/", false, false));
        assert_eq!(found("/with space/x"), ("/with space", true, false));
        assert_eq!(found("/srv"), ("/srv", false, true));
        assert_eq!(found("/srv/inner/x"), ("/srv/inner", true, true));
        assert_eq!(mount_of(&mounts[1..], Path::new("/x")), None);
    }
}
