//! Times, durations, filters, ports, versions, headers and frames.

use std::time::Duration;

use proptest::prelude::*;
use tare_docker_api::auth::{AuthConfig, decode_header, encode_header};
use tare_docker_api::file_mode::go_file_mode;
use tare_docker_api::filters::Filters;
use tare_docker_api::port::{ContainerPort, Protocol, parse_range};
use tare_docker_api::stream::{StreamKind, frame_header, parse_frame_header};
use tare_docker_api::time::{Time, human_duration, parse_duration, parse_unix, timestamp_arg};
use tare_docker_api::versions::{ApiVersion, MAX, MIN};

fn filters(text: &str) -> Filters {
    Filters::parse(text).unwrap()
}

#[test]
fn times_print_as_go_prints_them() {
    assert_eq!(Time::default().to_string(), "0001-01-01T00:00:00Z");
    assert_eq!(Time::from_unix(1_795_785_082, 979_416_395).to_string(), "2026-11-27T13:11:22.979416395Z");
    assert_eq!(Time::from_unix(0, 500_000_000).to_string(), "1970-01-01T00:00:00.5Z");
    assert_eq!(Time::from_unix(0, 0).at_offset(-19_800).to_string(), "1969-12-31T18:30:00-05:30");
    assert_eq!(Time::from_unix(951_782_400, 0).to_string(), "2000-02-29T00:00:00Z");
    assert_eq!(Time::from_unix(1, 20).fixed(), "1970-01-01T00:00:01.000000020Z");
}

#[test]
fn times_that_are_none() {
    for bad in [
        "",
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00Z",
        "2026-01-01T00:00:00",
        "é026-01-01T00:00:00Z",
    ] {
        assert!(bad.parse::<Time>().is_err(), "{bad}");
    }
}

#[test]
fn ages() {
    let age = |seconds| human_duration(Duration::from_secs(seconds));
    assert_eq!(human_duration(Duration::from_millis(999)), "Less than a second");
    let hour = 3600;
    let cases = [
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "About a minute"),
        (119, "About a minute"),
        (120, "2 minutes"),
        (3599, "59 minutes"),
        (hour, "About an hour"),
        (hour * 3 / 2, "2 hours"),
        (47 * hour, "47 hours"),
        (48 * hour, "2 days"),
        (14 * 24 * hour, "2 weeks"),
        (60 * 24 * hour, "2 months"),
        (2 * 365 * 24 * hour, "2 years"),
    ];
    for (seconds, text) in cases {
        assert_eq!(age(seconds), text, "{seconds}");
    }
}

#[test]
fn go_durations() {
    assert_eq!(parse_duration("1h30m"), Ok(5_400_000_000_000));
    assert_eq!(parse_duration("-1.5s"), Ok(-1_500_000_000));
    assert_eq!(parse_duration("100us"), parse_duration("100µs"));
    assert_eq!(parse_duration("0"), Ok(0));
    for bad in ["", "5", "s", ".s", "1.2.3s", "1x", "99999999999999999999h", "- 1s"] {
        assert!(parse_duration(bad).is_err(), "{bad}");
    }
}

#[test]
fn since_and_until() {
    let now = Time::from_unix(1_000_000, 0).at_offset(3600);
    assert_eq!(timestamp_arg("10m", now).unwrap(), "999400");
    assert_eq!(timestamp_arg("0", now).unwrap(), "0");
    assert_eq!(timestamp_arg("12.5", now).unwrap(), "12.5");
    assert_eq!(timestamp_arg("1970-01-02", now).unwrap(), "82800.000000000");
    assert_eq!(timestamp_arg("1970-01-02T10", now).unwrap(), "118800.000000000");
    assert_eq!(timestamp_arg("1970-01-01T00:00:00.25Z", now).unwrap(), "0.250000000");
    assert!(timestamp_arg("1970-13-01", now).is_err());
    assert_eq!(
        timestamp_arg("soon", now).unwrap_err().to_string(),
        r#"failed to parse value as time or duration: "soon""#
    );
    assert_eq!(parse_unix("5.25"), Ok(Time::from_unix(5, 250_000_000)));
    assert!(parse_unix("5.x").is_err() && parse_unix("").is_err());
}

