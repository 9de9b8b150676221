//! `tag`: gives an image another name.

use tare_docker_client::Query;
use tare_reference::Reference;

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::Matches;

/// `tag`
pub static COMMAND: Command = Command {
    names: &["image tag", "tag"],
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    about: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    common: 0,
    arity: Arity::Exactly(2),
    interspersed: false,
    flags: &[],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let (source, target) = (m.arg(0), m.arg(1));
    let bad = |name: &str, why: String| {
        CliError::new(format!(
            "error parsing reference: {} is not a valid repository/tag: {why}",
            tare_gotemplate::quote(name)
        ))
    };
    let reference = Reference::parse_normalized(target).map_err(|e| bad(target, e.to_string()))?;
    if reference.digest().is_some() {
        return Err(CliError::new("refusing to create a tag with a digest reference"));
    }
    let reference = reference.with_default_tag();
    let query = Query::new().add("repo", reference.name()).add("tag", reference.tag().unwrap_or_default());
    cli.client()?.post(&format!("/images/{source}/tag"), query).await?;
    Ok(0)
}
