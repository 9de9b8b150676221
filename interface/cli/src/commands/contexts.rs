//! `context …`: looks at contexts and chooses one. [`super::context_change`] makes and changes them.

use super::inspect::inspect_local;
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::context::{self, Context, store};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::output::rows::{FORMAT_HELP, Format, INSPECT_FORMAT_HELP, Row};
use crate::output::text::{ellipsis, natural_order};

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
    about: "Set the default docker context",
    common: 0,
    arity: Arity::Any,
    interspersed: true,
    flags: &[],
    run: |cli, m| Box::pin(async { choose(cli, m) }),
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
    let mut contexts = context::all(cli);
    let mut error = String::new();
    if !contexts.iter().any(|context| context.name == current) {
        error = context::find(cli, &current).err().map_or_else(String::new, |error| error.message);
        contexts.push(Context { name: current.clone(), ..Context::default() });
        contexts.sort_by(|a, b| natural_order(&a.name, &b.name));
    }
    let rows = contexts.into_iter().map(|context| {
        let is_current = context.name == current;
        row(&context, is_current, if is_current { &error } else { "" })
    });
    Format::parse(format)?.write(&cli.out, HEADER, rows.collect())?;
    if let Some(name) = cli.globals.host_variable {
        cli.err.println(format!(
            "Warning: {name} environment variable overrides the active context. To use a context, either set the global \
             --context flag, or unset {name} environment variable."
        ))?;
    }
    Ok(0)
}

/// Columns of a reason why a context cannot be used.
const ERROR_WIDTH: usize = 45;

fn row(context: &Context, is_current: bool, error: &str) -> Row {
    Row::new("*formatter.clientContextContext")
        .with("Name", context.name.as_str())
        .with("Current", is_current)
        .with("Description", context.description.as_str())
        .with("DockerEndpoint", context.host.as_str())
        .with("Error", ellipsis(error, ERROR_WIDTH))
}

fn choose(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    // Docker says it so here alone.
    let [name] = m.args.as_slice() else {
        return Err(CliError::new(format!("accepts 1 arg(s), received {}", m.args.len())));
    };
    if name != context::DEFAULT {
        store::check_name(name)?;
        context::find(cli, name)?;
    }
    context::choose(cli, name)?;
    cli.out.println(name)?;
    cli.err.println(format!("Current context is now \"{name}\""))?;
    if let Some(variable) = cli.globals.host_variable.filter(|_| name != context::DEFAULT) {
        cli.err.println(format!(
            "Warning: {variable} environment variable overrides the active context. To use \"{name}\", either set the \
             global --context flag, or unset {variable} environment variable."
        ))?;
    }
    Ok(0)
}

async fn inspect(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let names = if m.args.is_empty() { vec![context::current(cli)?] } else { m.args.clone() };
    inspect_local(cli, &names, m.text("format"), |name| {
        context::find(cli, name).and_then(|context| store::described(cli, &context))
    })
    .await
}
