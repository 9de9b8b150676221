//! The daemon's settings: what flags ([`Flags`]) and file ([`File`]) say, and what holds where neither says anything.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::ArgMatches;
use tare_docker_api::container::Ulimit;
use tare_docker_api::versions::{self, ApiVersion};
use tare_engine::{Cidr, DefaultBridge, EngineConfig, Pools, Reloadable, SeccompProfile};
use tracing_subscriber::filter::LevelFilter;

use super::file::{self, File, FilePool};
use super::flags::{Flags, command};
use super::hosts::Address;
use super::level;
use super::lines::Lines;
use super::reloadable::{log_level, reloadable};
use super::tls::{Files, Protection};
use super::unchangeable;

const DATA_ROOT: &str = "/var/lib/tare";
const EXEC_ROOT: &str = "/run/tare";
/// Group of the unix socket where none is named; it may be missing.
pub(super) const DEFAULT_GROUP: &str = "docker";
/// Docker's default grace of `docker stop`, seconds.
const STOP_TIMEOUT_S: i64 = 10;

/// What it means that others get to the API.
const EXPOSED: &str = "
         Access to the remote API is equivalent to root access on the host. Refer
         to the 'Docker daemon attack surface' section in the documentation for
         more information: https://docs.docker.com/go/attack-surface/";

/// Why settings could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// Help was asked for, or the flags are wrong; the error prints itself.
    Help(clap::Error),
    /// Anything else.
    Invalid(anyhow::Error),
}

/// All settings.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) flags: Flags,
    /// The flags as they were given.
    matches: ArgMatches,
    pub(super) file: File,
    hosts: Vec<Address>,
    tls: Option<Protection>,
}

impl Settings {
    /// Reads flags and file.
    pub(super) fn read(args: Vec<OsString>) -> Result<Self, ReadError> {
        let program = std::iter::once(OsString::from("tare daemon"));
        let matches = command().try_get_matches_from(program.chain(args)).map_err(ReadError::Help)?;
        let flags = <Flags as clap::FromArgMatches>::from_arg_matches(&matches).map_err(ReadError::Help)?;
        let file = file::read(flags.config_file.as_deref(), &matches).map_err(ReadError::Invalid)?;
        let tls = protection(&flags, &file).map_err(ReadError::Invalid)?;
        Self::of(flags, matches, file, tls).map_err(ReadError::Invalid)
    }

    fn of(flags: Flags, matches: ArgMatches, file: File, tls: Option<Protection>) -> Result<Self> {
        unchangeable::check(&flags, &file)?;
        let hosts = hosts(&list(&flags.hosts, &file.hosts), tls.is_some())?;
        Ok(Self { flags, matches, file, hosts, tls })
    }

    /// The same flags with the file as it is now. What protects sockets that listen already is not looked at.
    pub(super) fn read_again(&self) -> Result<Self> {
        let file = file::read(self.flags.config_file.as_deref(), &self.matches)?;
        Self::of(self.flags.clone(), self.matches.clone(), file, None)
    }

    /// Whether nothing but a look at the settings is wanted.
    pub(super) fn validate_only(&self) -> bool {
        self.flags.validate
    }

    /// What protects TCP sockets.
    pub(super) fn tls(&self) -> Option<&Protection> {
        self.tls.as_ref()
    }

    /// Addresses to listen on, each once.
    pub(super) fn hosts(&self) -> &[Address] {
        &self.hosts
    }

    pub(super) fn group(&self) -> &str {
        self.flags.group.as_deref().or(self.file.group.as_deref()).unwrap_or(DEFAULT_GROUP)
    }

    pub(super) fn pidfile(&self) -> Option<&Path> {
        self.flags.pidfile.as_deref().or(self.file.pidfile.as_deref())
    }

    /// What is logged.
    pub(super) fn log_level(&self) -> Result<LevelFilter> {
        let level = level::parse(log_level(&self.flags, &self.file))?;
        Ok(if self.flags.debug || self.file.debug { level.max(LevelFilter::DEBUG) } else { level })
    }

    /// The form of the log.
    pub(super) fn log_format(&self) -> Result<Lines> {
        Lines::parse(self.flags.log_format.as_deref().or(self.file.log_format.as_deref()).unwrap_or_default())
    }

    /// What can change while the daemon runs.
    pub(super) fn reloadable(&self) -> Result<Reloadable> {
        reloadable(&self.flags, &self.file)
    }

    /// The configuration file.
    pub(super) fn config_file(&self) -> &Path {
        file::path(self.flags.config_file.as_deref())
    }

