//! Options that stay text: labels, links, hosts, addresses, domains, sysctls, namespaces' modes, policies. Each function
//! checks (and where Docker does, normalises) one value.

use std::net::IpAddr;

use tare_docker_api::Map;
use tare_docker_api::container::RestartPolicy;

use super::{Parsed, invalid, number};
use crate::values::quote;

/// The address of `--add-host` that stands for the host.
const HOST_GATEWAY: &str = "host-gateway";
/// Longest domain of `--dns-search` in bytes.
const MAX_DOMAIN: usize = 255;

/// `--attach`: the stream's name in lower case.
pub fn stream(value: &str) -> Parsed<String> {
    let lower = value.to_lowercase();
    if matches!(lower.as_str(), "stdin" | "stdout" | "stderr") {
        return Ok(lower);
    }
    invalid("valid streams are STDIN, STDOUT and STDERR")
}

/// `--label`: a name that is not empty and has no space within.
pub fn label(value: &str) -> Parsed<()> {
    let key = super::env::name(value).trim_start_matches([' ', '\t']);
    if key.is_empty() {
        return invalid(format_args!("invalid label '{value}': empty name"));
    }
    if key.contains([' ', '\t']) {
        return invalid(format_args!("label '{key}' contains whitespaces"));
    }
    Ok(())
}

/// `--link`: `container` or `container:alias`.
pub fn link(value: &str) -> Parsed<()> {
    if value.is_empty() {
        return invalid("empty string specified for links");
    }
    if value.matches(':').count() > 1 {
        return invalid(format_args!("bad format for links: {value}"));
    }
    Ok(())
}

/// `--add-host`: `name:address` or `name=address`, the address perhaps in brackets; with a colon in what is given back.
pub fn extra_host(value: &str) -> Parsed<String> {
    let pair = value.split_once('=').or_else(|| value.split_once(':')).filter(|(name, _)| !name.is_empty());
    let Some((name, address)) = pair else {
        return invalid(format_args!("bad format for add-host: {}", quote(value)));
    };
    let bare = match address.strip_prefix('[').and_then(|a| a.strip_suffix(']')) {
        Some(bare) => bare,
        None => address,
    };
    if bare != HOST_GATEWAY && ip_address(bare).is_err() {
        return invalid(format_args!("invalid IP address in add-host: {}", quote(bare)));
    }
    Ok(format!("{name}:{bare}"))
}

/// `--dns`: an address, in its usual notation.
pub fn ip_address(value: &str) -> Parsed<String> {
    match value.trim().parse::<IpAddr>() {
        Ok(ip) => Ok(ip.to_string()),
        Err(_) => invalid(format_args!("IP address is not correctly formatted: {value}")),
    }
}

/// `--ip`, `--ip6`: an address; nothing when empty.
pub fn flag_address(value: &str) -> Parsed<Option<IpAddr>> {
    match value.trim().parse() {
        _ if value.is_empty() => Ok(None),
        Ok(ip) => Ok(Some(ip)),
        Err(_) => invalid(format_args!("failed to parse IP: {}", quote(value))),
    }
}

/// `--dns-search`: a domain without its final dot; `.` for none.
pub fn search_domain(value: &str) -> Parsed<String> {
    let value = value.trim_matches(' ');
    if value == "." {
        return Ok(value.to_owned());
    }
    let domain = value.trim_end();
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let label = |label: &str| {
        let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        alphanumeric(label.chars().next())
            && alphanumeric(label.chars().next_back())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let lettered = domain.bytes().any(|b| b.is_ascii_alphabetic());
    if lettered && domain.len() < MAX_DOMAIN && domain.split('.').all(label) {
        return Ok(domain.to_owned());
    }
    invalid(format_args!("{value} is not a valid domain"))
}

/// `--sysctl`: the namespaced ones.
pub fn sysctl(value: &str) -> Parsed<()> {
    const NAMES: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    match value.split_once('=') {
        Some((key, _)) if NAMES.contains(&key) || key.starts_with("net.") || key.starts_with("fs.mqueue.") => Ok(()),
        _ => invalid(format_args!("sysctl '{value}' is not allowed")),
    }
}

/// `--storage-opt`: all of them as a map.
pub fn storage_options(values: &[String]) -> Parsed<Map<String>> {
    if values.iter().any(|v| !v.contains('=')) {
        return invalid("invalid storage option");
    }
    Ok(super::env::to_map(values))
}

/// `--log-opt`: all of them as a map; the driver `none` takes none.
pub fn log_options(driver: &str, values: &[String]) -> Parsed<Map<String>> {
    if driver == "none" && !values.is_empty() {
        return invalid(format_args!("invalid logging opts for driver {driver}"));
    }
    Ok(super::env::to_map(values))
}

/// `--restart`: `name[:retries]`; which names there are is the engine's to say.
pub fn restart_policy(value: &str) -> Parsed<RestartPolicy> {
    let (name, count) = value.split_once(':').map_or((value, None), |(name, count)| (name, Some(count)));
    if name.is_empty() && count.is_some() {
        return invalid("invalid restart policy format: no policy provided before colon");
    }
    let maximum_retry_count = match count {
        None | Some("") => 0,
        Some(count) => match number::signed(count) {
            Ok(count) => count,
            Err(_) => return invalid("invalid restart policy format: maximum retry count must be an integer"),
        },
    };
    Ok(RestartPolicy { name: name.to_owned(), maximum_retry_count })
}

/// Checks `--pid`, `--uts`, `--userns` and `--cgroupns`, in this order.
pub fn namespaces(pid: &str, uts: &str, userns: &str, cgroupns: &str) -> Parsed<()> {
    let of_container = pid.strip_prefix("container:").is_some_and(|id| !id.is_empty());
    if !matches!(pid, "" | "host") && !of_container {
        return invalid("--pid: invalid PID mode");
    }
    if !matches!(uts, "" | "host") {
        return invalid("--uts: invalid UTS mode");
    }
    if !matches!(userns, "" | "host") {
        return invalid("--userns: invalid USER mode");
    }
    if !matches!(cgroupns, "" | "host" | "private") {
        return invalid("--cgroupns: invalid CGROUP mode");
    }
    Ok(())
}

/// `--pull`: when to pull the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// Before the container is made.
    Always,
    /// When the engine does not have it.
    Missing,
    /// Not at all.
    Never,
}

