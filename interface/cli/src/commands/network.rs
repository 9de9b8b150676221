//! `network …`: lists, removes, prunes, connects and disconnects networks; [`super::network_create`] makes them.

use std::collections::BTreeMap;

use tare_docker_api::filters::Filters;
use tare_docker_api::network::{
    EndpointIpamConfig, EndpointSettings, Network, NetworkConnectRequest, NetworkDisconnectRequest, NetworkPruneReport,
};
use tare_docker_client::{Error, Query, Request};

use super::common::{FILTER, PRUNE_FILTER, PRUNE_FORCE, confirm, filters, prune_filters};
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::output::rows::{FORMAT_HELP, Format, Row, choose, resolve};
use crate::output::text::{go_time, id, labels, natural_order};

/// `network ls`
pub static LIST: Command = Command {
    names: &["network ls", "network list"],
    usage: "[OPTIONS]",
    about: "List networks",
    common: 0,
    arity: Arity::None,
    interspersed: true,
    flags: &[
        FILTER.help("Provide filter values (e.g. \"driver=bridge\")"),
        Flag::text("format", FORMAT_HELP),
        Flag::bool("no-trunc", "Do not truncate the output"),
        Flag::bool("quiet", "Only display network IDs").short('q'),
    ],
    run: |cli, m| Box::pin(list(cli, m)),
};

/// `network rm`
pub static REMOVE: Command = Command {
    names: &["network rm", "network remove"],
    usage: "NETWORK [NETWORK...]",
    about: "Remove one or more networks",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[Flag::bool("force", "Do not error if the network does not exist").short('f')],
    run: |cli, m| Box::pin(remove(cli, m)),
};

/// `network prune`
pub static PRUNE: Command = Command {
    names: &["network prune"],
    usage: "[OPTIONS]",
    about: "Remove all unused networks",
    common: 0,
    arity: Arity::None,
    interspersed: true,
    flags: &[PRUNE_FILTER, PRUNE_FORCE],
    run: |cli, m| Box::pin(run_prune(cli, m)),
};

/// `network connect`
pub static CONNECT: Command = Command {
    names: &["network connect"],
    usage: "[OPTIONS] NETWORK CONTAINER",
    about: "Connect a container to a network",
    common: 0,
    arity: Arity::Exactly(2),
    interspersed: true,
    flags: &[
        Flag::commas("alias", "Add network-scoped alias for the container"),
        Flag::commas("driver-opt", "driver options for the network"),
        Flag::int(
            "gw-priority",
            "Highest gw-priority provides the default gateway. Accepts positive and negative values.",
        ),
        Flag::text("ip", "IPv4 address (e.g., \"172.30.100.104\")").type_name("ip").check(check_address),
        Flag::text("ip6", "IPv6 address (e.g., \"2001:db8::33\")").type_name("ip").check(check_address),
        Flag::list("link", "Add link to another container").check(check_link),
        Flag::commas("link-local-ip", "Add a link-local address for the container")
            .type_name("ipSlice")
            .check(super::network_create::check_addresses),
    ],
    run: |cli, m| Box::pin(connect(cli, m)),
};

/// `network disconnect`
pub static DISCONNECT: Command = Command {
    names: &["network disconnect"],
    usage: "[OPTIONS] NETWORK CONTAINER",
    about: "Disconnect a container from a network",
    common: 0,
    arity: Arity::Exactly(2),
    interspersed: true,
    flags: &[Flag::bool("force", "Force the container to disconnect from a network").short('f')],
    run: |cli, m| Box::pin(disconnect(cli, m)),
};

const TABLE: &str = "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";
const HEADER: &[(&str, &str)] = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

async fn list(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let query = Query::new().some("filters", filters(m).to_json());
    let mut networks: Vec<Network> = cli.client()?.get_json("/networks", query).await?;
    networks.sort_by(|a, b| natural_order(&a.name, &b.name));
    let quiet = m.bool("quiet");
    let format = choose(cli, m.text("format"), "networksFormat", quiet)?;
    let format = match (format.as_str(), quiet) {
        ("raw", true) => "network_id: {{.ID}}",
        ("raw", false) => "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
        (other, quiet) => resolve(other, quiet, TABLE),
    };
    let short = !m.bool("no-trunc");
    Format::parse(format)?.write(&cli.out, HEADER, networks.into_iter().map(|n| row(n, short)).collect())?;
    Ok(0)
}

