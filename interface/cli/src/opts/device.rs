//! Devices: `--device`, `--device-cgroup-rule`, the limits per block device, and `--gpus`.

use tare_docker_api::container::{DeviceMapping, DeviceRequest, ThrottleDevice, WeightDevice};
use tare_docker_api::{List, Map};

use super::surroundings::clean;
use super::{Parsed, csv, invalid, number};
use crate::values::parse_bytes;

/// What one `--device` asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Device {
    /// A device of the host.
    Mapping(DeviceMapping),
    /// A name of the Container Device Interface, `vendor/class=device`.
    Cdi(String),
}

/// Reads `path[:path in container][:rwm]` or a CDI name.
pub fn parse(spec: &str) -> Parsed<Device> {
    if is_cdi_name(spec) {
        return Ok(Device::Cdi(spec.to_owned()));
    }
    let parts: Vec<&str> = spec.split(':').collect();
    let (host, container, permissions) = match parts[..] {
        ["", ..] => return invalid(format_args!("bad format for path: {spec}")),
        [path] => (clean_path(path), clean_path(path), "rwm"),
        [path, mode] if is_mode(mode) => (clean_path(path), clean_path(path), mode),
        [path, inside] => (path.to_owned(), clean_path(inside), "rwm"),
        [_, _, mode] if !is_mode(mode) => return invalid(format_args!("bad mode specified: {mode}")),
        [path, inside, mode] => (path.to_owned(), inside.to_owned(), mode),
        _ => return invalid(format_args!("bad format for path: {spec}")),
    };
    if !container.starts_with('/') {
        let shown = if parts.len() == 1 || is_mode(parts[1]) { parts[0] } else { parts[1] };
        return invalid(format_args!("{shown} is not an absolute path"));
    }
    Ok(Device::Mapping(DeviceMapping {
        path_on_host: host,
        // A target that is also a mode (`/a:rw:rwm` cannot be, `r` is not absolute) has been refused above.
        path_in_container: container,
        cgroup_permissions: permissions.to_owned(),
    }))
}

fn clean_path(path: &str) -> String {
    clean(path.as_ref()).to_string_lossy().into_owned()
}

/// Some of `r`, `w`, `m`, each once at most.
fn is_mode(text: &str) -> bool {
    let once = |c| text.matches(c).count() <= 1;
    !text.is_empty() && text.chars().all(|c| matches!(c, 'r' | 'w' | 'm')) && once('r') && once('w') && once('m')
}

/// `vendor.domain/class=device` with the characters that CDI allows.
fn is_cdi_name(text: &str) -> bool {
    let Some((kind, device)) = text.split_once('=') else { return false };
    let Some((vendor, class)) = kind.split_once('/') else { return false };
    let word = |text: &str, first: fn(&u8) -> bool, inner: &[u8]| {
        let bytes = text.as_bytes();
        let ends = bytes.first().is_some_and(first) && bytes.last().is_some_and(u8::is_ascii_alphanumeric);
        ends && bytes.iter().all(|b| b.is_ascii_alphanumeric() || inner.contains(b))
    };
    word(vendor, u8::is_ascii_alphabetic, b"_-.")
        && word(class, u8::is_ascii_alphabetic, b"_-")
        && word(device, u8::is_ascii_alphanumeric, b"_-.:")
}

