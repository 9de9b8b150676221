//! `system prune`: containers, networks, volumes if asked for, images and the cache of builds that nothing uses.

use tare_docker_api::filters::Filters;

use super::common::{PRUNE_FILTER, PRUNE_FORCE, confirm, prune_filters};
use super::{builder_prune, container_prune, image_prune, network, volume};
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::output::text::{natural_order, size4};

/// `system prune`
pub static COMMAND: Command = Command {
    names: &["system prune"],
    usage: "[OPTIONS]",
    about: "Remove unused data",
    common: 0,
    arity: Arity::None,
    interspersed: true,
    flags: &[
        Flag::bool("all", "Remove all unused images not just dangling ones").short('a'),
        PRUNE_FILTER.help("Provide filter values (e.g. \"label=<key>=<value>\")"),
        PRUNE_FORCE,
        Flag::bool("volumes", "Prune anonymous volumes"),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let (all, volumes) = (m.bool("all"), m.bool("volumes"));
    let filters = prune_filters(cli, m)?;
    if volumes && filters.contains("until") {
        return Err(CliError::new("ERROR: The \"until\" filter is not supported with \"--volumes\""));
    }
    if !m.bool("force") && !confirm(cli, &question(&filters, all, volumes)).await? {
        return Ok(0);
    }
    let mut total = 0_i64;
    let mut tell = |(bytes, text): (i64, String)| {
        total = total.saturating_add(bytes);
        if text.is_empty() { Ok(()) } else { cli.out.println(text) }
    };
    tell(container_prune::prune(cli, &filters).await?)?;
    tell((0, network::prune(cli, &filters).await?))?;
    if volumes {
        tell(volume::prune(cli, &filters).await?)?;
    }
    tell(image_prune::prune(cli, filters.clone(), all).await?)?;
    tell(builder_prune::prune(cli, &filters, all, 0).await?)?;
    cli.out.println(format!("Total reclaimed space: {}", size4(total)))?;
    Ok(0)
}

fn question(filters: &Filters, all: bool, volumes: bool) -> String {
    let mut text =
        "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n"
            .to_owned();
    if volumes {
        text.push_str("  - all anonymous volumes not used by at least one container\n");
    }
    text.push_str(match all {
        true => "  - all images without at least one container associated to them\n  - all build cache\n",
        false => "  - all dangling images\n  - unused build cache\n",
    });
    let named = |name: &'static str| filters.get(name).map(move |value| format!("{name}={value}"));
    let mut lines: Vec<String> = named("label").chain(named("label!")).chain(named("until")).collect();
    lines.sort_by(|a, b| natural_order(a, b));
    if !lines.is_empty() {
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        for line in lines {
            text.push_str(&format!("  - {line}\n"));
        }
    }
    text.push_str("\nAre you sure you want to continue?");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked() {
        let mut filters = Filters::default();
        filters.add("until", "24h");
        insta::assert_snapshot!(question(&filters, true, true), @r"
        WARNING! This will remove:
          - all stopped containers
          - all networks not used by at least one container
          - all anonymous volumes not used by at least one container
          - all images without at least one container associated to them
          - all build cache

          Items to be pruned will be filtered with:
          - until=24h

        Are you sure you want to continue?
        ");
    }
}