    /// The lowest API version accepted: the file's, or Docker's variable's, or the default.
    pub(super) fn min_api_version(&self) -> Result<ApiVersion> {
        let text = self.file.min_api_version.clone().or_else(|| std::env::var("DOCKER_MIN_API_VERSION").ok());
        let Some(text) = text else { return Ok(versions::MIN) };
        let version: ApiVersion = text.parse().context("min-api-version")?;
        if version < versions::FLOOR || version > versions::MAX {
            bail!("min-api-version {version} is not between {} and {}", versions::FLOOR, versions::MAX);
        }
        Ok(version)
    }

    /// The engine's part.
    pub(super) fn engine(&self) -> Result<EngineConfig> {
        let (flags, file) = (&self.flags, &self.file);
        let path = |flag: &Option<PathBuf>, file: &Option<PathBuf>, default: &str| {
            flag.clone().or_else(|| file.clone()).unwrap_or_else(|| default.into())
        };
        let mut log_opts = file.log_opts.clone();
        for option in &flags.log_opts {
            let (name, value) = option.split_once('=').with_context(|| format!("invalid --log-opt {option:?}"))?;
            log_opts.insert(name.to_owned(), value.to_owned());
        }
        Ok(EngineConfig {
            data_root: path(&flags.data_root, &file.data_root, DATA_ROOT),
            exec_root: path(&flags.exec_root, &file.exec_root, EXEC_ROOT),
            shim: shim()?,
            bridge: flags.bridge.clone().or_else(|| file.bridge.clone()),
            bridge_address: flags.bip.as_ref().or(file.bip.as_ref()).map(|text| bridge_address(text)).transpose()?,
            default_bridge: self.default_bridge()?,
            mtu: flags.mtu.or(file.mtu),
            dns: list(&flags.dns, &file.dns),
            dns_options: list(&flags.dns_opts, &file.dns_opts),
            dns_search: list(&flags.dns_search, &file.dns_search),
            legacy_link_env: flags.legacy_link_env.or(file.legacy_link_env).unwrap_or(true),
            forward_accept: flags.forward_accept.or(file.forward_accept).unwrap_or(true),
            log_driver: flags
                .log_driver
                .clone()
                .or_else(|| file.log_driver.clone())
                .unwrap_or_else(|| "json-file".into()),
            log_opts,
            stop_timeout_s: flags.default_stop_timeout.or(file.default_stop_timeout).unwrap_or(STOP_TIMEOUT_S),
            default_ulimits: self.ulimits()?,
            default_bind_address: flags.ip.or(file.ip),
            seccomp: seccomp(flags.seccomp_profile.as_ref().or(file.seccomp_profile.as_ref()))?,
            init: flags.init || file.init,
            no_new_privileges: flags.no_new_privileges || file.no_new_privileges,
            address_pools: self.address_pools()?,
            network_options: self.network_options()?,
            host_gateways: self.host_gateways()?,
            cgroup_parent: flags.cgroup_parent.clone().or_else(|| file.cgroup_parent.clone()),
            reloadable: self.reloadable()?,
            warnings: self.exposed(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("TARE_BUILD").unwrap_or("unknown").to_owned(),
        })
    }

    fn default_bridge(&self) -> Result<DefaultBridge> {
        let (flags, file) = (&self.flags, &self.file);
        let range = |flag: Option<Cidr>, name: &str, text: &Option<String>| match (flag, text) {
            (None, Some(text)) => text.parse().ok().map(Some).with_context(|| format!("parse {name} failed: {text}")),
            (flag, _) => Ok(flag),
        };
        Ok(DefaultBridge {
            ipv6: flags.ipv6.or(file.ipv6).unwrap_or(false),
            address_v6: flags.bip6.as_ref().or(file.bip6.as_ref()).map(|text| bridge_address_v6(text)).transpose()?,
            range: range(flags.fixed_cidr, "fixed-cidr", &file.fixed_cidr)?,
            range_v6: range(flags.fixed_cidr_v6, "fixed-cidr-v6", &file.fixed_cidr_v6)?,
            icc: flags.icc.or(file.icc).unwrap_or(true),
            gateway: flags.default_gateway.or(file.default_gateway),
            gateway_v6: flags.default_gateway_v6.or(file.default_gateway_v6),
            masquerade: flags.ip_masq.or(file.ip_masq).unwrap_or(true),
        })
    }

    fn network_options(&self) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        let mut options = self.file.default_network_opts.clone();
        for text in &self.flags.default_network_opts {
            let parts = text.split_once('=').and_then(|(driver, rest)| Some((driver, rest.split_once('=')?)));
            let (driver, (name, value)) = parts.with_context(|| format!("invalid --default-network-opt {text:?}"))?;
            options.entry(driver.to_owned()).or_default().insert(name.to_owned(), value.to_owned());
        }
        if let Some(driver) = options.keys().find(|driver| !matches!(driver.as_str(), "bridge" | "macvlan")) {
            bail!("default network options: driver {driver:?} has none here");
        }
        Ok(options)
    }

