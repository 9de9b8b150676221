//! The flags of `run` and `create`: one table feeds parser, help, completion and tests.

use super::{device, env, mount, network, text, ulimit};
use crate::flags::Flag;

/// Why flags of other systems are refused.
const WINDOWS: &str = "it is for Windows only";
/// The `/` stands in for the working directory: a check does not look at paths.
const ANYWHERE: &str = "/";

/// Turns a parser into a check.
macro_rules! checked {
    ($parser:expr) => {
        |value| $parser(value).map(drop).map_err(String::from)
    };
}

/// Flags of `run` alone.
const RUN_ONLY: [Flag; 4] = [
    Flag::bool("detach", "Run container in background and print container ID").short('d'),
    Flag::text("detach-keys", "Override the key sequence for detaching a container"),
    Flag::text("pull", "Pull image before running (\"always\", \"missing\", \"never\")").default("missing"),
    Flag::bool("sig-proxy", "Proxy received signals to the process").default("true"),
];

/// Flags that read differently for `create`.
const CREATE_ONLY: [Flag; 1] =
    [Flag::text("pull", "Pull image before creating (\"always\", \"missing\", \"never\")").default("missing")];

/// Flags of both.
const COMMON: [Flag; 102] = [
    // What runs
    Flag::list("attach", "Attach to STDIN, STDOUT or STDERR").short('a').check(checked!(text::stream)),
    Flag::text("cidfile", "Write the container ID to the file"),
    Flag::text("entrypoint", "Overwrite the default ENTRYPOINT of the image"),
    Flag::list("env", "Set environment variables").short('e').check(checked!(env::check)),
    Flag::list("env-file", "Read in a file of environment variables"),
    Flag::bool("init", "Run an init inside the container that forwards signals and reaps processes"),
    Flag::bool("interactive", "Keep STDIN open even if not attached").short('i'),
    Flag::list("label", "Set meta data on a container").short('l').check(checked!(text::label)),
    Flag::list("label-file", "Read in a line delimited file of labels"),
    Flag::text("name", "Assign a name to the container"),
    Flag::text("platform", "Set platform if server is multi-platform capable"),
    Flag::bool("quiet", "Suppress the pull output").short('q'),
    Flag::text("restart", "Restart policy to apply when a container exits").default("no"),
    Flag::bool("rm", "Automatically remove the container and its associated anonymous volumes when it exits"),
    Flag::text("stop-signal", "Signal to stop the container"),
    Flag::int("stop-timeout", "Timeout (in seconds) to stop a container"),
    Flag::bool("tty", "Allocate a pseudo-TTY").short('t'),
    Flag::text("user", "Username or UID (format: <name|uid>[:<group|gid>])").short('u'),
    Flag::text("workdir", "Working directory inside the container").short('w'),
    // Health
    Flag::text("health-cmd", "Command to run to check health"),
    Flag::duration("health-interval", "Time between running the check (ms|s|m|h) (default 0s)"),
    Flag::int("health-retries", "Consecutive failures needed to report unhealthy"),
    Flag::duration(
        "health-start-interval",
        "Time between running the check during the start period (ms|s|m|h) (default 0s)",
    ),
    Flag::duration(
        "health-start-period",
        "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h) (default 0s)",
    ),
    Flag::duration("health-timeout", "Maximum time to allow one check to run (ms|s|m|h) (default 0s)"),
    Flag::bool("no-healthcheck", "Disable any container-specified HEALTHCHECK"),
    // Network
    Flag::list("add-host", "Add a custom host-to-IP mapping (host:ip)").check(checked!(text::extra_host)),
    Flag::list("dns", "Set custom DNS servers").check(checked!(text::ip_address)),
    Flag::list("dns-opt", "Set DNS options").hidden(),
    Flag::list("dns-option", "Set DNS options"),
    Flag::list("dns-search", "Set custom DNS search domains").check(checked!(text::search_domain)),
    Flag::text("domainname", "Container NIS domain name"),
    Flag::list("expose", "Expose a port or a range of ports"),
    Flag::text("hostname", "Container host name").short('h'),
    Flag::text("ip", "IPv4 address (e.g., 172.30.100.104)").type_name("ip").check(checked!(text::flag_address)),
    Flag::text("ip6", "IPv6 address (e.g., 2001:db8::33)").type_name("ip").check(checked!(text::flag_address)),
    Flag::list("link", "Add link to another container").check(checked!(text::link)),
    Flag::list("link-local-ip", "Container IPv4/IPv6 link-local addresses"),
    Flag::text("mac-address", "Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
    Flag::list("net", "Connect a container to a network").hidden().check(checked!(network::parse)),
    Flag::list("net-alias", "Add network-scoped alias for the container").hidden(),
    Flag::list("network", "Connect a container to a network").type_name("network").check(checked!(network::parse)),
    Flag::list("network-alias", "Add network-scoped alias for the container"),
    Flag::list("publish", "Publish a container's port(s) to the host").short('p'),
    Flag::bool("publish-all", "Publish all exposed ports to random ports").short('P'),
    // Storage and logs
    Flag::text("log-driver", "Logging driver for the container"),
    Flag::list("log-opt", "Log driver options"),
    Flag::list("mount", "Attach a filesystem mount to the container")
        .type_name("mount")
        .check(|value| mount::parse(value, ANYWHERE.as_ref()).map(drop).map_err(String::from)),
    Flag::bool("read-only", "Mount the container's root filesystem as read only"),
    Flag::list("storage-opt", "Storage driver options for the container"),
    Flag::list("tmpfs", "Mount a tmpfs directory"),
    Flag::bool("use-api-socket", "Bind mount Docker API socket and required auth")
        .hidden()
        .unsupported("mount the daemon's socket with -v"),
    Flag::list("volume", "Bind mount a volume").short('v'),
    Flag::text("volume-driver", "Optional volume driver for the container"),
    Flag::list("volumes-from", "Mount volumes from the specified container(s)"),
    // Security
    Flag::list("cap-add", "Add Linux capabilities"),
    Flag::list("cap-drop", "Drop Linux capabilities"),
    Flag::list("group-add", "Add additional groups to join"),
    Flag::bool("privileged", "Give extended privileges to this container"),
    Flag::list("security-opt", "Security Options"),
    // Namespaces and runtime
    Flag::list("annotation", "Add an annotation to the container (passed through to the OCI runtime)")
        .type_name("map")
        .default("map[]"),
    Flag::text("cgroup-parent", "Optional parent cgroup for the container"),
    Flag::text(
        "cgroupns",
        "Cgroup namespace to use (host|private)\n\
         'host':    Run the container in the Docker host's cgroup namespace\n\
         'private': Run the container in its own private cgroup namespace\n\
         '':        Use the cgroup namespace as configured by the\n           \
         default-cgroupns-mode option on the daemon (default)",
    ),
    Flag::text("ipc", "IPC mode to use"),
    Flag::text("isolation", "Container isolation technology").hidden().unsupported(WINDOWS),
    Flag::text("pid", "PID namespace to use"),
    Flag::text("runtime", "Runtime to use for this container"),
    Flag::list("sysctl", "Sysctl options").type_name("map").default("map[]").check(checked!(text::sysctl)),
    Flag::text("userns", "User namespace to use"),
    Flag::text("uts", "UTS namespace to use"),
    // Limits
    Flag::uint(
        "blkio-weight",
        16,
        "uint16",
        "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)",
    ),
    Flag::list("blkio-weight-device", "Block IO weight (relative device weight)")
        .default("[]")
        .check(checked!(device::weight)),
    Flag::int("cpu-count", "CPU count (Windows only)").hidden().unsupported(WINDOWS),
    Flag::int("cpu-percent", "CPU percent (Windows only)").hidden().unsupported(WINDOWS),
    Flag::int("cpu-period", "Limit CPU CFS (Completely Fair Scheduler) period"),
    Flag::int("cpu-quota", "Limit CPU CFS (Completely Fair Scheduler) quota"),
    Flag::int("cpu-rt-period", "Limit CPU real-time period in microseconds"),
    Flag::int("cpu-rt-runtime", "Limit CPU real-time runtime in microseconds"),
    Flag::int("cpu-shares", "CPU shares (relative weight)").short('c'),
    Flag::cpus("cpus", "Number of CPUs"),
    Flag::text("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
    Flag::text("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
    Flag::list("device", "Add a host device to the container"),
    Flag::list("device-cgroup-rule", "Add a rule to the cgroup allowed devices list")
        .check(checked!(device::cgroup_rule)),
    Flag::list("device-read-bps", "Limit read rate (bytes per second) from a device")
        .default("[]")
        .check(checked!(device::bytes_per_second)),
    Flag::list("device-read-iops", "Limit read rate (IO per second) from a device")
        .default("[]")
        .check(checked!(device::operations_per_second)),
    Flag::list("device-write-bps", "Limit write rate (bytes per second) to a device")
        .default("[]")
        .check(checked!(device::bytes_per_second)),
    Flag::list("device-write-iops", "Limit write rate (IO per second) to a device")
        .default("[]")
        .check(checked!(device::operations_per_second)),
    Flag::list("gpus", "GPU devices to add to the container ('all' to pass all GPUs)")
        .type_name("gpu-request")
        .check(checked!(device::gpus)),
    Flag::bytes("io-maxbandwidth", "Maximum IO bandwidth limit for the system drive (Windows only)")
        .hidden()
        .unsupported(WINDOWS),
    Flag::uint("io-maxiops", 64, "uint", "Maximum IOps limit for the system drive (Windows only)")
        .hidden()
        .unsupported(WINDOWS),
    Flag::bytes("memory", "Memory limit").short('m'),
    Flag::bytes("memory-reservation", "Memory soft limit"),
    Flag::bytes_or_minus_one("memory-swap", "Swap limit equal to memory plus swap: '-1' to enable unlimited swap"),
    Flag::int("memory-swappiness", "Tune container memory swappiness (0 to 100)").default("-1"),
    Flag::bool("oom-kill-disable", "Disable OOM Killer"),
    Flag::int("oom-score-adj", "Tune host's OOM preferences (-1000 to 1000)"),
    Flag::int("pids-limit", "Tune container pids limit (set -1 for unlimited)"),
    Flag::bytes("shm-size", "Size of /dev/shm"),
    Flag::list("ulimit", "Ulimit options").type_name("ulimit").default("[]").check(checked!(ulimit::parse)),
    // No longer of use
    Flag::bool("disable-content-trust", "Skip image verification (deprecated)")
        .default("true")
        .deprecated("support for docker content trust was removed"),
    Flag::bytes("kernel-memory", "Kernel memory limit (deprecated)")
        .deprecated("and no longer supported by the kernel"),
];

/// Flags of `run`.
pub static RUN: [Flag; RUN_ONLY.len() + COMMON.len()] = joined(&RUN_ONLY);
/// Flags of `create`.
pub static CREATE: [Flag; CREATE_ONLY.len() + COMMON.len()] = joined(&CREATE_ONLY);

/// A command's own flags and the common ones.
const fn joined<const N: usize>(own: &[Flag]) -> [Flag; N] {
    let mut all = [own[0]; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < own.len() { own[at] } else { COMMON[at - own.len()] };
        at += 1;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut longs: Vec<_> = RUN.iter().map(|f| f.long).collect();
        let mut shorts: Vec<_> = RUN.iter().filter_map(|f| f.short).collect();
        let counts = (longs.len(), shorts.len());
        longs.sort_unstable();
        longs.dedup();
        shorts.sort_unstable();
        shorts.dedup();
        assert_eq!((longs.len(), shorts.len()), counts);
    }

    #[test]
    fn every_flag_of_docker_is_there() {
        // `docker run --help` lists 102 flags and `--help`; three more are hidden, two deprecated.
        let hidden_by_docker = ["dns-opt", "net", "net-alias"];
        let listed = RUN.iter().filter(|f| !hidden_by_docker.contains(&f.long) && f.deprecated.is_none());
        assert_eq!(listed.count(), 101);
    }
}