#[test]
fn filters_of_both_forms() {
    for text in [r#"{"label":{"a=b":true},"status":{"running":true}}"#, r#"{"label":["a=b"],"status":["running"]}"#] {
        let filters = filters(text);
        assert!(filters.exact("status", "running") && !filters.exact("status", "exited"));
        assert_eq!(filters.get("label").collect::<Vec<_>>(), ["a=b"]);
        assert_eq!(filters.to_json(), r#"{"label":{"a=b":true},"status":{"running":true}}"#);
    }
    assert!(filters("").is_empty() && filters("{}").is_empty() && filters("null").is_empty());
}

#[test]
fn filter_errors_are_dockers() {
    for bad in ["x", "[]", r#"{"a":1}"#, r#"{"a":{"b":"c"}}"#] {
        assert_eq!(Filters::parse(bad).unwrap_err().to_string(), "invalid filter", "{bad}");
    }
    assert_eq!(filters(r#"{"foo":["a"]}"#).validate(&["bar"]).unwrap_err().to_string(), "invalid filter 'foo'");
    let dangling = filters(r#"{"dangling":["x"]}"#).bool_or("dangling", false);
    assert_eq!(dangling.unwrap_err().to_string(), "invalid filter 'dangling=[x]'");
    assert!(filters(r#"{"d":["1","0"]}"#).bool_or("d", false).is_err());
    assert_eq!(filters(r#"{"d":["1"]}"#).bool_or("d", false), Ok(true));
    assert_eq!(filters("{}").bool_or("d", true), Ok(true));
}

#[test]
fn filter_matching() {
    let names = filters(r#"{"name":{"^/web":true}}"#);
    assert!(names.matches("name", "/web-1") && !names.matches("name", "/my-web"));
    assert!(filters(r#"{"name":["["]}"#).matches("name", "["), "a broken pattern still matches itself");
    let id = filters(r#"{"id":["ab"]}"#);
    assert!(id.prefix("id", "abc") && !id.prefix("id", "cab") && id.prefix("other", "x"));
    let labels = std::collections::BTreeMap::from([("a".to_string(), "b".to_string())]);
    assert!(filters(r#"{"label":["a","a=b"]}"#).pairs("label", &labels));
    assert!(!filters(r#"{"label":["a=c"]}"#).pairs("label", &labels));
}

#[test]
fn ports() {
    assert_eq!("80".parse(), Ok(ContainerPort { number: 80, protocol: Protocol::Tcp }));
    assert_eq!("53/UDP".parse::<ContainerPort>().unwrap().to_string(), "53/udp");
    assert_eq!(parse_range("8000-8010/sctp"), Ok((8000, 8010, Protocol::Sctp)));
    for bad in ["0", "", "-1", "65536", "80/", "80/x", "2-1", "+80", "80/tcp/udp"] {
        assert!(parse_range(bad).is_err(), "{bad}");
    }
    assert_eq!("0".parse::<ContainerPort>().unwrap_err().to_string(), r#"invalid port specification: "0""#);
}

#[test]
fn versions_compare_as_numbers() {
    let version = |text: &str| text.parse::<ApiVersion>().unwrap();
    assert!(version("1.9") < MIN && version("1.55") == MAX && version("2") > MAX);
    assert!(version("1.99999999999") > MAX);
    assert!("1.x".parse::<ApiVersion>().is_err() && "".parse::<ApiVersion>().is_err());
}

#[test]
fn credentials_in_headers() {
    let auth = AuthConfig { username: "u".into(), password: "p>?".into(), ..Default::default() };
    let header = encode_header(&auth);
    assert_eq!(decode_header::<AuthConfig>(&header).unwrap(), auth);
    assert_eq!(decode_header::<AuthConfig>(header.trim_end_matches('=')).unwrap(), auth);
    assert_eq!(decode_header::<AuthConfig>("").unwrap(), AuthConfig::default());
    assert!(decode_header::<AuthConfig>("!").is_err());
}

#[test]
fn file_modes_are_gos() {
    // Captured: a symbolic link with all permissions.
    assert_eq!(go_file_mode(0o120_777), 134_218_239);
    assert_eq!(go_file_mode(0o041_777), (1 << 31) | (1 << 20) | 0o777);
    assert_eq!(go_file_mode(0o104_755), (1 << 23) | 0o755);
}

proptest! {
    #[test]
    fn times_round_trip(seconds in -62_135_596_800_i64..253_402_300_800, nanos in 0_u32..1_000_000_000, offset in -1439_i32..1440) {
        let time = Time::from_unix(seconds, nanos).at_offset(offset * 60);
        prop_assume!((0..10_000).contains(&time.to_string()[..4].parse::<i32>().unwrap_or(-1)));
        prop_assert_eq!(time.to_string().parse::<Time>(), Ok(time));
    }

    #[test]
    fn parsers_do_not_panic(text in "\\PC{0,24}") {
        let _ = (text.parse::<Time>(), parse_duration(&text), parse_unix(&text), timestamp_arg(&text, Time::now()));
        let _ = (Filters::parse(&text), parse_range(&text), text.parse::<ApiVersion>(), decode_header::<AuthConfig>(&text));
        let _ = human_duration(Time::from_unix(text.len() as i64, 0).since(Time::from_unix(5, 7)));
    }

    #[test]
    fn times_near_the_format_do_not_panic(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(\\.[0-9]{0,12})?[Z+-]?[0-9:]{0,5}") {
        let _ = (text.parse::<Time>(), timestamp_arg(&text, Time::now()));
    }

    #[test]
    fn durations_add_up(hours in 0_i64..1000, minutes in 0_i64..60, millis in 0_i64..60_000) {
        let text = format!("{hours}h{minutes}m{millis}ms");
        prop_assert_eq!(parse_duration(&text), Ok(((hours * 60 + minutes) * 60_000 + millis) * 1_000_000));
    }

    #[test]
    fn frames_round_trip(len in any::<u32>()) {
        prop_assert_eq!(parse_frame_header(frame_header(StreamKind::Stderr, len)), Some((StreamKind::Stderr, len)));
    }
}