    fn host_gateways(&self) -> Result<Vec<IpAddr>> {
        let mut gateways = list(&self.flags.host_gateway_ips, &self.file.host_gateway_ips);
        if gateways.is_empty() {
            gateways.extend(self.file.host_gateway_ip);
        }
        for ipv6 in [false, true] {
            if gateways.iter().filter(|address| address.is_ipv6() == ipv6).count() > 1 {
                let family = if ipv6 { "IPv6" } else { "IPv4" };
                bail!("only one {family} host gateway IP address can be specified");
            }
        }
        Ok(gateways)
    }

    /// Docker's words about ways to the API that are open to others.
    fn exposed(&self) -> Vec<String> {
        let open = match self.tls() {
            None => ("http", "without encryption"),
            Some(protection) if protection.verifies_clients() => return Vec::new(),
            Some(_) => ("https", "without TLS client verification"),
        };
        let addresses = self.hosts.iter().filter_map(|address| match address {
            Address::Tcp(address) => Some(address),
            _ => None,
        });
        let (scheme, how) = open;
        addresses.map(|address| format!("WARNING: API is accessible on {scheme}://{address} {how}.{EXPOSED}")).collect()
    }

    fn address_pools(&self) -> Result<Option<Pools>> {
        let flags = self.flags.default_address_pools.iter().map(|text| pool(text)).collect::<Result<Vec<_>>>()?;
        let pools = if flags.is_empty() { self.file.default_address_pools.clone() } else { flags };
        if pools.is_empty() {
            return Ok(None);
        }
        let cidr = |pool: &FilePool| {
            let base: Cidr = pool.base.parse().ok().with_context(|| format!("invalid address pool {:?}", pool.base))?;
            Ok((base, pool.size))
        };
        let pools = pools.iter().map(cidr).collect::<Result<Vec<_>>>()?;
        Pools::new(&pools).map(Some).context("invalid default address pools: a subnet is larger than its pool")
    }

    fn ulimits(&self) -> Result<Vec<Ulimit>> {
        let mut limits: BTreeMap<String, Ulimit> = BTreeMap::new();
        for (name, limit) in &self.file.default_ulimits {
            let own = if limit.name.is_empty() { name } else { &limit.name };
            limits.insert(own.clone(), Ulimit { name: own.clone(), hard: limit.hard, soft: limit.soft });
        }
        for text in &self.flags.default_ulimits {
            let invalid = || format!("invalid --default-ulimit {text:?}");
            let (name, values) = text.split_once('=').with_context(invalid)?;
            let (soft, hard) = values.split_once(':').unwrap_or((values, values));
            let limit = Ulimit {
                name: name.to_owned(),
                hard: hard.parse().with_context(invalid)?,
                soft: soft.parse().with_context(invalid)?,
            };
            limits.insert(name.to_owned(), limit);
        }
        Ok(limits.into_values().collect())
    }
}

/// What flags and file say about TLS, with dockerd's rules: `tlsverify`, whatever its value, turns TLS on, and TLS asks for
/// clients' certificates unless `tlsverify` is false.
fn protection(flags: &Flags, file: &File) -> Result<Option<Protection>> {
    let verify = flags.tlsverify.or(file.tlsverify);
    if verify.is_none() && flags.tls.or(file.tls) != Some(true) {
        return Ok(None);
    }
    let files = Files {
        authority: flags.tlscacert.as_ref().or(file.tlscacert.as_ref()),
        certificate: flags.tlscert.as_ref().or(file.tlscert.as_ref()),
        key: flags.tlskey.as_ref().or(file.tlskey.as_ref()),
    };
    Protection::new(&files, verify.unwrap_or(true)).map(Some)
}

fn hosts(texts: &[String], tls: bool) -> Result<Vec<Address>> {
    let default = [String::new()];
    let texts = if texts.is_empty() { &default } else { texts };
    let hosts = texts.iter().map(|text| Address::parse(text, tls).map_err(anyhow::Error::msg));
    let mut hosts = hosts.collect::<Result<Vec<_>>>()?;
    hosts.sort_unstable();
    hosts.dedup();
    Ok(hosts)
}

