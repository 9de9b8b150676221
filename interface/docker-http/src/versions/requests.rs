//! Requests of old clients in today's form. The sentences are Docker's.

use tare_docker_api::container::{
    BindOptions, CreateRequest, EndpointSettings, HostConfig, Mount, NetworkingConfig, PortBinding, UpdateRequest,
};
use tare_docker_api::network::{NetworkConnectRequest, NetworkCreateRequest};
use tare_docker_api::versions::ApiVersion;

use crate::error::{Failure, Result};

/// The driver option that carries sysctls of one endpoint's interface.
const ENDPOINT_SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

const fn v(minor: u32) -> ApiVersion {
    ApiVersion::v1(minor)
}

/// Brings a create request to the newest form; returns warnings.
pub fn create(version: ApiVersion, request: &mut CreateRequest) -> Result<Vec<String>> {
    default_network(&mut request.host_config, &mut request.networking_config);
    check_mounts(version, request.host_config.mounts.iter_mut())?;
    drop_newer_fields(version, request);
    if version < v(44) && request.networking_config.endpoints_config.len() > 1 {
        let names: Vec<&str> = request.networking_config.endpoints_config.keys().map(String::as_str).collect();
        let message = format!("Container cannot be created with multiple network endpoints: {}", names.join(", "));
        return Err(Failure::bad_request(message));
    }
    let mut warnings = Vec::new();
    warnings.extend(volume_driver(version, &request.host_config));
    warnings.extend(mac_address(version, request)?);
    warnings.extend(interface_sysctls(version, &mut request.host_config, &mut request.networking_config)?);
    warnings.extend(empty_port_bindings(version, &mut request.host_config));
    let resources = &mut request.host_config.resources;
    resources.pids_limit = resources.pids_limit.filter(|limit| *limit > 0);
    Ok(warnings)
}

/// Brings an update request to the newest form.
pub fn update(version: ApiVersion, request: &mut UpdateRequest) {
    let resources = &mut request.resources;
    if version < v(55) {
        resources.blkio_weight_device = Default::default();
        resources.blkio_device_read_bps = Default::default();
        resources.blkio_device_write_bps = Default::default();
        resources.blkio_device_read_iops = Default::default();
        resources.blkio_device_write_iops = Default::default();
    }
    // Any limit below one means unlimited.
    resources.pids_limit = resources.pids_limit.map(|limit| limit.max(0));
}

/// Brings a request for a network to the newest form.
pub fn network_create(version: ApiVersion, request: &mut NetworkCreateRequest) {
    if version < v(48) {
        request.enable_ipv4 = None;
    }
}

/// Brings a request to join a network to the newest form.
pub fn network_connect(version: ApiVersion, request: &mut NetworkConnectRequest) {
    if version < v(54)
        && let Some(endpoint) = &mut request.endpoint_config
    {
        endpoint.mac_address.clear();
    }
}

/// `default` is the bridge network under another name.
fn default_network(host: &mut HostConfig, networking: &mut NetworkingConfig) {
    if host.network_mode.is_empty() || host.network_mode == "default" {
        "bridge".clone_into(&mut host.network_mode);
        if let Some(endpoint) = networking.endpoints_config.remove("default") {
            networking.endpoints_config.insert("bridge".into(), endpoint);
        }
    }
}

