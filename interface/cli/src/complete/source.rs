//! What arguments and flags take: two tables.

use crate::command::Command;
use crate::flags::Flag;

/// Which containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// Those that `ps` lists: running or paused.
    Listed,
    /// Running, not paused.
    Running,
    /// Paused.
    Paused,
    /// Those that can be started.
    Startable,
    /// Those that can be removed: all with `--force`.
    Removable,
    /// Connected to the network that is the first argument.
    Connected,
}

/// Where values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Nothing is proposed.
    Nothing,
    /// Files.
    Files,
    /// Directories.
    Directories,
    /// Always the same.
    Words(&'static [&'static str]),
    /// Capabilities, and all of them.
    Capabilities,
    /// Always the same, something follows each.
    Beginnings(&'static [&'static str]),
    /// Names of containers.
    Containers(Which),
    /// Names of containers, a colon behind each.
    Links,
    /// `container:NAME` or one of these.
    ModeOrContainer(&'static [&'static str]),
    /// Tagged names of images.
    Images,
    /// The same, and names that several tags have.
    ImagesAndNames,
    /// Names of networks.
    Networks,
    /// Names of volumes.
    Volumes,
    /// Names of contexts.
    Contexts,
    /// Names of contexts, the current one marked.
    MarkedContexts,
    /// Names of alerts.
    Alerts,
    /// What `--type` of `inspect` says.
    Typed,
    /// Names of environment variables.
    Variables,
    /// Signals.
    Signals,
    /// Drivers of logs that the daemon has.
    LogDrivers,
    /// Options of the log driver that was chosen.
    LogOptions,
    /// Drivers of volumes that the daemon has.
    VolumeDrivers,
    /// `--security-opt`
    SecurityOptions,
    /// `--filter` of `events`
    EventFilters,
}

/// Shells with a script.
pub const SHELLS: &[&str] = &["bash", "fish", "zsh"];
/// Policies for restarts; ours alone comes last.
const RESTART: &[&str] = &["no", "always", "on-failure", "unless-stopped", "on-unhealthy"];
const PLATFORMS: &[&str] = &[
    "linux/386",
    "linux/amd64",
    "linux/arm",
    "linux/arm/v5",
    "linux/arm/v6",
    "linux/arm/v7",
    "linux/arm64",
    "linux/arm64/v8",
    "linux/ppc64le",
    "linux/s390x",
    "linux/riscv64",
    "windows/amd64",
    "wasip1/wasm",
];
const ULIMITS: &[&str] = &[
    "as=",
    "chroot=",
    "core=",
    "cpu=",
    "data=",
    "fsize=",
    "locks=",
    "maxlogins=",
    "maxsyslogins=",
    "memlock=",
    "msgqueue=",
    "nice=",
    "nofile=",
    "nproc=",
    "priority=",
    "rss=",
    "rtprio=",
    "sigpending=",
    "stack=",
];
/// What the argument after `count` others is.
pub fn of_argument(command: &Command, count: usize) -> Source {
    use Source::{Alerts, Containers, Contexts, Directories, Files, Images, Networks, Nothing, Volumes, Words};
    let first = |source: Source| if count == 0 { source } else { Nothing };
    match command.names.first().copied().unwrap_or_default() {
        "container attach" | "container exec" => first(Containers(Which::Running)),
        "container pause" => Containers(Which::Running),
        "container unpause" => Containers(Which::Paused),
        "container commit" | "container kill" | "container port" | "container stats" | "container stop"
        | "container top" | "container wait" => Containers(Which::Listed),
        "container diff" => first(Containers(Which::Listed)),
        "container export" => first(Containers(Which::All)),
        "container inspect" | "container logs" | "container rename" | "container restart" | "container update" => {
            Containers(Which::All)
        }
        "container start" => Containers(Which::Startable),
        "container rm" => Containers(Which::Removable),
        "container run" | "container create" | "image history" | "image pull" | "image push" => first(Images),
        "image ls" => first(Source::ImagesAndNames),
        "image tag" if count < 2 => Images,
        "image inspect" | "image rm" | "image save" => Images,
        "image build" => Directories,
        "network connect" if count > 0 => Containers(Which::All),
        "network disconnect" if count > 0 => Containers(Which::Connected),
        "network connect" | "network disconnect" | "network inspect" | "network rm" => Networks,
        "volume inspect" | "volume rm" => Volumes,
        "context export" | "context update" | "context use" => first(Source::MarkedContexts),
        "context inspect" | "context rm" => Source::MarkedContexts,
        "context import" => Files,
        // What lists the commands by other names has these, too.
        "context create" => Nothing,
        "alert inspect" | "alert rm" | "alert test" => Alerts,
        "completion" => first(Words(SHELLS)),
        "inspect" => Source::Typed,
        _ if command.usage.starts_with("CONTEXT") => Contexts,
        _ => Nothing,
    }
}

/// What the value of a flag is; the command is none before the command.
pub fn of_flag(command: Option<&Command>, flag: &Flag) -> Source {
    let Some(command) = command else {
        return match flag.long {
            "context" => Source::Contexts,
            "log-level" => Source::Words(&["debug", "info", "warn", "error", "fatal", "panic"]),
            _ => Source::Nothing,
        };
    };
    let starts = ["container run", "container create"].iter().any(|name| command.names.contains(name));
    match flag.long {
        "platform" => Source::Words(PLATFORMS),
        "restart" => Source::Words(RESTART),
        "signal" | "stop-signal" => Source::Signals,
        "env" => Source::Variables,
        "env-file" => Source::Files,
        "type" if command.names.contains(&"inspect") => Source::Words(&["container", "image", "network", "volume"]),
        "filter" if command.names.contains(&"events") => Source::EventFilters,
        _ if !starts => Source::Nothing,
        "attach" => Source::Words(&["stderr", "stdin", "stdout"]),
        "cap-add" | "cap-drop" => Source::Capabilities,
        "cgroupns" => Source::Words(&["host", "private"]),
        "detach-keys" => Source::Beginnings(&["ctrl-"]),
        "ipc" => Source::ModeOrContainer(&["container:", "host", "none", "private", "shareable"]),
        "link" => Source::Links,
        "log-driver" => Source::LogDrivers,
        "log-opt" => Source::LogOptions,
        "network" => Source::Networks,
        "pid" => Source::ModeOrContainer(&["container:", "host"]),
        "pull" => Source::Words(&["always", "missing", "never"]),
        "security-opt" => Source::SecurityOptions,
        "storage-opt" => Source::Beginnings(&["size="]),
        "ulimit" => Source::Beginnings(ULIMITS),
        "userns" | "uts" => Source::Words(&["host"]),
        "volume-driver" => Source::VolumeDrivers,
        "volumes-from" => Source::Containers(Which::All),
        _ => Source::Nothing,
    }
}
