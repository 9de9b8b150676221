//! Checks of a request to create (or update) a container, with Docker's sentences.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tare_docker_api::container::{Config, Healthcheck, HostConfig, Resources, RestartPolicy};

use super::exit::ON_UNHEALTHY;
use crate::error::{Error, Result};

/// Smallest memory limit in bytes: below it, no container starts.
const MEMORY_MIN: i64 = 6 * 1024 * 1024;
/// Shortest health check interval or timeout in nanoseconds.
const HEALTH_DURATION_MIN: i64 = 1_000_000;
/// Longest hostname in bytes (`__NEW_UTS_LEN`).
const HOSTNAME_MAX: usize = 64;

/// Everything that does not depend on other objects of the engine.
pub(crate) fn create(config: &Config, host: &HostConfig, cpus: usize) -> Result<()> {
    config_part(config)?;
    modes(config, host)?;
    if host.shm_size < 0 {
        return Err(Error::invalid("SHM size can not be less than 0"));
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Error::invalid(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    if host.auto_remove && !matches!(host.restart_policy.name.as_str(), "" | "no") {
        return Err(Error::invalid("can't create 'AutoRemove' container with restart policy"));
    }
    restart_policy(&host.restart_policy)?;
    for text in &host.extra_hosts {
        super::links::extra_host(text)?;
    }
    // Docker's type of the field refuses it while it reads the request.
    if let Some(server) = host.dns.iter().find(|server| server.parse::<IpAddr>().is_err()) {
        return Err(Error::invalid(format!("invalid JSON: ParseAddr({server:?}): unable to parse IP")));
    }
    capabilities("CapAdd", &host.cap_add)?;
    capabilities("CapDrop", &host.cap_drop)?;
    resources(&host.resources, cpus)?;
    if host.annotations.contains_key("") {
        return Err(Error::invalid("invalid Annotations: the empty string is not permitted as an annotation key"));
    }
    if let Some(key) = host.sysctls.keys().find(|key| names_interface(key)) {
        return Err(Error::invalid(format!(
            "interface specific sysctl setting {key:?} must be supplied using driver option '{}'",
            crate::network::options::ENDPOINT_SYSCTLS
        )));
    }
    unsupported(host)
}

/// Whether a setting is one of a network interface as they are called by default.
fn names_interface(key: &str) -> bool {
    let parts: Vec<&str> = key.splitn(5, '.').collect();
    let ["net", _, _, interface, _] = parts[..] else { return false };
    let number = interface.strip_prefix("eth").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn config_part(config: &Config) -> Result<()> {
    if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
        return Err(Error::invalid(format!(
            "the working directory '{}' is invalid, it needs to be an absolute path",
            config.working_dir
        )));
    }
    if let Some(bad) = config.env.iter().find(|variable| variable.is_empty() || variable.starts_with('=')) {
        return Err(Error::invalid(format!("invalid environment variable: {bad}")));
    }
    if config.hostname.len() > HOSTNAME_MAX {
        return Err(Error::invalid(format!(
            "hostname {:?} is too long (maximum {HOSTNAME_MAX} bytes)",
            config.hostname
        )));
    }
    if !config.stop_signal.is_empty() {
        super::signal::parse(&config.stop_signal)?;
    }
    config.healthcheck.as_ref().map_or(Ok(()), healthcheck)
}

fn healthcheck(check: &Healthcheck) -> Result<()> {
    for (name, value) in [
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ] {
        if value != 0 && value < HEALTH_DURATION_MIN {
            return Err(Error::invalid(format!("{name} in Healthcheck cannot be less than 1ms")));
        }
    }
    if check.retries < 0 {
        return Err(Error::invalid("Retries in Healthcheck cannot be negative"));
    }
    Ok(())
}

/// The restart policy alone; `update` checks it too.
pub(crate) fn restart_policy(policy: &RestartPolicy) -> Result<()> {
    match policy.name.as_str() {
        "always" | "unless-stopped" | "no" if policy.maximum_retry_count > 0 => {
            Err(Error::invalid("invalid restart policy: maximum retry count can only be used with 'on-failure'"))
        }
        "" if policy.maximum_retry_count > 0 => {
            Err(Error::invalid("invalid restart policy: maximum retry count can only be used with 'on-failure'"))
        }
        "" | "always" | "unless-stopped" | "no" | "on-failure" | ON_UNHEALTHY if policy.maximum_retry_count < 0 => {
            let hint = if matches!(policy.name.as_str(), "on-failure" | ON_UNHEALTHY) {
                ""
            } else {
                " and can only be used with 'on-failure'"
            };
            Err(Error::invalid(format!("invalid restart policy: maximum retry count cannot be negative{hint}")))
        }
        "" | "always" | "unless-stopped" | "no" | "on-failure" | ON_UNHEALTHY => Ok(()),
        other => Err(Error::invalid(format!(
            "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or \
             'unless-stopped'"
        ))),
    }
}

/// Normalises `name` to `CAP_NAME`; `ALL` stays.
pub(crate) fn capability(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    if upper == "ALL" {
        return Some(upper);
    }
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    tare_oci_runtime::CAPABILITIES.contains(&full.as_str()).then_some(full)
}

fn capabilities(field: &str, names: &[String]) -> Result<()> {
    for name in names {
        if capability(name).is_none() {
            let upper = name.to_ascii_uppercase();
            let shown = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
            return Err(Error::invalid(format!("invalid {field}: unknown capability: {shown:?}")));
        }
    }
    Ok(())
}

/// Modes that exclude each other (Docker's `internal/runconfig`).
fn modes(config: &Config, host: &HostConfig) -> Result<()> {
    let network = host.network_mode.as_str();
    let joined = network.strip_prefix("container:");
    if network == "container" || joined == Some("") {
        return Err(Error::invalid("invalid network mode: invalid container format container:<name|id>"));
    }
    if !matches!(host.uts_mode.as_str(), "" | "host") {
        return Err(Error::invalid(format!("invalid UTS mode: {}", host.uts_mode)));
    }
    if !config.hostname.is_empty() && host.uts_mode == "host" {
        return Err(Error::invalid("conflicting options: hostname and the UTS mode"));
    }
    let pid = host.pid_mode.as_str();
    if !matches!(pid, "" | "host") && pid.strip_prefix("container:").is_none_or(str::is_empty) {
        return Err(Error::invalid(format!("invalid PID mode: {pid}")));
    }
    let ipc = host.ipc_mode.as_str();
    if !matches!(ipc, "" | "none" | "private" | "shareable" | "host")
        && ipc.strip_prefix("container:").is_none_or(str::is_empty)
    {
        return Err(Error::invalid(format!("invalid IPC mode: {ipc}")));
    }
    if !matches!(host.cgroupns_mode.as_str(), "" | "private" | "host") {
        return Err(Error::invalid(format!("invalid cgroup namespace mode: {}", host.cgroupns_mode)));
    }
    if network == "host" && !host.links.is_empty() {
        return Err(Error::invalid(
            "conflicting options: host type networking can't be used with links. This would result in undefined \
             behavior",
        ));
    }
    if joined.is_some() {
        joined_network(config, host)?;
    }
    Ok(())
}

fn joined_network(config: &Config, host: &HostConfig) -> Result<()> {
    let conflict = |what: &str| Err(Error::invalid(format!("conflicting options: {what}")));
    if !host.links.is_empty() {
        return conflict("container type network can't be used with links. This would result in undefined behavior");
    }
    if !config.hostname.is_empty() {
        return conflict("hostname and the network mode");
    }
    if !host.dns.is_empty() {
        return conflict("dns and the network mode");
    }
    if !host.extra_hosts.is_empty() {
        return conflict("custom host-to-IP mapping and the network mode");
    }
    if !host.port_bindings.is_empty() || host.publish_all_ports {
        return conflict("port publishing and the container type network mode");
    }
    if !config.exposed_ports.is_empty() {
        return conflict("port exposing and the container type network mode");
    }
    Ok(())
}

/// Limits; `update` checks them too.
pub(crate) fn resources(resources: &Resources, cpus: usize) -> Result<()> {
    memory(resources)?;
    cpu(resources, cpus)?;
    if resources.blkio_weight > 0 && !(10..=1000).contains(&resources.blkio_weight) {
        return Err(Error::invalid("Range of blkio weight is from 10 to 1000"));
    }
    if let Some(request) = resources.device_requests.first() {
        let capabilities: Vec<_> = request.capabilities.iter().map(|all| format!("[{}]", all.join(" "))).collect();
        return Err(Error::invalid(format!(
            "could not select device driver {:?} with capabilities: [{}]",
            request.driver,
            capabilities.join(" ")
        )));
    }
    Ok(())
}

fn memory(resources: &Resources) -> Result<()> {
    let Resources { memory, memory_swap, memory_reservation, .. } = *resources;
    if memory != 0 && memory < MEMORY_MIN {
        return Err(Error::invalid("Minimum memory limit allowed is 6MB"));
    }
    if memory > 0 && memory_swap > 0 && memory_swap < memory {
        return Err(Error::invalid("Minimum memoryswap limit should be larger than memory limit, see usage"));
    }
    if memory == 0 && memory_swap > 0 {
        return Err(Error::invalid("You should always set the Memory limit when using Memoryswap limit, see usage"));
    }
    if let Some(swappiness) = resources.memory_swappiness
        && !(-1..=100).contains(&swappiness)
    {
        return Err(Error::invalid(format!("Invalid value: {swappiness}, valid memory swappiness range is 0-100")));
    }
    if memory_reservation > 0 && memory_reservation < MEMORY_MIN {
        return Err(Error::invalid("Minimum memory reservation allowed is 6MB"));
    }
    if memory > 0 && memory_reservation > 0 && memory < memory_reservation {
        return Err(Error::invalid("Minimum memory limit can not be less than memory reservation limit, see usage"));
    }
    Ok(())
}

fn cpu(resources: &Resources, cpus: usize) -> Result<()> {
    if resources.nano_cpus > 0 {
        for (other, name) in [(resources.cpu_period, "Period"), (resources.cpu_quota, "Quota")] {
            if other > 0 {
                return Err(Error::invalid(format!(
                    "Conflicting options: Nano CPUs and CPU {name} cannot both be set"
                )));
            }
        }
    }
    let most = i64::try_from(cpus).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    if resources.nano_cpus < 0 || resources.nano_cpus > most {
        return Err(Error::invalid(format!(
            "range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
        )));
    }
    if resources.cpu_shares < 0 {
        return Err(Error::invalid(format!(
            "invalid CPU shares ({}): value must be a positive integer",
            resources.cpu_shares
        )));
    }
    if resources.cpu_period != 0 && !(1000..=1_000_000).contains(&resources.cpu_period) {
        return Err(Error::invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ));
    }
    if resources.cpu_quota > 0 && resources.cpu_quota < 1000 {
        return Err(Error::invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)"));
    }
    let (period, runtime) = (resources.cpu_realtime_period, resources.cpu_realtime_runtime);
    if period != 0 && runtime > period {
        return Err(Error::invalid("cpu real-time runtime cannot be higher than cpu real-time period"));
    }
    cpuset(&resources.cpuset_cpus, cpus)?;
    memory_nodes(&resources.cpuset_mems, &nodes_online())
}

/// The machine's memory nodes as a kernel list; `0` where the kernel has no NUMA.
fn nodes_online() -> String {
    let text = std::fs::read_to_string("/sys/devices/system/node/online").unwrap_or_default();
    if text.trim().is_empty() { "0".to_owned() } else { text.trim().to_owned() }
}

fn memory_nodes(list: &str, online: &str) -> Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    let asked =
        parse_list(list).map_err(|why| Error::invalid(format!("Invalid value {list} for cpuset mems: {why}")))?;
    if asked.is_subset(&parse_list(online).unwrap_or_default()) {
        return Ok(());
    }
    Err(Error::invalid(format!("Requested memory nodes are not available - requested {list}, available: {online}")))
}

