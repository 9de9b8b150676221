//! Ports: `-p [[ip:][hostPort]:]containerPort[/protocol]`, its long form, and `--expose`.

use std::net::IpAddr;

use tare_docker_api::Empty;
use tare_docker_api::container::{PortBinding, PortMap, PortSet};

use super::number::{Fault, signed};
use super::{Invalid, Parsed, invalid};

/// A container port and where the host offers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// `80/tcp`.
    pub port: String,
    /// Empty for every address.
    pub host_ip: String,
    /// A port, a range to choose from, or empty for any free port.
    pub host_port: String,
}

/// Collects all `-p` values into bindings and the ports they expose.
pub fn publish(specs: &[String]) -> Parsed<(PortSet, PortMap)> {
    let (mut exposed, mut bindings) = (PortSet::empty(), PortMap::empty());
    let short: Vec<String> = specs.iter().map(|spec| short_form(spec)).collect::<Parsed<_>>()?;
    for spec in &short {
        for mapping in parse(spec)? {
            exposed.insert(mapping.port.clone(), Empty {});
            let binding = PortBinding { host_ip: mapping.host_ip, host_port: mapping.host_port };
            bindings.entry(mapping.port).or_default().push(binding);
        }
    }
    Ok((exposed, bindings))
}

/// `published=8080,target=80,protocol=udp` in the short form; anything without `=` passes.
fn short_form(spec: &str) -> Parsed<String> {
    if !spec.contains('=') {
        return Ok(spec.to_owned());
    }
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for field in spec.split(',') {
        match field.split_once('=') {
            Some(("published", value)) => published = value,
            Some(("target", value)) => target = value,
            Some(("protocol", value)) => protocol = value,
            Some((key, _)) if !key.is_empty() => {}
            _ => {
                return invalid(format_args!("invalid publish opts format (should be name=value but got '{field}')"));
            }
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// Reads one specification; a range of container ports gives one mapping each.
pub fn parse(spec: &str) -> Parsed<Vec<Mapping>> {
    let (front, container) = spec.rsplit_once(':').unwrap_or(("", spec));
    let (ip, host) = front.rsplit_once(':').unwrap_or(("", front));
    let (container, protocol) = container.split_once('/').unwrap_or((container, ""));
    if container.is_empty() {
        return invalid(format_args!("no port specified: {spec}<empty>"));
    }
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_lowercase() };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return invalid(format_args!("invalid proto: {protocol}"));
    }
    let host_ip = address(ip)?;
    let (first, last) = range(container).map_err(|_| Invalid(format!("invalid containerPort: {container}")))?;
    let mut host_range = None;
    if !host.is_empty() {
        let (low, high) = range(host).map_err(|_| Invalid(format!("invalid hostPort: {host}")))?;
        if last - first != high - low && first != last {
            return invalid(format_args!(
                "invalid ranges specified for container and host Ports: {container} and {host}"
            ));
        }
        host_range = Some((low, high));
    }
    let host_port = |offset: u16| match host_range {
        None => String::new(),
        Some((low, high)) if first == last && low != high => format!("{low}-{high}"),
        Some((low, _)) => (low + offset).to_string(),
    };
    let mapping = |port: u16| Mapping {
        port: format!("{port}/{protocol}"),
        host_ip: host_ip.clone(),
        host_port: host_port(port - first),
    };
    Ok((first..=last).map(mapping).collect())
}

/// A host address, IPv6 perhaps in brackets, in its usual notation; empty for none.
fn address(text: &str) -> Parsed<String> {
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .ok_or_else(|| Invalid(format!("invalid IP address {text}: address {text}:: missing ']' in address")))?,
        None => text,
    };
    match bare.parse::<IpAddr>() {
        _ if bare.is_empty() => Ok(String::new()),
        Ok(ip) => Ok(ip.to_string()),
        Err(_) => invalid(format_args!("invalid IP address: {bare}")),
    }
}

/// Reads `8000` or `8000-8010`.
fn range(text: &str) -> Result<(u16, u16), String> {
    let (start, end) = text.split_once('-').map_or((text, None), |(start, end)| (start, Some(end)));
    let first = number(start).map_err(|e| format!("invalid start port '{start}': {e}"))?;
    match end {
        None => Ok((first, first)),
        Some(end) if start == end => Ok((first, first)),
        Some(end) => {
            let last = number(end).map_err(|e| format!("invalid end port '{end}': {e}"))?;
            if last < first { Err(format!("invalid port range: {text}")) } else { Ok((first, last)) }
        }
    }
}

fn number(text: &str) -> Result<u16, &'static str> {
    if text.is_empty() {
        return Err("value is empty");
    }
    let value = signed(text).map_err(Fault::as_str)?;
    u16::try_from(value).map_err(|_| "value out of range (0–65535)")
}