/// `base=CIDR,size=PREFIX`
fn pool(text: &str) -> Result<FilePool> {
    let invalid = || format!("invalid --default-address-pool {text:?}: expected base=CIDR,size=PREFIX");
    let (mut base, mut size) = (None, None);
    for field in text.split(',') {
        match field.trim().split_once('=') {
            Some(("base", value)) => base = Some(value.to_owned()),
            Some(("size", value)) => size = Some(value.parse().with_context(invalid)?),
            _ => bail!(invalid()),
        }
    }
    Ok(FilePool { base: base.with_context(invalid)?, size: size.with_context(invalid)? })
}

/// Flags win over the file.
pub(super) fn list<T: Clone>(flags: &[T], file: &[T]) -> Vec<T> {
    if flags.is_empty() { file.to_vec() } else { flags.to_vec() }
}

fn bridge_address(text: &str) -> Result<(Ipv4Addr, u8)> {
    let invalid = || format!("invalid --bip {text:?}: expected ADDRESS/PREFIX");
    let (address, prefix) = text.split_once('/').with_context(invalid)?;
    let (address, prefix): (Ipv4Addr, u8) =
        (address.parse().with_context(invalid)?, prefix.parse().with_context(invalid)?);
    if prefix > 30 {
        bail!("{}: no room for containers", invalid());
    }
    Ok((address, prefix))
}

fn bridge_address_v6(text: &str) -> Result<(Ipv6Addr, u8)> {
    let invalid = || format!("invalid --bip6 {text:?}: expected ADDRESS/PREFIX");
    let (address, prefix) = text.split_once('/').with_context(invalid)?;
    let (address, prefix): (Ipv6Addr, u8) =
        (address.parse().with_context(invalid)?, prefix.parse().with_context(invalid)?);
    if prefix > 126 {
        bail!("{}: no room for containers", invalid());
    }
    Ok((address, prefix))
}

/// The filter of system calls that containers get.
fn seccomp(profile: Option<&String>) -> Result<SeccompProfile> {
    match profile.map_or("", String::as_str) {
        "" | "builtin" => Ok(SeccompProfile::Builtin),
        "unconfined" => Ok(SeccompProfile::Unconfined),
        path => {
            let json =
                std::fs::read_to_string(path).with_context(|| format!("opening seccomp profile ({path}) failed"))?;
            Ok(SeccompProfile::File { path: path.to_owned(), json })
        }
    }
}

/// The shim's executable: beside this one, or where distributions put helpers.
fn shim() -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program's own file")?;
    let candidates = [own.with_file_name("tare-shim"), PathBuf::from("/usr/libexec/tare/tare-shim")];
    match candidates.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => {
            bail!("tare-shim is missing: expected it at {} or {}", candidates[0].display(), candidates[1].display())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings of a machine without a settings file.
    fn read(args: &[&str]) -> Settings {
        let file = ["--config-file", "/dev/null"];
        Settings::read(file.iter().chain(args).map(OsString::from).collect()).unwrap()
    }

    #[test]
    fn flags_win_over_defaults() {
        let settings = read(&["-H", "unix:///x", "--registry-mirror", "http://m", "--legacy-link-env", "false"]);
        assert_eq!(settings.hosts(), [Address::Unix("/x".to_owned())]);
        assert_eq!(settings.file.registry_mirrors, [""; 0]);
        assert_eq!(settings.flags.legacy_link_env, Some(false));
        assert_eq!(read(&[]).hosts(), [Address::Unix("/run/tare.sock".to_owned())]);
        assert_eq!(read(&["-H", "fd://", "-H", ":1", "-H", "tcp://localhost:1"]).hosts().len(), 2);
    }

    #[test]
    fn an_open_api_is_warned_of() {
        let settings = read(&["-H", "tcp://1.2.3.4", "-H", "unix:///x"]);
        let warnings = settings.exposed();
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0]
                .starts_with("WARNING: API is accessible on http://1.2.3.4:2375 without encryption.\n         Access")
        );
    }

    /// As pflag has it.
    #[test]
    fn the_last_of_two_values_counts() {
        let settings = read(&["--mtu", "1400", "--mtu", "1500", "--dns", "1.1.1.1", "--dns", "9.9.9.9"]);
        assert_eq!((settings.flags.mtu, settings.flags.dns.len()), (Some(1500), 2));
    }

    #[test]
    fn bridge_addresses() {
        assert_eq!(bridge_address("10.1.0.1/16").unwrap(), (Ipv4Addr::new(10, 1, 0, 1), 16));
        assert!(bridge_address("10.1.0.1").is_err());
        assert!(bridge_address("10.1.0.1/31").is_err());
        assert_eq!(bridge_address_v6("fd00::1/64").unwrap(), ("fd00::1".parse().unwrap(), 64));
        assert!(bridge_address_v6("fd00::1").is_err() && bridge_address_v6("fd00::1/127").is_err());
    }
}
