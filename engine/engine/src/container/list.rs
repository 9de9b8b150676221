//! Listing containers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tare_docker_api::container::{
    ContainerSummary, EndpointSettings, HealthSummary, Port, SummaryHostConfig, SummaryNetworkSettings,
};
use tare_docker_api::filters::Filters;
use tare_docker_api::go::{List, Map};
use tare_docker_api::time::human_duration;
use tare_network::Protocol;

use super::record::{Mount, Record};
use super::state::{State, Status};
use super::{Container, Inner};
use crate::Engine;
use crate::error::{Error, Result};
use crate::filter;
use crate::host::clock;
use crate::options::ListOptions;

/// Filters that `GET /containers/json` knows.
const FILTERS: &[&str] = &[
    "ancestor",
    "before",
    "exited",
    "id",
    "isolation",
    "label",
    "name",
    "status",
    "health",
    "since",
    "volume",
    "network",
    "is-task",
    "publish",
    "expose",
];

impl Engine {
    /// Lists containers, newest first.
    pub async fn list(&self, options: ListOptions) -> Result<Vec<ContainerSummary>> {
        let filters = &options.filters;
        let check = self.list_filter(filters)?;
        let mut containers = self.all_containers();
        containers.sort_by_cached_key(|container| std::cmp::Reverse(container.read().record.created_at));
        // Asking for a state, or a number, means all of that state, or that many, running or not.
        let all = options.all || options.limit.is_some() || filters.contains("status") || filters.contains("exited");
        let mut summaries = Vec::new();
        for container in containers {
            if options.limit.is_some_and(|limit| summaries.len() >= limit) {
                break;
            }
            let summary = {
                let inner = container.read();
                let shown = all || inner.state.counts_as_running();
                (shown && check.passes(&container, &inner)).then(|| self.summary(&inner))
            };
            if let Some(mut summary) = summary {
                if options.size {
                    summary.size_rw = i64::try_from(self.snapshot_size(&container.id)).unwrap_or(i64::MAX);
                    summary.size_root_fs = summary.size_rw.saturating_add(self.image_size(&summary.image_id));
                }
                summaries.push(summary);
            }
        }
        Ok(summaries)
    }

    fn summary(&self, inner: &Inner) -> ContainerSummary {
        let record = &inner.record;
        ContainerSummary {
            id: record.id.clone(),
            names: self.names_of(&record.id, &record.name),
            image: self.shown_image(record),
            image_id: record.image_id.clone(),
            image_manifest_descriptor: record.image_manifest.clone(),
            command: command_line(&record.path, &record.args),
            created: record.created_at / 1_000_000_000,
            ports: ports(record, inner),
            labels: record.config.labels.clone(),
            state: inner.state.status.word().to_owned(),
            status: status(&inner.state, clock::now_ns()),
            host_config: SummaryHostConfig {
                network_mode: record.host_config.network_mode.clone(),
                annotations: record.host_config.annotations.clone(),
            },
            health: inner
                .state
                .health
                .as_ref()
                .map(|health| HealthSummary { status: health.status.clone(), failing_streak: health.failing_streak }),
            network_settings: SummaryNetworkSettings {
                networks: listed(super::inspect::networks(record, &inner.sandbox)),
            },
            mounts: super::inspect::mount_points(record),
            ..ContainerSummary::default()
        }
    }

    pub(crate) fn list_filter<'a>(&self, filters: &'a Filters) -> Result<Check<'a>> {
        filters.validate(FILTERS)?;
        let created = |name: &str| -> Result<Option<i64>> {
            filters.get(name).next().map(|other| Ok(self.find(other)?.read().record.created_at)).transpose()
        };
        for value in filters.get("status") {
            if !["created", "running", "paused", "restarting", "removing", "exited", "dead"].contains(&value) {
                return Err(Error::invalid(format!(
                    "invalid filter 'status={value}': invalid value for state ({value}): must be one of created, \
                     running, paused, restarting, removing, exited, dead"
                )));
            }
        }
        filters.bool_or("is-task", false)?;
        for value in filters.get("health") {
            if !["none", "starting", "healthy", "unhealthy"].contains(&value) {
                return Err(Error::invalid(format!(
                    "invalid filter 'health={value}': invalid value for health ({value}): must be one of none, \
                     starting, healthy, unhealthy"
                )));
            }
        }
        let exited = filters
            .get("exited")
            .map(|text| {
                text.parse().map_err(|_| {
                    Error::invalid(format!(
                        "invalid filter 'exited={text}': strconv.Atoi: parsing {text:?}: invalid syntax"
                    ))
                })
            })
            .collect::<Result<Vec<i32>>>()?;
        let ancestors = self.descendants(filters.get("ancestor"));
        let networks: Vec<_> = filters
            .get("network")
            .map(|name| self.networks.find(name).map_or_else(|_| name.to_owned(), |net| net.name.clone()))
            .collect();
        for name in ["publish", "expose"] {
            for text in filters.get(name) {
                parse_port_range(text).ok_or_else(|| Error::invalid(format!("invalid filter '{name}={text}'")))?;
            }
        }
        Ok(Check { filters, before: created("before")?, since: created("since")?, exited, ancestors, networks })
    }
}

