//! `context …`: looks at contexts and chooses one. [`super::context_change`] makes and changes them.

use super::inspect::inspect_local;
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::context::{self, Context};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::output::rows::{FORMAT_HELP, Format, INSPECT_FORMAT_HELP, Row};

/// `context ls`
pub static LIST: Command = Command {
    names: &["context ls", "context list"],
    usage: "[OPTIONS]",
    about: "List contexts",
    common: 0,
    arity: Arity::None,
    interspersed: true,
    flags: &[Flag::text("format", FORMAT_HELP), Flag::bool("quiet", "Only show context names").short('q')],
    run: |cli, m| Box::pin(async { list(cli, m) }),
};

/// `context show`
pub static SHOW: Command = Command {
    names: &["context show"],
    usage: "",
    about: "Print the name of the current context",
    common: 0,
    arity: Arity::None,
    interspersed: true,
    flags: &[],
    run: |cli, _| Box::pin(async { cli.out.println(context::current(cli)?).map(|()| 0) }),
};

/// `context use`
pub static USE: Command = Command {
    names: &["context use"],
    usage: "CONTEXT",
    about: "Set the current context",
    common: 0,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[],
    run: |cli, m| Box::pin(async { choose(cli, m.arg(0)) }),
};

/// `context inspect`
pub static INSPECT: Command = Command {
    names: &["context inspect"],
    usage: "[OPTIONS] [CONTEXT] [CONTEXT...]",
    about: "Display detailed information on one or more contexts",
    common: 0,
    arity: Arity::Any,
    interspersed: true,
    flags: &[Flag::text("format", INSPECT_FORMAT_HELP).short('f')],
    run: |cli, m| Box::pin(inspect(cli, m)),
};

const TABLE: &str = "table {{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}";
const HEADER: &[(&str, &str)] =
    &[("Name", "NAME"), ("Description", "DESCRIPTION"), ("DockerEndpoint", "DOCKER ENDPOINT"), ("Error", "ERROR")];

fn list(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let current = context::current(cli)?;
    let format = match (m.text("format"), m.bool("quiet")) {
        ("" | "table", true) => "{{.Name}}",
        ("" | "table", false) => TABLE,
        (other, _) => other,
    };
    let rows = context::all(cli).into_iter().map(|c| row(&c, c.name == current)).collect();
    Format::parse(format)?.write(&cli.out, HEADER, rows)?;
    Ok(0)
}

fn row(context: &Context, current: bool) -> Row {
    Row::new("*formatter.clientContextContext")
        .with("Name", context.name.as_str())
        .with("Current", current)
        .with("Description", context.description.as_str())
        .with("DockerEndpoint", context.host.as_str())
        .with("Error", "")
}

fn choose(cli: &Cli, name: &str) -> Result<i32, CliError> {
    if name != context::DEFAULT {
        context::find(cli, name)?;
    }
    context::choose(cli, name)?;
    cli.out.println(name)?;
    cli.err.println(format!("Current context is now \"{name}\""))?;
    if name != context::DEFAULT && cli.globals.host.is_some() {
        cli.err.println(format!(
            "Warning: DOCKER_HOST or TARE_HOST environment variable overrides the active context. To use \"{name}\", \
             either set the global --context flag, or unset the variable."
        ))?;
    }
    Ok(0)
}

async fn inspect(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let names = if m.args.is_empty() { vec![context::current(cli)?] } else { m.args.clone() };
    inspect_local(cli, &names, m.text("format"), |name| {
        context::find(cli, name).map(|context| context::store::described(cli, &context))
    })
    .await
}
