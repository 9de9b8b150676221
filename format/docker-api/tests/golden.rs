//! Documents captured from Docker's own server (28.5, API 1.51) survive decoding and encoding.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tare_docker_api::{container, events, image, network, system, volume};

/// Decodes and encodes `text`; the result must equal it, except for the fields at the JSON pointers `gone`, which newer
/// versions of the API do not have (or write only when set).
fn round_trip<T: DeserializeOwned + Serialize>(text: &str, gone: &[&str]) -> T {
    let mut expected: Value = serde_json::from_str(text).unwrap();
    for pointer in gone {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let removed = expected.pointer_mut(parent).and_then(|p| p.as_object_mut()).and_then(|p| p.remove(key));
        assert!(removed.is_some(), "nothing at {pointer}");
    }
    let value: T = serde_json::from_str(text).unwrap();
    let encoded: Value = serde_json::from_str(&serde_json::to_string(&value).unwrap()).unwrap();
    assert_same(&expected, &encoded, "");
    value
}

/// Like `assert_eq!`, but says where.
fn assert_same(expected: &Value, got: &Value, path: &str) {
    match (expected, got) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let at = format!("{path}/{key}");
                assert_eq!(a.contains_key(key), b.contains_key(key), "{at} is on one side only");
                assert_same(&a[key], &b[key], &at);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{path}");
            a.iter().zip(b).enumerate().for_each(|(i, (a, b))| assert_same(a, b, &format!("{path}/{i}")));
        }
        _ => assert_eq!(expected, got, "{path}"),
    }
}

macro_rules! golden {
    ($($name:ident: $ty:ty, $file:literal $(, $gone:literal)*;)*) => { $(
        #[test]
        fn $name() {
            round_trip::<$ty>(include_str!(concat!("fixtures/", $file, ".json")), &[$($gone),*]);
        }
    )* };
}

golden! {
    container_inspect: container::ContainerJson, "container", "/Config/OnBuild";
    container_inspect_with_size: container::ContainerJson, "container_plain", "/Config/OnBuild";
    container_list: Vec<container::ContainerSummary>, "containers";
    stats: container::StatsResponse, "stats";
    top: container::TopResponse, "top";
    changes: Vec<container::Change>, "changes";
    exec_before_start: container::ExecInspect, "exec_new";
    exec_after_exit: container::ExecInspect, "exec";
    image_list: Vec<image::ImageSummary>, "images";
    image_history: Vec<image::History>, "history";
    image_inspect: image::ImageInspect, "image", "/Parent", "/DockerVersion", "/Author", "/Config/Entrypoint", "/Config/Labels",
        "/Config/OnBuild", "/Config/User", "/Config/Volumes", "/Config/WorkingDir";
    network_inspect: network::NetworkInspect, "network";
    network_list: Vec<network::NetworkInspect>, "networks";
    volume_inspect: volume::Volume, "volume";
    volume_list: volume::VolumeList, "volumes";
    version: system::Version, "version";
    info: system::Info, "info", "/KernelMemoryTCP";
    events_with_legacy_fields: Vec<events::Message>, "events";
}

#[test]
fn disk_usage() {
    // Lists of images write `[]`; only here did the server write null, which no client tells apart.
    let text = include_str!("fixtures/df.json").replace(r#""RepoDigests": null"#, r#""RepoDigests": []"#);
    let usage: system::DiskUsage = round_trip(&text, &[]);
    assert_eq!(usage.images.map(|images| images.len()), Some(3));
}

#[test]
fn the_captured_container_is_understood() {
    let it: container::ContainerJson = serde_json::from_str(include_str!("fixtures/container.json")).unwrap();
    assert_eq!(it.host_config.resources.ulimits[0].hard, 200);
    assert_eq!(it.network_settings.networks["fixnet"].aliases, vec!["al".to_string()]);
    assert_eq!(it.state.health.unwrap().log.len(), 2);
    assert!(it.state.finished_at.is_zero());
    assert_eq!(it.config.entrypoint, None);
}
