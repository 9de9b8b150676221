//! `pull`: an image, or all of a repository's, from a registry.

use tare_docker_api::oci::Platform;
use tare_docker_client::{Query, Request};
use tare_reference::Reference;

use crate::cli::{Cli, Output};
use crate::command::{Arity, Command};
use crate::credentials::registry_auth;
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::opts::platform;
use crate::progress;

/// `pull`
pub static COMMAND: Command = Command {
    names: &["image pull", "pull"],
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    about: "Download an image from a registry",
    common: 5,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[
        Flag::bool("all-tags", "Download all tagged images in the repository").short('a'),
        Flag::bool("disable-content-trust", "Skip image verification (deprecated)")
            .default("true")
            .deprecated(NO_TRUST),
        Flag::text("platform", "Set platform if server is multi-platform capable"),
        Flag::bool("quiet", "Suppress verbose output").short('q'),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

/// Why `--disable-content-trust` has no effect.
pub const NO_TRUST: &str = "support for docker content trust was removed";

/// The header that carries credentials.
pub const AUTH_HEADER: &str = "x-registry-auth";

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let (all, quiet) = (m.bool("all-tags"), m.bool("quiet"));
    let reference = remote(cli, m.arg(0), all, quiet)?;
    let platform = match platform_flag(m).as_str() {
        "" => None,
        text => Some(platform::parse(text).map_err(|e| CliError::new(e.0))?),
    };
    pull(cli, &reference, all, platform.as_ref(), (!quiet).then_some(&cli.out)).await?;
    cli.out.println(reference.to_string())?;
    Ok(0)
}

/// `--platform`, or what the environment says.
pub fn platform_flag(m: &Matches) -> String {
    if m.given("platform") {
        return m.text("platform").to_owned();
    }
    std::env::var("DOCKER_DEFAULT_PLATFORM").unwrap_or_default()
}

/// The image or repository that `pull` and `push` are about; says so when a tag is assumed.
pub fn remote(cli: &Cli, name: &str, all: bool, quiet: bool) -> Result<Reference, CliError> {
    let reference = Reference::parse_normalized(name).map_err(|e| CliError::new(e.to_string()))?;
    let name_only = reference.tag().is_none() && reference.digest().is_none();
    if all && !name_only {
        return Err(CliError::new("tag can't be used with --all-tags/-a"));
    }
    if all || !name_only {
        return Ok(reference);
    }
    let reference = reference.with_default_tag();
    if !quiet {
        cli.out.println(format!("Using default tag: {}", reference.tag().unwrap_or_default()))?;
    }
    Ok(reference)
}

/// Pulls an image, or all of a repository; progress goes to `out`, if anywhere.
pub async fn pull(
    cli: &Cli,
    reference: &Reference,
    all: bool,
    platform: Option<&Platform>,
    out: Option<&Output>,
) -> Result<(), CliError> {
    let tag = match (reference.digest(), reference.tag()) {
        _ if all => String::new(),
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or(tare_reference::DEFAULT_TAG).to_owned(),
    };
    let platform = platform.map(platform::format).unwrap_or_default();
    let query = Query::new().add("fromImage", reference.name()).some("platform", platform).some("tag", tag);
    let auth = registry_auth(cli, reference.domain()).await?;
    let request = Request::post("/images/create").query(query).header(AUTH_HEADER, auth);
    let response = cli.client()?.send(request).await?;
    progress::show(response, out, drop).await
}
