//! The profile containers get unless they ask for another: what programs need, nothing that administers the machine.
//! It decides like Docker's default profile.

use tare_oci_runtime::{Seccomp, SeccompArg, SeccompRule};

use crate::default_names::{ALWAYS, BY_ARCH, BY_CAPABILITY, TRACING};
use crate::{Arch, KernelVersion};

/// `CLONE_NEWNS`, `NEWCGROUP`, `NEWUTS`, `NEWIPC`, `NEWUSER`, `NEWPID` and `NEWNET`.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

/// Linux, then with short inodes and without address randomisation in both combinations, and "which is it?".
/// Source: `personality(2)`.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Every socket family (0 to 47) but `AF_ALG` (38), whose kernel code is a way out (CVE-2026-31431), and `AF_VSOCK` (40),
/// which reaches the hypervisor: as groups of families with the same leading bits, because the kernel looks at 32 of the
/// argument's 64 bits and a plain comparison could be passed by with some of the others set.
const SOCKET_FAMILIES: [(u64, u64); 7] = [
    (0xffff_ffe0, 0),
    (0xffff_fffc, 32),
    (0xffff_fffe, 36),
    (0xffff_ffff, 39),
    (0xffff_ffff, 41),
    (0xffff_fffe, 42),
    (0xffff_fffc, 44),
];

/// The default profile for a container with these capabilities (its bounding set, `CAP_SYS_ADMIN`) on a machine with
/// this interface and kernel.
pub fn default_profile<S: AsRef<str>>(capabilities: &[S], arch: Arch, kernel: KernelVersion) -> Seccomp {
    let has = |capability: &str| capabilities.iter().any(|own| own.as_ref() == capability);
    let mut syscalls: Vec<SeccompRule> = ALWAYS.iter().map(|names| allow(names, Vec::new())).collect();
    let (since, tracing) = TRACING;
    if kernel >= since {
        syscalls.push(allow(tracing, Vec::new()));
    }
    for (_, names) in BY_ARCH.iter().filter(|(arches, _)| arches.contains(&arch)) {
        syscalls.push(allow(names, Vec::new()));
    }
    for (_, names) in BY_CAPABILITY.iter().filter(|(capability, _)| has(capability)) {
        syscalls.push(allow(names, Vec::new()));
    }
    if !has("CAP_SYS_ADMIN") {
        syscalls.push(allow(&["clone"], vec![masked(NEW_NAMESPACES, 0)]));
        // Its flags lie in memory. Without it, C libraries use clone.
        const ENOSYS: u32 = 38;
        let mut clone3 = allow(&["clone3"], Vec::new());
        clone3.action = "SCMP_ACT_ERRNO".to_owned();
        clone3.errno_ret = Some(ENOSYS);
        syscalls.push(clone3);
    }
    syscalls.extend(SOCKET_FAMILIES.map(|(mask, value)| allow(&["socket"], vec![masked(mask, value)])));
    syscalls.extend(PERSONALITIES.map(|value| {
        let equal = SeccompArg { index: 0, value, value_two: 0, op: "SCMP_CMP_EQ".to_owned() };
        allow(&["personality"], vec![equal])
    }));
    let interfaces = std::iter::once(arch).chain(arch.companions().iter().copied());
    const EPERM: u32 = 1;
    Seccomp {
        default_action: "SCMP_ACT_ERRNO".to_owned(),
        default_errno_ret: Some(EPERM),
        architectures: interfaces.map(|arch| arch.scmp_name().to_owned()).collect(),
        syscalls,
        ..Seccomp::default()
    }
}

fn allow(names: &[&str], args: Vec<SeccompArg>) -> SeccompRule {
    SeccompRule {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        action: "SCMP_ACT_ALLOW".to_owned(),
        errno_ret: None,
        args,
    }
}

/// The first argument has `value` in the bits of `mask`.
fn masked(mask: u64, value: u64) -> SeccompArg {
    SeccompArg { index: 0, value: mask, value_two: value, op: "SCMP_CMP_MASKED_EQ".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_exist_and_are_sorted() {
        let conditional = BY_ARCH.iter().map(|(_, names)| names).chain(BY_CAPABILITY.iter().map(|(_, names)| names));
        for names in ALWAYS.iter().chain(conditional) {
            assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
            for name in *names {
                let multiplexed = crate::arch::x86_multiplexed(name).is_some();
                assert!(multiplexed || Arch::ALL.iter().any(|arch| arch.number(name).is_some()), "{name}");
            }
        }
        let mut all: Vec<&str> = ALWAYS.concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "a name in two topics");
    }

    #[test]
    fn capabilities_open_doors() {
        let names = |capabilities: &[&str]| -> Vec<String> {
            let profile = default_profile(capabilities, Arch::X86_64, KernelVersion(6, 1));
            profile.syscalls.into_iter().filter(|rule| rule.args.is_empty()).flat_map(|rule| rule.names).collect()
        };
        let plain = names(&[]);
        let admin = names(&["CAP_SYS_ADMIN"]);
        for name in ["mount", "setns", "unshare", "bpf", "clone"] {
            assert!(!plain.contains(&name.to_owned()) && admin.contains(&name.to_owned()), "{name}");
        }
        for name in ["keyctl", "add_key", "io_uring_setup", "userfaultfd", "kexec_load"] {
            assert!(!admin.contains(&name.to_owned()), "{name}");
        }
        let old = default_profile::<&str>(&[], Arch::Aarch64, KernelVersion(4, 7));
        let old: Vec<_> = old.syscalls.iter().flat_map(|rule| &rule.names).collect();
        assert!(!old.contains(&&"ptrace".to_owned()) && old.contains(&&"cacheflush".to_owned()));
        assert!(!old.contains(&&"arch_prctl".to_owned()));
    }
}
