//! Mount options of the local driver (`type`, `device`, `o`), as mount(8) has them: what is mounted where a volume's
//! content is while it is used.

use std::ffi::CString;
use std::net::ToSocketAddrs as _;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change, mount_remount};
use tare_sys::errno::words;

use super::Volume;
use crate::error::{Error, Result};

/// Bits that rustix keeps for functions of their own (mount(2)).
const BIND: MountFlags = MountFlags::from_bits_retain(0x1000);
const RECURSIVE: MountFlags = MountFlags::from_bits_retain(0x4000);

/// Option, flag, and whether it sets the flag or takes it back.
const FLAGS: &[(&str, MountFlags, bool)] = &[
    ("defaults", MountFlags::empty(), true),
    ("ro", MountFlags::RDONLY, true),
    ("rw", MountFlags::RDONLY, false),
    ("nosuid", MountFlags::NOSUID, true),
    ("suid", MountFlags::NOSUID, false),
    ("nodev", MountFlags::NODEV, true),
    ("dev", MountFlags::NODEV, false),
    ("noexec", MountFlags::NOEXEC, true),
    ("exec", MountFlags::NOEXEC, false),
    ("sync", MountFlags::SYNCHRONOUS, true),
    ("async", MountFlags::SYNCHRONOUS, false),
    ("dirsync", MountFlags::DIRSYNC, true),
    ("mand", MountFlags::PERMIT_MANDATORY_FILE_LOCKING, true),
    ("nomand", MountFlags::PERMIT_MANDATORY_FILE_LOCKING, false),
    ("noatime", MountFlags::NOATIME, true),
    ("atime", MountFlags::NOATIME, false),
    ("nodiratime", MountFlags::NODIRATIME, true),
    ("diratime", MountFlags::NODIRATIME, false),
    ("relatime", MountFlags::RELATIME, true),
    ("norelatime", MountFlags::RELATIME, false),
    ("strictatime", MountFlags::STRICTATIME, true),
    ("nostrictatime", MountFlags::STRICTATIME, false),
    ("bind", BIND, true),
    ("rbind", BIND.union(RECURSIVE), true),
];

const PROPAGATION: &[(&str, MountPropagationFlags)] = &[
    ("private", MountPropagationFlags::PRIVATE),
    ("rprivate", MountPropagationFlags::PRIVATE.union(MountPropagationFlags::REC)),
    ("shared", MountPropagationFlags::SHARED),
    ("rshared", MountPropagationFlags::SHARED.union(MountPropagationFlags::REC)),
    ("slave", MountPropagationFlags::DOWNSTREAM),
    ("rslave", MountPropagationFlags::DOWNSTREAM.union(MountPropagationFlags::REC)),
    ("unbindable", MountPropagationFlags::UNBINDABLE),
    ("runbindable", MountPropagationFlags::UNBINDABLE.union(MountPropagationFlags::REC)),
];

/// What mount(2) is given.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    flags: MountFlags,
    propagation: Vec<MountPropagationFlags>,
    /// Parameters of the file system.
    data: String,
}

fn parse(text: &str) -> Options {
    let mut options = Options { flags: MountFlags::empty(), propagation: Vec::new(), data: String::new() };
    for option in text.split(',').filter(|option| !option.is_empty()) {
        if let Some((_, flag, set)) = FLAGS.iter().find(|(name, ..)| *name == option) {
            options.flags.set(*flag, *set);
        } else if let Some((_, kind)) = PROPAGATION.iter().find(|(name, _)| *name == option) {
            options.propagation.push(*kind);
        } else {
            let comma = if options.data.is_empty() { "" } else { "," };
            options.data.push_str(comma);
            options.data.push_str(option);
        }
    }
    options
}

/// Mounts what a volume's options say. Blocking; with a file server, for as long as that takes.
pub(crate) fn mount_volume(volume: &Volume, at: &Path) -> Result<()> {
    let option = |name: &str| volume.options.get(name).map_or("", String::as_str);
    let (device, kind) = (option("device"), option("type"));
    let failed = |error: Error| error.context(format!("error while mounting volume '{}': ", at.display()));
    let text = match kind {
        "nfs" | "cifs" => with_address(option("o"), kind, device).map_err(failed)?,
        _ => option("o").to_owned(),
    };
    let options = parse(&text);
    make(device, kind, at, &options).map_err(|errno| {
        let shown = describe(device, at, &options);
        failed(Error::internal(format!(
            "failed to mount local volume: {}: {}",
            hide_password(&shown),
            words(&errno.into())
        )))
    })
}

