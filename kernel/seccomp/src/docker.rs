//! Docker's profile format: the OCI form with conditions on capabilities, architectures and kernels, as it is passed to
//! `--security-opt seccomp=`.

use std::str::FromStr;

use serde::Deserialize;
use tare_oci_runtime::{Seccomp, SeccompArg, SeccompRule};

use crate::{Arch, Error};

/// The first two numbers of a kernel's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion(pub u32, pub u32);

impl FromStr for KernelVersion {
    type Err = Error;

    /// Reads `6.1`, and a release such as `6.1.0-18-amd64` or `6.18-rc1`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::Profile(format!("invalid kernel version: {text}"));
        let (kernel, rest) = text.split_once('.').ok_or_else(invalid)?;
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (major, _) = rest.split_at(end);
        Ok(Self(kernel.parse().map_err(|_| invalid())?, major.parse().map_err(|_| invalid())?))
    }
}

/// Reads a profile for a container with these capabilities (its bounding set) on a machine with this interface and
/// kernel. `None`: the profile is empty, which stands for no filter.
pub fn from_docker_json<S: AsRef<str>>(
    text: &str,
    capabilities: &[S],
    arch: Arch,
    kernel: KernelVersion,
) -> Result<Option<Seccomp>, Error> {
    let profile: Profile = serde_json::from_str(text)?;
    if profile.default_action.is_empty() && profile.syscalls.is_empty() {
        return Ok(None);
    }
    if !profile.architectures.is_empty() && !profile.arch_map.is_empty() {
        return Err(either("architectures", "archMap"));
    }
    let mut architectures = profile.architectures;
    if let Some(own) = profile.arch_map.into_iter().find(|own| own.architecture == arch.scmp_name()) {
        architectures.push(own.architecture);
        architectures.extend(own.sub_architectures);
    }
    let machine = Machine { capabilities, arch, kernel };
    let mut syscalls = Vec::with_capacity(profile.syscalls.len());
    for mut rule in profile.syscalls {
        if !rule.name.is_empty() {
            if !rule.names.is_empty() {
                return Err(either("name", "names"));
            }
            rule.names.push(std::mem::take(&mut rule.name));
        }
        if !machine.is_excluded(&rule.excludes)? && machine.is_included(&rule.includes)? {
            syscalls.push(rule.into());
        }
    }
    Ok(Some(Seccomp {
        default_action: profile.default_action,
        default_errno_ret: profile.default_errno_ret,
        architectures,
        flags: Some(profile.flags).filter(|flags| !flags.is_empty()),
        listener_path: profile.listener_path,
        listener_metadata: profile.listener_metadata,
        syscalls,
    }))
}

fn either(one: &str, other: &str) -> Error {
    Error::Profile(format!(
        "both '{one}' and '{other}' are specified in the seccomp profile, use either '{one}' or '{other}'"
    ))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(deserialize_with = "list")]
    architectures: Vec<String>,
    #[serde(deserialize_with = "list")]
    arch_map: Vec<Machines>,
    #[serde(deserialize_with = "list")]
    flags: Vec<String>,
    listener_path: String,
    listener_metadata: String,
    #[serde(deserialize_with = "list")]
    syscalls: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Machines {
    architecture: String,
    #[serde(default, deserialize_with = "list")]
    sub_architectures: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    name: String,
    #[serde(deserialize_with = "list")]
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(deserialize_with = "list")]
    args: Vec<Arg>,
    includes: Option<Filter>,
    excludes: Option<Filter>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Arg {
    index: u32,
    value: u64,
    value_two: u64,
    op: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    #[serde(deserialize_with = "list")]
    caps: Vec<String>,
    #[serde(deserialize_with = "list")]
    arches: Vec<String>,
    min_kernel: Option<String>,
}

/// Go writes an empty list as `null`.
fn list<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What the conditions are about.
struct Machine<'c, S> {
    capabilities: &'c [S],
    arch: Arch,
    kernel: KernelVersion,
}

impl<S: AsRef<str>> Machine<'_, S> {
    fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|own| own.as_ref() == capability)
    }

    fn is(&self, arch: &str) -> bool {
        arch == self.arch.docker_name()
    }

    /// Any of an exclusion's conditions is enough.
    fn is_excluded(&self, filter: &Option<Filter>) -> Result<bool, Error> {
        let Some(filter) = filter else { return Ok(false) };
        Ok(filter.arches.iter().any(|arch| self.is(arch))
            || filter.caps.iter().any(|capability| self.has(capability))
            || self.reaches(filter)?.unwrap_or(false))
    }

    /// All of an inclusion's conditions must hold.
    fn is_included(&self, filter: &Option<Filter>) -> Result<bool, Error> {
        let Some(filter) = filter else { return Ok(true) };
        Ok((filter.arches.is_empty() || filter.arches.iter().any(|arch| self.is(arch)))
            && filter.caps.iter().all(|capability| self.has(capability))
            && self.reaches(filter)?.unwrap_or(true))
    }

    fn reaches(&self, filter: &Filter) -> Result<Option<bool>, Error> {
        let minimum = filter.min_kernel.as_deref().filter(|text| !text.is_empty());
        minimum.map(|text| Ok(self.kernel >= text.parse()?)).transpose()
    }
}

