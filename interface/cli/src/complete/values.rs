//! The values there are: words, and names that the daemon knows.

use std::collections::BTreeMap;

use serde_json::Value;
use tare_docker_api::alert::Alert;
use tare_docker_api::container::ContainerSummary;
use tare_docker_api::image::ImageSummary;
use tare_docker_client::Query;
use tare_reference::Reference;

use super::source::{self, Source, Which};
use super::{Directive, Place, Proposals};
use crate::cli::Cli;
use crate::command::Command;
use crate::context;
use crate::error::CliError;
use crate::flags::Flag;

/// Set to `yes`, it has IDs of containers proposed beside their names.
const SHOW_IDS: &str = "DOCKER_COMPLETION_SHOW_CONTAINER_IDS";
/// What a container's namespaces may be taken from.
const CONTAINER: &str = "container:";
/// Signals by name; a container also takes their numbers.
const SIGNALS: &[&str] = &[
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];
/// Options of the drivers of logs.
const LOG_OPTIONS: &[(&str, &[&str])] = &[
    (
        "gelf",
        &[
            "max-buffer-size=",
            "mode=",
            "env=",
            "env-regex=",
            "gelf-address=",
            "gelf-compression-level=",
            "gelf-compression-type=",
            "labels=",
            "tag=",
        ],
    ),
    ("journald", &["max-buffer-size=", "mode=", "env=", "env-regex=", "labels=", "tag="]),
    (
        "json-file",
        &["max-buffer-size=", "mode=", "env=", "env-regex=", "labels=", "compress=", "max-file=", "max-size="],
    ),
    ("local", &["max-buffer-size=", "mode=", "compress=", "max-file=", "max-size="]),
    ("none", &[]),
    (
        "syslog",
        &[
            "max-buffer-size=",
            "mode=",
            "env=",
            "env-regex=",
            "labels=",
            "syslog-address=",
            "syslog-facility=",
            "syslog-format=",
            "tag=",
        ],
    ),
];
const EVENT_FILTERS: &[&str] =
    &["container=", "daemon=", "event=", "image=", "label=", "network=", "scope=", "type=", "volume="];
/// Actions of events.
const EVENTS: &[&str] = &[
    "create",
    "start",
    "restart",
    "stop",
    "pause",
    "unpause",
    "attach",
    "detach",
    "resize",
    "update",
    "rename",
    "kill",
    "die",
    "oom",
    "destroy",
    "remove",
    "commit",
    "top",
    "copy",
    "archive-path",
    "extract-to-dir",
    "export",
    "import",
    "save",
    "load",
    "tag",
    "untag",
    "push",
    "pull",
    "prune",
    "delete",
    "connect",
    "disconnect",
    "reload",
    "mount",
    "unmount",
    "exec_create",
    "exec_start",
    "exec_die",
    "exec_detach",
    "health_status",
];

/// Values of a flag.
pub async fn of_flag(cli: &Cli, place: &Place, flag: &Flag, part: &str) -> Proposals {
    answer(cli, place, source::of_flag(place.command, flag), part).await
}

/// Values of an argument: those that are there already are not proposed again.
pub async fn of_arguments(cli: &Cli, place: &Place, command: &Command, part: &str) -> Proposals {
    let source = source::of_argument(command, place.arguments.len());
    let mut proposals = answer(cli, place, source, part).await;
    proposals.entries.retain(|(value, _)| !place.arguments.contains(value));
    proposals
}

async fn answer(cli: &Cli, place: &Place, source: Source, part: &str) -> Proposals {
    find(cli, place, source, part).await.unwrap_or(Proposals { entries: Vec::new(), directive: Directive::ERROR })
}

