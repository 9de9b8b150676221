//! `ps`: lists containers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tare_docker_api::container::{ContainerSummary, Port};
use tare_docker_api::oci::Platform;
use tare_docker_client::Query;
use tare_gotemplate::{Json, Named, Template, Value};
use tare_reference::Reference;

use super::common::{FILTER, filters};
use super::port::join_host_port;
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::opts::platform;
use crate::output::rows::{FORMAT_HELP, Format, QUIET, Row};
use crate::output::text::{ago, ellipsis, id, labels, local_time, short_id, size3};

/// `ps`
pub static COMMAND: Command = Command {
    names: &["container ls", "container list", "container ps", "ps"],
    usage: "[OPTIONS]",
    about: "List containers",
    common: 3,
    arity: Arity::None,
    interspersed: true,
    flags: &[
        Flag::bool("all", "Show all containers (default shows just running)").short('a'),
        FILTER,
        Flag::text("format", FORMAT_HELP),
        Flag::int("last", "Show n last created containers (includes all states)").short('n').default("-1"),
        Flag::bool("latest", "Show the latest created container (includes all states)").short('l'),
        Flag::bool("no-trunc", "Don't truncate output"),
        Flag::bool("quiet", "Only display container IDs").short('q'),
        Flag::bool("size", "Display total file sizes").short('s'),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

const TABLE: &str = "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
/// What `--format raw` shows of a container.
pub const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n\
    state: {{- pad .State 1 0}}\nstatus: {{- pad .Status 1 0}}\nnames: {{.Names}}\nlabels: {{- pad .Labels 1 0}}\n\
    ports: {{- pad .Ports 1 0}}\n";

/// Columns of a table of containers.
pub const HEADER: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
    ("HealthStatus", "HEALTH STATUS"),
];

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let (quiet, asked) = (m.bool("quiet"), m.text("format"));
    let configured = if asked.is_empty() { cli.config()?.text("psFormat") } else { asked };
    if quiet && !asked.is_empty() {
        cli.warn("Ignoring custom format, because both --format and --quiet are set.")?;
    }
    let sees_size = looks_at_size(configured)?;
    let size = m.bool("size") || (sees_size && !quiet && !m.given("size"));
    let limit = match (m.int("last"), m.bool("latest")) {
        (-1, true) => 1,
        (n, _) => n,
    };
    let query = Query::new()
        .flag("all", m.bool("all"))
        .some("limit", if limit > 0 { limit.to_string() } else { String::new() })
        .flag("size", size)
        .some("filters", filters(m).to_json());
    let containers: Vec<ContainerSummary> = cli.client()?.get_json("/containers/json", query).await?;
    let format = Format::parse(&format(configured, quiet, size))?;
    let short = !m.bool("no-trunc");
    format.write(&cli.out, HEADER, containers.into_iter().map(|c| row(c, short)).collect())?;
    Ok(0)
}

fn format(source: &str, quiet: bool, size: bool) -> String {
    match (source, quiet) {
        ("raw", true) => "container_id: {{.ID}}".to_owned(),
        (_, true) => QUIET.to_owned(),
        ("" | "table", false) => format!("{TABLE}{}", if size { "\t{{.Size}}" } else { "" }),
        ("raw", false) => format!("{RAW}{}", if size { "size: {{.Size}}\n" } else { "" }),
        (other, false) => other.to_owned(),
    }
}

/// Whether a template shows sizes, which are costly to find out. Also the first check of the template.
fn looks_at_size(format: &str) -> Result<bool, CliError> {
    if format.is_empty() {
        return Ok(false);
    }
    let template = Template::parse(format).map_err(|e| CliError::new(format!("failed to parse template: {e}")))?;
    let seen = Arc::new(AtomicBool::new(false));
    let probe = row(ContainerSummary::default(), false).watch("Size", Arc::clone(&seen));
    let run = template.execute(&Value::Object(Arc::new(probe)));
    run.map_err(|e| CliError::new(format!("failed to execute template: {e}")))?;
    Ok(seen.load(Ordering::Relaxed))
}

