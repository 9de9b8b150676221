//! The daemon's configuration file, with daemon.json's names. JSON, because the file is the one operators of Docker have
//! already.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::directives;

const CONFIG_FILE: &str = "/etc/tare/daemon.json";

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub(super) struct File {
    pub(super) hosts: Vec<String>,
    pub(super) data_root: Option<PathBuf>,
    pub(super) exec_root: Option<PathBuf>,
    pub(super) pidfile: Option<PathBuf>,
    pub(super) tls: Option<bool>,
    pub(super) tlsverify: Option<bool>,
    pub(super) tlscacert: Option<PathBuf>,
    pub(super) tlscert: Option<PathBuf>,
    pub(super) tlskey: Option<PathBuf>,
    pub(super) group: Option<String>,
    pub(super) registry_mirrors: Vec<String>,
    pub(super) insecure_registries: Vec<String>,
    pub(super) max_concurrent_downloads: Option<i64>,
    pub(super) max_concurrent_uploads: Option<i64>,
    pub(super) max_download_attempts: Option<i64>,
    pub(super) bridge: Option<String>,
    pub(super) bip: Option<String>,
    pub(super) bip6: Option<String>,
    pub(super) ipv6: Option<bool>,
    pub(super) fixed_cidr: Option<String>,
    pub(super) fixed_cidr_v6: Option<String>,
    pub(super) icc: Option<bool>,
    pub(super) ip_masq: Option<bool>,
    pub(super) default_gateway: Option<Ipv4Addr>,
    pub(super) default_gateway_v6: Option<Ipv6Addr>,
    pub(super) mtu: Option<u32>,
    pub(super) ip: Option<IpAddr>,
    pub(super) dns: Vec<String>,
    pub(super) dns_opts: Vec<String>,
    pub(super) dns_search: Vec<String>,
    pub(super) legacy_link_env: Option<bool>,
    pub(super) forward_accept: Option<bool>,
    pub(super) log_driver: Option<String>,
    pub(super) log_opts: BTreeMap<String, String>,
    pub(super) default_stop_timeout: Option<i64>,
    pub(super) default_shm_size: Option<Size>,
    pub(super) default_address_pools: Vec<FilePool>,
    pub(super) default_network_opts: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) host_gateway_ip: Option<IpAddr>,
    pub(super) host_gateway_ips: Vec<IpAddr>,
    pub(super) default_ipc_mode: Option<String>,
    pub(super) default_cgroupns_mode: Option<String>,
    pub(super) default_ulimits: BTreeMap<String, FileUlimit>,
    pub(super) cgroup_parent: Option<String>,
    pub(super) seccomp_profile: Option<String>,
    pub(super) no_new_privileges: bool,
    pub(super) labels: Vec<String>,
    pub(super) debug: bool,
    pub(super) log_level: Option<String>,
    pub(super) log_format: Option<String>,
    pub(super) raw_logs: Option<bool>,
    pub(super) proxies: FileProxies,
    pub(super) min_api_version: Option<String>,
    pub(super) init: bool,
    /// These say how the engine is, or are refused.
    pub(super) live_restore: Option<bool>,
    pub(super) iptables: Option<bool>,
    pub(super) ip6tables: Option<bool>,
    pub(super) ip_forward: Option<bool>,
    pub(super) experimental: Option<bool>,
    pub(super) storage_driver: Option<String>,
    pub(super) exec_opts: Vec<String>,
    pub(super) features: BTreeMap<String, bool>,
    /// What a proxy process is for in dockerd works either way, without one.
    pub(super) userland_proxy: Option<bool>,
    pub(super) shutdown_timeout: Option<i64>,
    /// The keys that are there, with their values.
    #[serde(skip)]
    pub(super) given: Map<String, Value>,
}

/// A pool of addresses and the prefix length of the subnets cut from it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct FilePool {
    pub(super) base: String,
    pub(super) size: u8,
}

