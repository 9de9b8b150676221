//! `volume …`: makes, lists, removes and prunes volumes.

use tare_docker_api::filters::Filters;
use tare_docker_api::volume::{Volume, VolumeCreateRequest, VolumeList, VolumePruneReport};
use tare_docker_client::{Query, Request};

use super::common::{FILTER, PRUNE_FILTER, PRUNE_FORCE, confirm, filters, prune_filters};
use super::network_create::map;
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::output::rows::{FORMAT_HELP, Format, Row, choose};
use crate::output::text::{labels, natural_order, size4};

const NO_CLUSTER: &str = "there are no cluster volumes on a single machine";

/// `volume create`
pub static CREATE: Command = Command {
    names: &["volume create"],
    usage: "[OPTIONS] [VOLUME]",
    about: "Create a volume",
    common: 0,
    arity: Arity::AtMost(1),
    interspersed: true,
    flags: &[
        Flag::text("availability", "").hidden().unsupported(NO_CLUSTER),
        Flag::text("driver", "Specify volume driver name").short('d').default("local"),
        Flag::text("group", "").hidden().unsupported(NO_CLUSTER),
        Flag::list("label", "Set metadata for a volume"),
        Flag::text("limit-bytes", "").hidden().unsupported(NO_CLUSTER),
        Flag::text("name", "Specify volume name").hidden(),
        Flag::list("opt", "Set driver specific options").short('o').type_name("map").default("map[]"),
        Flag::text("required-bytes", "").hidden().unsupported(NO_CLUSTER),
        Flag::text("scope", "").hidden().unsupported(NO_CLUSTER),
        Flag::list("secret", "").hidden().unsupported(NO_CLUSTER),
        Flag::text("sharing", "").hidden().unsupported(NO_CLUSTER),
        Flag::list("topology-preferred", "").hidden().unsupported(NO_CLUSTER),
        Flag::list("topology-required", "").hidden().unsupported(NO_CLUSTER),
        Flag::text("type", "").hidden().unsupported(NO_CLUSTER),
    ],
    run: |cli, m| Box::pin(create(cli, m)),
};

/// `volume ls`
pub static LIST: Command = Command {
    names: &["volume ls", "volume list"],
    usage: "[OPTIONS]",
    about: "List volumes",
    common: 0,
    arity: Arity::None,
    interspersed: true,
    flags: &[
        Flag::bool("cluster", "").hidden().unsupported(NO_CLUSTER),
        FILTER.help("Provide filter values (e.g. \"dangling=true\")"),
        Flag::text("format", FORMAT_HELP),
        Flag::bool("quiet", "Only display volume names").short('q'),
    ],
    run: |cli, m| Box::pin(list(cli, m)),
};

/// `volume rm`
pub static REMOVE: Command = Command {
    names: &["volume rm", "volume remove"],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Remove one or more volumes. You cannot remove a volume that is in use by a container.",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[Flag::bool("force", "Force the removal of one or more volumes").short('f')],
    run: |cli, m| Box::pin(remove(cli, m)),
};

/// `volume prune`
pub static PRUNE: Command = Command {
    names: &["volume prune"],
    usage: "[OPTIONS]",
    about: "Remove unused local volumes",
    common: 0,
    arity: Arity::None,
    interspersed: true,
    flags: &[
        Flag::bool("all", "Remove all unused volumes, not just anonymous ones").short('a'),
        PRUNE_FILTER.help("Provide filter values (e.g. \"label=<label>\")"),
        PRUNE_FORCE,
    ],
    run: |cli, m| Box::pin(run_prune(cli, m)),
};

async fn create(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let name = match (m.args.first(), m.text("name")) {
        (Some(_), named) if !named.is_empty() => {
            let text = "conflicting options: cannot specify a volume-name through both --name and as a positional arg";
            return Err(CliError::new(text));
        }
        (Some(name), _) => name.clone(),
        (None, named) => named.to_owned(),
    };
    let request = VolumeCreateRequest {
        driver: m.text("driver").to_owned(),
        driver_opts: map(m.list("opt")).into(),
        labels: map(m.list("label")).into(),
        name,
        ..VolumeCreateRequest::default()
    };
    let volume: Volume = cli.client()?.post_json("/volumes/create", Query::new(), &request).await?;
    cli.out.println(volume.name)?;
    Ok(0)
}

