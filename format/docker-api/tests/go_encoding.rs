//! The codec behaves as Go's: nulls, key case, embedding, omitted fields.

use tare_docker_api::container::{Config, CreateRequest, HostConfig, State, UpdateRequest};
use tare_docker_api::{List, go};

#[test]
fn null_is_the_zero_value_everywhere() {
    let request: CreateRequest = serde_json::from_str(
        r#"{"Hostname":null,"Tty":null,"Env":null,"Cmd":null,"StopTimeout":null,"Labels":{"a":null},"Volumes":{"/v":null},
           "HostConfig":{"Memory":null,"PortBindings":{"80/tcp":null},"Binds":[null],"MemorySwappiness":null,"Ulimits":[null],
           "RestartPolicy":null,"ConsoleSize":null},"NetworkingConfig":null}"#,
    )
    .unwrap();
    assert_eq!(request.config.labels["a"], "");
    assert!(request.config.cmd.is_none());
    assert!(request.host_config.port_bindings["80/tcp"].is_nil());
    assert_eq!(request.host_config.binds[0], "");
    assert_eq!(serde_json::from_str::<CreateRequest>("null").unwrap(), CreateRequest::default());
}

#[test]
fn keys_match_in_any_case_and_exactly_first() {
    let config: Config = serde_json::from_str(r#"{"image":"a","IMAGE":"b","hostNAME":"h"}"#).unwrap();
    assert_eq!((config.image.as_str(), config.hostname.as_str()), ("b", "h"));
}

#[test]
fn commands_may_be_strings() {
    let config: Config = serde_json::from_str(r#"{"Cmd":"date","Entrypoint":[]}"#).unwrap();
    assert_eq!((config.cmd, config.entrypoint), (Some(vec!["date".into()]), Some(vec![])));
}

#[test]
fn embedded_fields_are_flat() {
    let request: UpdateRequest =
        serde_json::from_str(r#"{"Memory":5,"RestartPolicy":{"Name":"always"},"x":{}}"#).unwrap();
    assert_eq!((request.resources.memory, request.restart_policy.name.as_str()), (5, "always"));
    let text = serde_json::to_string(&HostConfig::default()).unwrap();
    assert!(
        text.contains(r#""Isolation":"","CpuShares":0,"#)
            && text.ends_with(r#""MaskedPaths":null,"ReadonlyPaths":null}"#)
    );
}

#[test]
fn nil_and_empty_survive() {
    let host: HostConfig = serde_json::from_str(r#"{"Dns":[],"CapAdd":null}"#).unwrap();
    let text = serde_json::to_string(&host).unwrap();
    assert!(text.contains(r#""CapAdd":null"#) && text.contains(r#""Dns":[]"#));
    assert_eq!(serde_json::to_string(&List::<String>::from(vec![])).unwrap(), "[]");
}

#[test]
fn wrong_types_are_errors() {
    assert!(serde_json::from_str::<HostConfig>(r#"{"Memory":"1"}"#).is_err());
    assert!(serde_json::from_str::<HostConfig>("[]").is_err());
    assert!(serde_json::from_str::<Config>(r#"{"Cmd":5}"#).is_err());
}

#[test]
fn defaults_are_gos_zero_values() {
    insta::assert_snapshot!(String::from_utf8(go::encode(&State::default())).unwrap(), @r#"{"Status":"","Running":false,"Paused":false,"Restarting":false,"OOMKilled":false,"Dead":false,"Pid":0,"ExitCode":0,"Error":"","StartedAt":"0001-01-01T00:00:00Z","FinishedAt":"0001-01-01T00:00:00Z"}"#);
}
