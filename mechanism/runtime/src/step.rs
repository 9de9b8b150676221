//! The steps of a child process, and how their failure is told to the parent and to people.

use rustix::io::Errno;

use crate::error::{Error, ErrorKind, name, text};
use crate::plan::mounts::MountKind;
use crate::plan::{Plan, ProcessPlan};

macro_rules! steps {
    ($($(#[$meta:meta])* $variant:ident $text:literal,)*) => {
        /// What a child process was doing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Step { $($(#[$meta])* $variant,)* }

        const STEPS: &[(Step, &str)] = &[$((Step::$variant, $text),)*];
    };
}

steps! {
    CloseInherited "close_range",
    Dumpable "prctl PR_SET_DUMPABLE",
    AwaitParent "wait for the runtime",
    // With the index of a hierarchy.
    JoinCgroup "join cgroup",
    MapRoot "setresuid to root of the user namespace",
    Join "setns",
    Sibling "clone3 in the user namespace",
    Enter "setns of the container's namespaces",
    Unshare "unshare cgroup and time namespaces",
    TimeOffsets "write timens_offsets",
    Session "setsid",
    Keyring "join session keyring",
    Hostname "sethostname",
    Domainname "setdomainname",
    PrivateMounts "make private",
    AttachRoot "attach root",
    // With the index of a mount.
    OpenSource "open_tree",
    IdMap "map IDs of",
    Target "create mount point",
    OverProc "mount on",
    FsOpen "fsopen",
    FsConfig "fsconfig",
    FsMount "fsmount",
    CopyUp "copy up",
    Attach "move_mount",
    Attributes "mount_setattr",
    CgroupTree "mount cgroup",
    // With the index of a device.
    DevDirectory "create directory of device",
    Device "mknod",
    DeviceBind "bind device",
    DevLink "symlink in",
    OpenTerminal "open terminal multiplexer",
    NewTerminal "make terminal",
    TerminalSize "set size of terminal",
    TerminalOwner "chown terminal",
    Console "mount",
    SendTerminal "send terminal",
    Hooks "wait for hooks",
    // With the index of a path.
    Mask "mask",
    Readonly "make read-only",
    MakeCwd "create working directory",
    RootAttributes "mount_setattr",
    EnterRoot "fchdir",
    Pivot "pivot_root",
    DetachHost "umount2",
    Chroot "chroot",
    // With the index of a parameter.
    Sysctl "write sysctl",
    // With the index of a limit.
    Rlimit "setrlimit",
    IoPriority "ioprio_set",
    Scheduling "sched_setattr",
    Affinity "sched_setaffinity",
    MemoryPolicy "set_mempolicy",
    Personality "personality",
    Label "write security label",
    Stdio "dup2",
    ControllingTerminal "ioctl TIOCSCTTY",
    Bounding "drop capability of the bounding set",
    KeepCapabilities "prctl PR_SET_KEEPCAPS",
    Groups "setgroups",
    Gid "setresgid",
    Uid "setresuid",
    Cwd "chdir",
    CwdOutside "chdir",
    Capabilities "capset",
    Ambient "raise ambient capability",
    NoNewPrivileges "prctl PR_SET_NO_NEW_PRIVS",
    Seccomp "seccomp",
    Listener "hand over the seccomp listener",
    CommandStat "stat",
    CommandAccess "access",
    CommandSearch "search",
    CommandRelative "search",
    Ready "tell the runtime",
    Wait "wait for start",
}

impl Step {
    pub(crate) fn text(self) -> &'static str {
        STEPS.get(self as usize).map_or("", |(_, text)| *text)
    }
}

/// A failed step: all that a child can say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    /// Which of several.
    pub(crate) index: u16,
    pub(crate) errno: Errno,
}

/// What a child tells its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    Failed(Failure),
    /// A descriptor of the terminal comes with it.
    Terminal,
    /// The mounts are there; go on after the hooks.
    Hooks,
    /// The process that joined a user namespace has cloned the container's init there: its process ID; its pidfd comes
    /// with it.
    Sibling(i32),
    /// The number of the descriptor that whoever answers system calls is to have; go on when it does.
    Listener(i32),
    /// Map the IDs of the mount with this number, whose descriptor comes with it; go on then.
    MapIds(u16),
    /// Ready for execve. When the socket ends without a failure after this, the process was executed.
    Ready,
}

/// Bytes of an encoded report.
pub(crate) const REPORT_BYTES: usize = 8;

