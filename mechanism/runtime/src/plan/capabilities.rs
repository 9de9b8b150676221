//! Capabilities by name (`capabilities(7)`).

use rustix::thread::CapabilitySet;
use tare_oci_runtime::Capabilities;

/// In the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The names of all known capabilities (`CAP_CHOWN`), in the order of their numbers.
pub fn capability_names() -> impl Iterator<Item = String> {
    NAMES.iter().map(|name| format!("CAP_{name}"))
}

/// The sets of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sets {
    pub(crate) bounding: CapabilitySet,
    pub(crate) effective: CapabilitySet,
    pub(crate) permitted: CapabilitySet,
    pub(crate) inheritable: CapabilitySet,
    pub(crate) ambient: CapabilitySet,
}

impl Sets {
    /// Names that are not known, and what the caller itself does not hold, are left out: neither can be given.
    pub(crate) fn new(wanted: &Capabilities, held: CapabilitySet) -> Self {
        let set = |names: &[String]| {
            let bits = names.iter().filter_map(|name| bit(name)).fold(0, |all, number| all | 1 << number);
            CapabilitySet::from_bits_retain(bits) & held
        };
        let permitted = set(&wanted.permitted);
        let inheritable = set(&wanted.inheritable);
        Self {
            bounding: set(&wanted.bounding),
            effective: set(&wanted.effective) & permitted,
            permitted,
            inheritable,
            // The kernel has no ambient capability that is not permitted and inheritable.
            ambient: set(&wanted.ambient) & permitted & inheritable,
        }
    }
}

/// The number of a capability.
pub(crate) fn bit(name: &str) -> Option<usize> {
    let name = name.strip_prefix("CAP_")?;
    NAMES.iter().position(|own| *own == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernels() {
        let header = std::fs::read_to_string("/usr/include/linux/capability.h").unwrap();
        for (number, name) in NAMES.iter().enumerate() {
            let line = header.lines().find(|line| {
                line.starts_with("#define") && line.split_whitespace().nth(1) == Some(&format!("CAP_{name}"))
            });
            assert_eq!(line.and_then(|line| line.split_whitespace().nth(2)), Some(number.to_string().as_str()));
        }
        assert_eq!(bit("CAP_SYS_ADMIN"), Some(21));
        assert_eq!((bit("CAP_NEW"), bit("SYS_ADMIN")), (None, None));
    }

    #[test]
    fn what_is_not_held_or_contradictory_is_left_out() {
        let names = |text: &str| text.split(' ').map(|name| format!("CAP_{name}")).collect();
        let wanted = Capabilities {
            bounding: names("CHOWN KILL NEW"),
            effective: names("CHOWN KILL"),
            permitted: names("CHOWN"),
            inheritable: names("CHOWN"),
            ambient: names("CHOWN KILL"),
        };
        let sets = Sets::new(&wanted, CapabilitySet::all());
        assert_eq!(sets.bounding, CapabilitySet::CHOWN | CapabilitySet::KILL);
        assert_eq!((sets.effective, sets.ambient), (CapabilitySet::CHOWN, CapabilitySet::CHOWN));
        assert!(Sets::new(&wanted, CapabilitySet::KILL).permitted.is_empty());
    }
}
