//! From flags to the request that creates a container: configuration, host configuration, networks.
//!
//! A plan is data: nothing is asked of an engine here. Values that the table of flags has checked are parsed again;
//! what is only checked here (combinations, files) fails with the sentence Docker's client prints after `docker: `.

use tare_docker_api::container::{
    Config, CreateRequest, DeviceMapping, DeviceRequest, Healthcheck, HostConfig, LogConfig, NetworkingConfig, PortMap,
    PortSet, Resources,
};
use tare_docker_api::{Empty, List, Map};

use super::device::{self, Device};
use super::env::{files, to_map, variables};
use super::network::{Attachment, EndpointFlags, endpoints, mac_address};
use super::surroundings::Surroundings;
use super::text::{flag_address, log_options, namespaces, restart_policy, storage_options};
use super::volume::Volume;
use super::{Parsed, invalid, mount, network, ports, security, text, ulimit, volume};
use crate::flags::Values;

/// Builds the request for `image` and a command (empty: the image's). `proxies` are variables for containers from the
/// client's configuration; a variable of the same name on the command line goes before them.
pub fn plan(
    flags: &Values,
    image: &str,
    command: &[String],
    proxies: &[(String, String)],
    around: &Surroundings<'_>,
) -> Parsed<CreateRequest> {
    let mac = flags.text("mac-address");
    if !mac.is_empty() {
        mac_address(mac)?;
    }
    let swappiness = flags.int("memory-swappiness");
    if swappiness != -1 && !(0..=100).contains(&swappiness) {
        return invalid(format_args!("invalid value: {swappiness}. Valid memory swappiness range is 0-100"));
    }
    let mounts = Mounts::of(flags, around)?;
    let (mut exposed_ports, port_bindings) = ports::publish(flags.list("publish"))?;
    for spec in flags.list("expose") {
        ports::expose(spec, &mut exposed_ports)?;
    }
    let devices = devices(flags)?;
    let mut config = config(flags, exposed_ports, proxies, around)?;
    config.image = image.to_owned();
    config.cmd = (!command.is_empty()).then(|| command.to_vec());
    config.volumes = mounts.anonymous.clone();
    let mut host = host_config(flags, mounts, port_bindings, around)?;
    // Judged in this order, the first mistake is the one Docker's client names.
    config.healthcheck = healthcheck(flags)?;
    host.resources = resources(flags, devices)?;
    if flags.bool("rm") && !matches!(host.restart_policy.name.as_str(), "" | "no") {
        return invalid("conflicting options: cannot specify both --restart and --rm");
    }
    let (mode, endpoints_config) = networks(flags)?;
    host.network_mode = mode;
    Ok(CreateRequest { config, host_config: host, networking_config: NetworkingConfig { endpoints_config } })
}

/// A list that is `null` when nothing was given.
fn given(flags: &Values, name: &str) -> List<String> {
    match flags.list(name) {
        [] => List::default(),
        values => values.to_vec().into(),
    }
}

/// Capabilities in capitals with `CAP_`, sorted, each once; `ALL` makes the others superfluous.
fn capabilities(names: &[String]) -> List<String> {
    if names.is_empty() {
        return List::default();
    }
    let normal = |name: &String| match name.trim().to_uppercase() {
        all if all == "ALL" => all,
        name if name.starts_with("CAP_") => name,
        name => format!("CAP_{name}"),
    };
    let mut out: Vec<String> = names.iter().map(normal).collect();
    if out.iter().any(|name| name == "ALL") {
        return vec!["ALL".to_owned()].into();
    }
    out.sort_unstable();
    out.dedup();
    out.into()
}

/// The values of a flag and of its other name.
fn both(flags: &Values, name: &str, other: &str) -> Vec<String> {
    [flags.list(name), flags.list(other)].concat()
}

/// `-v` and `--tmpfs`.
struct Mounts {
    anonymous: Map<Empty>,
    binds: List<String>,
    tmpfs: Map<String>,
}

impl Mounts {
    fn of(flags: &Values, around: &Surroundings<'_>) -> Parsed<Mounts> {
        let mut out = Mounts { anonymous: Map::empty(), binds: List::default(), tmpfs: Map::empty() };
        for spec in flags.list("volume") {
            match volume::parse(spec, around.cwd)? {
                Volume::Anonymous(path) => {
                    out.anonymous.insert(path, Empty {});
                }
                Volume::Bind(bind) if !out.binds.contains(&bind) => out.binds.push(bind),
                Volume::Bind(_) => {}
            }
        }
        for spec in flags.list("tmpfs") {
            let (path, options) = spec.split_once(':').unwrap_or((spec, ""));
            out.tmpfs.insert(path.to_owned(), options.to_owned());
        }
        Ok(out)
    }
}

