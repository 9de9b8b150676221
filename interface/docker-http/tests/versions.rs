//! What old clients get and send.

use serde_json::{Value, json};
use tare_docker_api::container::{ContainerJson, ContainerSummary, CreateRequest, UpdateRequest};
use tare_docker_api::events::Message;
use tare_docker_api::image::{ImageInspect, ImageSummary};
use tare_docker_api::system::{DiskUsage, Info};
use tare_docker_api::versions::ApiVersion;
use tare_docker_http::versions::{requests, responses};

fn v(minor: u32) -> ApiVersion {
    ApiVersion::v1(minor)
}

fn create(minor: u32, body: Value) -> Result<(CreateRequest, Vec<String>), String> {
    let mut request: CreateRequest = serde_json::from_value(body).unwrap();
    let warnings = requests::create(v(minor), &mut request).map_err(|error| error.message)?;
    Ok((request, warnings))
}

fn container() -> ContainerJson {
    serde_json::from_value(json!({
        "Id": "0123456789abcdef", "Config": {"Hostname": "h"},
        "Storage": {"RootFS": {"Snapshot": {"Name": "overlayfs"}}}, "ImageManifestDescriptor": {"digest": "sha256:0"},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2", "Gateway": "172.17.0.1"}, "n": {"Aliases": ["h"]}}},
    }))
    .unwrap()
}

#[test]
fn inspect_shows_old_clients_the_bridge_twice() {
    let mut new = container();
    responses::container(v(52), &mut new);
    assert_eq!(new, container());
    let mut old = container();
    responses::container(v(51), &mut old);
    let old = serde_json::to_value(&old).unwrap();
    assert_eq!(old["NetworkSettings"]["IPAddress"], "172.17.0.2");
    assert_eq!(old["NetworkSettings"]["SecondaryIPAddresses"], Value::Null);
    assert_eq!(old["GraphDriver"], json!({"Data": null, "Name": "overlayfs"}));
    assert!(old.get("Storage").is_none() && old.get("ImageManifestDescriptor").is_some());
}

#[test]
fn inspect_for_clients_of_long_ago() {
    let mut old = container();
    responses::container(v(44), &mut old);
    assert!(old.image_manifest_descriptor.is_none());
    assert_eq!(*old.network_settings.networks["n"].aliases, ["h", "0123456789ab"]);
    assert!(old.network_settings.networks["bridge"].aliases.is_empty());
}

#[test]
fn lists() {
    let mut containers = vec![ContainerSummary { health: Some(Default::default()), ..Default::default() }];
    responses::container_list(v(52), &mut containers);
    assert!(containers[0].health.is_some());
    responses::container_list(v(51), &mut containers);
    assert!(containers[0].health.is_none());
    let mut images = vec![ImageSummary { size: 7, ..Default::default() }];
    responses::image_list(v(51), &mut images);
    assert_eq!((images[0].containers, images[0].repo_tags.len()), (0, 0));
    responses::image_list(v(42), &mut images);
    assert_eq!((images[0].containers, images[0].virtual_size), (-1, Some(7)));
    assert_eq!(images[0].repo_tags, ["<none>:<none>"]);
}

#[test]
fn image_inspect_writes_empty_fields_for_old_clients() {
    let image = ImageInspect::default();
    let new = responses::image(v(52), image.clone());
    assert_eq!(new["Config"], json!({}));
    let old = responses::image(v(51), image.clone());
    assert_eq!(old["Config"]["Cmd"], Value::Null);
    assert!(
        old["Config"].as_object().unwrap().contains_key("Cmd")
            && old["Parent"] == ""
            && old["Config"].get("Tty").is_none()
    );
    let oldest = responses::image(v(43), image);
    assert_eq!((&oldest["VirtualSize"], &oldest["Config"]["Tty"]), (&json!(0), &json!(false)));
    assert_eq!(oldest["Created"], "0001-01-01T00:00:00Z");
}