/// Columns of a table of volumes.
pub const HEADER: &[(&str, &str)] = &[
    ("ID", "ID"),
    ("Name", "VOLUME NAME"),
    ("Group", "GROUP"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("Availability", "AVAILABILITY"),
    ("Mountpoint", "MOUNTPOINT"),
    ("Labels", "LABELS"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
    ("Status", "STATUS"),
];

async fn list(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let query = Query::new().some("filters", filters(m).to_json());
    let mut answer: VolumeList = cli.client()?.get_json("/volumes", query).await?;
    answer.volumes.sort_by(|a, b| natural_order(&a.name, &b.name));
    let quiet = m.bool("quiet");
    let format = choose(cli, m.text("format"), "volumesFormat", quiet)?;
    let format = match (format.as_str(), quiet) {
        ("table", true) => "{{.Name}}",
        ("table", false) => "table {{.Driver}}\t{{.Name}}",
        ("raw", true) => "name: {{.Name}}",
        ("raw", false) => "name: {{.Name}}\ndriver: {{.Driver}}\n",
        (other, _) => other,
    };
    Format::parse(format)?.write(&cli.out, HEADER, answer.volumes.into_iter().map(row).collect())?;
    Ok(0)
}

/// The row of a volume.
pub fn row(v: Volume) -> Row {
    let usage = v.usage_data.as_ref();
    Row::new("*formatter.volumeContext")
        .with("Name", v.name.as_str())
        .with("Driver", v.driver.as_str())
        .with("Scope", v.scope.as_str())
        .with("Mountpoint", v.mountpoint.as_str())
        .with("Labels", labels(v.labels.iter()))
        .with("Links", usage.map_or_else(|| "N/A".to_owned(), |u| u.ref_count.to_string()))
        .with("Size", usage.map_or_else(|| "N/A".to_owned(), |u| size4(u.size)))
        .with("Group", "N/A")
        .with("Availability", "N/A")
        .with("Status", "N/A")
        .labels(v.labels.into_inner())
}

async fn remove(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let client = cli.client()?;
    let query = Query::new().flag("force", m.bool("force"));
    let mut errors = Vec::new();
    for name in &m.args {
        match client.delete(&format!("/volumes/{name}"), query.clone()).await {
            Ok(()) => cli.out.println(name)?,
            Err(error) => errors.push(error.into()),
        }
    }
    CliError::join(errors).map_or(Ok(0), Err)
}

async fn run_prune(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let mut filters = prune_filters(cli, m)?;
    let mut what = "anonymous local volumes";
    if m.bool("all") {
        if filters.contains("all") {
            return Err(CliError::new("conflicting options: cannot specify both --all and --filter all=1"));
        }
        filters.add("all", "true");
        what = "all local volumes";
    }
    let question = format!(
        "WARNING! This will remove {what} not used by at least one container.\nAre you sure you want to continue?"
    );
    if !m.bool("force") && !confirm(cli, &question).await? {
        return Ok(0);
    }
    let (bytes, text) = prune(cli, &filters).await?;
    if !text.is_empty() {
        cli.out.println(text)?;
    }
    cli.out.println(format!("Total reclaimed space: {}", size4(bytes)))?;
    Ok(0)
}

/// Prunes; gives the bytes freed and what to say.
pub async fn prune(cli: &Cli, filters: &Filters) -> Result<(i64, String), CliError> {
    let request = Request::post("/volumes/prune").query(Query::new().some("filters", filters.to_json()));
    let report: VolumePruneReport = cli.client()?.send(request).await?.json().await?;
    if report.volumes_deleted.is_empty() {
        return Ok((0, String::new()));
    }
    let text = format!("Deleted Volumes:\n{}\n", report.volumes_deleted.join("\n"));
    Ok((i64::try_from(report.space_reclaimed).unwrap_or(i64::MAX), text))
}