/// Everything of the configuration that flags alone decide, without the health check.
fn config(
    flags: &Values,
    exposed_ports: PortSet,
    proxies: &[(String, String)],
    around: &Surroundings<'_>,
) -> Parsed<Config> {
    let mut own = variables(flags.list("env"), around.var);
    for (name, value) in proxies {
        if !own.iter().any(|pair| super::env::name(pair) == name) {
            own.push(format!("{name}={value}"));
        }
    }
    let of_files =
        |flag: &str, values: Parsed<Vec<String>>| values.or_else(|error| invalid(format_args!("--{flag}: {error}")));
    let mut env = of_files("env-file", files(flags.list("env-file"), Some(around.var)))?;
    env.append(&mut own);
    let mut labels = of_files("label-file", files(flags.list("label-file"), None))?;
    labels.extend_from_slice(flags.list("label"));

    let attach = flags.list("attach");
    let attached = |stream: &str| attach.iter().any(|a| a.eq_ignore_ascii_case(stream));
    let interactive = flags.bool("interactive");
    let attach_stdin = interactive || attached("stdin");
    Ok(Config {
        hostname: flags.text("hostname").to_owned(),
        domainname: flags.text("domainname").to_owned(),
        user: flags.text("user").to_owned(),
        attach_stdin,
        attach_stdout: attach.is_empty() || attached("stdout"),
        attach_stderr: attach.is_empty() || attached("stderr"),
        exposed_ports,
        tty: flags.bool("tty"),
        open_stdin: interactive,
        // The container's input ends with the client's.
        stdin_once: interactive && attach_stdin,
        env: if env.is_empty() { List::default() } else { env.into() },
        working_dir: flags.text("workdir").to_owned(),
        // `--entrypoint ""` resets the image's.
        entrypoint: flags.given("entrypoint").then(|| vec![flags.text("entrypoint").to_owned()]),
        labels: to_map(&labels),
        stop_signal: flags.text("stop-signal").to_owned(),
        stop_timeout: flags.given("stop-timeout").then(|| flags.int("stop-timeout")),
        ..Config::default()
    })
}

/// The health check; `None` where the image's is meant.
fn healthcheck(flags: &Values) -> Parsed<Option<Healthcheck>> {
    let command = flags.text("health-cmd");
    let numbers = [
        ("health-interval", flags.duration("health-interval")),
        ("health-timeout", flags.duration("health-timeout")),
        ("health-retries", flags.int("health-retries")),
        ("health-start-period", flags.duration("health-start-period")),
        ("health-start-interval", flags.duration("health-start-interval")),
    ];
    let any = !command.is_empty() || numbers.iter().any(|(_, value)| *value != 0);
    if flags.bool("no-healthcheck") {
        if any {
            return invalid("--no-healthcheck conflicts with --health-* options");
        }
        return Ok(Some(Healthcheck { test: vec!["NONE".to_owned()].into(), ..Healthcheck::default() }));
    }
    if let Some((name, _)) = numbers.iter().find(|(_, value)| *value < 0) {
        return invalid(format_args!("--{name} cannot be negative"));
    }
    let [interval, timeout, retries, start_period, start_interval] = numbers.map(|(_, value)| value);
    let test = match command {
        "" => List::default(),
        command => vec!["CMD-SHELL".to_owned(), command.to_owned()].into(),
    };
    Ok(any.then_some(Healthcheck { test, interval, timeout, start_period, start_interval, retries }))
}

/// Everything of the host configuration except limits and networks.
fn host_config(
    flags: &Values,
    mounts: Mounts,
    port_bindings: PortMap,
    around: &Surroundings<'_>,
) -> Parsed<HostConfig> {
    let text = |name: &str| flags.text(name).to_owned();
    namespaces(flags.text("pid"), flags.text("uts"), flags.text("userns"), flags.text("cgroupns"))?;
    let restart_policy = restart_policy(flags.text("restart"))?;
    let log_config =
        LogConfig { kind: text("log-driver"), config: log_options(flags.text("log-driver"), flags.list("log-opt"))? };
    let security = security::parse(flags.list("security-opt"))?;
    let lifted = || if security.system_paths_unconfined { List::empty() } else { List::default() };
    // These three are never null, or the engine would take its defaults of long ago.
    let dns: Parsed<Vec<String>> = flags.list("dns").iter().map(|ip| text::ip_address(ip)).collect();
    let dns_search: Parsed<Vec<String>> = flags.list("dns-search").iter().map(|d| text::search_domain(d)).collect();
    let extra_hosts: Parsed<Vec<String>> = flags.list("add-host").iter().map(|h| text::extra_host(h)).collect();
    let requested: Parsed<Vec<_>> = flags.list("mount").iter().map(|spec| mount::parse(spec, around.cwd)).collect();
    Ok(HostConfig {
        binds: mounts.binds,
        container_id_file: text("cidfile"),
        log_config,
        port_bindings,
        restart_policy,
        auto_remove: flags.bool("rm"),
        volume_driver: text("volume-driver"),
        volumes_from: given(flags, "volumes-from"),
        annotations: to_map(flags.list("annotation")),
        cap_add: capabilities(flags.list("cap-add")),
        cap_drop: capabilities(flags.list("cap-drop")),
        cgroupns_mode: text("cgroupns"),
        dns: dns?.into(),
        dns_options: both(flags, "dns-option", "dns-opt").into(),
        dns_search: dns_search?.into(),
        extra_hosts: Some(extra_hosts?).filter(|hosts| !hosts.is_empty()).map_or_else(List::default, List::from),
        group_add: given(flags, "group-add"),
        ipc_mode: text("ipc"),
        links: given(flags, "link"),
        oom_score_adj: flags.int("oom-score-adj"),
        pid_mode: text("pid"),
        privileged: flags.bool("privileged"),
        publish_all_ports: flags.bool("publish-all"),
        readonly_rootfs: flags.bool("read-only"),
        masked_paths: lifted(),
        readonly_paths: lifted(),
        security_opt: if flags.list("security-opt").is_empty() { List::default() } else { security.options.into() },
        storage_opt: storage_options(flags.list("storage-opt"))?,
        tmpfs: mounts.tmpfs,
        uts_mode: text("uts"),
        userns_mode: text("userns"),
        shm_size: flags.bytes("shm-size"),
        sysctls: to_map(flags.list("sysctl")),
        runtime: text("runtime"),
        mounts: requested?.into(),
        init: flags.given("init").then(|| flags.bool("init")),
        ..HostConfig::default()
    })
}