fn cpuset(list: &str, cpus: usize) -> Result<()> {
    if list.is_empty() {
        return Ok(());
    }
    let asked =
        parse_list(list).map_err(|why| Error::invalid(format!("Invalid value {list} for cpuset cpus: {why}")))?;
    if asked.iter().any(|cpu| *cpu >= cpus) {
        let last = cpus.saturating_sub(1);
        let available = if last == 0 { "0".to_owned() } else { format!("0-{last}") };
        return Err(Error::invalid(format!(
            "Requested CPUs are not available - requested {list}, available: {available}"
        )));
    }
    Ok(())
}

/// Parses a kernel list (`0-2,4`); at most 8,192 members, as many CPUs as Linux supports. An error is Docker's words.
fn parse_list(list: &str) -> std::result::Result<BTreeSet<usize>, String> {
    const MEMBER_MAX: usize = 8192;
    let mut members = BTreeSet::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if first <= last => (first, last),
            _ => return Err(format!("invalid format: {list}")),
        };
        if last > MEMBER_MAX {
            return Err(format!("value of out range, maximum is {MEMBER_MAX}"));
        }
        members.extend(first..=last);
    }
    Ok(members)
}

/// Settings this engine does not have are refused, never ignored.
fn unsupported(host: &HostConfig) -> Result<()> {
    let qos = [(host.resources.io_maximum_bandwidth, "bandwidth"), (host.resources.io_maximum_iops, "IOPs")];
    if let Some((_, what)) = qos.iter().find(|(value, _)| *value != 0) {
        return Err(Error::invalid(format!(
            "invalid option: QoS maximum {what} configuration is not supported on linux"
        )));
    }
    if !host.storage_opt.is_empty() {
        return Err(Error::invalid("--storage-opt is supported only for overlay over xfs with 'pquota' mount option"));
    }
    if !matches!(host.userns_mode.as_str(), "" | "host") {
        return Err(Error::invalid(format!("invalid USER mode: {}", host.userns_mode)));
    }
    if !matches!(host.isolation.as_str(), "" | "default") {
        return Err(Error::invalid(format!("invalid isolation {:?}: linux supports only 'default'", host.isolation)));
    }
    if !matches!(host.runtime.as_str(), "" | "tare" | "runc" | "io.containerd.runc.v2") {
        return Err(Error::invalid(format!("unknown or invalid runtime name: {}", host.runtime)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Config, &mut HostConfig)) -> String {
        let (mut config, mut host) = (Config::default(), HostConfig::default());
        change(&mut config, &mut host);
        create(&config, &host, 2).map_or_else(|error| error.message, |()| "ok".to_owned())
    }

    #[test]
    fn limits_have_dockers_sentences() {
        assert_eq!(check(|_, h| h.resources.memory = 5_000_000), "Minimum memory limit allowed is 6MB");
        assert_eq!(
            check(|_, h| h.resources.memory_swap = 1),
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        );
        assert_eq!(
            check(|_, h| h.resources.nano_cpus = 3_000_000_000),
            "range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"
        );
        assert_eq!(
            check(|_, h| h.resources.cpuset_cpus = "0,99".into()),
            "Requested CPUs are not available - requested 0,99, available: 0-1"
        );
        assert_eq!(check(|_, h| h.resources.cpuset_cpus = "0-1".into()), "ok");
        assert!(memory_nodes("", "0").is_ok());
        assert!(memory_nodes("0-1", "0-3").is_ok());
        assert_eq!(
            memory_nodes("99", "0").unwrap_err().message,
            "Requested memory nodes are not available - requested 99, available: 0"
        );
    }

    #[test]
    fn restart_policies_are_checked() {
        let policy = |name: &str, count| {
            check(|_, h| h.restart_policy = RestartPolicy { name: name.into(), maximum_retry_count: count })
        };
        assert_eq!(policy("on-failure", 3), "ok");
        assert_eq!(policy("on-unhealthy", 3), "ok");
        assert_eq!(
            policy("always", 3),
            "invalid restart policy: maximum retry count can only be used with 'on-failure'"
        );
        assert_eq!(policy("on-failure", -1), "invalid restart policy: maximum retry count cannot be negative");
        assert_eq!(
            policy("x", 0),
            "invalid restart policy: unknown policy 'x'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
        );
    }

    #[test]
    fn capabilities_are_known_by_any_spelling() {
        assert_eq!(capability("net_admin").as_deref(), Some("CAP_NET_ADMIN"));
        assert_eq!(capability("CAP_SYS_TIME").as_deref(), Some("CAP_SYS_TIME"));
        assert_eq!(
            check(|_, h| h.cap_add = vec!["x".to_owned()].into()),
            "invalid CapAdd: unknown capability: \"CAP_X\""
        );
    }
}
