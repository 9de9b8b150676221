//! The process of a container, or another one run in it, as data.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs;
use std::path::Path;

use rustix::process::{Resource, Rlimit};
use rustix::thread::CpuSet;
use tare_oci_runtime::{Capabilities, CompiledSeccomp, Linux, Process};
use tare_sys::process::Strings;
use tare_sys::seccomp::{FLAG_NEW_LISTENER, SockFilter};
use tare_sys::thread::Scheduling;

use super::Limits;
use super::capabilities::Sets;
use super::mounts::c_string;
use super::scheduling::{MemoryPolicy, affinity, memory_policy, scheduling};
use crate::error::{Error, Result};
use crate::user::User;

/// All that happens between the root file system being there and execve(2).
#[derive(Debug)]
pub(crate) struct ProcessPlan {
    pub(crate) argv: Strings,
    pub(crate) envp: Strings,
    pub(crate) lookup: Lookup,
    pub(crate) cwd: CString,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<rustix::process::Gid>,
    pub(crate) umask: u32,
    /// `None` leaves the caller's.
    pub(crate) capabilities: Option<Sets>,
    pub(crate) no_new_privileges: bool,
    pub(crate) rlimits: Vec<(Resource, Rlimit)>,
    pub(crate) seccomp: Option<Filter>,
    pub(crate) label: Option<Label>,
    pub(crate) io_priority: Option<(u32, u32)>,
    pub(crate) scheduling: Option<Scheduling>,
    /// CPUs until it is in its cgroup.
    pub(crate) first_affinity: Option<CpuSet>,
    /// CPUs from then on.
    pub(crate) affinity: Option<CpuSet>,
    pub(crate) memory_policy: Option<MemoryPolicy>,
    pub(crate) personality: Option<u32>,
    /// `None` keeps the caller's.
    pub(crate) keyring: Option<CString>,
    pub(crate) oom_score_adj: Option<i32>,
}

/// How the command is found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The command has a slash: it is the path.
    Path(CString),
    /// The candidates that PATH gives.
    Search(Vec<CString>),
}

/// A compiled system call filter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) instructions: Vec<SockFilter>,
    pub(crate) flags: u32,
    /// Who answers the calls that the filter leaves to somebody else.
    pub(crate) agent: Option<Agent>,
}

/// Who gets the notification descriptor of a filter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Agent {
    /// Its socket on the host; an abstract one begins with `@`.
    pub(crate) path: String,
    pub(crate) metadata: String,
}

impl Agent {
    fn new(flags: u32, path: &str, metadata: &str) -> Result<Option<Self>> {
        if flags & FLAG_NEW_LISTENER == 0 {
            return Ok(None);
        }
        if path.is_empty() {
            return Err(Error::invalid("seccomp: SCMP_ACT_NOTIFY needs a listenerPath"));
        }
        Ok(Some(Self { path: path.to_owned(), metadata: metadata.to_owned() }))
    }
}

/// What a security module is told about the next execve(2).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// Below `/proc/thread-self`.
    pub(crate) file: &'static std::ffi::CStr,
    pub(crate) value: Vec<u8>,
}

impl ProcessPlan {
    /// Who answers the calls that the filter leaves to somebody else.
    pub(crate) fn agent(&self) -> Option<&Agent> {
        self.seccomp.as_ref().and_then(|filter| filter.agent.as_ref())
    }

    pub(crate) fn new(
        id: &str,
        process: &Process,
        user: &User,
        linux: Option<&Linux>,
        limits: &Limits,
    ) -> Result<Self> {
        let command = process.args.first().ok_or_else(|| Error::invalid("process.args: empty"))?;
        let environment = environment(&process.env, user);
        let path = environment.iter().rev().find_map(|variable| variable.strip_prefix("PATH="));
        let lookup = lookup(command, path.unwrap_or_default())?;
        let cwd = if process.cwd.as_os_str().is_empty() { Path::new("/") } else { &process.cwd };
        if !cwd.is_absolute() {
            return Err(Error::invalid("Cwd must be an absolute path"));
        }
        let strings = |all: &[&str]| all.iter().map(|text| c_string(*text)).collect::<Result<Vec<_>>>();
        let (first_affinity, affinity) = if limits.init { (None, None) } else { affinity(process)? };
        let keyring = (!limits.keep_keyring && !id.is_empty()).then(|| c_string(format!("_ses.{id}"))).transpose()?;
        Ok(Self {
            argv: Strings::new(strings(&process.args.iter().map(String::as_str).collect::<Vec<_>>())?),
            envp: Strings::new(strings(&environment)?),
            lookup,
            cwd: c_string(cwd.as_os_str().as_encoded_bytes())?,
            uid: user.uid,
            gid: user.gid,
            groups: user.additional_gids.iter().map(|gid| rustix::process::Gid::from_raw(*gid)).collect(),
            umask: process.user.umask.unwrap_or(0o022) & 0o777,
            capabilities: capability_sets(process.capabilities.as_ref(), limits),
            no_new_privileges: process.no_new_privileges,
            rlimits: rlimits(process)?,
            seccomp: seccomp(linux)?,
            label: label(process),
            io_priority: io_priority(process)?,
            scheduling: scheduling(process)?,
            first_affinity,
            affinity,
            memory_policy: memory_policy(linux)?,
            personality: personality(linux)?,
            keyring,
            oom_score_adj: process.oom_score_adj,
        })
    }
}