/// The row of a container.
pub fn row(c: ContainerSummary, short: bool) -> Row {
    let mounts: Vec<String> = c
        .mounts
        .iter()
        .map(|m| if m.name.is_empty() { &m.source } else { &m.name })
        .map(|name| if short { ellipsis(name, 15) } else { name.clone() })
        .collect();
    let command = if short { ellipsis(&c.command, 20) } else { c.command.clone() };
    let local_volumes = c.mounts.iter().filter(|m| m.driver == "local").count();
    let networks: Vec<&str> = c.network_settings.networks.keys().map(String::as_str).collect();
    let platform = c.image_manifest_descriptor.as_ref().and_then(|d| d.platform.as_ref());
    Row::new("*formatter.ContainerContext")
        .with("ID", id(&c.id, short))
        .with("Names", names(&c.names, short))
        .with("Image", image(&c, short))
        .with("Command", tare_gotemplate::quote(&command))
        .with("CreatedAt", local_time(c.created))
        .with("RunningFor", ago(c.created))
        .with("Ports", ports(&c.ports))
        .with("State", c.state.as_str())
        .with("Status", c.status.as_str())
        .with("Size", size(c.size_rw, c.size_root_fs))
        .with("Labels", labels(c.labels.iter()))
        .with("Mounts", mounts.join(","))
        .with("LocalVolumes", local_volumes.to_string())
        .with("Networks", networks.join(","))
        .with("Platform", platform_value(platform))
        .with("HealthStatus", health(&c))
        .labels(c.labels.into_inner())
}

/// A platform prints as `linux/arm64/v8`, none as Go's nil; its JSON is that of the descriptor.
fn platform_value(platform: Option<&Platform>) -> Value {
    let parts = platform.map(|p| [("architecture", &p.architecture), ("os", &p.os), ("variant", &p.variant)]);
    let known = parts.iter().flatten().filter(|(_, value)| !value.is_empty());
    let json = known.map(|(key, value)| ((*key).to_owned(), Json::Str((*value).clone()))).collect();
    let text = platform.map_or_else(|| "<nil>".to_owned(), platform::format);
    Value::Named(Arc::new(Named {
        type_name: "*formatter.Platform".into(),
        base: platform.map_or(Value::Nil, |_| Value::str(&text)),
        text,
        json: platform.map_or(Json::Null, |_| Json::Object(json)),
    }))
}

fn names(names: &[String], short: bool) -> String {
    let names: Vec<&str> = names.iter().map(|n| n.strip_prefix('/').unwrap_or(n)).collect();
    if short {
        // The others are names of legacy links.
        return names.into_iter().find(|n| !n.contains('/')).unwrap_or("").to_owned();
    }
    names.join(",")
}

fn image(c: &ContainerSummary, short: bool) -> String {
    if c.image.is_empty() {
        return "<no image>".to_owned();
    }
    if !short {
        return c.image.clone();
    }
    if short_id(&c.image_id) == short_id(&c.image) {
        return short_id(&c.image).to_owned();
    }
    match Reference::parse_normalized(&c.image) {
        Err(_) => c.image.clone(),
        Ok(reference) => {
            let familiar = reference.familiar();
            familiar.split_once('@').map_or(familiar.as_str(), |(name, _)| name).to_owned()
        }
    }
}

fn size(written: i64, all: i64) -> String {
    if all > 0 { format!("{} (virtual {})", size3(written), size3(all)) } else { size3(written) }
}

fn health(c: &ContainerSummary) -> String {
    if let Some(health) = c.health.as_ref().filter(|h| !h.status.is_empty()) {
        return health.status.clone();
    }
    // Daemons before API 1.52 say it in the status only.
    let word = c.status.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or("");
    let word = word.strip_prefix("health: ").unwrap_or(word);
    if matches!(word, "healthy" | "unhealthy" | "starting") { word.to_owned() } else { String::new() }
}

/// Ports of a container, neighbours joined into ranges: `0.0.0.0:80-81->80-81/tcp, 443/tcp`.
pub fn ports(ports: &[Port]) -> String {
    let address = |p: &Port| p.ip.parse::<std::net::IpAddr>().ok();
    let mut sorted: Vec<&Port> = ports.iter().collect();
    sorted.sort_by_key(|p| (p.private_port, address(p), p.public_port, p.kind.clone()));
    let (mut finished, mut mapped) = (Vec::new(), Vec::new());
    // Ranges that still may grow, in the order in which their kind first came up.
    let mut open: Vec<(&str, &str, u16, u16)> = Vec::new();
    for port in sorted {
        let number = port.private_port;
        if !port.ip.is_empty() && port.public_port != number {
            let host = join_host_port(&port.ip, &port.public_port.to_string());
            mapped.push(format!("{host}->{number}/{}", port.kind));
            continue;
        }
        match open.iter_mut().find(|(ip, kind, ..)| *ip == port.ip && *kind == port.kind) {
            None => open.push((&port.ip, &port.kind, number, number)),
            Some((.., last)) if last.checked_add(1) == Some(number) => *last = number,
            Some(range) => {
                finished.push(port_range(*range));
                *range = (&port.ip, &port.kind, number, number);
            }
        }
    }
    finished.extend(open.into_iter().map(port_range));
    finished.extend(mapped);
    finished.join(", ")
}

