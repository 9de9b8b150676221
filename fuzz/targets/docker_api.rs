//! Bodies, headers and queries of Docker's API.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tare_docker_api::auth::{AuthConfig, decode_header};
use tare_docker_api::container::{CreateRequest, ExecConfig, UpdateRequest};
use tare_docker_api::filters::Filters;
use tare_docker_api::network::{NetworkConnectRequest, NetworkCreateRequest};
use tare_docker_api::port::{ContainerPort, parse_range};
use tare_docker_api::stream::JsonMessage;
use tare_docker_api::time::{Time, parse_duration, parse_unix};
use tare_docker_api::versions::ApiVersion;
use tare_docker_api::volume::VolumeCreateRequest;

fuzz_target!(|data: &[u8]| {
    if let Ok(request) = serde_json::from_slice::<CreateRequest>(data) {
        let written = tare_docker_api::go::encode(&request);
        let again: CreateRequest = serde_json::from_slice(&written).expect("what was written");
        assert_eq!(tare_docker_api::go::encode(&again), written);
    }
    let _ = serde_json::from_slice::<UpdateRequest>(data);
    let _ = serde_json::from_slice::<ExecConfig>(data);
    let _ = serde_json::from_slice::<NetworkCreateRequest>(data);
    let _ = serde_json::from_slice::<NetworkConnectRequest>(data);
    let _ = serde_json::from_slice::<VolumeCreateRequest>(data);
    let _ = serde_json::from_slice::<JsonMessage>(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = Filters::parse(text);
    let _ = decode_header::<AuthConfig>(text);
    let _ = (text.parse::<ContainerPort>().is_ok(), parse_range(text).is_ok(), text.parse::<ApiVersion>().is_ok());
    let _ = (parse_duration(text).is_ok(), parse_unix(text).is_ok());
    if let Ok(time) = text.parse::<Time>() {
        let _ = time.to_string();
    }
});