/// The environment with HOME, each variable once: the last one counts, as for a shell.
pub(crate) fn environment<'a>(own: &'a [String], user: &'a User) -> Vec<&'a str> {
    let mut seen = HashSet::with_capacity(own.len());
    let mut all: Vec<&str> = own
        .iter()
        .map(String::as_str)
        .rev()
        .filter(|variable| seen.insert(variable.split('=').next().unwrap_or_default()))
        .collect();
    all.reverse();
    match all.iter().position(|variable| *variable == "HOME=") {
        // An empty one stands for the user's.
        Some(empty) => all[empty] = &user.home_variable,
        None if !seen.contains("HOME") => all.push(&user.home_variable),
        None => {}
    }
    all
}

fn lookup(command: &str, path: &str) -> Result<Lookup> {
    if command.contains('/') {
        return c_string(command).map(Lookup::Path);
    }
    let directories = path.split(':').filter(|_| !path.is_empty());
    let candidates = directories.map(|directory| match directory {
        "" => c_string(command),
        directory => c_string(format!("{}/{command}", directory.trim_end_matches('/'))),
    });
    candidates.collect::<Result<_>>().map(Lookup::Search)
}

fn capability_sets(wanted: Option<&Capabilities>, limits: &Limits) -> Option<Sets> {
    wanted.map(|wanted| Sets::new(wanted, limits.held_capabilities))
}

fn rlimits(process: &Process) -> Result<Vec<(Resource, Rlimit)>> {
    let names = [
        ("RLIMIT_AS", Resource::As),
        ("RLIMIT_CORE", Resource::Core),
        ("RLIMIT_CPU", Resource::Cpu),
        ("RLIMIT_DATA", Resource::Data),
        ("RLIMIT_FSIZE", Resource::Fsize),
        ("RLIMIT_LOCKS", Resource::Locks),
        ("RLIMIT_MEMLOCK", Resource::Memlock),
        ("RLIMIT_MSGQUEUE", Resource::Msgqueue),
        ("RLIMIT_NICE", Resource::Nice),
        ("RLIMIT_NOFILE", Resource::Nofile),
        ("RLIMIT_NPROC", Resource::Nproc),
        ("RLIMIT_RSS", Resource::Rss),
        ("RLIMIT_RTPRIO", Resource::Rtprio),
        ("RLIMIT_RTTIME", Resource::Rttime),
        ("RLIMIT_SIGPENDING", Resource::Sigpending),
        ("RLIMIT_STACK", Resource::Stack),
    ];
    let mut all: Vec<(Resource, Rlimit)> = Vec::with_capacity(process.rlimits.len());
    for limit in &process.rlimits {
        let known = names.iter().find(|(name, _)| *name == limit.kind);
        let (_, resource) = known.ok_or_else(|| Error::invalid(format!("rlimit `{}`: unknown", limit.kind)))?;
        if all.iter().any(|(own, _)| own == resource) {
            return Err(Error::invalid(format!("rlimit `{}`: given twice", limit.kind)));
        }
        let value = |number: u64| (number != u64::MAX).then_some(number);
        all.push((*resource, Rlimit { current: value(limit.soft), maximum: value(limit.hard) }));
    }
    Ok(all)
}

pub(crate) fn seccomp(linux: Option<&Linux>) -> Result<Option<Filter>> {
    if let Some(compiled) = linux.and_then(|linux| linux.compiled_seccomp.as_ref()) {
        let instructions =
            compiled_instructions(compiled).ok_or_else(|| Error::invalid("seccomp: malformed instructions"))?;
        let agent = Agent::new(compiled.flags, &compiled.listener_path, &compiled.listener_metadata)?;
        return Ok(Some(Filter { instructions, flags: compiled.flags, agent }));
    }
    let Some(seccomp) = linux.and_then(|linux| linux.seccomp.as_ref()) else { return Ok(None) };
    let program = tare_seccomp::compile(seccomp).map_err(|error| Error::invalid(format!("seccomp: {error}")))?;
    let instructions = program.filter.iter().map(|own| SockFilter { code: own.code, jt: own.jt, jf: own.jf, k: own.k });
    let agent = Agent::new(program.flags, &seccomp.listener_path, &seccomp.listener_metadata)?;
    Ok(Some(Filter { instructions: instructions.collect(), flags: program.flags, agent }))
}