/// Proxies.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub(super) struct FileProxies {
    pub(super) http_proxy: Option<String>,
    pub(super) https_proxy: Option<String>,
    pub(super) no_proxy: Option<String>,
}

/// A size, in bytes or as people write it.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Size {
    Bytes(i64),
    Text(String),
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct FileUlimit {
    pub(super) name: String,
    pub(super) hard: i64,
    pub(super) soft: i64,
}

/// Reads the file; without one that is named, the usual one, if it is there.
pub(super) fn read(named: Option<&Path>, flags: &clap::ArgMatches) -> Result<File> {
    let path = path(named);
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => return Ok(File::default()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("{}: open {}: no such file or directory", unable(path), path.display())
        }
        text => text.with_context(|| unable(path))?,
    };
    if text.trim().is_empty() {
        return Ok(File::default());
    }
    parse_file(&text, flags).with_context(|| unable(path))
}

/// Where the file is.
pub(super) fn path(named: Option<&Path>) -> &Path {
    named.unwrap_or(Path::new(CONFIG_FILE))
}

fn unable(path: &Path) -> String {
    format!("unable to configure the Docker daemon with file {}", path.display())
}

fn parse_file(text: &str, flags: &clap::ArgMatches) -> Result<File> {
    let keys: Map<String, Value> = serde_json::from_str(text)?;
    directives::check_known(&keys, |key| {
        let alone = Map::from_iter([(key.to_owned(), Value::Null)]);
        // A value of the wrong type is another matter.
        serde_json::from_value::<File>(alone.into())
            .err()
            .is_none_or(|error| !error.to_string().starts_with("unknown field"))
    })?;
    directives::check_conflicts(flags, &keys)?;
    let file: File = serde_json::from_str(text)?;
    Ok(File { given: keys, ..file })
}

#[cfg(test)]
mod tests {
    use super::super::flags::command;
    use super::*;

    #[test]
    fn directives_that_are_wrong_are_named() {
        let refused = |args: &[&str], file: &str| {
            let args = std::iter::once("tare daemon").chain(args.iter().copied());
            let matches = command().try_get_matches_from(args).unwrap();
            parse_file(file, &matches).unwrap_err().to_string()
        };
        assert_eq!(
            refused(&[], r#"{"dns":[],"nope":1,"swarm-default-advertise-addr":"x"}"#),
            "the following directives don't match any configuration option: nope, swarm-default-advertise-addr"
        );
        assert_eq!(
            refused(
                &["--http-proxy", "http://me:secret@p", "--no-proxy", "x"],
                r#"{"proxies":{"http-proxy":"http://you@p","https-proxy":"http://p","no-proxy":"y"}}"#
            ),
            "the following directives are specified both as a flag and in the configuration file: http-proxy: (from flag: \
             http://xxxxx:xxxxx@p, from file: http://xxxxx:xxxxx@p), no-proxy: (from flag: x, from file: y)"
        );
        assert_eq!(
            refused(
                &["-H", "unix:///x", "--mtu", "1400", "--dns", "1.1.1.1", "--debug"],
                r#"{"hosts":["fd://"],"mtu":1500,"dns-search":["x"],"debug":true}"#
            ),
            "the following directives are specified both as a flag and in the configuration file: debug: (from flag: true, \
             from file: true), hosts: (from flag: [unix:///x], from file: [fd://]), mtu: (from flag: 1400, from file: 1500)"
        );
        assert!(refused(&[], r#"{"mtu":"x"}"#).contains("invalid type"));
    }

    #[test]
    fn unknown_settings_in_the_file_are_refused() {
        assert!(serde_json::from_str::<File>(r#"{"dns":["1.1.1.1"],"log-opts":{"max-size":"1m"}}"#).is_ok());
        assert!(serde_json::from_str::<File>(r#"{"swarm-default-advertise-addr":"x"}"#).is_err());
    }
}