/// Checks `--device-cgroup-rule`: `c 1:3 rwm`, with `*` for any number.
pub fn cgroup_rule(rule: &str) -> Parsed<()> {
    let number = |text: &str| text == "*" || (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    let parts: Vec<&str> = rule.split(' ').collect();
    let good = match parts[..] {
        [kind, numbers, access] => {
            matches!(kind, "a" | "c" | "b")
                && numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
                && (1..=3).contains(&access.len())
                && access.bytes().all(|b| matches!(b, b'r' | b'w' | b'm'))
        }
        _ => false,
    };
    if good { Ok(()) } else { invalid(format_args!("invalid device cgroup format '{rule}'")) }
}

/// Splits `/dev/x:value`.
fn of_device(spec: &str) -> Parsed<(&str, &str)> {
    match spec.split_once(':') {
        Some((path, value)) if path.starts_with("/dev/") => Ok((path, value)),
        Some((path, _)) if !path.is_empty() => invalid(format_args!("bad format for device path: {spec}")),
        _ => invalid(format_args!("bad format: {spec}")),
    }
}

/// `--blkio-weight-device`: 0, or 10 to 1000.
pub fn weight(spec: &str) -> Parsed<WeightDevice> {
    let (path, value) = of_device(spec)?;
    let weight = number::unsigned(value, 10).ok().and_then(|w| u16::try_from(w).ok());
    match weight.filter(|w| *w == 0 || (10..=1000).contains(w)) {
        Some(weight) => Ok(WeightDevice { path: path.to_owned(), weight }),
        None => invalid(format_args!("invalid weight for device: {spec}")),
    }
}

/// `--device-read-bps`, `--device-write-bps`: bytes per second.
pub fn bytes_per_second(spec: &str) -> Parsed<ThrottleDevice> {
    let (path, value) = of_device(spec)?;
    match parse_bytes(value).ok().and_then(|rate| u64::try_from(rate).ok()) {
        Some(rate) => Ok(ThrottleDevice { path: path.to_owned(), rate }),
        None => invalid(format_args!(
            "invalid rate for device: {spec}. The correct format is <device-path>:<number>[<unit>]. Number must be a \
             positive integer. Unit is optional and can be kb, mb, or gb"
        )),
    }
}

/// `--device-read-iops`, `--device-write-iops`: operations per second.
pub fn operations_per_second(spec: &str) -> Parsed<ThrottleDevice> {
    let (path, value) = of_device(spec)?;
    match number::unsigned(value, 10) {
        Ok(rate) => Ok(ThrottleDevice { path: path.to_owned(), rate }),
        Err(_) => invalid(format_args!(
            "invalid rate for device: {spec}. The correct format is <device-path>:<number>. Number must be a positive \
             integer"
        )),
    }
}

/// `--gpus all`, `--gpus 2`, `--gpus '"device=0,1",capabilities=compute'`.
pub fn gpus(spec: &str) -> Parsed<DeviceRequest> {
    let mut out = DeviceRequest::default();
    let mut seen: Vec<String> = Vec::new();
    for field in csv::record(spec)? {
        let (key, value) = field.split_once('=').map_or((field.as_str(), None), |(key, value)| (key, Some(value)));
        if seen.iter().any(|s| s == key) {
            return invalid(format_args!("gpu request key '{key}' can be specified only once"));
        }
        seen.push(key.to_owned());
        let list = |value: &str| value.split(',').map(str::to_owned).collect::<Vec<String>>();
        match (key, value) {
            (count, None) => {
                seen.push("count".into());
                out.count = gpu_count(count)?;
            }
            ("driver", Some(value)) => value.clone_into(&mut out.driver),
            ("count", Some(value)) => out.count = gpu_count(value)?,
            ("device", Some(value)) => out.device_ids = list(value).into(),
            ("capabilities", Some(value)) => {
                let mut all = list(value);
                all.push("gpu".into());
                out.capabilities = vec![List::from(all)].into();
            }
            ("options", Some(value)) => {
                let pairs =
                    csv::record(value).or_else(|error| invalid(format_args!("failed to read gpu options: {error}")))?;
                out.options = super::env::to_map(&pairs);
            }
            _ => return invalid(format_args!("unexpected key '{key}' in '{field}'")),
        }
    }
    if !seen.iter().any(|s| s == "count") && out.device_ids.is_nil() {
        out.count = 1;
    }
    if out.options.is_nil() {
        out.options = Map::empty();
    }
    if out.capabilities.is_nil() {
        out.capabilities = vec![List::from(vec!["gpu".to_owned()])].into();
    }
    Ok(out)
}

fn gpu_count(text: &str) -> Parsed<i64> {
    match (text, number::signed(text)) {
        ("all", _) => Ok(-1),
        (_, Ok(count)) => Ok(count),
        (_, Err(fault)) => invalid(format_args!(
            "invalid count ({text}): value must be either \"all\" or an integer: {}",
            fault.as_str()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(spec: &str) -> String {
        match parse(spec) {
            Ok(Device::Mapping(d)) => format!("{} {} {}", d.path_on_host, d.path_in_container, d.cgroup_permissions),
            Ok(Device::Cdi(name)) => format!("cdi {name}"),
            Err(error) => format!("! {error}"),
        }
    }

    #[test]
    fn devices() {
        assert_eq!(show("/dev/fuse"), "/dev/fuse /dev/fuse rwm");
        assert_eq!(show("/dev/a:/dev/b"), "/dev/a /dev/b rwm");
        assert_eq!(show("/dev/a:rw"), "/dev/a /dev/a rw");
        assert_eq!(show("/dev/a:/dev/b:r"), "/dev/a /dev/b r");
        assert_eq!(show("vendor.com/net=eth0"), "cdi vendor.com/net=eth0");
        assert_eq!(show(""), "! bad format for path: ");
        assert_eq!(show(":/dev/b"), "! bad format for path: :/dev/b");
        assert_eq!(show("a:b:c:d"), "! bad format for path: a:b:c:d");
        assert_eq!(show("/dev/null:/dev/null:xyz"), "! bad mode specified: xyz");
        assert_eq!(show("dev"), "! dev is not an absolute path");
        assert_eq!(show("/dev/a:rr"), "! rr is not an absolute path");
    }

    #[test]
    fn rules_and_limits() {
        for good in ["c 1:3 rwm", "b *:* r", "a 10:* m"] {
            assert_eq!(cgroup_rule(good), Ok(()), "{good}");
        }
        for bad in ["foo", "x 1:3 r", "c 1 r", "c 1:3 rwmr", "c 1:3 ", "c 1:-3 r"] {
            assert_eq!(cgroup_rule(bad).unwrap_err().0, format!("invalid device cgroup format '{bad}'"));
        }
        assert_eq!(weight("/dev/sda:100"), Ok(WeightDevice { path: "/dev/sda".into(), weight: 100 }));
        assert_eq!(bytes_per_second("/dev/sda:1mb"), Ok(ThrottleDevice { path: "/dev/sda".into(), rate: 1 << 20 }));
        assert_eq!(operations_per_second("/dev/sda:7"), Ok(ThrottleDevice { path: "/dev/sda".into(), rate: 7 }));
        assert_eq!(weight("foo").unwrap_err().0, "bad format: foo");
        assert_eq!(weight("sda:100").unwrap_err().0, "bad format for device path: sda:100");
        assert_eq!(weight("/dev/sda:5").unwrap_err().0, "invalid weight for device: /dev/sda:5");
        insta::assert_snapshot!(bytes_per_second("/dev/sda:x").unwrap_err(), @"invalid rate for device: /dev/sda:x. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb");
        insta::assert_snapshot!(operations_per_second("/dev/sda:1k").unwrap_err(), @"invalid rate for device: /dev/sda:1k. The correct format is <device-path>:<number>. Number must be a positive integer");
    }

    #[test]
    fn gpu_requests() {
        let show = |spec| gpus(spec).map_or_else(|e| format!("! {e}"), |r| serde_json::to_string(&r).unwrap());
        insta::assert_snapshot!(show("all"), @r#"{"Driver":"","Count":-1,"DeviceIDs":null,"Capabilities":[["gpu"]],"Options":{}}"#);
        insta::assert_snapshot!(show("\"device=0,1\",driver=nvidia,\"capabilities=compute,utility\",\"options=a=b,c\""),
            @r#"{"Driver":"nvidia","Count":0,"DeviceIDs":["0","1"],"Capabilities":[["compute","utility","gpu"]],"Options":{"a":"b","c":""}}"#);
        insta::assert_snapshot!(show("capabilities=compute"), @r#"{"Driver":"","Count":1,"DeviceIDs":null,"Capabilities":[["compute","gpu"]],"Options":{}}"#);
        insta::assert_snapshot!(show("foo"), @r#"! invalid count (foo): value must be either "all" or an integer: invalid syntax"#);
        insta::assert_snapshot!(show("1,count=2"), @"! gpu request key 'count' can be specified only once");
        insta::assert_snapshot!(show("foo=bar"), @"! unexpected key 'foo' in 'foo=bar'");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(spec in "[a-z/:=,\"0-9 é]{0,20}") {
            let _ = (parse(&spec), cgroup_rule(&spec), weight(&spec), bytes_per_second(&spec), gpus(&spec));
        }
    }
}