/// Devices of the host and names for the Container Device Interface.
fn devices(flags: &Values) -> Parsed<(Vec<DeviceMapping>, Vec<String>)> {
    let (mut mappings, mut names) = (Vec::new(), Vec::new());
    for spec in flags.list("device") {
        match device::parse(spec)? {
            Device::Mapping(mapping) => mappings.push(mapping),
            Device::Cdi(name) => names.push(name),
        }
    }
    Ok((mappings, names))
}

fn resources(flags: &Values, (devices, cdi): (Vec<DeviceMapping>, Vec<String>)) -> Parsed<Resources> {
    fn all<T>(flags: &Values, name: &str, parse: fn(&str) -> Parsed<T>) -> Parsed<List<T>> {
        flags.list(name).iter().map(|value| parse(value)).collect::<Parsed<Vec<T>>>().map(List::from)
    }
    let mut requests: Vec<DeviceRequest> = all(flags, "gpus", device::gpus)?.into_vec();
    if !cdi.is_empty() {
        requests.push(DeviceRequest { driver: "cdi".into(), device_ids: cdi.into(), ..DeviceRequest::default() });
    }
    let int = |name: &str| flags.int(name);
    let text = |name: &str| flags.text(name).to_owned();
    Ok(Resources {
        cpu_shares: int("cpu-shares"),
        memory: flags.bytes("memory"),
        nano_cpus: flags.nano_cpus("cpus"),
        cgroup_parent: text("cgroup-parent"),
        blkio_weight: u16::try_from(int("blkio-weight")).unwrap_or(0),
        blkio_weight_device: all(flags, "blkio-weight-device", device::weight)?,
        blkio_device_read_bps: all(flags, "device-read-bps", device::bytes_per_second)?,
        blkio_device_write_bps: all(flags, "device-write-bps", device::bytes_per_second)?,
        blkio_device_read_iops: all(flags, "device-read-iops", device::operations_per_second)?,
        blkio_device_write_iops: all(flags, "device-write-iops", device::operations_per_second)?,
        cpu_period: int("cpu-period"),
        cpu_quota: int("cpu-quota"),
        cpu_realtime_period: int("cpu-rt-period"),
        cpu_realtime_runtime: int("cpu-rt-runtime"),
        cpuset_cpus: text("cpuset-cpus"),
        cpuset_mems: text("cpuset-mems"),
        devices: devices.into(),
        device_cgroup_rules: given(flags, "device-cgroup-rule"),
        device_requests: if requests.is_empty() { List::default() } else { requests.into() },
        memory_reservation: flags.bytes("memory-reservation"),
        memory_swap: flags.bytes("memory-swap"),
        memory_swappiness: Some(int("memory-swappiness")),
        oom_kill_disable: Some(flags.bool("oom-kill-disable")),
        pids_limit: Some(int("pids-limit")),
        ulimits: ulimit::parse_all(flags.list("ulimit"))?.into(),
        ..Resources::default()
    })
}

/// The mode of the network stack and the endpoints.
fn networks(flags: &Values) -> Parsed<(String, Map<tare_docker_api::container::EndpointSettings>)> {
    let given = both(flags, "network", "net");
    let attachments: Vec<Attachment> = given.iter().map(|spec| network::parse(spec)).collect::<Parsed<_>>()?;
    let endpoint = EndpointFlags {
        aliases: both(flags, "network-alias", "net-alias"),
        links: flags.list("link"),
        ipv4: flag_address(flags.text("ip"))?.filter(std::net::IpAddr::is_ipv4),
        ipv6: flag_address(flags.text("ip6"))?,
        // Docker's client leaves out what is no address.
        link_local: flags.list("link-local-ip").iter().filter_map(|ip| ip.parse().ok()).collect(),
        mac: flags.text("mac-address"),
    };
    endpoints(&attachments, &endpoint)
}