impl Report {
    pub(crate) fn encode(self) -> [u8; REPORT_BYTES] {
        let mut bytes = [0; REPORT_BYTES];
        let kind = match self {
            Self::Failed(failure) => {
                let [a, b] = failure.index.to_le_bytes();
                let [c, d, e, f] = failure.errno.raw_os_error().to_le_bytes();
                return [0, failure.step as u8, a, b, c, d, e, f];
            }
            Self::Sibling(pid) => {
                let [a, b, c, d] = pid.to_le_bytes();
                return [4, 0, 0, 0, a, b, c, d];
            }
            Self::Listener(fd) => {
                let [a, b, c, d] = fd.to_le_bytes();
                return [5, 0, 0, 0, a, b, c, d];
            }
            Self::MapIds(index) => {
                let [a, b] = index.to_le_bytes();
                return [6, 0, a, b, 0, 0, 0, 0];
            }
            Self::Terminal => 1,
            Self::Hooks => 2,
            Self::Ready => 3,
        };
        bytes[0] = kind;
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let [kind, step, a, b, c, d, e, f] = *<&[u8; REPORT_BYTES]>::try_from(bytes).ok()?;
        Some(match kind {
            0 => Self::Failed(Failure {
                step: STEPS.get(usize::from(step))?.0,
                index: u16::from_le_bytes([a, b]),
                errno: Errno::from_raw_os_error(i32::from_le_bytes([c, d, e, f])),
            }),
            1 => Self::Terminal,
            2 => Self::Hooks,
            3 => Self::Ready,
            4 => Self::Sibling(i32::from_le_bytes([c, d, e, f])),
            5 => Self::Listener(i32::from_le_bytes([c, d, e, f])),
            6 => Self::MapIds(u16::from_le_bytes([a, b])),
            _ => return None,
        })
    }
}

/// What a failure's index is looked up in.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    /// `None` for another process in a container.
    pub(crate) plan: Option<&'a Plan>,
    pub(crate) process: &'a ProcessPlan,
}

impl Failure {
    pub(crate) fn render(self, context: Context<'_>) -> Error {
        let step = self.step.text();
        if let Some(error) = self.of_command(context.process) {
            return error;
        }
        let object = context.plan.and_then(|plan| self.object(plan)).or_else(|| self.own_object(context.process));
        let errno = name(self.errno);
        let hint = self.hint(context.plan);
        let message = match object {
            Some(object) => format!("{step} `{object}`: {errno}{hint}"),
            None => format!("{step}: {errno}{hint}"),
        };
        let kind =
            if self.step == Step::Enter && self.errno == Errno::SRCH { ErrorKind::State } else { ErrorKind::Setup };
        Error::new(kind, message, Some(self.errno))
    }

    /// The sentences about the command and the working directory are Docker's, whose client decides by them.
    fn of_command(self, process: &ProcessPlan) -> Option<Error> {
        let command = process.argv.as_slice().first().map(|name| name.to_string_lossy()).unwrap_or_default();
        let reason = text(self.errno);
        let kind = match self.errno {
            Errno::NOENT => ErrorKind::NotFound,
            Errno::ACCESS | Errno::PERM | Errno::ISDIR | Errno::NOTDIR => ErrorKind::Permission,
            _ => ErrorKind::Setup,
        };
        let quoted = format!("{command:?}");
        let (kind, message) = match self.step {
            Step::CommandStat => (kind, format!("exec: {quoted}: stat {command}: {reason}")),
            Step::CommandAccess => (kind, format!("exec: {quoted}: {reason}")),
            Step::CommandSearch => (ErrorKind::NotFound, format!("exec: {quoted}: executable file not found in $PATH")),
            Step::CommandRelative => (
                ErrorKind::Permission,
                format!("exec: {quoted}: cannot run executable found relative to current directory"),
            ),
            Step::Cwd | Step::CwdOutside => {
                let cwd = process.cwd.to_string_lossy();
                let reason = if self.step == Step::Cwd {
                    reason
                } else {
                    "current working directory is outside of container mount namespace root".to_owned()
                };
                (ErrorKind::Setup, format!("chdir to cwd ({cwd:?}) set in config.json failed: {reason}"))
            }
            _ => return None,
        };
        Some(Error::new(kind, message, Some(self.errno)))
    }

    fn object(self, plan: &Plan) -> Option<String> {
        let index = usize::from(self.index);
        match self.step {
            Step::Target | Step::OverProc | Step::Attach | Step::Attributes | Step::CopyUp | Step::CgroupTree => {
                plan.mounts.get(index).map(|mount| mount.target.to_string())
            }
            Step::OpenSource | Step::IdMap => plan.mounts.get(index).and_then(|mount| match &mount.kind {
                MountKind::Bind { source, .. } => Some(source.to_string_lossy().into_owned()),
                _ => None,
            }),
            Step::FsOpen | Step::FsConfig | Step::FsMount => plan.mounts.get(index).map(|mount| {
                let file_system = mount.file_system().unwrap_or(c"tmpfs").to_string_lossy();
                format!("{file_system}` on `{}", mount.target)
            }),
            Step::DevDirectory | Step::Device | Step::DeviceBind => {
                plan.devices.get(index).map(|device| device.host.to_string_lossy().into_owned())
            }
            Step::Mask => plan.masked.get(index).map(ToString::to_string),
            Step::Readonly => plan.readonly.get(index).map(ToString::to_string),
            Step::Sysctl => plan.sysctls.get(index).map(|sysctl| sysctl.path.to_string_lossy().into_owned()),
            Step::Join => plan.namespaces.join.get(index).map(|join| match &join.path {
                Some(path) => path.display().to_string(),
                None => "the given network namespace".to_owned(),
            }),
            Step::Hostname => Some(String::from_utf8_lossy(&plan.hostname).into_owned()),
            Step::Domainname => Some(String::from_utf8_lossy(&plan.domainname).into_owned()),
            Step::MakeCwd => Some(plan.cwd.to_string()),
            _ => None,
        }
    }