fn port_range((ip, kind, first, last): (&str, &str, u16, u16)) -> String {
    let numbers = if first == last { first.to_string() } else { format!("{first}-{last}") };
    if ip.is_empty() {
        return format!("{numbers}/{kind}");
    }
    format!("{}->{numbers}/{kind}", join_host_port(ip, &numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(ip: &str, private_port: u16, public_port: u16, kind: &str) -> Port {
        Port { ip: ip.into(), private_port, public_port, kind: kind.into() }
    }

    #[test]
    fn ports_are_grouped() {
        let shown = |list: &[Port]| ports(list);
        assert_eq!(shown(&[port("", 9988, 0, "tcp")]), "9988/tcp");
        assert_eq!(
            shown(&[port("0.0.0.0", 9988, 9988, "tcp"), port("::", 9988, 9988, "tcp")]),
            "0.0.0.0:9988->9988/tcp, [::]:9988->9988/tcp"
        );
        assert_eq!(
            shown(&[port("1.2.3.4", 82, 82, "tcp"), port("1.2.3.4", 80, 80, "tcp"), port("1.2.3.4", 81, 81, "tcp")]),
            "1.2.3.4:80-82->80-82/tcp"
        );
        assert_eq!(
            shown(&[
                port("", 80, 0, "tcp"),
                port("0.0.0.0", 80, 8080, "tcp"),
                port("", 81, 0, "tcp"),
                port("", 53, 0, "udp")
            ]),
            "53/udp, 80-81/tcp, 0.0.0.0:8080->80/tcp"
        );
        assert_eq!(
            shown(&[port("", 1, 0, "tcp"), port("", 3, 0, "tcp"), port("", 65535, 0, "tcp")]),
            "1/tcp, 3/tcp, 65535/tcp"
        );
    }

    #[test]
    fn a_list() {
        let document = r#"[{"Id":"0123456789abcdef","Names":["/web","/agent/insideweb"],"Image":"docker.io/library/nginx:latest",
            "ImageID":"sha256:ff","Command":"/docker-entrypoint.sh nginx -g 'daemon off;'","Created":1700000000,
            "Ports":[{"IP":"0.0.0.0","PrivatePort":80,"PublicPort":8080,"Type":"tcp"}],"SizeRw":1095,"SizeRootFs":192000000,
            "Labels":{"b":"2","a":"1"},"State":"running","Status":"Up 2 minutes (healthy)","NetworkSettings":{"Networks":{"bridge":{}}},
            "Mounts":[{"Type":"volume","Name":"0123456789abcdef0123","Driver":"local"},{"Type":"bind","Source":"/srv"}]}]"#;
        let list: Vec<ContainerSummary> = serde_json::from_str(document).unwrap();
        let shown = |format: &str, short: bool| {
            Format::parse(format).unwrap().render(HEADER, list.iter().map(|c| row(c.clone(), short)).collect()).unwrap()
        };
        insta::assert_snapshot!(shown("table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}", true), @r#"
        CONTAINER ID   IMAGE          COMMAND                  STATUS                   PORTS                  NAMES     SIZE
        0123456789ab   nginx:latest   "/docker-entrypoint.…"   Up 2 minutes (healthy)   0.0.0.0:8080->80/tcp   web       1.09kB (virtual 192MB)
        "#);
        insta::assert_snapshot!(shown("{{.ID}} {{.Names}} {{.Labels}} {{.Label \"a\"}}{{.Label \"x\"}} {{.Mounts}} {{.LocalVolumes}} {{.Networks}} {{.HealthStatus}} {{.Platform}} {{.State}}", false), @"0123456789abcdef web,agent/insideweb a=1,b=2 1 0123456789abcdef0123,/srv 1 bridge healthy <nil> running");
        assert!(shown("json", true).starts_with(r#"{"Command":"\"/docker-entrypoint.…\"","CreatedAt":"#));
    }

    #[test]
    fn size_is_asked_for_when_shown() {
        assert_eq!(looks_at_size("table {{.ID}}"), Ok(false));
        assert_eq!(looks_at_size("{{.ID}} {{.Size}}"), Ok(true));
        assert_eq!(looks_at_size("{{json .}}"), Ok(true));
        assert_eq!(looks_at_size("json"), Ok(false));
        let error = looks_at_size("{{.Nope}}").unwrap_err().message;
        insta::assert_snapshot!(error, @r#"failed to execute template: template: :1:2: executing "" at <.Nope>: can't evaluate field Nope in type *formatter.ContainerContext"#);
    }
}