impl From<Rule> for SeccompRule {
    fn from(rule: Rule) -> Self {
        let arg = |arg: Arg| SeccompArg { index: arg.index, value: arg.value, value_two: arg.value_two, op: arg.op };
        Self {
            names: rule.names,
            action: rule.action,
            errno_ret: rule.errno_ret,
            args: rule.args.into_iter().map(arg).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINUX: KernelVersion = KernelVersion(6, 1);

    fn names(text: &str, capabilities: &[&str], arch: Arch, kernel: KernelVersion) -> String {
        match from_docker_json(text, capabilities, arch, kernel) {
            Ok(None) => "no filter".to_owned(),
            Ok(Some(profile)) => {
                let rules = profile.syscalls.iter().map(|rule| rule.names.join("+"));
                format!("[{}] {}", profile.architectures.join(" "), rules.collect::<Vec<_>>().join(" "))
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn conditions() {
        let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[
            {"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]},
            {"architecture":"SCMP_ARCH_AARCH64","subArchitectures":null}],
            "syscalls":[
            {"names":["read","write"],"action":"SCMP_ACT_ALLOW","args":null,"comment":"x","includes":{},"excludes":{}},
            {"name":"old","action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":1,"valueTwo":2,"op":"SCMP_CMP_NE"}]},
            {"names":["admin"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
            {"names":["both"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN","CAP_BPF"]}},
            {"names":["plain"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_SYS_ADMIN"],"arches":["arm64"]}},
            {"names":["pc"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["amd64","x32"]}},
            {"names":["new"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"4.8"}},
            {"names":["not-new"],"action":"SCMP_ACT_ALLOW","excludes":{"minKernel":"6.1"}}]}"#;
        insta::assert_snapshot!(names(text, &[], Arch::X86_64, LINUX), @"[SCMP_ARCH_X86_64 SCMP_ARCH_X86 SCMP_ARCH_X32] read+write old plain pc new");
        insta::assert_snapshot!(names(text, &["CAP_SYS_ADMIN"], Arch::X86_64, LINUX), @"[SCMP_ARCH_X86_64 SCMP_ARCH_X86 SCMP_ARCH_X32] read+write old admin pc new");
        insta::assert_snapshot!(names(text, &["CAP_SYS_ADMIN", "CAP_BPF"], Arch::Aarch64, LINUX), @"[SCMP_ARCH_AARCH64] read+write old admin both new");
        insta::assert_snapshot!(names(text, &[], Arch::Aarch64, KernelVersion(4, 7)), @"[SCMP_ARCH_AARCH64] read+write old not-new");
    }

    #[test]
    fn what_is_not_a_profile() {
        let show = |text| names(text, &[], Arch::X86_64, LINUX);
        insta::assert_snapshot!(show("{}"), @"no filter");
        insta::assert_snapshot!(show("{"), @"EOF while parsing an object at line 1 column 1");
        insta::assert_snapshot!(show(r#"{"defaultAction":"x","architectures":["a"],"archMap":[{"architecture":"b"}]}"#), @"both 'architectures' and 'archMap' are specified in the seccomp profile, use either 'architectures' or 'archMap'");
        insta::assert_snapshot!(show(r#"{"defaultAction":"x","syscalls":[{"name":"a","names":["b"]}]}"#), @"both 'name' and 'names' are specified in the seccomp profile, use either 'name' or 'names'");
        insta::assert_snapshot!(show(r#"{"defaultAction":"x","syscalls":[{"name":"a","includes":{"minKernel":"4"}}]}"#), @"invalid kernel version: 4");
    }

    #[test]
    fn kernel_versions() {
        let parse = |text: &str| text.parse::<KernelVersion>().ok();
        assert_eq!(parse("6.1.0-18-amd64"), Some(KernelVersion(6, 1)));
        assert_eq!(parse("6.18-rc1"), Some(KernelVersion(6, 18)));
        assert_eq!(parse("4.8"), Some(KernelVersion(4, 8)));
        assert_eq!(parse("6"), None);
        assert_eq!(parse("x.y"), None);
        assert!(KernelVersion(4, 10) > KernelVersion(4, 8));
    }
}