async fn find(cli: &Cli, place: &Place, source: Source, part: &str) -> Result<Proposals, CliError> {
    let plain = |values: Vec<String>| Ok(Proposals::of(values, Directive::NO_FILES));
    match source {
        Source::Nothing => Ok(Proposals::none()),
        Source::Files => Ok(Proposals { entries: Vec::new(), directive: Directive::FILES }),
        Source::Directories => Ok(Proposals { entries: Vec::new(), directive: Directive::DIRECTORIES }),
        Source::Words(words) => Ok(Proposals::of(words.iter().copied(), Directive::NO_FILES)),
        Source::Capabilities => {
            let all = std::iter::once("ALL").chain(tare_oci_runtime::CAPABILITIES.iter().copied());
            Ok(Proposals::of(all, Directive::NO_FILES))
        }
        Source::Beginnings(words) => Ok(Proposals::of(words.iter().copied(), Directive::NO_SPACE)),
        Source::Containers(which) => plain(containers(cli, place, which).await?),
        Source::Links => {
            let names = containers(cli, place, Which::All).await.unwrap_or_default();
            Ok(Proposals::of(names.into_iter().map(|name| name + ":"), Directive::NO_SPACE))
        }
        Source::ModeOrContainer(modes) => Ok(mode(cli, place, modes, part).await),
        Source::Images => plain(tags(&images(cli).await?)),
        Source::ImagesAndNames => {
            let mut names = tags(&images(cli).await?);
            names.extend(shared_names(&names));
            Ok(Proposals::of(names, Directive::NO_SPACE.and(Directive::NO_FILES)))
        }
        Source::Networks => plain(names(cli, "/networks", "").await?),
        Source::Volumes => plain(names(cli, "/volumes", "/Volumes").await?),
        Source::Alerts => {
            let alerts: Vec<Alert> = cli.client()?.get_json("/tare/alerts", Query::new()).await?;
            plain(alerts.into_iter().map(|alert| alert.spec.name).collect())
        }
        Source::Contexts => plain(context::all(cli).into_iter().map(|c| c.name).collect()),
        Source::MarkedContexts => {
            let current = context::current(cli)?;
            let note = |name: &str| if name == current { "current" } else { "" }.to_owned();
            let entries = context::all(cli).into_iter().map(|c| (c.name.clone(), note(&c.name))).collect();
            Ok(Proposals { entries, directive: Directive::NO_FILES })
        }
        Source::Typed => {
            let source = match place.value("type") {
                "container" => Source::Containers(Which::All),
                "image" => Source::Images,
                "network" => Source::Networks,
                "volume" => Source::Volumes,
                _ => Source::Nothing,
            };
            Box::pin(find(cli, place, source, part)).await
        }
        Source::Variables => plain(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()),
        Source::Signals => plain(signals()),
        Source::LogDrivers => plain(
            drivers(cli, "/Plugins/Log")
                .await
                .unwrap_or_else(|| LOG_OPTIONS.iter().map(|(driver, _)| (*driver).to_owned()).collect()),
        ),
        Source::VolumeDrivers => {
            plain(drivers(cli, "/Plugins/Volume").await.unwrap_or_else(|| vec!["local".to_owned()]))
        }
        Source::LogOptions => Ok(log_options(place.value("log-driver"))),
        Source::SecurityOptions => Ok(security_options(part)),
        Source::EventFilters => event_filters(cli, place, part).await,
    }
}

/// Names of containers, and their IDs when the environment asks for them.
async fn containers(cli: &Cli, place: &Place, which: Which) -> Result<Vec<String>, CliError> {
    let all = !matches!(which, Which::Listed | Which::Running | Which::Paused);
    let query = Query::new().flag("all", all);
    let containers: Vec<ContainerSummary> = cli.client()?.get_json("/containers/json", query).await?;
    let stopped = |c: &ContainerSummary| matches!(c.state.as_str(), "created" | "exited");
    let fits = |c: &ContainerSummary| match which {
        Which::All | Which::Listed => true,
        Which::Running => c.state != "paused",
        Which::Paused => c.state == "paused",
        Which::Startable => stopped(c),
        Which::Removable => place.is_on("force") || stopped(c),
        Which::Connected => {
            let network = place.arguments.first().map_or("", String::as_str);
            c.network_settings.networks.keys().any(|name| name == network)
        }
    };
    let ids = std::env::var(SHOW_IDS).is_ok_and(|value| value == "yes");
    let proposed = containers.into_iter().filter(fits).flat_map(|c| {
        // The others are names of legacy links.
        let name = c.names.iter().map(|n| n.trim_start_matches('/')).find(|n| !n.contains('/')).map(str::to_owned);
        [ids.then_some(c.id), name].into_iter().flatten()
    });
    Ok(proposed.collect())
}

/// The kind of a namespace: of the host, …, or a container's.
async fn mode(cli: &Cli, place: &Place, modes: &'static [&'static str], part: &str) -> Proposals {
    if part.starts_with(CONTAINER) {
        let names = containers(cli, place, Which::All).await.unwrap_or_default();
        return Proposals::of(names.into_iter().map(|name| format!("{CONTAINER}{name}")), Directive::NO_FILES);
    }
    if !part.is_empty() && CONTAINER.starts_with(part) {
        return Proposals::of([CONTAINER], Directive::NO_SPACE);
    }
    Proposals::of(modes.iter().copied(), Directive::NO_FILES)
}

async fn images(cli: &Cli) -> Result<Vec<ImageSummary>, CliError> {
    Ok(cli.client()?.get_json("/images/json", Query::new()).await?)
}

