//! Capability sets.

use tare_docker_api::container::HostConfig;

use crate::container::validate::capability;

/// What a container gets without asking, as in Docker.
const DEFAULT: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The capabilities a container's first process gets: Docker's rule for `--cap-add`, `--cap-drop` and `--privileged`.
/// `available` is what the engine itself has: a capability it lacks cannot be given, and `--privileged` and `ALL` mean
/// all that can be.
pub(crate) fn of(host: &HostConfig, available: &[&'static str]) -> Vec<String> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    if host.privileged {
        return owned(available);
    }
    let adds: Vec<_> = host.cap_add.iter().filter_map(|name| capability(name)).collect();
    let drops: Vec<_> = host.cap_drop.iter().filter_map(|name| capability(name)).collect();
    let all = "ALL".to_owned();
    if adds.contains(&all) {
        return owned(available).into_iter().filter(|name| !drops.contains(name)).collect();
    }
    if drops.contains(&all) {
        return adds;
    }
    let mut capabilities: Vec<_> = owned(DEFAULT).into_iter().filter(|name| !drops.contains(name)).collect();
    for add in adds {
        if !capabilities.contains(&add) {
            capabilities.push(add);
        }
    }
    capabilities
}

#[cfg(test)]
mod tests {
    use tare_oci_runtime::CAPABILITIES;

    use super::*;

    fn of_lists(add: &[&str], drop: &[&str]) -> Vec<String> {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        of(&HostConfig { cap_add: list(add), cap_drop: list(drop), ..HostConfig::default() }, CAPABILITIES)
    }

    #[test]
    fn adds_and_drops() {
        assert_eq!(of_lists(&[], &[]), DEFAULT);
        assert_eq!(of_lists(&[], &["all"]), [""; 0]);
        assert_eq!(of_lists(&["net_admin"], &["ALL"]), ["CAP_NET_ADMIN"]);
        assert_eq!(of_lists(&["all"], &["CAP_SYS_ADMIN"]).len(), CAPABILITIES.len() - 1);
        assert_eq!(of_lists(&["NET_ADMIN"], &["MKNOD"]).len(), DEFAULT.len());
        assert!(of_lists(&["MKNOD"], &["MKNOD"]).contains(&"CAP_MKNOD".to_owned()));
    }
}