#[test]
fn events() {
    let event = |kind: &str, action: &str| -> Message {
        let attributes = json!({"image": "busybox"});
        serde_json::from_value(json!({"Type": kind, "Action": action, "Actor": {"ID": "c", "Attributes": attributes}}))
            .unwrap()
    };
    let shown =
        |minor, kind, action| responses::event(v(minor), event(kind, action)).map(|e| serde_json::to_value(e).unwrap());
    let old = shown(51, "container", "start").unwrap();
    assert_eq!((&old["status"], &old["id"], &old["from"]), (&json!("start"), &json!("c"), &json!("busybox")));
    assert!(shown(51, "image", "pull").unwrap().get("from").is_none());
    assert!(shown(51, "network", "connect").unwrap().get("status").is_none());
    assert!(shown(52, "container", "start").unwrap().get("status").is_none());
    assert!(shown(45, "image", "create").is_none() && shown(46, "image", "create").is_some());
}

#[test]
fn info() {
    let old = responses::info(v(43), Info::default());
    assert_eq!(old["RuncCommit"], json!({"ID": "", "Expected": ""}));
    assert!(old["RegistryConfig"].as_object().unwrap().contains_key("AllowNondistributableArtifactsCIDRs"));
    assert_eq!(responses::info(v(50), Info::default()), serde_json::to_value(Info::default()).unwrap());
}

#[test]
fn disk_usage_in_both_forms() {
    let usage: DiskUsage = serde_json::from_value(json!({
        "LayersSize": 100,
        "Images": [{"Containers": 1, "Size": 60, "SharedSize": 10}, {"Size": 50}],
        "Containers": [{"State": "running", "SizeRw": 5}, {"State": "exited", "SizeRw": 3}],
        "Volumes": [{"UsageData": {"RefCount": 0, "Size": 9}}, {"UsageData": {"RefCount": 1, "Size": -1}}],
        "BuildCache": [],
    }))
    .unwrap();
    assert_eq!(responses::disk_usage(v(51), false, usage.clone()), usage);
    let both = serde_json::to_value(responses::disk_usage(v(52), false, usage.clone())).unwrap();
    assert_eq!(both["ImageUsage"], json!({"ActiveCount": 1, "TotalCount": 2, "TotalSize": 100, "Reclaimable": 50}));
    assert_eq!(both["ContainerUsage"], json!({"ActiveCount": 1, "TotalCount": 2, "TotalSize": 8, "Reclaimable": 3}));
    assert_eq!(both["VolumeUsage"], json!({"ActiveCount": 1, "TotalCount": 2, "TotalSize": 9, "Reclaimable": 9}));
    assert_eq!(both["Images"].as_array().unwrap().len(), 2);
    let new = serde_json::to_value(responses::disk_usage(v(52), true, usage)).unwrap();
    assert_eq!(new["ImageUsage"]["Items"].as_array().unwrap().len(), 2);
    assert!(new.get("Images").is_none() && new.get("LayersSize").is_none() && new.get("BuildCacheUsage").is_some());
}

#[test]
fn the_default_network_is_the_bridge() {
    let (request, _) =
        create(55, json!({"NetworkingConfig": {"EndpointsConfig": {"default": {"Aliases": ["a"]}}}})).unwrap();
    assert_eq!(request.host_config.network_mode, "bridge");
    assert_eq!(*request.networking_config.endpoints_config["bridge"].aliases, ["a"]);
}

#[test]
fn mac_addresses() {
    let body = json!({"MacAddress": "02:00:00:00:00:01", "HostConfig": {"NetworkMode": "n"}});
    let error = create(52, body.clone()).unwrap_err();
    assert_eq!(error, "container-wide MAC address no longer supported; use endpoint-specific MAC address instead");
    let (request, warnings) = create(51, body.clone()).unwrap();
    assert_eq!(request.networking_config.endpoints_config["n"].mac_address, "02:00:00:00:00:01");
    assert!(
        request.config.mac_address.is_empty()
            && warnings[0].starts_with("The container-wide MacAddress field is now deprecated.")
    );
    assert!(create(43, body).unwrap().1.is_empty());
    let other = json!({"n": {"MacAddress": "02:00:00:00:00:02"}});
    let clash = json!({"MacAddress": "02:00:00:00:00:01", "HostConfig": {"NetworkMode": "n"}, "NetworkingConfig": {"EndpointsConfig": other}});
    assert!(create(50, clash).unwrap_err().starts_with("the container-wide MAC address must match"));
    let host = json!({"MacAddress": "02:00:00:00:00:01", "HostConfig": {"NetworkMode": "host"}});
    assert_eq!(create(43, host).unwrap_err(), "conflicting options: mac-address and the network mode");
}

