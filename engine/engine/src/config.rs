//! How an engine is set up.

use std::net::Ipv4Addr;
use std::path::PathBuf;

/// In the place of a bridge's name: containers that ask for no network get none.
pub const NO_BRIDGE: &str = "none";

/// The engine's settings, all decided by the caller.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Images, containers, volumes, the state database.
    pub data_root: PathBuf,
    /// Bundles and sockets of running containers; on a tmpfs, so that a reboot empties it.
    pub exec_root: PathBuf,
    /// The shim's executable.
    pub shim: PathBuf,
    /// Name of the default bridge interface; `None` chooses `tare0` or a name that carries the instance, [`NO_BRIDGE`]
    /// is for no default bridge at all.
    pub bridge: Option<String>,
    /// Address and prefix of the default bridge (`--bip`); `None` takes the first free default pool.
    pub bridge_address: Option<(Ipv4Addr, u8)>,
    /// What else the default bridge is like.
    pub default_bridge: DefaultBridge,
    /// Interface MTU; `None` follows the host's default route.
    pub mtu: Option<u32>,
    /// Name servers for containers on the default bridge in place of the host's.
    pub dns: Vec<String>,
    /// Resolver options for containers.
    pub dns_options: Vec<String>,
    /// Search domains for containers.
    pub dns_search: Vec<String>,
    /// Set Docker's legacy link variables in linked containers (see reference on `--link`).
    pub legacy_link_env: bool,
    /// Let packets of containers through chains of other firewalls that drop by policy.
    pub forward_accept: bool,
    /// Default log driver.
    pub log_driver: String,
    /// Default log options.
    pub log_opts: std::collections::BTreeMap<String, String>,
    /// Seconds a container has to stop before it is killed, unless it says otherwise.
    pub stop_timeout_s: i64,
    /// Default ulimits as in `--ulimit`.
    pub default_ulimits: Vec<tare_docker_api::container::Ulimit>,
    /// Address published ports bind to when none is given.
    pub default_bind_address: Option<std::net::IpAddr>,
    /// The filter of system calls of containers that do not say otherwise.
    pub seccomp: SeccompProfile,
    /// Containers that do not say otherwise get an init (`--init`).
    pub init: bool,
    /// Set no_new_privs for every container that does not say otherwise.
    pub no_new_privileges: bool,
    /// What networks' subnets are chosen from; `None` is Docker's pools.
    pub address_pools: Option<tare_network::Pools>,
    /// Options of new networks that do not say otherwise, by driver.
    pub network_options: std::collections::BTreeMap<String, std::collections::BTreeMap<String, String>>,
    /// What `host-gateway` stands for in extra hosts; empty: the default bridge's own addresses.
    pub host_gateways: Vec<std::net::IpAddr>,
    /// Parent cgroup for containers; `None` uses the engine's own.
    pub cgroup_parent: Option<String>,
    /// What can change while the engine runs.
    pub reloadable: Reloadable,
    /// Further warnings that `info` shows.
    pub warnings: Vec<String>,
    /// Version shown to clients.
    pub version: String,
    /// Commit the engine was built from.
    pub commit: String,
}

/// A filter of system calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum SeccompProfile {
    /// The engine's own.
    #[default]
    Builtin,
    /// None.
    Unconfined,
    /// One from a file, in Docker's form.
    File {
        /// Where it was read.
        path: String,
        /// What it says.
        json: String,
    },
}

impl SeccompProfile {
    /// What `info` shows.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Builtin => "builtin",
            Self::Unconfined => "unconfined",
            Self::File { path, .. } => path,
        }
    }
}

/// How the default bridge is set up.
#[derive(Debug, Clone)]
pub struct DefaultBridge {
    /// Containers get IPv6 addresses, too.
    pub ipv6: bool,
    /// IPv6 address and prefix of the bridge (`--bip6`).
    pub address_v6: Option<(std::net::Ipv6Addr, u8)>,
    /// What containers' addresses are chosen from (`--fixed-cidr`), and without [`EngineConfig::bridge_address`] the subnet.
    pub range: Option<tare_network::Cidr>,
    /// The same for IPv6; `None` takes a unique local subnet.
    pub range_v6: Option<tare_network::Cidr>,
    /// Where containers send what goes out, in place of the bridge (`--default-gateway`).
    pub gateway: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub gateway_v6: Option<std::net::Ipv6Addr>,
    /// Containers may talk to each other.
    pub icc: bool,
    /// What goes out carries the host's address.
    pub masquerade: bool,
}

/// Settings that can change while the engine runs, with [`Engine::reload`](crate::Engine::reload). What has begun goes on with
/// the old ones.
#[derive(Debug, Clone)]
pub struct Reloadable {
    /// Registries tried before Docker Hub, as URLs.
    pub registry_mirrors: Vec<String>,
    /// Registries (host:port or CIDR) that may be spoken to without TLS.
    pub insecure_registries: Vec<String>,
    /// Layers downloaded at once per pull.
    pub max_concurrent_downloads: usize,
    /// Layers uploaded at once per push.
    pub max_concurrent_uploads: usize,
    /// How often a transfer is tried that gets nowhere.
    pub max_download_attempts: u32,
    /// Labels of this engine (`key=value`), shown by `info`.
    pub labels: Vec<String>,
    /// Default size of `/dev/shm` in bytes.
    pub shm_size: i64,
    /// IPC mode of containers that do not say one: `private` or `shareable`.
    pub ipc_mode: String,
    /// Cgroup namespace of containers that do not say one, `private` or `host`; `None` is private where cgroups are
    /// unified.
    pub cgroupns_mode: Option<String>,
    /// Seconds that all containers have to stop when the machine ends; negative: as long as it takes.
    pub shutdown_timeout_s: i64,
    /// Whether the daemon logs everything, for `info`.
    pub debug: bool,
}