pub(crate) struct Check<'a> {
    filters: &'a Filters,
    before: Option<i64>,
    since: Option<i64>,
    exited: Vec<i32>,
    /// IDs of the images that are asked for, and of those that were made from them.
    ancestors: BTreeSet<String>,
    networks: Vec<String>,
}

impl Check<'_> {
    pub(crate) fn passes(&self, container: &Arc<Container>, inner: &Inner) -> bool {
        let (record, state, filters) = (&inner.record, &inner.state, self.filters);
        let health = state.health.as_ref().map_or("none", |health| health.status.as_str());
        filters.prefix("id", &container.id)
            && (filters.matches("name", &record.name) || filters.matches("name", &format!("/{}", record.name)))
            && filter::labels_match(filters, &record.config.labels)
            && filters.exact("status", state.status.word())
            && filters.exact("health", health)
            && (!filters.contains("exited") || state.status == Status::Exited && self.exited.contains(&state.exit_code))
            && self.before.is_none_or(|before| record.created_at < before)
            && self.since.is_none_or(|since| record.created_at > since)
            && (!filters.contains("ancestor")
                || self.ancestors.contains(&record.image_id)
                || filters.get("ancestor").any(|name| name == record.config.image))
            && (!filters.contains("network") || self.networks.iter().any(|name| record.networks.contains_key(name)))
            && (!filters.contains("volume")
                || filters.get("volume").any(|volume| {
                    // Binds have no name.
                    let name = |mount: &Mount| {
                        if mount.name.is_empty() { mount.source == volume } else { mount.name == volume }
                    };
                    record.mounts.iter().any(|mount| name(mount) || mount.destination == volume)
                }))
            && ports_pass(filters, || ports(record, inner))
            && (!filters.contains("is-task") || filters.get("is-task").any(|value| value == "false" || value == "0"))
    }
}

/// Lists leave out what of an endpoint was asked for, but its addresses.
fn listed(networks: Map<EndpointSettings>) -> Map<EndpointSettings> {
    let bare = |endpoint: EndpointSettings| EndpointSettings {
        links: List::default(),
        aliases: List::default(),
        driver_opts: Map::default(),
        dns_names: List::default(),
        ..endpoint
    };
    networks.into_inner().into_iter().map(|(name, endpoint)| (name, bare(endpoint))).collect()
}

/// `publish` is about ports of the host, `expose` about those of the container, published or not; either is enough.
fn ports_pass(filters: &Filters, ports: impl FnOnce() -> Vec<Port>) -> bool {
    let ranges = |name: &str| filters.get(name).filter_map(parse_port_range).collect::<Vec<_>>();
    let (published, exposed) = (ranges("publish"), ranges("expose"));
    let within = |ranges: &[PortRange], number: u16, kind: &str| {
        ranges.iter().any(|range| {
            crate::network::ports::word(range.protocol) == kind && (range.first..=range.last).contains(&number)
        })
    };
    published.is_empty() && exposed.is_empty()
        || ports().iter().any(|port| {
            within(&published, port.public_port, &port.kind) || within(&exposed, port.private_port, &port.kind)
        })
}

struct PortRange {
    first: u16,
    last: u16,
    protocol: Protocol,
}

