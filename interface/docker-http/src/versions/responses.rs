//! Today's documents in the form old clients know.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use tare_docker_api::container::{ContainerJson, ContainerSummary, DriverData, LegacyNetworkSettings};
use tare_docker_api::events::{Legacy, Message};
use tare_docker_api::image::{ImageInspect, ImageSummary};
use tare_docker_api::network::NetworkInspect;
use tare_docker_api::system::{
    BuildCacheDiskUsage, ContainersDiskUsage, DiskUsage, ImagesDiskUsage, Info, VolumesDiskUsage,
};
use tare_docker_api::versions::ApiVersion;

const fn v(minor: u32) -> ApiVersion {
    ApiVersion::v1(minor)
}

/// `GET /containers/{name}/json`.
pub fn container(version: ApiVersion, container: &mut ContainerJson) {
    if version < v(45) {
        short_id_aliases(container);
    }
    if version < v(48) {
        container.image_manifest_descriptor = None;
    }
    if version >= v(52) {
        return;
    }
    let bridge = container.network_settings.networks.get("bridge").cloned().unwrap_or_default();
    container.network_settings.legacy = Some(LegacyNetworkSettings {
        endpoint_id: bridge.endpoint_id,
        gateway: bridge.gateway,
        global_ipv6_address: bridge.global_ipv6_address,
        global_ipv6_prefix_len: bridge.global_ipv6_prefix_len,
        ip_address: bridge.ip_address,
        ip_prefix_len: bridge.ip_prefix_len,
        ipv6_gateway: bridge.ipv6_gateway,
        mac_address: bridge.mac_address,
        ..LegacyNetworkSettings::default()
    });
    if container.graph_driver.is_none()
        && let Some(storage) = container.storage.take()
    {
        let name = storage.root_fs.and_then(|root| root.snapshot).unwrap_or_default().name;
        container.graph_driver = Some(DriverData { name, ..DriverData::default() });
    }
}

/// On networks of users' own the short ID and the hostname were aliases.
fn short_id_aliases(container: &mut ContainerJson) {
    let short: String = container.id.chars().take(12).collect();
    let more = [short, container.config.hostname.clone()];
    for (name, endpoint) in container.network_settings.networks.iter_mut() {
        if ["bridge", "host", "none", "default"].contains(&name.as_str()) || name.starts_with("container:") {
            continue;
        }
        let mut seen = BTreeSet::new();
        endpoint.aliases.extend(more.iter().cloned());
        endpoint.aliases.retain(|alias| seen.insert(alias.clone()));
    }
}

/// `GET /containers/json`.
pub fn container_list(version: ApiVersion, containers: &mut [ContainerSummary]) {
    for container in containers {
        if version < v(46) {
            container.host_config.annotations = Default::default();
        }
        if version < v(48) {
            container.image_manifest_descriptor = None;
        }
        if version < v(52) {
            container.health = None;
        }
    }
}

/// `GET /images/json`.
pub fn image_list(version: ApiVersion, images: &mut [ImageSummary]) {
    for image in images {
        if version < v(43) && image.repo_tags.is_empty() && image.repo_digests.is_empty() {
            image.repo_tags.push("<none>:<none>".into());
            image.repo_digests.push("<none>@<none>".into());
        }
        if version < v(44) {
            image.virtual_size = Some(image.size);
        }
        if version < v(47) {
            image.manifests = Default::default();
        }
        if version < v(48) {
            image.descriptor = None;
        }
        if version < v(51) {
            image.containers = -1;
        }
    }
}

/// `GET /images/{name}/json`.
pub fn image(version: ApiVersion, mut image: ImageInspect) -> Value {
    if version < v(48) {
        image.descriptor = None;
    }
    if version < v(53) {
        image.identity = None;
    }
    let mut value = to_value(&image);
    if version < v(44) {
        merge(&mut value, json!({"VirtualSize": image.size, "Created": "0001-01-01T00:00:00Z"}));
    }
    if version < v(45) {
        merge(&mut value, json!({"Container": "", "ContainerConfig": null}));
    }
    if version < v(50) {
        let config = json!({
            "AttachStderr": false, "AttachStdin": false, "AttachStdout": false, "Domainname": "", "Hostname": "", "Image": "",
            "OpenStdin": false, "StdinOnce": false, "Tty": false,
        });
        merge(&mut value, json!({"Config": config}));
    }
    if version < v(52) {
        let config = json!({
            "Cmd": null, "Entrypoint": null, "Env": null, "Labels": null, "OnBuild": null, "User": "", "Volumes": null,
            "WorkingDir": "",
        });
        merge(&mut value, json!({"Parent": "", "Comment": "", "DockerVersion": "", "Author": "", "Config": config}));
    }
    value
}

/// `GET /networks/{name}`.
pub fn network(version: ApiVersion, network: &mut NetworkInspect) {
    if version < v(52) {
        network.status = None;
    }
}

