//! `inspect`, of anything and of each kind of thing.

use tare_docker_client::{Client, Error, Query, Request};

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::opts::platform;
use crate::output::inspect::{Document, inspect};
use crate::output::rows::INSPECT_FORMAT_HELP;

const FORMAT: Flag = Flag::text("format", INSPECT_FORMAT_HELP).short('f');
const SIZE: Flag = Flag::bool("size", "Display total file sizes").short('s');

/// `inspect`
pub static COMMAND: Command = Command {
    names: &["inspect"],
    usage: "[OPTIONS] NAME|ID [NAME|ID...]",
    about: "Return low-level information on Docker objects",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[
        FORMAT,
        Flag::bool("size", "Display total file sizes if the type is container").short('s'),
        Flag::text("type", "Only inspect objects of the given type"),
    ],
    run: |cli, m| Box::pin(any(cli, m)),
};

/// `container inspect`
pub static CONTAINER: Command = Command {
    names: &["container inspect"],
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    about: "Display detailed information on one or more containers",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[FORMAT, SIZE],
    run: |cli, m| Box::pin(one_kind(cli, m, &KINDS[0])),
};

/// `image inspect`
pub static IMAGE: Command = Command {
    names: &["image inspect"],
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Display detailed information on one or more images",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[
        FORMAT,
        Flag::text(
            "platform",
            "Inspect a specific platform of the multi-platform image.\nIf the image or the server is not multi-platform \
             capable, the command will error out if the platform does not match.\n'os[/arch[/variant]]': Explicit \
             platform (eg. linux/amd64)",
        ),
    ],
    run: |cli, m| Box::pin(one_kind(cli, m, &KINDS[1])),
};

/// `network inspect`
pub static NETWORK: Command = Command {
    names: &["network inspect"],
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    about: "Display detailed information on one or more networks",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[FORMAT, Flag::bool("verbose", "Verbose output for diagnostics").short('v')],
    run: |cli, m| Box::pin(one_kind(cli, m, &KINDS[2])),
};

/// `volume inspect`
pub static VOLUME: Command = Command {
    names: &["volume inspect"],
    usage: "[OPTIONS] VOLUME [VOLUME...]",
    about: "Display detailed information on one or more volumes",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[FORMAT],
    run: |cli, m| Box::pin(one_kind(cli, m, &KINDS[3])),
};

/// Something that can be inspected.
struct Kind {
    name: &'static str,
    path: fn(&str) -> String,
    /// Its type as templates see it.
    type_name: &'static str,
}

/// In the order in which `inspect` tries them.
static KINDS: [Kind; 4] = [
    Kind { name: "container", path: |name| format!("/containers/{name}/json"), type_name: "container.InspectResponse" },
    Kind { name: "image", path: |name| format!("/images/{name}/json"), type_name: "image.InspectResponse" },
    Kind { name: "network", path: |name| format!("/networks/{name}"), type_name: "network.Inspect" },
    Kind { name: "volume", path: |name| format!("/volumes/{name}"), type_name: "volume.Volume" },
];

/// Kinds that docker knows and we do not have.
const FOREIGN: &[&str] = &["config", "node", "plugin", "secret", "service", "task"];

async fn fetch(client: &Client, kind: &Kind, name: &str, query: Query) -> Result<Document, Error> {
    let answer = client.send(Request::get((kind.path)(name)).query(query)).await?;
    let raw = answer.bytes().await?.trim_ascii().to_vec();
    Ok(Document { raw, type_name: kind.type_name })
}

async fn one_kind(cli: &Cli, m: &Matches, kind: &'static Kind) -> Result<i32, CliError> {
    let query = match kind.name {
        "container" => Query::new().flag("size", m.bool("size")),
        "network" => Query::new().add("verbose", m.bool("verbose").to_string()),
        "image" => match m.text("platform") {
            "" => Query::new(),
            text => {
                let platform = platform::parse(text).map_err(|e| CliError::new(e.to_string()))?;
                Query::new().add("platform", serde_json::to_string(&platform).unwrap_or_default())
            }
        },
        _ => Query::new(),
    };
    let client = cli.client()?;
    inspect(cli, &m.args, m.text("format"), |name| {
        let query = query.clone();
        async move { Ok(fetch(client, kind, name, query).await?) }
    })
    .await
}

async fn any(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let wanted = m.text("type");
    check_type(wanted, m.given("type"))?;
    let size = m.bool("size");
    let client = cli.client()?;
    inspect(cli, &m.args, m.text("format"), |name| async move {
        for kind in KINDS.iter().filter(|k| wanted.is_empty() || k.name == wanted) {
            let sized = kind.name == "container";
            match fetch(client, kind, name, Query::new().flag("size", size && sized)).await {
                Ok(document) => {
                    if size && !sized {
                        cli.warn(&format!("--size ignored for {}", kind.name))?;
                    }
                    return Ok(document);
                }
                Err(error) if wanted.is_empty() && means_other_kind(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(CliError::new(format!("error: no such object: {name}")))
    })
    .await
}

fn check_type(wanted: &str, given: bool) -> Result<(), CliError> {
    if KINDS.iter().any(|k| k.name == wanted) || (wanted.is_empty() && !given) {
        return Ok(());
    }
    if FOREIGN.contains(&wanted) {
        return Err(CliError::new(format!(
            "type {wanted} is not supported: there are no {wanted}s on a single machine"
        )));
    }
    let mut all: Vec<&str> = KINDS.iter().map(|k| k.name).chain(FOREIGN.iter().copied()).collect();
    all.sort_unstable();
    let all = all.join("\", \"");
    Err(CliError::new(match wanted {
        "" => format!("type is empty: must be one of \"{all}\""),
        other => format!("unknown type: \"{other}\": must be one of \"{all}\""),
    }))
}

/// Whether the name may be that of something else.
fn means_other_kind(error: &Error) -> bool {
    let text = error.to_string();
    error.is_not_found() || text.contains("not supported") || text.contains("invalid reference format")
}

/// `inspect` of documents that are not the daemon's.
pub async fn inspect_local(
    cli: &Cli,
    names: &[String],
    format: &str,
    find: impl Fn(&str) -> Result<Vec<u8>, CliError>,
) -> Result<i32, CliError> {
    inspect(cli, names, format, async |name| Ok(Document { raw: find(name)?, type_name: "any" })).await
}
