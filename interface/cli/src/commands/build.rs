//! `build`: not available yet; says so, and what to do instead.

use crate::PROGRAM;
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};

/// `build`
pub static COMMAND: Command = Command {
    names: &["image build", "build"],
    usage: "[OPTIONS] PATH | URL | -",
    about: "Build an image from a Dockerfile",
    common: 4,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[
        Flag::list("build-arg", "Set build-time variables"),
        Flag::text("file", "Name of the Dockerfile (Default is \"PATH/Dockerfile\")").short('f'),
        Flag::bool("no-cache", "Do not use cache when building the image"),
        Flag::bool("pull", "Always attempt to pull a newer version of the image"),
        Flag::bool("quiet", "Suppress the build output and print image ID on success").short('q'),
        Flag::list("tag", "Name and optionally a tag in the \"name:tag\" format").short('t'),
        Flag::text("target", "Set the target build stage to build."),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(_: &Cli, _: &Matches) -> Result<i32, CliError> {
    Err(CliError::new(format!(
        "{PROGRAM} build: Dockerfiles cannot be built yet: the engine has no builder. Build with another tool that writes an \
         archive or pushes to a registry, and bring the image in with `{PROGRAM} load` or `{PROGRAM} pull`."
    )))
}