fn row(n: Network, short: bool) -> Row {
    Row::new("*network.networkContext")
        .with("ID", id(&n.id, short))
        .with("Name", n.name.as_str())
        .with("Driver", n.driver.as_str())
        .with("Scope", n.scope.as_str())
        .with("IPv4", n.enable_ipv4.to_string())
        .with("IPv6", n.enable_ipv6.to_string())
        .with("Internal", n.internal.to_string())
        .with("Labels", labels(n.labels.iter()))
        .with("CreatedAt", go_time(n.created))
        .labels(n.labels.into_inner())
}

async fn remove(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let client = cli.client()?;
    let mut failed = false;
    for name in &m.args {
        match client.delete(&format!("/networks/{name}"), Query::new()).await {
            Err(error) if m.bool("force") && error.is_not_found() => {}
            Err(error) => {
                cli.err.println(error.to_string())?;
                failed = true;
            }
            Ok(()) => cli.out.println(name)?,
        }
    }
    if failed { Err(CliError::new("exit status 1")) } else { Ok(0) }
}

const QUESTION: &str = "WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?";

async fn run_prune(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let filters = prune_filters(cli, m)?;
    if !m.bool("force") && !confirm(cli, QUESTION).await? {
        return Ok(0);
    }
    let text = prune(cli, &filters).await?;
    if !text.is_empty() {
        cli.out.println(text)?;
    }
    Ok(0)
}

/// Prunes; gives what to say.
pub async fn prune(cli: &Cli, filters: &Filters) -> Result<String, CliError> {
    let request = Request::post("/networks/prune").query(Query::new().some("filters", filters.to_json()));
    let report: NetworkPruneReport = cli.client()?.send(request).await?.json().await?;
    if report.networks_deleted.is_empty() {
        return Ok(String::new());
    }
    Ok(format!("Deleted Networks:\n{}\n", report.networks_deleted.join("\n")))
}

async fn connect(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let ipam = EndpointIpamConfig {
        ipv4_address: m.text("ip").to_owned(),
        ipv6_address: m.text("ip6").to_owned(),
        link_local_ips: m.list("link-local-ip").to_vec().into(),
    };
    let endpoint = EndpointSettings {
        ipam_config: Some(ipam),
        links: m.list("link").to_vec().into(),
        aliases: m.list("alias").to_vec().into(),
        driver_opts: driver_options(m.list("driver-opt"))?.into(),
        gw_priority: m.int("gw-priority"),
        ..EndpointSettings::default()
    };
    let request = NetworkConnectRequest { container: m.arg(1).to_owned(), endpoint_config: Some(endpoint) };
    send(cli, &format!("/networks/{}/connect", m.arg(0)), &request).await?;
    Ok(0)
}

async fn disconnect(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let request = NetworkDisconnectRequest { container: m.arg(1).to_owned(), force: m.bool("force") };
    send(cli, &format!("/networks/{}/disconnect", m.arg(0)), &request).await?;
    Ok(0)
}

async fn send<T: serde::Serialize>(cli: &Cli, path: &str, body: &T) -> Result<(), CliError> {
    let answer: Result<_, Error> = cli.client()?.send(Request::post(path).json(body)).await;
    answer?.discard().await;
    Ok(())
}

fn driver_options(options: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let pair = |option: &String| match option.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(CliError::new("invalid key/value pair format in driver options")),
    };
    options.iter().map(pair).collect()
}

fn check_address(text: &str) -> Result<(), String> {
    match text.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(()),
        Err(_) => Err(format!("failed to parse IP: {}", tare_gotemplate::quote(text))),
    }
}

fn check_link(text: &str) -> Result<(), String> {
    match text.split(':').count() {
        _ if text.is_empty() => Err("empty string specified for links".to_owned()),
        1 | 2 => Ok(()),
        _ => Err(format!("bad format for links: {text}")),
    }
}