fn make(device: &str, kind: &str, at: &Path, options: &Options) -> Result<(), Errno> {
    let data = CString::new(options.data.as_str()).map_err(|_| Errno::INVAL)?;
    let data = (!options.data.is_empty()).then_some(data.as_c_str());
    mount(device, at, kind, options.flags, data)?;
    for kind in &options.propagation {
        mount_change(at, *kind)?;
    }
    if options.flags.contains(BIND | MountFlags::RDONLY) {
        // The kernel takes no attributes along with a bind.
        mount_remount(at, options.flags, c"")?;
    }
    Ok(())
}

fn describe(device: &str, at: &Path, options: &Options) -> String {
    let mut text = format!("mount {device}:{}", at.display());
    if !options.flags.is_empty() {
        text.push_str(&format!(", flags: {:#x}", options.flags.bits()));
    }
    if !options.data.is_empty() {
        text.push_str(&format!(", data: {}", options.data));
    }
    text
}

fn hide_password(text: &str) -> String {
    let Some((before, rest)) = text.split_once("password=") else { return text.to_owned() };
    let rest = rest.split_once(',').map_or("", |(_, rest)| rest);
    format!("{before}password=********{}{rest}", if rest.is_empty() { "" } else { "," })
}

/// The kernel resolves no names: `addr=` becomes an address. For CIFS the device names the server when nothing else
/// does.
fn with_address(options: &str, kind: &str, device: &str) -> Result<String> {
    let mut given = options.split(',').filter_map(|option| option.strip_prefix("addr="));
    if let Some(name) = given.next().filter(|name| !name.is_empty()) {
        return Ok(options.replace(&format!("addr={name}"), &format!("addr={}", resolve(name)?)));
    }
    if kind != "cifs" {
        return Ok(options.to_owned());
    }
    let server = device.trim_start_matches("smb:").trim_start_matches("cifs:").trim_start_matches('/');
    let server = server.split('/').next().unwrap_or_default();
    if server.is_empty() {
        return Err(Error::invalid(format!("invalid device of a cifs volume: {device:?}")));
    }
    let comma = if options.is_empty() { "" } else { "," };
    Ok(format!("{options}{comma}addr={}", resolve(server)?))
}

fn resolve(name: &str) -> Result<String> {
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Ok(name.to_owned());
    }
    let addresses = (name, 0).to_socket_addrs().ok().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    // As Go's resolver: IPv4 first.
    let best = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    best.map(|address| address.ip().to_string()).ok_or_else(|| {
        Error::internal(format!("error resolving passed in network volume address: lookup {name}: no such host"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_flags_propagation_and_data() {
        let options = parse("ro,nosuid,size=1m,rshared,uid=7,suid");
        assert_eq!(options.flags, MountFlags::RDONLY);
        assert_eq!(options.data, "size=1m,uid=7");
        assert_eq!(options.propagation, [MountPropagationFlags::SHARED | MountPropagationFlags::REC]);
        assert_eq!(parse("bind").flags.bits(), 0x1000);
        assert_eq!(parse("").flags, MountFlags::empty());
    }

    #[test]
    fn errors_say_what_was_mounted_and_keep_secrets() {
        let text = describe("//a/b", Path::new("/v"), &parse("bind,user=x,password=secret,vers=3"));
        assert_eq!(hide_password(&text), "mount //a/b:/v, flags: 0x1000, data: user=x,password=********,vers=3");
        assert_eq!(hide_password("password=x"), "password=********");
        assert_eq!(words(&Errno::NOENT.into()), "no such file or directory");
    }

    #[test]
    fn servers_have_addresses() {
        assert_eq!(with_address("addr=10.0.0.1,rw", "nfs", ":/x").unwrap(), "addr=10.0.0.1,rw");
        assert_eq!(with_address("rw,addr=localhost", "nfs", ":/x").unwrap(), "rw,addr=127.0.0.1");
        assert_eq!(with_address("rw", "nfs", ":/x").unwrap(), "rw");
        assert_eq!(with_address("", "cifs", "//127.0.0.2/share").unwrap(), "addr=127.0.0.2");
        assert!(with_address("addr=no.such.host.invalid", "nfs", ":/x").is_err());
    }
}