/// Reads instructions as `code` (4 hexadecimal digits), `jt` (2), `jf` (2), `k` (8).
fn compiled_instructions(compiled: &CompiledSeccomp) -> Option<Vec<SockFilter>> {
    const DIGITS: usize = 16;
    let text = compiled.instructions.as_str();
    let mut instructions = Vec::with_capacity(text.len() / DIGITS);
    for start in (0..text.len()).step_by(DIGITS) {
        let number = |from: usize, to: usize| u32::from_str_radix(text.get(start + from..start + to)?, 16).ok();
        instructions.push(SockFilter {
            code: u16::try_from(number(0, 4)?).ok()?,
            jt: u8::try_from(number(4, 6)?).ok()?,
            jf: u8::try_from(number(6, 8)?).ok()?,
            k: number(8, 16)?,
        });
    }
    (!instructions.is_empty()).then_some(instructions)
}

/// AppArmor and SELinux, where the kernel has them: a profile cannot confine anything elsewhere.
fn label(process: &Process) -> Option<Label> {
    if !process.apparmor_profile.is_empty() {
        let enabled = fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"));
        let value = format!("exec {}", process.apparmor_profile).into_bytes();
        return enabled.then_some(Label { file: c"thread-self/attr/apparmor/exec", value });
    }
    if !process.selinux_label.is_empty() && Path::new("/sys/fs/selinux/enforce").exists() {
        return Some(Label { file: c"thread-self/attr/exec", value: process.selinux_label.clone().into_bytes() });
    }
    None
}

fn io_priority(process: &Process) -> Result<Option<(u32, u32)>> {
    let Some(priority) = &process.io_priority else { return Ok(None) };
    let class = match priority.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        class => return Err(Error::invalid(format!("ioPriority class `{class}`: unknown"))),
    };
    let level = u32::try_from(priority.priority).ok().filter(|level| *level < 8);
    let level =
        level.ok_or_else(|| Error::invalid(format!("ioPriority priority {}: not 0 to 7", priority.priority)))?;
    Ok(Some((class, level)))
}

fn personality(linux: Option<&Linux>) -> Result<Option<u32>> {
    /// `PER_LINUX32`
    const LINUX32: u32 = 8;
    let Some(personality) = linux.and_then(|linux| linux.personality.as_ref()) else { return Ok(None) };
    match personality.domain.as_str() {
        _ if !personality.flags.is_empty() => Err(Error::invalid("personality flags: not supported")),
        "LINUX" => Ok(Some(0)),
        "LINUX32" => Ok(Some(LINUX32)),
        domain => Err(Error::invalid(format!("personality `{domain}`: unknown"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_searched_as_a_shell_does() {
        assert_eq!(lookup("./x", "/bin").unwrap(), Lookup::Path(c"./x".to_owned()));
        let Lookup::Search(all) = lookup("x", "/bin:/usr/bin/::rel").unwrap() else { panic!("search expected") };
        assert_eq!(all, [c"/bin/x", c"/usr/bin/x", c"x", c"rel/x"].map(ToOwned::to_owned));
        assert_eq!(lookup("x", "").unwrap(), Lookup::Search(Vec::new()));
        assert!(lookup("x\0", "/bin").is_err());
    }

    #[test]
    fn the_last_variable_counts_and_home_is_added() {
        let user = User::new(0, 0, "/root");
        let own = ["A=1", "B=2", "A=3"].map(str::to_owned);
        assert_eq!(environment(&own, &user), ["B=2", "A=3", "HOME=/root"]);
        let own = ["HOME=/x".to_owned()];
        assert_eq!(environment(&own, &user), ["HOME=/x"]);
        let own = ["A=1".to_owned(), "HOME=".to_owned(), "B=2".to_owned()];
        assert_eq!(environment(&own, &user), ["A=1", "HOME=/root", "B=2"]);
    }

    #[test]
    fn limits_are_checked() {
        let limit = |kind: &str| tare_oci_runtime::Rlimit { kind: kind.to_owned(), soft: 1, hard: u64::MAX };
        let process = |rlimits| Process { rlimits, ..Process::default() };
        let all = rlimits(&process(vec![limit("RLIMIT_NOFILE")])).unwrap();
        assert_eq!(all, [(Resource::Nofile, Rlimit { current: Some(1), maximum: None })]);
        assert!(rlimits(&process(vec![limit("RLIMIT_X")])).is_err());
        assert!(rlimits(&process(vec![limit("RLIMIT_CPU"), limit("RLIMIT_CPU")])).is_err());
    }
}