/// Mount options that do not fit the mount's type, or came later than the client's version.
fn check_mounts<'m>(version: ApiVersion, mounts: impl Iterator<Item = &'m mut Mount>) -> Result<()> {
    let wrong = |options: &str, kind: &str| {
        Failure::bad_request(format!("{options} must not be specified on mount type {kind:?}"))
    };
    for mount in mounts {
        if version < v(42) {
            if mount.kind != "volume" {
                mount.volume_options = None;
            }
            if mount.kind != "tmpfs" {
                mount.tmpfs_options = None;
            }
            if let Some(options) = &mut mount.bind_options {
                options.create_mountpoint = false;
            }
        } else if mount.volume_options.is_some() && mount.kind != "volume" {
            return Err(wrong("VolumeOptions", &mount.kind));
        } else if mount.bind_options.is_some() && mount.kind != "bind" {
            return Err(wrong("BindOptions", &mount.kind));
        } else if mount.tmpfs_options.is_some() && mount.kind != "tmpfs" {
            return Err(wrong("TmpfsOptions", &mount.kind));
        }
        if version < v(44) && mount.kind == "bind" {
            let options = mount.bind_options.get_or_insert_with(BindOptions::default);
            if options.read_only_force_recursive {
                return Err(Failure::bad_request("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"));
            }
            options.read_only_non_recursive = true;
        }
        if version < v(45) && mount.volume_options.as_ref().is_some_and(|options| !options.subpath.is_empty()) {
            return Err(Failure::bad_request("VolumeOptions.Subpath needs API v1.45 or newer"));
        }
        if version < v(48) && mount.kind == "image" {
            return Err(Failure::bad_request(r#"Mount type "Image" needs API v1.48 or newer"#));
        }
    }
    Ok(())
}

/// Fields that a client of this version cannot have meant.
fn drop_newer_fields(version: ApiVersion, request: &mut CreateRequest) {
    let host = &mut request.host_config;
    if version < v(40) {
        host.resources.kernel_memory_tcp = 0;
        if host.ipc_mode.is_empty() {
            "shareable".clone_into(&mut host.ipc_mode);
        }
    }
    if version >= v(42) {
        host.resources.kernel_memory = 0;
    }
    if version < v(42) {
        request.host_config.console_size = [0, 0];
    }
    if version < v(43) {
        request.host_config.annotations = Default::default();
    }
    if version < v(44)
        && let Some(check) = &mut request.config.healthcheck
    {
        check.start_interval = 0;
    }
    if version < v(48) {
        request.networking_config.endpoints_config.values_mut().for_each(|endpoint| endpoint.gw_priority = 0);
    }
}

/// The container-wide volume driver does not reach volumes that are asked for as mounts.
fn volume_driver(version: ApiVersion, host: &HostConfig) -> Option<String> {
    if host.volume_driver.is_empty() || version < v(48) {
        return None;
    }
    let undecided = |mount: &Mount| {
        let driver = mount.volume_options.as_ref().and_then(|options| options.driver_config.as_ref());
        mount.kind == "volume" && driver.is_none_or(|driver| driver.name.is_empty())
    };
    host.mounts.iter().any(undecided).then(|| {
        "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. \
         Use '--mount type=volume,volume-driver=...' instead"
            .into()
    })
}

/// Whether a network mode leads to an endpoint of the container's own.
fn has_endpoint(mode: &str) -> bool {
    !(mode == "host" || mode == "none" || mode == "container" || mode.starts_with("container:"))
}

/// The container-wide MAC address becomes the endpoint's.
fn mac_address(version: ApiVersion, request: &mut CreateRequest) -> Result<Option<String>> {
    let mac = std::mem::take(&mut request.config.mac_address);
    let mode = &request.host_config.network_mode;
    if mac.is_empty() {
        if version < v(44) {
            request.networking_config.endpoints_config.values_mut().for_each(|endpoint| endpoint.mac_address.clear());
        }
        return Ok(None);
    }
    if version < v(44) {
        if !has_endpoint(mode) {
            return Err(Failure::bad_request("conflicting options: mac-address and the network mode"));
        }
        endpoint_of(version, mode, &mut request.networking_config)?.mac_address = mac;
        return Ok(None);
    }
    if version >= v(52) {
        let message = "container-wide MAC address no longer supported; use endpoint-specific MAC address instead";
        return Err(Failure::bad_request(message));
    }
    if has_endpoint(mode) {
        let endpoint = endpoint_of(version, mode, &mut request.networking_config).map_err(|error| {
            let message = format!("unable to migrate container-wide MAC address to a specific network: {error}");
            Failure::bad_request(message)
        })?;
        if endpoint.mac_address.is_empty() {
            endpoint.mac_address = mac;
        } else if !endpoint.mac_address.eq_ignore_ascii_case(&mac) {
            return Err(Failure::bad_request(
                "the container-wide MAC address must match the endpoint-specific MAC address for the main network, \
                 or be left empty",
            ));
        }
    }
    let warning =
        "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead.";
    Ok(Some(warning.into()))
}

/// Sysctls that name an interface move to the endpoint, for clients that could not say so themselves.
fn interface_sysctls(
    version: ApiVersion,
    host: &mut HostConfig,
    networking: &mut NetworkingConfig,
) -> Result<Option<String>> {
    if !has_endpoint(&host.network_mode) {
        return Ok(None);
    }
    let (mut moved, mut settings) = (Vec::new(), Vec::new());
    for (name, value) in &host.sysctls {
        let mut parts = name.splitn(5, '.');
        let parts = [parts.next(), parts.next(), parts.next(), parts.next(), parts.next()];
        let [Some("net"), Some(family), Some(kind), Some(interface), Some(setting)] = parts else { continue };
        if !interface.starts_with("eth") {
            continue;
        }
        if version > v(47) {
            return Err(Failure::bad_request(format!(
                "interface specific sysctl setting {name:?} must be supplied using driver option '{ENDPOINT_SYSCTLS}'"
            )));
        }
        if interface != "eth0" {
            return Err(Failure::bad_request(format!(
                "unable to determine network endpoint for sysctl {name}, \
                 use driver option '{ENDPOINT_SYSCTLS}' to set per-interface sysctls"
            )));
        }
        moved.push(name.clone());
        settings.push(format!("net.{family}.{kind}.IFNAME.{setting}={value}"));
    }
    if moved.is_empty() {
        return Ok(None);
    }
    let mut option = settings.join(",");
    let warning = format!("Migrated sysctl {:?} to DriverOpts{{{ENDPOINT_SYSCTLS:?}:{option:?}}}.", moved.join(","));
    let endpoint = endpoint_of(version, &host.network_mode, networking)?;
    if let Some(own) = endpoint.driver_opts.get(ENDPOINT_SYSCTLS) {
        option = format!("{option},{own}");
    }
    endpoint.driver_opts.insert(ENDPOINT_SYSCTLS.into(), option);
    moved.iter().for_each(|name| drop(host.sysctls.remove(name)));
    Ok(Some(warning))
}

/// A port with an empty list of host addresses is published on a free port.
fn empty_port_bindings(version: ApiVersion, host: &mut HostConfig) -> Option<String> {
    let mut empty = Vec::new();
    for (port, bindings) in host.port_bindings.iter_mut().filter(|(_, bindings)| bindings.is_empty()) {
        *bindings = vec![PortBinding::default()].into();
        empty.push(port.as_str());
    }
    (version >= v(52) && !empty.is_empty()).then(|| {
        let ports = empty.join(", ");
        format!("Following container port(s) have an empty list of port-bindings: {ports}. Such bindings will be discarded in a future version.")
    })
}

/// The endpoint on the network that the network mode names, made where there is none at all.
fn endpoint_of<'n>(
    version: ApiVersion,
    mode: &str,
    networking: &'n mut NetworkingConfig,
) -> Result<&'n mut EndpointSettings> {
    let endpoints = &mut networking.endpoints_config;
    if endpoints.is_empty() {
        return Ok(endpoints.entry(mode.to_owned()).or_default());
    }
    // Below 1.44 there is at most one.
    let endpoint = if version < v(44) { endpoints.values_mut().next() } else { endpoints.get_mut(mode) };
    endpoint.ok_or_else(|| {
        Failure::bad_request("HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks")
    })
}
