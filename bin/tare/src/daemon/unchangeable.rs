//! Settings of dockerd's that have one value here: to say that one is allowed, to ask for another is refused, with what it
//! would mean.

use anyhow::{Context as _, Result, bail};

use super::file::File;
use super::flags::Flags;

/// Storage drivers that keep images as this engine does.
const STORAGE_DRIVERS: [&str; 2] = ["overlayfs", "overlay2"];
/// The only option of dockerd's `exec-opts` that is left on Linux, and what it is here.
const CGROUP_DRIVER: (&str, &str) = ("native.cgroupdriver", "cgroupfs");
/// dockerd's features, what they are here, and why.
const FEATURES: [(&str, bool, &str); 3] = [
    ("containerd-snapshotter", true, "images always have the identities and forms of that store"),
    ("buildkit", true, "clients with BuildKit's protocol are always served"),
    ("cdi", false, "devices by CDI are not supported"),
];

/// Refuses what cannot be.
pub(super) fn check(flags: &Flags, file: &File) -> Result<()> {
    if flags.live_restore.or(file.live_restore) == Some(false) {
        bail!("live-restore cannot be turned off: containers never end with the daemon");
    }
    for (name, value) in [("iptables", file.iptables), ("ip6tables", file.ip6tables), ("ip-forward", file.ip_forward)] {
        if value == Some(false) {
            bail!("{name} cannot be turned off: containers' networks and published ports stand on it");
        }
    }
    if file.experimental == Some(true) {
        bail!("experimental cannot be turned on: there are no experimental features");
    }
    if let Some(driver) = &file.storage_driver
        && !STORAGE_DRIVERS.contains(&driver.as_str())
    {
        bail!("storage-driver {driver:?} is not supported: the engine has overlayfs");
    }
    for option in &file.exec_opts {
        let given = option.split_once('=').with_context(|| format!("invalid exec-opt {option:?}"))?;
        if given.0 != CGROUP_DRIVER.0 {
            bail!("unknown exec-opt {:?}", given.0);
        }
        if given != CGROUP_DRIVER {
            bail!("exec-opt {option:?} is not supported: the engine makes its cgroups itself (cgroupfs)");
        }
    }
    for (name, value) in &file.features {
        feature(name, *value)?;
    }
    for text in &flags.features {
        let (name, value) = text.split_once('=').unwrap_or((text, "true"));
        feature(name, tare_cli::values::parse_bool(value).map_err(anyhow::Error::msg)?)?;
    }
    Ok(())
}

fn feature(name: &str, value: bool) -> Result<()> {
    let Some((_, own, why)) = FEATURES.iter().find(|(known, ..)| *known == name) else {
        bail!("feature {name:?} is not known");
    };
    if value != *own {
        let change = if value { "on" } else { "off" };
        bail!("feature {name:?} cannot be turned {change}: {why}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(file: &str, flags: &[&str]) -> Result<(), String> {
        let file: File = serde_json::from_str(file).unwrap();
        let flags = <Flags as clap::Parser>::try_parse_from(std::iter::once(&"tare daemon").chain(flags)).unwrap();
        check(&flags, &file).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_so_may_be_said() {
        let file = r#"{"live-restore": true, "iptables": true, "ip6tables": true, "ip-forward": true,
            "experimental": false, "storage-driver": "overlay2", "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "features": {"containerd-snapshotter": true, "buildkit": true, "cdi": false}, "userland-proxy": false}"#;
        assert_eq!(checked(file, &["--live-restore", "--feature", "buildkit", "--feature", "cdi=false"]), Ok(()));
    }

    #[test]
    fn what_is_not_so_is_refused_by_its_name() {
        for (file, words) in [
            (r#"{"live-restore": false}"#, "live-restore cannot be turned off"),
            (r#"{"iptables": false}"#, "iptables cannot be turned off"),
            (r#"{"experimental": true}"#, "experimental cannot be turned on"),
            (r#"{"storage-driver": "zfs"}"#, "storage-driver \"zfs\" is not supported"),
            (r#"{"exec-opts": ["native.cgroupdriver=systemd"]}"#, "exec-opt \"native.cgroupdriver=systemd\" is not"),
            (r#"{"exec-opts": ["x=y"]}"#, "unknown exec-opt \"x\""),
            (r#"{"features": {"containerd-snapshotter": false}}"#, "feature \"containerd-snapshotter\" cannot be"),
            (r#"{"features": {"nope": true}}"#, "feature \"nope\" is not known"),
        ] {
            let refused = checked(file, &[]).unwrap_err();
            assert!(refused.starts_with(words), "{file}: {refused}");
        }
        assert!(checked("{}", &["--live-restore=false"]).is_err() && checked("{}", &["--feature=cdi"]).is_err());
    }
}
