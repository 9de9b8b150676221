//! The daemon's flags, with dockerd's names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use clap::Parser;
use tare_engine::Cidr;

/// The flags.
#[derive(Debug, Clone, Parser)]
#[command(name = "tare daemon", about = "Run the engine", version, args_override_self = true)]
pub(super) struct Flags {
    /// Addresses to listen on: unix://PATH, tcp://ADDRESS:PORT, or fd:// for those of the service manager
    #[arg(short = 'H', long = "host", value_name = "HOST")]
    pub(super) hosts: Vec<String>,
    /// Directory of images, volumes and container state
    #[arg(long, value_name = "DIR")]
    pub(super) data_root: Option<PathBuf>,
    /// Directory of running containers' state, on a tmpfs
    #[arg(long, value_name = "DIR")]
    pub(super) exec_root: Option<PathBuf>,
    /// File to write the daemon's process ID to
    #[arg(short, long, value_name = "FILE")]
    pub(super) pidfile: Option<PathBuf>,
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    pub(super) config_file: Option<PathBuf>,
    /// Use TLS on TCP sockets; clients need a certificate unless --tlsverify=false
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub(super) tls: Option<bool>,
    /// Use TLS on TCP sockets, and verify clients' certificates
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub(super) tlsverify: Option<bool>,
    /// Authority that signs clients' certificates (default ~/.docker/ca.pem)
    #[arg(long, value_name = "FILE")]
    pub(super) tlscacert: Option<PathBuf>,
    /// The daemon's certificate (default ~/.docker/cert.pem)
    #[arg(long, value_name = "FILE")]
    pub(super) tlscert: Option<PathBuf>,
    /// Key of the daemon's certificate (default ~/.docker/key.pem)
    #[arg(long, value_name = "FILE")]
    pub(super) tlskey: Option<PathBuf>,
    /// Group of the unix socket
    #[arg(short = 'G', long, value_name = "GROUP")]
    pub(super) group: Option<String>,
    /// Registry to try before Docker Hub
    #[arg(long = "registry-mirror", value_name = "URL")]
    pub(super) registry_mirrors: Vec<String>,
    /// Registry that may be used without TLS
    #[arg(long = "insecure-registry", value_name = "REGISTRY")]
    pub(super) insecure_registries: Vec<String>,
    /// Layers downloaded at once
    #[arg(long, value_name = "N")]
    pub(super) max_concurrent_downloads: Option<i64>,
    /// Layers uploaded at once
    #[arg(long, value_name = "N")]
    pub(super) max_concurrent_uploads: Option<i64>,
    /// Attempts at a transfer that gets nowhere
    #[arg(long, value_name = "N")]
    pub(super) max_download_attempts: Option<i64>,
    /// Interface of the default bridge; "none": no default bridge, and no network for containers that ask for none
    #[arg(short, long, value_name = "NAME")]
    pub(super) bridge: Option<String>,
    /// Address of the default bridge in CIDR notation
    #[arg(long, value_name = "CIDR")]
    pub(super) bip: Option<String>,
    /// IPv6 address of the default bridge in CIDR notation
    #[arg(long, value_name = "CIDR")]
    pub(super) bip6: Option<String>,
    /// Give containers on the default bridge IPv6 addresses
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub(super) ipv6: Option<bool>,
    /// IPv4 addresses of containers on the default bridge
    #[arg(long, value_name = "CIDR")]
    pub(super) fixed_cidr: Option<Cidr>,
    /// IPv6 addresses of containers on the default bridge
    #[arg(long, value_name = "CIDR")]
    pub(super) fixed_cidr_v6: Option<Cidr>,
    /// Let containers on the default bridge talk to each other
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub(super) icc: Option<bool>,
    /// Give what goes out of the default bridge the host's address
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub(super) ip_masq: Option<bool>,
    /// Where containers on the default bridge send what goes out, in place of the bridge
    #[arg(long, value_name = "ADDRESS")]
    pub(super) default_gateway: Option<Ipv4Addr>,
    /// The same for IPv6
    #[arg(long, value_name = "ADDRESS")]
    pub(super) default_gateway_v6: Option<Ipv6Addr>,
    /// MTU of containers' interfaces
    #[arg(long)]
    pub(super) mtu: Option<u32>,
    /// Default address of published ports
    #[arg(long, value_name = "ADDRESS")]
    pub(super) ip: Option<IpAddr>,
    /// Name servers of containers
    #[arg(long, value_name = "ADDRESS")]
    pub(super) dns: Vec<String>,
    /// Resolver options of containers
    #[arg(long = "dns-opt", value_name = "OPTION")]
    pub(super) dns_opts: Vec<String>,
    /// Search domains of containers
    #[arg(long, value_name = "DOMAIN")]
    pub(super) dns_search: Vec<String>,
    /// Set the variables of legacy links (true or false)
    #[arg(long, value_name = "BOOL")]
    pub(super) legacy_link_env: Option<bool>,
    /// Let packets of containers through other firewalls that drop by policy (true or false)
    #[arg(long, value_name = "BOOL")]
    pub(super) forward_accept: Option<bool>,
    /// Default log driver
    #[arg(long, value_name = "DRIVER")]
    pub(super) log_driver: Option<String>,
    /// Default log options
    #[arg(long = "log-opt", value_name = "KEY=VALUE")]
    pub(super) log_opts: Vec<String>,
    /// Seconds a container has to stop
    #[arg(long, value_name = "SECONDS")]
    pub(super) default_stop_timeout: Option<i64>,
    /// Seconds that containers have to stop when the machine is shut down; more where one has more
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(super) shutdown_timeout: Option<i64>,
    /// Default size of /dev/shm, in bytes or with a unit (64m)
    #[arg(long, value_name = "BYTES")]
    pub(super) default_shm_size: Option<String>,
    /// Subnets of new networks (base=CIDR,size=PREFIX)
    #[arg(long = "default-address-pool", value_name = "POOL")]
    pub(super) default_address_pools: Vec<String>,
    /// Options of new networks (DRIVER=OPTION=VALUE)
    #[arg(long = "default-network-opt", value_name = "OPTION")]
    pub(super) default_network_opts: Vec<String>,
    /// What host-gateway stands for in --add-host
    #[arg(long = "host-gateway-ip", value_name = "ADDRESS")]
    pub(super) host_gateway_ips: Vec<IpAddr>,
    /// Default IPC mode of containers: private or shareable
    #[arg(long, value_name = "MODE")]
    pub(super) default_ipc_mode: Option<String>,
    /// Default cgroup namespace of containers: private or host
    #[arg(long, value_name = "MODE")]
    pub(super) default_cgroupns_mode: Option<String>,
    /// Default limits (NAME=SOFT[:HARD])
    #[arg(long = "default-ulimit", value_name = "LIMIT")]
    pub(super) default_ulimits: Vec<String>,
    /// Parent cgroup of containers
    #[arg(long, value_name = "PATH")]
    pub(super) cgroup_parent: Option<String>,
    /// Give containers an init by default
    #[arg(long)]
    pub(super) init: bool,
    /// Keep containers running without the daemon; it is always so
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub(super) live_restore: Option<bool>,
    /// Features of dockerd (NAME[=BOOL]) that may be said to be as they are here
    #[arg(long = "feature", value_name = "FEATURE")]
    pub(super) features: Vec<String>,
    /// Filter of system calls for containers by default: a file, "builtin" or "unconfined"
    #[arg(long, value_name = "PROFILE")]
    pub(super) seccomp_profile: Option<String>,
    /// Set no_new_privs for containers by default
    #[arg(long)]
    pub(super) no_new_privileges: bool,
    /// Labels of the engine
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub(super) labels: Vec<String>,
    /// Check flags and configuration file, and exit
    #[arg(long)]
    pub(super) validate: bool,
    /// Proxy for HTTP, over the environment's
    #[arg(long, value_name = "URL")]
    pub(super) http_proxy: Option<String>,
    /// Proxy for HTTPS, over the environment's
    #[arg(long, value_name = "URL")]
    pub(super) https_proxy: Option<String>,
    /// Hosts that are reached without a proxy
    #[arg(long, value_name = "HOSTS")]
    pub(super) no_proxy: Option<String>,
    /// Log everything
    #[arg(short = 'D', long)]
    pub(super) debug: bool,
    /// Log level: debug, info, warn, error
    #[arg(short, long, value_name = "LEVEL")]
    pub(super) log_level: Option<String>,
    /// Form of the log: text or json
    #[arg(long, value_name = "FORMAT")]
    pub(super) log_format: Option<String>,
    /// Log without colors; it is always so
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = boolean)]
    pub(super) raw_logs: Option<bool>,
}

/// The flags, for those who describe them.
pub(super) fn command() -> clap::Command {
    <Flags as clap::CommandFactory>::command()
}

fn boolean(text: &str) -> Result<bool, String> {
    tare_cli::values::parse_bool(text)
}
