//! Everything about one container.

use std::collections::BTreeMap;

use tare_docker_api::container::{
    ContainerJson, EndpointSettings, Health, MountPoint, NetworkSettings, PortBinding, PortMap, RootFsStorage,
    Snapshot, State as ApiState, Storage,
};
use tare_docker_api::go::{List, Map};
use tare_docker_api::time::Time;

use super::record::{Mount, MountKind, Record};
use super::state::{State, Status};
use super::{Container, Inner};
use crate::Engine;
use crate::error::Result;
use crate::network::files::Files;
use crate::network::sandbox::{Endpoint, Sandbox};

impl Engine {
    /// Describes a container; `size` measures its layers.
    pub async fn inspect(&self, name: &str, size: bool) -> Result<ContainerJson> {
        let container = self.find(name)?;
        let mut json = self.describe(&container.read());
        json.exec_ids = match self.execs.of(&container.id) {
            ids if ids.is_empty() => List::default(),
            ids => ids.into(),
        };
        self.rename_links(&container, &mut json);
        if size {
            json.size_rw = Some(i64::try_from(self.snapshot_size(&container.id)).unwrap_or(i64::MAX));
            let image = self.image_size(&json.image);
            json.size_root_fs = json.size_rw.map(|own| own.saturating_add(image));
        }
        Ok(json)
    }

    /// Shows links with the names that the linked containers have now.
    fn rename_links(&self, container: &Container, json: &mut ContainerJson) {
        let links = container.read().record.links.clone();
        for (id, alias) in links {
            let end = format!(":{}/{alias}", json.name);
            let shown = json.host_config.links.iter_mut().find(|link| link.ends_with(&end));
            if let (Some(shown), Ok(child)) = (shown, self.find(&id)) {
                *shown = format!("/{}{end}", child.name());
            }
        }
    }

    fn describe(&self, inner: &Inner) -> ContainerJson {
        let record = &inner.record;
        let files = Files::in_directory(&self.container_directory(&record.id));
        let path = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let ran = inner.state.started_at != 0;
        ContainerJson {
            id: record.id.clone(),
            created: Time::from_unix_nanos(record.created_at),
            path: record.path.clone(),
            args: record.args.clone(),
            state: state(&inner.state),
            image: record.image_id.clone(),
            image_manifest_descriptor: record.image_manifest.clone(),
            resolv_conf_path: if ran { path(&files.resolv_conf) } else { String::new() },
            hostname_path: if ran { path(&files.hostname) } else { String::new() },
            hosts_path: if ran { path(&files.hosts) } else { String::new() },
            // A start that failed has opened it, too.
            log_path: if record.log.driver == "json-file" && (ran || !inner.state.error.is_empty()) {
                path(&record.log.path)
            } else {
                String::new()
            },
            name: format!("/{}", record.name),
            restart_count: i64::from(inner.state.restart_count),
            driver: "overlayfs".to_owned(),
            platform: record.os.clone(),
            host_config: record.host_config.clone(),
            storage: Some(Storage {
                root_fs: Some(RootFsStorage { snapshot: Some(Snapshot { name: "overlayfs".to_owned() }) }),
            }),
            mounts: mount_points(record),
            config: record.config.clone(),
            network_settings: NetworkSettings {
                sandbox_id: if record.config.network_disabled { String::new() } else { inner.sandbox.id.clone() },
                sandbox_key: if inner.state.pid > 0 {
                    format!("/proc/{}/ns/net", inner.state.pid)
                } else {
                    String::new()
                },
                ports: ports(record, &inner.sandbox, inner.state.is_alive()),
                networks: networks(record, &inner.sandbox),
                legacy: None,
            },
            ..ContainerJson::default()
        }
    }
}

