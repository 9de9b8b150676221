//! `history`: how an image came to be.

use tare_docker_api::image::History;
use tare_docker_client::Query;

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::opts::platform;
use crate::output::rows::{FORMAT_HELP, Format, Row, resolve};
use crate::output::text::{ago, ellipsis, id, local_rfc3339, size3};

/// `history`
pub static COMMAND: Command = Command {
    names: &["image history", "history"],
    usage: "[OPTIONS] IMAGE",
    about: "Show the history of an image",
    common: 0,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[
        Flag::text("format", FORMAT_HELP),
        Flag::bool("human", "Print sizes and dates in human readable format").short('H').default("true"),
        Flag::bool("no-trunc", "Don't truncate output"),
        Flag::text(
            "platform",
            "Show history for the given platform. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
        ),
        Flag::bool("quiet", "Only show image IDs").short('q'),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

const TABLE: &str = "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const EXACT_TABLE: &str = "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const HEADER: &[(&str, &str)] = &[
    ("ID", "IMAGE"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("CreatedBy", "CREATED BY"),
    ("Size", "SIZE"),
    ("Comment", "COMMENT"),
];
/// The start of the year 2000 in unix seconds; what is older has a made-up date.
const EPOCH: i64 = 946_684_800;

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let mut query = Query::new();
    if m.given("platform") {
        let platform =
            platform::parse(m.text("platform")).map_err(|e| CliError::new(format!("invalid platform: {e}")))?;
        query = query.add("platform", serde_json::to_string(&platform).unwrap_or_default());
    }
    let history: Vec<History> = cli.client()?.get_json(&format!("/images/{}/history", m.arg(0)), query).await?;
    let (human, short) = (m.bool("human"), !m.bool("no-trunc"));
    let format = if m.text("format").is_empty() { "table" } else { m.text("format") };
    let table = if human { TABLE } else { EXACT_TABLE };
    let format = Format::parse(resolve(format, m.bool("quiet"), table))?;
    format.write(&cli.out, HEADER, history.iter().map(|h| row(h, human, short)).collect())?;
    Ok(0)
}

fn row(h: &History, human: bool, short: bool) -> Row {
    let created_by = h.created_by.replace('\t', " ");
    let since = match human {
        false => local_rfc3339(h.created),
        true if h.created <= EPOCH => "N/A".to_owned(),
        true => ago(h.created),
    };
    Row::new("*image.historyContext")
        .with("ID", id(&h.id, short))
        .with("CreatedAt", local_rfc3339(h.created))
        .with("CreatedSince", since)
        .with("CreatedBy", if short { ellipsis(&created_by, 45) } else { created_by })
        .with("Size", if human { size3(h.size) } else { h.size.to_string() })
        .with("Comment", h.comment.as_str())
}
