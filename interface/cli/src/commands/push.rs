//! `push`: an image, or all of a repository's, to a registry.

use serde_json::Value;
use tare_docker_client::{Query, Request};

use super::pull::{AUTH_HEADER, NO_TRUST, remote};
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::credentials::registry_auth;
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::opts::platform;
use crate::progress;

/// `push`
pub static COMMAND: Command = Command {
    names: &["image push", "push"],
    usage: "[OPTIONS] NAME[:TAG]",
    about: "Upload an image to a registry",
    common: 6,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[
        Flag::bool("all-tags", "Push all tags of an image to the repository").short('a'),
        Flag::bool("disable-content-trust", "Skip image verification (deprecated)")
            .default("true")
            .deprecated(NO_TRUST),
        Flag::text(
            "platform",
            "Push a platform-specific manifest as a single-platform image to the registry.\nImage index won't be \
             pushed, meaning that other manifests, including attestations won't be preserved.\n'os[/arch[/variant]]': \
             Explicit platform (eg. linux/amd64)",
        ),
        Flag::bool("quiet", "Suppress verbose output").short('q'),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

const ONE_PLATFORM: &str = "\
Using --platform pushes only the specified platform manifest of a multi-platform image index.
Other components, like attestations, will not be included.
To push the complete multi-platform image, remove the --platform flag.
";

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let (all, quiet) = (m.bool("all-tags"), m.bool("quiet"));
    let platform = match m.text("platform") {
        "" => String::new(),
        text => {
            let platform = platform::parse(text).map_err(|e| CliError::new(format!("Invalid platform {text}{e}")))?;
            note(cli, ONE_PLATFORM)?;
            serde_json::to_string(&platform).map_err(|e| CliError::new(e.to_string()))?
        }
    };
    let reference = remote(cli, m.arg(0), all, quiet)?;
    if reference.digest().is_some() {
        return Err(CliError::new("cannot push a digest reference"));
    }
    let query = Query::new().some("platform", platform).some("tag", reference.tag().unwrap_or_default());
    let auth = registry_auth(cli, reference.domain()).await?;
    let request = Request::post(format!("/images/{}/push", reference.name())).query(query).header(AUTH_HEADER, auth);
    let response = cli.client()?.send(request).await?;
    let mut notes = Vec::new();
    let shown = progress::show(response, (!quiet).then_some(&cli.out), |aux| notes.extend(remark(&aux))).await;
    for text in &notes {
        note(cli, text)?;
    }
    shown?;
    if quiet {
        cli.out.println(reference.to_string())?;
    }
    Ok(0)
}

/// What a message beside the progress has to say.
fn remark(aux: &Value) -> Option<String> {
    let on = |key: &str| aux.get(key).and_then(Value::as_bool).unwrap_or(false);
    let digest = |key: &str| aux.get(key).and_then(|d| d.get("digest")).and_then(Value::as_str).unwrap_or_default();
    if on("manifestPushedInsteadOfIndex") {
        return Some(format!(
            "Not all multiplatform-content is present and only the available single-platform image was pushed\n{} -> {}",
            digest("originalIndex"),
            digest("selectedManifest")
        ));
    }
    on("contentMissing").then(|| {
        "You're trying to push a manifest list/index which references multiple platform specific manifests, but not all \
         of them are available locally or available to the remote repository.\n\nMake sure you have all the referenced \
         content and try again.\n\nYou can also push only a single platform specific manifest directly by specifying \
         the platform you want to push with the --platform flag."
            .to_owned()
    })
}

/// Prints a remark, its further lines below the first.
fn note(cli: &Cli, text: &str) -> Result<(), CliError> {
    const MARK: &str = " Info -> ";
    let margin = format!("\n{}", " ".repeat(MARK.len()));
    cli.out.println(format!("\n{MARK}{}", text.replace('\n', &margin)))
}