fn state(state: &State) -> ApiState {
    let time = |ns: i64| if ns == 0 { Time::default() } else { Time::from_unix_nanos(ns) };
    ApiState {
        status: state.status.word().to_owned(),
        running: state.counts_as_running(),
        paused: state.status == Status::Paused,
        restarting: state.status == Status::Restarting,
        oom_killed: state.oom_killed,
        dead: state.status == Status::Dead,
        pid: i64::from(state.pid),
        exit_code: i64::from(state.exit_code),
        error: state.error.clone(),
        started_at: time(state.started_at),
        finished_at: time(state.finished_at),
        health: state.health.clone().map(|health| Health { log: health.log.into_vec().into(), ..health }),
    }
}

/// Mounts as clients see them; those of `--tmpfs` are in the host configuration alone.
pub(crate) fn mount_points(record: &Record) -> Vec<MountPoint> {
    let by_flag = |mount: &Mount| {
        let mut paths = record.host_config.tmpfs.keys();
        mount.kind == MountKind::Tmpfs && paths.any(|path| super::mounts::clean(path) == mount.destination)
    };
    record.mounts.iter().filter(|mount| !by_flag(mount)).map(mount_point).collect()
}

fn mount_point(mount: &Mount) -> MountPoint {
    MountPoint {
        kind: mount.kind.word().to_owned(),
        name: if mount.kind == MountKind::Volume { mount.name.clone() } else { String::new() },
        source: mount.source.clone(),
        destination: mount.destination.clone(),
        driver: mount.driver.clone(),
        mode: mount.mode.clone(),
        rw: mount.writable,
        propagation: mount.propagation.clone(),
    }
}

/// Exposed and published ports; those published only have addresses while the container runs.
fn ports(record: &Record, sandbox: &Sandbox, alive: bool) -> PortMap {
    let mut ports: BTreeMap<String, List<PortBinding>> = BTreeMap::new();
    if !alive || sandbox.endpoints.is_empty() {
        return Map::empty();
    }
    for port in record.config.exposed_ports.keys().chain(record.host_config.port_bindings.keys()) {
        let port = if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
        ports.entry(port).or_default();
    }
    for mapping in &sandbox.mappings {
        let port = format!("{}/{}", mapping.container_port, crate::network::ports::word(mapping.protocol));
        let host_port = if mapping.is_direct() { String::new() } else { mapping.host_port.to_string() };
        ports.entry(port).or_default().push(PortBinding { host_ip: mapping.host_ip.to_string(), host_port });
    }
    ports.into()
}

/// Endpoints: what was asked for, filled with what is while it runs.
pub(crate) fn networks(record: &Record, sandbox: &Sandbox) -> Map<EndpointSettings> {
    record
        .networks
        .iter()
        .map(|(name, asked)| {
            let live = sandbox.endpoints.iter().find(|endpoint| endpoint.network_name == *name);
            (name.clone(), live.map_or_else(|| asked.clone(), |endpoint| filled(record, asked, endpoint)))
        })
        .collect()
}

fn filled(record: &Record, asked: &EndpointSettings, endpoint: &Endpoint) -> EndpointSettings {
    let address = |cidr: Option<tare_network::Cidr>| cidr.map(|c| c.address().to_string()).unwrap_or_default();
    let prefix = |cidr: Option<tare_network::Cidr>| cidr.map_or(0, |c| i64::from(c.prefix()));
    EndpointSettings {
        network_id: endpoint.network_id.clone(),
        endpoint_id: endpoint.endpoint_id.clone(),
        gateway: endpoint.gateway_v4.map(|gateway| gateway.to_string()).unwrap_or_default(),
        ip_address: address(endpoint.ipv4),
        ip_prefix_len: prefix(endpoint.ipv4),
        mac_address: endpoint.mac.clone(),
        ipv6_gateway: endpoint.gateway_v6.map(|gateway| gateway.to_string()).unwrap_or_default(),
        global_ipv6_address: address(endpoint.ipv6),
        global_ipv6_prefix_len: prefix(endpoint.ipv6),
        dns_names: if endpoint.network_name == "bridge" {
            List::default()
        } else {
            crate::network::names::names(record, &endpoint.network_name).into()
        },
        ..asked.clone()
    }
}