#[test]
fn sysctls_of_an_interface() {
    let body = json!({"HostConfig": {"NetworkMode": "n", "Sysctls": {"net.ipv4.conf.eth0.forwarding": "1", "net.ipv4.ip_forward": "1"}}});
    let error = create(48, body.clone()).unwrap_err();
    assert_eq!(
        error,
        r#"interface specific sysctl setting "net.ipv4.conf.eth0.forwarding" must be supplied using driver option 'com.docker.network.endpoint.sysctls'"#
    );
    let (request, warnings) = create(47, body).unwrap();
    let options = &request.networking_config.endpoints_config["n"].driver_opts;
    assert_eq!(options["com.docker.network.endpoint.sysctls"], "net.ipv4.conf.IFNAME.forwarding=1");
    assert_eq!(request.host_config.sysctls.len(), 1);
    assert_eq!(
        warnings,
        [
            r#"Migrated sysctl "net.ipv4.conf.eth0.forwarding" to DriverOpts{"com.docker.network.endpoint.sysctls":"net.ipv4.conf.IFNAME.forwarding=1"}."#
        ]
    );
}

#[test]
fn ports_without_host_addresses() {
    let body = json!({"HostConfig": {"PortBindings": {"80/tcp": [], "81/tcp": null, "82/tcp": [{"HostPort": "1"}]}}});
    let (request, warnings) = create(52, body.clone()).unwrap();
    assert!(request.host_config.port_bindings.values().all(|bindings| bindings.len() == 1));
    assert_eq!(
        warnings,
        [
            "Following container port(s) have an empty list of port-bindings: 80/tcp, 81/tcp. Such bindings will be discarded in a future version."
        ]
    );
    assert!(create(51, body).unwrap().1.is_empty());
}

#[test]
fn mounts() {
    let mount = |minor, mount: Value| {
        create(minor, json!({"HostConfig": {"Mounts": [mount]}})).map(|(r, _)| r.host_config.mounts[0].clone())
    };
    let wrong = json!({"Type": "bind", "VolumeOptions": {}});
    assert_eq!(mount(42, wrong.clone()).unwrap_err(), r#"VolumeOptions must not be specified on mount type "bind""#);
    assert!(mount(41, wrong).unwrap().volume_options.is_none());
    assert!(mount(43, json!({"Type": "bind"})).unwrap().bind_options.unwrap().read_only_non_recursive);
    assert!(mount(44, json!({"Type": "bind"})).unwrap().bind_options.is_none());
    let subpath = json!({"Type": "volume", "VolumeOptions": {"Subpath": "x"}});
    assert_eq!(mount(44, subpath).unwrap_err(), "VolumeOptions.Subpath needs API v1.45 or newer");
    assert_eq!(mount(47, json!({"Type": "image"})).unwrap_err(), r#"Mount type "Image" needs API v1.48 or newer"#);
    let driver = json!({"HostConfig": {"VolumeDriver": "d", "Mounts": [{"Type": "volume"}]}});
    assert!(create(48, driver.clone()).unwrap().1[0].starts_with("WARNING: the container-wide volume-driver"));
    assert!(create(47, driver).unwrap().1.is_empty());
}

#[test]
fn limits_and_endpoints() {
    assert_eq!(create(55, json!({"HostConfig": {"PidsLimit": -1}})).unwrap().0.host_config.resources.pids_limit, None);
    let two = json!({"NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {}}}});
    assert_eq!(
        create(43, two.clone()).unwrap_err(),
        "Container cannot be created with multiple network endpoints: a, b"
    );
    assert!(create(44, two).is_ok());
    let mut update: UpdateRequest =
        serde_json::from_value(json!({"PidsLimit": -5, "BlkioDeviceReadBps": [{"Path": "/dev/a"}]})).unwrap();
    requests::update(v(54), &mut update);
    assert_eq!((update.resources.pids_limit, update.resources.blkio_device_read_bps.len()), (Some(0), 0));
}
