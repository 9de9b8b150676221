//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What other programs read: the version, and below it that of the specification.
fn version() -> String {
    format!("{}\nspec: {}", env!("CARGO_PKG_VERSION"), tare_oci_runtime::VERSION)
}

/// Run containers from OCI bundles, without the engine.
#[derive(Debug, Parser)]
#[command(
    name = "tare oci",
    bin_name = "tare oci",
    version = version(),
    disable_version_flag = true,
    args_override_self = true
)]
pub(super) struct Arguments {
    /// Print the version
    #[arg(long, short, action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// Directory of the containers' state [default: /run/tare/oci]
    #[arg(long)]
    pub(super) root: Option<PathBuf>,
    /// Append errors to this file
    #[arg(long)]
    pub(super) log: Option<PathBuf>,
    /// Format of the log
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(super) log_format: LogFormat,
    /// Say more
    #[arg(long)]
    pub(super) debug: bool,
    /// Not supported: cgroups are managed directly
    #[arg(long)]
    pub(super) systemd_cgroup: bool,
    /// Accepted for compatibility
    #[arg(long, num_args = 0..=1, default_missing_value = "true", default_value = "auto", require_equals = true)]
    pub(super) rootless: String,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Create a container; its process waits for `start`
    Create(Create),
    /// Execute the process of a created container
    Start { id: String },
    /// Create and start a container, and wait for its end
    Run(Run),
    /// Print the state of a container
    State { id: String },
    /// Send a signal to a container's init
    Kill(Kill),
    /// Delete what a stopped container has left
    Delete {
        id: String,
        /// Kill it first if it is running; a container that does not exist is no error
        #[arg(long, short)]
        force: bool,
    },
    /// Run a further process in a container
    Exec(Box<Exec>),
    /// List containers
    List(List),
    /// List the processes of a container
    Ps(Ps),
    /// Stop all processes of a container where they are
    Pause { id: String },
    /// Let a paused container go on
    Resume { id: String },
    /// Change the limits of a container
    Update(Box<Update>),
    /// Print statistics and events of a container
    Events(Events),
    /// Write a specification to start from
    Spec {
        /// Directory to write `config.json` to
        #[arg(long, short)]
        bundle: Option<PathBuf>,
        /// For a container in a user namespace
        #[arg(long)]
        rootless: bool,
    },
    /// Print what this runtime can do
    Features,
    /// Not supported
    #[command(hide = true)]
    Checkpoint {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Not supported
    #[command(hide = true)]
    Restore {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
}

impl Command {
    pub(super) fn needs_root(&self) -> bool {
        !matches!(self, Self::Spec { .. } | Self::Features | Self::List(_))
    }

    /// Whether a process of this program gets into a container's namespaces, as its init, as another of its processes
    /// or as a hook.
    pub(super) fn enters_containers(&self) -> bool {
        matches!(self, Self::Create(_) | Self::Start { .. } | Self::Run(_) | Self::Exec(_))
    }
}

#[derive(Debug, Args)]
pub(super) struct Create {
    pub(super) id: String,
    /// The bundle's directory
    #[arg(long, short, default_value = ".")]
    pub(super) bundle: PathBuf,
    /// Unix socket that gets the master of the terminal
    #[arg(long)]
    pub(super) console_socket: Option<PathBuf>,
    /// Unix socket that gets a pidfd of the process
    #[arg(long)]
    pub(super) pidfd_socket: Option<PathBuf>,
    /// File that gets the process ID
    #[arg(long)]
    pub(super) pid_file: Option<PathBuf>,
    /// Use chroot instead of pivot_root
    #[arg(long)]
    pub(super) no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub(super) no_new_keyring: bool,
    /// Pass on this many descriptors from 3 up
    #[arg(long, default_value_t = 0)]
    pub(super) preserve_fds: u16,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) create: Create,
    /// Do not wait for the container's end
    #[arg(long, short)]
    pub(super) detach: bool,
    /// Do not delete the container at its end
    #[arg(long)]
    pub(super) keep: bool,
    /// Accepted for compatibility
    #[arg(long)]
    pub(super) no_subreaper: bool,
}

#[derive(Debug, Args)]
pub(super) struct Kill {
    pub(super) id: String,
    /// Name or number
    #[arg(default_value = "SIGTERM")]
    pub(super) signal: String,
    /// Signal every process of the container
    #[arg(long, short)]
    pub(super) all: bool,
}

#[derive(Debug, Args)]
pub(super) struct Exec {
    pub(super) id: String,
    /// The command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) args: Vec<String>,
    /// Read the process from this file
    #[arg(long, short)]
    pub(super) process: Option<PathBuf>,
    /// Give it a terminal
    #[arg(long, short)]
    pub(super) tty: bool,
    /// uid[:gid]
    #[arg(long, short)]
    pub(super) user: Option<String>,
    /// Supplementary group
    #[arg(long, short = 'g')]
    pub(super) additional_gids: Vec<u32>,
    /// NAME=value
    #[arg(long, short)]
    pub(super) env: Vec<String>,
    /// Working directory
    #[arg(long)]
    pub(super) cwd: Option<PathBuf>,
    /// Add a capability
    #[arg(long, short)]
    pub(super) cap: Vec<String>,
    /// Set no_new_privs
    #[arg(long)]
    pub(super) no_new_privs: bool,
    /// AppArmor profile
    #[arg(long)]
    pub(super) apparmor: Option<String>,
    /// SELinux label
    #[arg(long)]
    pub(super) process_label: Option<String>,
    /// Do not wait for its end
    #[arg(long, short)]
    pub(super) detach: bool,
    /// File that gets the process ID
    #[arg(long)]
    pub(super) pid_file: Option<PathBuf>,
    /// Unix socket that gets the master of the terminal
    #[arg(long)]
    pub(super) console_socket: Option<PathBuf>,
    /// Unix socket that gets a pidfd of the process
    #[arg(long)]
    pub(super) pidfd_socket: Option<PathBuf>,
    /// Pass on this many descriptors from 3 up
    #[arg(long, default_value_t = 0)]
    pub(super) preserve_fds: u16,
    /// Run it in an existing group below the container's ([CONTROLLER:]PATH)
    #[arg(long)]
    pub(super) cgroup: Vec<String>,
    /// Run it though the container is paused
    #[arg(long)]
    pub(super) ignore_paused: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ListFormat {
    Table,
    Json,
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Output format
    #[arg(long, short, value_enum, default_value_t = ListFormat::Table)]
    pub(super) format: ListFormat,
    /// Print names only
    #[arg(long, short)]
    pub(super) quiet: bool,
}

#[derive(Debug, Args)]
pub(super) struct Ps {
    /// Output format
    #[arg(long, short, value_enum, default_value_t = ListFormat::Table)]
    pub(super) format: ListFormat,
    pub(super) id: String,
    /// Options of ps(1)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) options: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Events {
    pub(super) id: String,
    /// Time between statistics (`5s`, `500ms`, `1m`)
    #[arg(long, default_value = "5s")]
    pub(super) interval: String,
    /// Print the statistics once
    #[arg(long)]
    pub(super) stats: bool,
}

#[derive(Debug, Args)]
pub(super) struct Update {
    pub(super) id: String,
    /// Read `linux.resources` from this file (`-` is standard input)
    #[arg(long, short)]
    pub(super) resources: Option<PathBuf>,
    /// 10 to 1000
    #[arg(long)]
    pub(super) blkio_weight: Option<u16>,
    /// Microseconds
    #[arg(long)]
    pub(super) cpu_period: Option<u64>,
    /// Microseconds per period
    #[arg(long, allow_negative_numbers = true)]
    pub(super) cpu_quota: Option<i64>,
    /// Microseconds
    #[arg(long)]
    pub(super) cpu_burst: Option<u64>,
    /// Relative weight
    #[arg(long, alias = "cpu-shares")]
    pub(super) cpu_share: Option<u64>,
    /// Microseconds
    #[arg(long)]
    pub(super) cpu_rt_period: Option<u64>,
    /// Microseconds
    #[arg(long, allow_negative_numbers = true)]
    pub(super) cpu_rt_runtime: Option<i64>,
    /// 1 runs only when nothing else wants to
    #[arg(long, allow_negative_numbers = true)]
    pub(super) cpu_idle: Option<i64>,
    /// CPU list
    #[arg(long)]
    pub(super) cpuset_cpus: Option<String>,
    /// Memory node list
    #[arg(long)]
    pub(super) cpuset_mems: Option<String>,
    /// Bytes (`512m`; -1 is no limit)
    #[arg(long, allow_hyphen_values = true)]
    pub(super) memory: Option<String>,
    /// Bytes
    #[arg(long, allow_hyphen_values = true)]
    pub(super) memory_reservation: Option<String>,
    /// Bytes of memory and swap together
    #[arg(long, allow_hyphen_values = true)]
    pub(super) memory_swap: Option<String>,
    /// Most processes
    #[arg(long, allow_negative_numbers = true)]
    pub(super) pids_limit: Option<i64>,
    /// Not supported
    #[arg(long, hide = true)]
    pub(super) l3_cache_schema: Option<String>,
    /// Not supported
    #[arg(long, hide = true)]
    pub(super) mem_bw_schema: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_other_programs_pass() {
        for line in [
            "--root /r --log /l --log-format json create --bundle /b --pid-file /p --console-socket /c --pidfd-socket /d x",
            "--systemd-cgroup=false state x",
            "--rootless=true --debug start x",
            "run -d -b /b --preserve-fds 2 --no-pivot --no-new-keyring x",
            "exec -t -u 1:2 -e A=b --cwd /w --pid-file /p -p process.json -d --console-socket /c --cap CAP_KILL x",
            "exec x sh -c exit",
            "kill --all x KILL",
            "kill x 9",
            "delete --force x",
            "update --memory -1 --pids-limit -1 --cpu-quota -1 x",
            "ps -f json x",
            "ps x -o pid",
            "events --stats x",
        ] {
            let words =
                std::iter::once("tare oci").chain(line.split(' ').filter(|word| *word != "--systemd-cgroup=false"));
            assert!(Arguments::try_parse_from(words).is_ok(), "{line}");
        }
    }
}