/// One event; `None` where the version does not know it.
pub fn event(version: ApiVersion, mut event: Message) -> Option<Message> {
    if version < v(46) && event.kind == "image" && event.action == "create" {
        return None;
    }
    if version < v(52) && (event.kind == "container" || event.kind == "image") {
        let image = event.actor.attributes.get("image").filter(|_| event.kind == "container");
        event.legacy = Some(Legacy {
            status: event.action.clone(),
            id: event.actor.id.clone(),
            from: image.cloned().unwrap_or_default(),
        });
    }
    Some(event)
}

/// `GET /info`.
pub fn info(version: ApiVersion, mut info: Info) -> Value {
    if version < v(44) {
        info.runtimes.values_mut().for_each(|runtime| runtime.status = Default::default());
    }
    if version < v(46) {
        info.containerd = None;
    }
    if version < v(49) {
        info.firewall_backend = None;
    }
    if version < v(50) {
        info.discovered_devices = Default::default();
    }
    let mut value = to_value(&info);
    if version < v(47) {
        let none =
            json!({"AllowNondistributableArtifactsCIDRs": null, "AllowNondistributableArtifactsHostnames": null});
        merge(&mut value, json!({"RegistryConfig": none}));
    }
    if version < v(49) {
        let expected = |commit: &str| json!({"Expected": commit});
        let commits = json!({
            "ContainerdCommit": expected(&info.containerd_commit.id), "RuncCommit": expected(&info.runc_commit.id),
            "InitCommit": expected(&info.init_commit.id),
        });
        merge(&mut value, commits);
    }
    if version < v(50) {
        merge(&mut value, json!({"BridgeNfIptables": false, "BridgeNfIp6tables": false}));
    }
    value
}

/// `GET /system/df`: the lists for old clients, the summaries for new ones; both where a new client does not say `verbose`,
/// because it may be an old one that asks without a version.
pub fn disk_usage(version: ApiVersion, verbose: bool, mut usage: DiskUsage) -> DiskUsage {
    if version < v(52) {
        if version < v(44) {
            usage.images.iter_mut().flatten().for_each(|image| image.virtual_size = Some(image.size));
        }
        return usage;
    }
    summarize(&mut usage, verbose);
    if verbose {
        usage.layers_size = 0;
        (usage.images, usage.containers, usage.volumes, usage.build_cache) = (None, None, None, None);
    }
    usage
}

/// Adds the summaries to the lists.
fn summarize(usage: &mut DiskUsage, verbose: bool) {
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    usage.image_usage = usage.images.as_ref().map(|images| {
        let used = images.iter().filter(|image| image.containers > 0);
        let used_bytes: i64 = used.clone().map(|image| image.size - image.shared_size.max(0)).sum();
        ImagesDiskUsage {
            active_count: count(used.count()),
            total_count: count(images.len()),
            total_size: usage.layers_size,
            reclaimable: (usage.layers_size - used_bytes).max(0),
            items: if verbose { images.clone().into() } else { Default::default() },
        }
    });
    usage.container_usage = usage.containers.as_ref().map(|containers| {
        let active = |c: &&ContainerSummary| ["running", "paused", "restarting"].contains(&c.state.as_str());
        ContainersDiskUsage {
            active_count: count(containers.iter().filter(active).count()),
            total_count: count(containers.len()),
            total_size: containers.iter().map(|c| c.size_rw).sum(),
            reclaimable: containers.iter().filter(|c| !active(c)).map(|c| c.size_rw).sum(),
            items: if verbose { containers.clone().into() } else { Default::default() },
        }
    });
    usage.volume_usage = usage.volumes.as_ref().map(|volumes| {
        let data = || volumes.iter().filter_map(|volume| volume.usage_data.as_ref());
        VolumesDiskUsage {
            active_count: count(data().filter(|data| data.ref_count > 0).count()),
            total_count: count(volumes.len()),
            total_size: data().map(|data| data.size.max(0)).sum(),
            reclaimable: data().filter(|data| data.ref_count == 0).map(|data| data.size.max(0)).sum(),
            items: if verbose { volumes.clone().into() } else { Default::default() },
        }
    });
    usage.build_cache_usage = usage.build_cache.as_ref().map(|records| {
        let idle = || records.iter().filter(|record| !record.in_use);
        BuildCacheDiskUsage {
            active_count: count(records.len() - idle().count()),
            total_count: count(records.len()),
            total_size: records.iter().filter(|record| !record.shared).map(|record| record.size).sum(),
            reclaimable: idle().filter(|record| !record.shared).map(|record| record.size).sum(),
            items: if verbose { records.clone().into() } else { Default::default() },
        }
    });
}

fn to_value<T: serde::Serialize>(document: &T) -> Value {
    // The API's types have only text keys and cannot fail to encode.
    serde_json::to_value(document).unwrap_or(Value::Null)
}

/// Adds the keys of `extra` that `value` does not have, at every level.
fn merge(value: &mut Value, extra: Value) {
    let Value::Object(extra) = extra else { return };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(fields) = value else { return };
    for (key, addition) in extra {
        match fields.get_mut(&key) {
            Some(present) => merge(present, addition),
            None => drop(fields.insert(key, addition)),
        }
    }
}
