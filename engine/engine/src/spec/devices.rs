//! Devices: nodes to make and the rules of the device cgroup.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use tare_docker_api::container::HostConfig;
use tare_oci_runtime::{Device, DeviceRule};

use crate::error::{Error, Result};

/// Directories below `/dev` that a privileged container has its own of.
const SKIPPED_DIRECTORIES: &[&str] = &["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
/// Deepest directory below `/dev` that is looked into, against loops of bind mounts.
const DEPTH_MAX: usize = 8;

/// The rules every container starts from: nothing but the harmless devices, and making nodes; all when privileged.
pub(crate) fn base_rules(privileged: bool) -> Vec<DeviceRule> {
    let rule = |allow, kind: &str, major, minor, access: &str| DeviceRule {
        allow,
        kind: kind.to_owned(),
        major,
        minor,
        access: access.to_owned(),
    };
    if privileged {
        return vec![rule(true, "a", None, None, "rwm")];
    }
    let mut rules =
        vec![rule(false, "a", None, None, "rwm"), rule(true, "c", None, None, "m"), rule(true, "b", None, None, "m")];
    // null, zero, full, random, urandom, tty, console, ptmx; pseudo-terminals.
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(rule(true, "c", Some(major), Some(minor), "rwm"));
    }
    rules.push(rule(true, "c", Some(136), None, "rwm"));
    rules
}

/// Nodes and rules for `--device`, `--device-cgroup-rule` and `--privileged`.
pub(crate) fn of(host: &HostConfig) -> Result<(Vec<Device>, Vec<DeviceRule>)> {
    let mut devices = Vec::new();
    let mut rules = Vec::new();
    if host.privileged {
        collect(Path::new("/dev"), Path::new("/dev"), 0, &mut devices);
    }
    for mapping in &host.resources.devices {
        let inside =
            if mapping.path_in_container.is_empty() { &mapping.path_on_host } else { &mapping.path_in_container };
        let found = mapped(&mapping.path_on_host, inside)?;
        for device in &found {
            rules.push(DeviceRule {
                allow: true,
                kind: device.kind.clone(),
                major: Some(device.major),
                minor: Some(device.minor),
                access: if mapping.cgroup_permissions.is_empty() {
                    "rwm".into()
                } else {
                    mapping.cgroup_permissions.clone()
                },
            });
        }
        devices.retain(|device: &Device| found.iter().all(|new| new.path != device.path));
        devices.extend(found);
    }
    for text in &host.resources.device_cgroup_rules {
        rules.push(rule(text)?);
    }
    Ok((devices, rules))
}

fn mapped(on_host: &str, inside: &str) -> Result<Vec<Device>> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::invalid(format!("error gathering device information while adding custom device {on_host:?}: {error}"))
    };
    let path = std::fs::canonicalize(on_host).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => failed(&"no such file or directory"),
        _ => failed(&error),
    })?;
    if let Some(device) = node(&path, Path::new(inside)) {
        return Ok(vec![device]);
    }
    if !path.is_dir() {
        return Err(failed(&"not a device node"));
    }
    let mut devices = Vec::new();
    collect(&path, Path::new(inside), 0, &mut devices);
    if devices.is_empty() {
        return Err(failed(&"not a device node"));
    }
    Ok(devices)
}

fn node(path: &Path, inside: &Path) -> Option<Device> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    let kind = metadata.file_type();
    let letter = if kind.is_char_device() {
        "c"
    } else if kind.is_block_device() {
        "b"
    } else {
        return None;
    };
    let number = metadata.rdev();
    Some(Device {
        path: inside.to_owned(),
        kind: letter.to_owned(),
        major: i64::from(rustix::fs::major(number)),
        minor: i64::from(rustix::fs::minor(number)),
        file_mode: Some(metadata.mode() & 0o7777),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
    })
}

fn collect(directory: &Path, inside: &Path, depth: usize, devices: &mut Vec<Device>) {
    // What cannot be read is not there for the container either.
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let inside = inside.join(&name);
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            if depth < DEPTH_MAX && !SKIPPED_DIRECTORIES.iter().any(|skipped| name == *skipped) {
                collect(&path, &inside, depth + 1, devices);
            }
        } else if name != "console"
            && let Some(device) = node(&path, &inside)
        {
            devices.push(device);
        }
    }
}

/// `c 1:3 rwm`, with `*` for any number.
fn rule(text: &str) -> Result<DeviceRule> {
    let invalid = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let mut words = text.split(' ');
    let (Some(kind), Some(numbers), Some(access), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(invalid());
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        text => text.parse::<u32>().map(|number| Some(i64::from(number))).map_err(|_| invalid()),
    };
    let known = matches!(kind, "a" | "b" | "c") && !access.is_empty() && access.bytes().all(|b| b"rwm".contains(&b));
    if !known {
        return Err(invalid());
    }
    Ok(DeviceRule {
        allow: true,
        kind: kind.to_owned(),
        major: number(major)?,
        minor: number(minor)?,
        access: access.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_parsed_or_refused() {
        let parsed = rule("c 1:* rw").unwrap();
        assert_eq!((parsed.major, parsed.minor, parsed.access.as_str()), (Some(1), None, "rw"));
        for bad in ["", "c 1:3", "x 1:3 r", "c 1 r", "c 1:x r", "c 1:3 q", "c 1:3 r m"] {
            assert_eq!(rule(bad).unwrap_err().message, format!("invalid device cgroup rule format: '{bad}'"));
        }
    }

    #[test]
    fn a_device_is_found_by_path() {
        let devices = mapped("/dev/null", "/dev/nothing").unwrap();
        assert_eq!(devices.len(), 1);
        let device = devices.first().unwrap();
        assert_eq!((device.kind.as_str(), device.major, device.minor), ("c", 1, 3));
        assert!(mapped("/etc/passwd", "/x").unwrap_err().message.ends_with("not a device node"));
    }
}
