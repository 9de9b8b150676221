//! Device nodes as data.

use rustix::fs::{Dev, FileType, makedev};
use tare_oci_runtime::Device;

use super::mounts::{RootPath, c_string};
use crate::error::{Error, Result};
use std::ffi::{CStr, CString};
use std::path::Path;

/// A device node to make.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DevicePlan {
    /// The directory it lies in.
    pub(crate) parent: RootPath,
    pub(crate) name: CString,
    /// The same device on the host: bind mounted where nodes cannot be made.
    pub(crate) host: CString,
    pub(crate) kind: FileType,
    pub(crate) device: Dev,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Those that every container has: name, major, minor.
const DEFAULT: [(&str, i64, i64); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Symbolic links in `/dev`.
pub(crate) const LINKS: [(&CStr, &CStr); 6] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
    (c"core", c"/proc/kcore"),
    (c"ptmx", c"pts/ptmx"),
];

/// The default devices, unless given otherwise, and the given ones; not `/dev/ptmx`, the container's own being linked there.
pub(crate) fn devices(given: &[Device]) -> Result<Vec<DevicePlan>> {
    let mut all = Vec::with_capacity(DEFAULT.len() + given.len());
    for (name, major, minor) in DEFAULT {
        let path = Path::new("/dev").join(name);
        if !given.iter().any(|device| device.path == path) {
            all.push(plan(&Device { path, kind: "c".to_owned(), major, minor, ..Device::default() })?);
        }
    }
    for device in given.iter().filter(|device| device.path != Path::new("/dev/ptmx")) {
        all.push(plan(device)?);
    }
    Ok(all)
}

fn plan(device: &Device) -> Result<DevicePlan> {
    const DEFAULT_MODE: u32 = 0o666;
    let invalid = |what: &str| Error::invalid(format!("device `{}`: {what}", device.path.display()));
    let kind = match device.kind.as_str() {
        "c" | "u" => FileType::CharacterDevice,
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        kind => return Err(invalid(&format!("type `{kind}`: unknown"))),
    };
    let number = |number: i64| u32::try_from(number).map_err(|_| invalid("device number out of range"));
    let (major, minor) = if kind == FileType::Fifo { (0, 0) } else { (number(device.major)?, number(device.minor)?) };
    let parent = device.path.parent().ok_or_else(|| invalid("not a path of a file"))?;
    let name = device.path.file_name().ok_or_else(|| invalid("not a path of a file"))?;
    Ok(DevicePlan {
        parent: RootPath::new(parent)?,
        name: c_string(name.as_encoded_bytes())?,
        host: c_string(device.path.as_os_str().as_encoded_bytes())?,
        kind,
        device: makedev(major, minor),
        mode: device.file_mode.unwrap_or(DEFAULT_MODE) & 0o7777,
        uid: device.uid.unwrap_or_default(),
        gid: device.gid.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_devices_replace_default_ones() {
        let tty = Device {
            path: "/dev/tty".into(),
            kind: "c".to_owned(),
            major: 5,
            file_mode: Some(0o20600),
            ..Device::default()
        };
        let tun =
            Device { path: "/dev/net/tun".into(), kind: "c".to_owned(), major: 10, minor: 200, ..Device::default() };
        let ptmx = Device { path: "/dev/ptmx".into(), kind: "c".to_owned(), major: 5, minor: 2, ..Device::default() };
        let all = devices(&[tty, ptmx, tun]).unwrap();
        let lines: Vec<String> = all
            .iter()
            .map(|device| format!("{} {} {:o}", device.parent, device.name.to_string_lossy(), device.mode))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        /dev null 666
        /dev zero 666
        /dev full 666
        /dev random 666
        /dev urandom 666
        /dev tty 600
        /dev/net tun 666
        ");
    }

    #[test]
    fn nonsense_is_refused() {
        let device = |path: &str, kind: &str, major| Device {
            path: path.into(),
            kind: kind.to_owned(),
            major,
            ..Device::default()
        };
        for bad in [device("/dev/x", "x", 1), device("/", "c", 1), device("/dev/x", "c", -1), device("/dev/..", "c", 1)]
        {
            assert!(devices(&[bad]).is_err());
        }
    }
}