/// `80`, `80/udp`, `80-90/tcp`.
fn parse_port_range(text: &str) -> Option<PortRange> {
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let (_, protocol) = crate::network::ports::parse(&format!("1/{protocol}")).ok()?;
    Some(PortRange { first: first.parse().ok()?, last: last.parse().ok()?, protocol })
}

/// Docker's sentence about a state.
pub(crate) fn status(state: &State, now_ns: i64) -> String {
    let since = |ns: i64| human_duration(Duration::from_nanos(u64::try_from(now_ns - ns).unwrap_or(0)));
    let up = || format!("Up {}", since(state.started_at));
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => match state.health.as_ref().map(|health| health.status.as_str()) {
            None | Some("none") => up(),
            Some("starting") => format!("{} (health: starting)", up()),
            Some(word) => format!("{} ({word})", up()),
        },
        Status::Paused => format!("{} (Paused)", up()),
        Status::Restarting => format!("Restarting ({}) {} ago", state.exit_code, since(state.finished_at)),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished_at)),
        Status::Dead => "Dead".to_owned(),
    }
}

fn ports(record: &Record, inner: &Inner) -> Vec<Port> {
    if !inner.state.is_alive() || inner.sandbox.endpoints.is_empty() {
        return Vec::new();
    }
    let mut ports: Vec<Port> = inner
        .sandbox
        .mappings
        .iter()
        .map(|mapping| Port {
            ip: mapping.host_ip.to_string(),
            private_port: mapping.container_port,
            public_port: mapping.host_port,
            kind: crate::network::ports::word(mapping.protocol).to_owned(),
        })
        .collect();
    for text in record.config.exposed_ports.keys() {
        let Ok((number, protocol)) = crate::network::ports::parse(text) else { continue };
        let kind = crate::network::ports::word(protocol);
        if !ports.iter().any(|port| port.private_port == number && port.kind == kind) {
            ports.push(Port { private_port: number, kind: kind.to_owned(), ..Port::default() });
        }
    }
    ports.sort_by(|a, b| {
        (a.private_port, &a.kind, &a.ip, a.public_port).cmp(&(b.private_port, &b.kind, &b.ip, b.public_port))
    });
    ports
}

/// The command as lists show it: arguments with blanks in quotes, nothing else escaped.
fn command_line(path: &str, args: &[String]) -> String {
    let mut line = path.to_owned();
    for arg in args {
        line.push(' ');
        match arg.contains(' ') {
            true => line.extend(["'", arg, "'"]),
            false => line.push_str(arg),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_show_where_arguments_end() {
        let args = ["-g", "daemon off;", ""].map(str::to_owned);
        assert_eq!(command_line("nginx", &args), "nginx -g 'daemon off;' ");
        assert_eq!(command_line("sh", &[]), "sh");
    }

    #[test]
    fn published_ports_are_the_hosts_and_exposed_ones_the_containers() {
        let port =
            |private_port, public_port| Port { private_port, public_port, kind: "tcp".to_owned(), ..Port::default() };
        let passes = |name: &str, value: &str| {
            let filters = Filters::parse(&format!("{{\"{name}\":[\"{value}\"]}}")).unwrap();
            ports_pass(&filters, || vec![port(80, 8080), port(443, 0)])
        };
        for (name, value, expected) in [
            ("publish", "8080", true),
            ("publish", "8000-8100/tcp", true),
            ("publish", "80", false),
            ("publish", "443", false),
            ("publish", "8080/udp", false),
            ("expose", "80", true),
            ("expose", "443/tcp", true),
            ("expose", "8080", false),
        ] {
            assert_eq!(passes(name, value), expected, "{name}={value}");
        }
    }

    #[test]
    fn statuses_read_as_dockers() {
        let second = 1_000_000_000;
        let state = |status, code| State {
            status,
            exit_code: code,
            started_at: 100 * second,
            finished_at: 200 * second,
            ..State::default()
        };
        let now = 260 * second;
        assert_eq!(status(&state(Status::Running, 0), now), "Up 2 minutes");
        assert_eq!(status(&state(Status::Paused, 0), now), "Up 2 minutes (Paused)");
        assert_eq!(status(&state(Status::Exited, 3), now), "Exited (3) About a minute ago");
        assert_eq!(status(&state(Status::Restarting, 1), now), "Restarting (1) About a minute ago");
        assert_eq!(status(&state(Status::Created, 0), now), "Created");
    }
}