/// Adds what `--expose` names: a port or a range, with any protocol.
pub fn expose(spec: &str, exposed: &mut PortSet) -> Parsed<()> {
    let fail = |message: &str| Invalid(format!("invalid range format for --expose: {message}"));
    if spec.is_empty() {
        return Err(fail("invalid port range: value is empty"));
    }
    let (ports, protocol) = spec.split_once('/').unwrap_or((spec, ""));
    let protocol = if protocol.is_empty() { "tcp".to_owned() } else { protocol.to_lowercase() };
    let (first, last) = range(ports).map_err(|e| fail(&e))?;
    exposed.extend((first..=last).map(|port| (format!("{port}/{protocol}"), Empty {})));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(spec: &str) -> String {
        match parse(spec) {
            Err(error) => format!("! {error}"),
            Ok(all) => {
                let lines: Vec<_> =
                    all.iter().map(|m| format!("{} <- [{}]:{}", m.port, m.host_ip, m.host_port)).collect();
                lines.join("\n")
            }
        }
    }

    #[test]
    fn specifications() {
        insta::assert_snapshot!(show("80"), @"80/tcp <- []:");
        insta::assert_snapshot!(show("8080:80"), @"80/tcp <- []:8080");
        insta::assert_snapshot!(show("127.0.0.1:8080:80/UDP"), @"80/udp <- [127.0.0.1]:8080");
        insta::assert_snapshot!(show("127.0.0.1::80"), @"80/tcp <- [127.0.0.1]:");
        insta::assert_snapshot!(show("[::1]:8080:80/sctp"), @"80/sctp <- [::1]:8080");
        insta::assert_snapshot!(show("::1:8080:80"), @"80/tcp <- [::1]:8080");
        insta::assert_snapshot!(show("8000-8010:80"), @"80/tcp <- []:8000-8010");
        insta::assert_snapshot!(show("8000-8001:90-91"), @r"
        90/tcp <- []:8000
        91/tcp <- []:8001
        ");
        insta::assert_snapshot!(show("90-91"), @r"
        90/tcp <- []:
        91/tcp <- []:
        ");
    }

    #[test]
    fn mistakes() {
        insta::assert_snapshot!(show(""), @"! no port specified: <empty>");
        insta::assert_snapshot!(show("80:"), @"! no port specified: 80:<empty>");
        insta::assert_snapshot!(show("foo"), @"! invalid containerPort: foo");
        insta::assert_snapshot!(show("80/foo"), @"! invalid proto: foo");
        insta::assert_snapshot!(show("80:80:80:80"), @"! invalid IP address: 80:80");
        insta::assert_snapshot!(show("70000:80"), @"! invalid hostPort: 70000");
        insta::assert_snapshot!(show("91-90"), @"! invalid containerPort: 91-90");
        insta::assert_snapshot!(show("80-81:90-95"), @"! invalid ranges specified for container and host Ports: 90-95 and 80-81");
        insta::assert_snapshot!(show("[::1:80:80"), @"! invalid IP address [::1: address [::1:: missing ']' in address");
        let long = |spec: &str| publish(&[spec.to_owned()]).unwrap_err().0;
        insta::assert_snapshot!(long("published=80,target"), @"invalid publish opts format (should be name=value but got 'target')");
        let expose = |spec| expose(spec, &mut PortSet::empty()).unwrap_err().0;
        insta::assert_snapshot!(expose("foo"), @"invalid range format for --expose: invalid start port 'foo': invalid syntax");
        insta::assert_snapshot!(expose(""), @"invalid range format for --expose: invalid port range: value is empty");
        insta::assert_snapshot!(expose("90-80"), @"invalid range format for --expose: invalid port range: 90-80");
        insta::assert_snapshot!(expose("1-70000"), @"invalid range format for --expose: invalid end port '70000': value out of range (0–65535)");
    }

    #[test]
    fn long_form_and_expose() {
        let (exposed, bindings) = publish(&["published=8080,target=80,protocol=udp".into(), "80".into()]).unwrap();
        insta::assert_snapshot!(serde_json::to_string(&bindings).unwrap(),
            @r#"{"80/tcp":[{"HostIp":"","HostPort":""}],"80/udp":[{"HostIp":"","HostPort":"8080"}]}"#);
        insta::assert_snapshot!(serde_json::to_string(&exposed).unwrap(), @r#"{"80/tcp":{},"80/udp":{}}"#);
        let mut set = PortSet::empty();
        expose("7-8/udp", &mut set).unwrap();
        insta::assert_snapshot!(serde_json::to_string(&set).unwrap(), @r#"{"7/udp":{},"8/udp":{}}"#);
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(spec in "[0-9a-z:/.\\-\\[\\]=,]{0,30}") {
            let _ = (publish(std::slice::from_ref(&spec)), expose(&spec, &mut PortSet::empty()));
        }

        #[test]
        fn every_address_and_port_is_kept(ip: std::net::IpAddr, host: u16, port in 1_u16.., udp: bool) {
            let protocol = if udp { "udp" } else { "tcp" };
            let shown = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            let mapping = Mapping { port: format!("{port}/{protocol}"), host_ip: ip.to_string(), host_port: host.to_string() };
            proptest::prop_assert_eq!(parse(&format!("{shown}:{host}:{port}/{protocol}")), Ok(vec![mapping]));
        }
    }
}