fn tags(images: &[ImageSummary]) -> Vec<String> {
    images.iter().flat_map(|image| image.repo_tags.iter().cloned()).filter(|tag| tag != "<none>:<none>").collect()
}

/// Names of images that several tags have.
fn shared_names(tags: &[String]) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for reference in tags.iter().filter_map(|tag| Reference::parse_normalized(tag).ok()) {
        *counts.entry(reference.familiar_name()).or_default() += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect()
}

/// The names in a list, which is at `pointer` of what a path answers.
async fn names(cli: &Cli, path: &str, pointer: &str) -> Result<Vec<String>, CliError> {
    let document: Value = cli.client()?.get_json(path, Query::new()).await?;
    let list = document.pointer(pointer).and_then(Value::as_array);
    let name = |item: &Value| item.get("Name").and_then(Value::as_str).map(str::to_owned);
    Ok(list.into_iter().flatten().filter_map(name).collect())
}

/// Drivers as `info` names them.
async fn drivers(cli: &Cli, pointer: &str) -> Option<Vec<String>> {
    let info: Value = cli.client().ok()?.get_json("/info", Query::new()).await.ok()?;
    let list = info.pointer(pointer)?.as_array()?;
    Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

fn signals() -> Vec<String> {
    let named = SIGNALS.iter().map(|name| (*name).to_owned());
    let low = (1..=15).map(|n| format!("RTMIN+{n}"));
    let high = (1..=14).rev().map(|n| format!("RTMAX-{n}"));
    named.chain(["RTMIN".to_owned()]).chain(low).chain(high).chain(["RTMAX".to_owned()]).collect()
}

fn log_options(driver: &str) -> Proposals {
    if let Some((_, options)) = LOG_OPTIONS.iter().find(|(name, _)| *name == driver) {
        return Proposals::of(options.iter().copied(), Directive::NO_SPACE.and(Directive::NO_FILES));
    }
    let mut all: Vec<&str> = Vec::new();
    for option in LOG_OPTIONS.iter().flat_map(|(_, options)| options.iter()) {
        if !all.contains(option) {
            all.push(option);
        }
    }
    Proposals::of(all, Directive::NO_SPACE)
}

fn security_options(part: &str) -> Proposals {
    // Enough of it is there to know how it goes on.
    let begins = |word: &str, least: usize| part.len() >= least && word.starts_with(part);
    let open = |word: &'static str| Proposals::of([word], Directive::NO_SPACE);
    match part {
        _ if begins("apparmor=", 1) => open("apparmor="),
        _ if begins("label", 1) => open("label="),
        _ if part.starts_with("label=d") => Proposals::of(["label=disable"], Directive::NO_FILES),
        _ if part.starts_with("label=") => Proposals::of(
            ["label=disable", "label=level:", "label=role:", "label=type:", "label=user:"],
            Directive::NO_SPACE.and(Directive::NO_FILES),
        ),
        // A lone `s` may become `systempaths`.
        _ if begins("seccomp", 2) => open("seccomp="),
        _ if part.starts_with("seccomp=") => Proposals::of(["seccomp=unconfined"], Directive::NO_FILES),
        _ => Proposals::of(
            ["apparmor=", "label=", "no-new-privileges", "seccomp=", "systempaths=unconfined"],
            Directive::NO_FILES,
        ),
    }
}

async fn event_filters(cli: &Cli, place: &Place, part: &str) -> Result<Proposals, CliError> {
    let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<String>>();
    let (key, values) = match part.split_once('=') {
        Some((key @ "container", _)) => (key, containers(cli, place, Which::All).await?),
        Some((key @ "daemon", _)) => {
            let info: Value = cli.client()?.get_json("/info", Query::new()).await?;
            let text = |key: &str| info.get(key).and_then(Value::as_str).map(str::to_owned);
            (key, [text("Name"), text("ID")].into_iter().flatten().collect())
        }
        Some((key @ "event", _)) => (key, words(EVENTS)),
        Some((key @ "image", _)) => (key, tags(&images(cli).await?)),
        Some((key @ "network", _)) => (key, names(cli, "/networks", "").await?),
        Some((key @ "scope", _)) => (key, words(&["local", "swarm"])),
        Some((key @ "type", _)) => {
            (key, words(&["builder", "container", "daemon", "image", "network", "plugin", "volume"]))
        }
        Some((key @ "volume", _)) => (key, names(cli, "/volumes", "/Volumes").await?),
        Some(("label", _)) => return Ok(Proposals::none()),
        _ => return Ok(Proposals::of(EVENT_FILTERS.iter().copied(), Directive::NO_SPACE)),
    };
    Ok(Proposals::of(values.into_iter().map(|value| format!("{key}={value}")), Directive::NO_FILES))
}