/// Reads `--pull`.
pub fn pull(value: &str) -> Parsed<Pull> {
    match value {
        "always" => Ok(Pull::Always),
        "missing" => Ok(Pull::Missing),
        "never" | "" => Ok(Pull::Never),
        _ => {
            invalid(format_args!("invalid pull option: '{value}': must be one of \"always\", \"missing\" or \"never\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail<T: std::fmt::Debug>(parsed: Parsed<T>) -> String {
        parsed.unwrap_err().0
    }

    #[test]
    fn good_values() {
        assert_eq!(stream("STDIN").unwrap(), "stdin");
        assert_eq!(label("a=b c"), Ok(()));
        assert_eq!(link("db"), Ok(()));
        assert_eq!(extra_host("h:1.2.3.4").unwrap(), "h:1.2.3.4");
        assert_eq!(extra_host("h=[::1]").unwrap(), "h:::1");
        assert_eq!(extra_host("h:::1").unwrap(), "h:::1");
        assert_eq!(extra_host("h:host-gateway").unwrap(), "h:host-gateway");
        assert_eq!(ip_address(" 8.8.8.8 ").unwrap(), "8.8.8.8");
        assert_eq!(ip_address("2001:DB8::0:1").unwrap(), "2001:db8::1");
        assert_eq!(search_domain("example.com. ").unwrap(), "example.com");
        assert_eq!(search_domain(" . ").unwrap(), ".");
        assert_eq!(sysctl("net.ipv4.ip_forward=1"), Ok(()));
        assert_eq!(sysctl("kernel.sem=1 2 3"), Ok(()));
        assert_eq!(
            restart_policy("on-failure:3").unwrap(),
            RestartPolicy { name: "on-failure".into(), maximum_retry_count: 3 }
        );
        assert_eq!(restart_policy("always:").unwrap().name, "always");
        assert_eq!(restart_policy("").unwrap(), RestartPolicy::default());
        assert_eq!(namespaces("container:x", "host", "host", "private"), Ok(()));
        assert_eq!(pull("never"), Ok(Pull::Never));
        assert_eq!(flag_address(""), Ok(None));
        assert!(log_options("json-file", &["max-size=1m".into()]).is_ok());
    }

    #[test]
    fn mistakes() {
        insta::assert_snapshot!(fail(stream("x")), @"valid streams are STDIN, STDOUT and STDERR");
        insta::assert_snapshot!(fail(label("")), @"invalid label '': empty name");
        insta::assert_snapshot!(fail(label("a b=c")), @"label 'a b' contains whitespaces");
        insta::assert_snapshot!(fail(link("a:b:c")), @"bad format for links: a:b:c");
        insta::assert_snapshot!(fail(link("")), @"empty string specified for links");
        insta::assert_snapshot!(fail(extra_host("foo")), @r#"bad format for add-host: "foo""#);
        insta::assert_snapshot!(fail(extra_host("foo:bar")), @r#"invalid IP address in add-host: "bar""#);
        insta::assert_snapshot!(fail(ip_address("foo")), @"IP address is not correctly formatted: foo");
        insta::assert_snapshot!(fail(flag_address("foo")), @r#"failed to parse IP: "foo""#);
        insta::assert_snapshot!(fail(search_domain("-")), @"- is not a valid domain");
        insta::assert_snapshot!(fail(search_domain("1.2")), @"1.2 is not a valid domain");
        insta::assert_snapshot!(fail(sysctl("foo=1")), @"sysctl 'foo=1' is not allowed");
        insta::assert_snapshot!(fail(sysctl("net.x")), @"sysctl 'net.x' is not allowed");
        insta::assert_snapshot!(fail(storage_options(&["x".into()])), @"invalid storage option");
        insta::assert_snapshot!(fail(log_options("none", &["a=b".into()])), @"invalid logging opts for driver none");
        insta::assert_snapshot!(fail(restart_policy("x:y")), @"invalid restart policy format: maximum retry count must be an integer");
        insta::assert_snapshot!(fail(restart_policy(":3")), @"invalid restart policy format: no policy provided before colon");
        insta::assert_snapshot!(fail(namespaces("container:", "", "", "")), @"--pid: invalid PID mode");
        insta::assert_snapshot!(fail(namespaces("", "x", "", "")), @"--uts: invalid UTS mode");
        insta::assert_snapshot!(fail(namespaces("", "", "x", "")), @"--userns: invalid USER mode");
        insta::assert_snapshot!(fail(namespaces("", "", "", "x")), @"--cgroupns: invalid CGROUP mode");
        insta::assert_snapshot!(fail(pull("x")), @r#"invalid pull option: 'x': must be one of "always", "missing" or "never""#);
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(value in "[a-z0-9:=.\\[\\] é-]{0,20}") {
            let _ = (extra_host(&value), search_domain(&value), restart_policy(&value), label(&value), link(&value));
        }
    }
}