    fn own_object(self, process: &ProcessPlan) -> Option<String> {
        match self.step {
            Step::Rlimit => {
                process.rlimits.get(usize::from(self.index)).map(|(resource, _)| format!("{resource:?}").to_uppercase())
            }
            Step::DevLink => Some("/dev".to_owned()),
            Step::Console => Some("/dev/console".to_owned()),
            Step::OpenTerminal => Some("/dev/pts/ptmx".to_owned()),
            Step::PrivateMounts | Step::AttachRoot | Step::RootAttributes | Step::EnterRoot => Some("/".to_owned()),
            Step::Pivot | Step::DetachHost | Step::Chroot => Some(".".to_owned()),
            Step::Uid => Some(process.uid.to_string()),
            Step::Gid => Some(process.gid.to_string()),
            Step::Keyring => process.keyring.as_ref().map(|name| name.to_string_lossy().into_owned()),
            _ => None,
        }
    }

    /// What a bare error number does not tell.
    fn hint(self, plan: Option<&Plan>) -> &'static str {
        let mount = plan.and_then(|plan| plan.mounts.get(usize::from(self.index)));
        let kind = mount.map(|mount| &mount.kind);
        let file_system = mount.and_then(|mount| mount.file_system());
        match (self.step, self.errno) {
            (Step::Attach | Step::Target, Errno::NOTDIR | Errno::ISDIR)
                if matches!(kind, Some(MountKind::Bind { .. })) =>
            {
                ": Are you trying to mount a directory onto a file (or vice-versa)? \
                 Check if the specified host path exists and is the expected type"
            }
            (Step::Target, Errno::LOOP) if file_system == Some(c"proc") || file_system == Some(c"sysfs") => {
                " (proc and sysfs must be mounted on ordinary directory)"
            }
            (Step::OverProc, Errno::PERM) if mount.is_some_and(|mount| mount.target.as_c_str() == c"proc") => {
                " (cannot be mounted because it is not of type proc)"
            }
            (Step::OverProc, Errno::PERM) => " (cannot be mounted because it is inside /proc)",
            (Step::Pivot, Errno::INVAL) => {
                " (the host's root is a chroot or an initramfs, which cannot be pivoted away from)"
            }
            (Step::Scheduling, Errno::PERM) => {
                " (process scheduler can't be used together with AllowedCPUs; realtime policies need CAP_SYS_NICE)"
            }
            (Step::Rlimit, Errno::PERM) => " (raising a limit needs CAP_SYS_RESOURCE)",
            _ => "",
        }
    }
}

/// The sentence about a command that was found but could not be executed, as the process says it on its own standard
/// error before it exits with 255: `exec /x: exec format error`. Without allocation, so the text is chosen here.
pub(crate) fn execute_error(errno: Errno) -> &'static str {
    match errno {
        Errno::NOENT => "no such file or directory",
        Errno::NOEXEC => "exec format error",
        Errno::ACCESS => "permission denied",
        Errno::PERM => "operation not permitted",
        Errno::TOOBIG => "argument list too long",
        Errno::NOTDIR => "not a directory",
        Errno::LIBBAD => "accessing a corrupted shared library",
        Errno::NOMEM => "cannot allocate memory",
        Errno::TXTBSY => "text file busy",
        Errno::LOOP => "too many levels of symbolic links",
        Errno::INVAL => "invalid argument",
        Errno::IO => "input/output error",
        Errno::AGAIN => "resource temporarily unavailable",
        _ => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_survive_the_socket() {
        let failure = Failure { step: Step::Wait, index: 513, errno: Errno::NOENT };
        let plain = [Report::Failed(failure), Report::Terminal, Report::Hooks, Report::Ready];
        let numbered = [Report::Sibling(123_456), Report::Listener(7), Report::MapIds(513)];
        for report in plain.into_iter().chain(numbered) {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        assert_eq!(Report::decode(&[9; REPORT_BYTES]), None);
        assert_eq!(Report::decode(&[0, 255, 0, 0, 1, 0, 0, 0]), None);
        assert_eq!(Report::decode(&[1]), None);
    }

    #[test]
    fn every_step_has_its_own_number() {
        assert!(STEPS.iter().enumerate().all(|(number, (step, _))| *step as usize == number));
    }
}
