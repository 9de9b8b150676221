//! `context create`, `update`, `rm`, `export`, `import`: contexts in docker's store, for docker as well.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt as _;

use serde_json::{Value, json};
use tare_docker_client::tls::Material;

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::context::store::TlsFiles;
use crate::context::{self, Context, DEFAULT, archive, store};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::opts::surroundings::path_error;
use crate::values;

/// Docker's name for a value of [`Flag::list`] that is split further.
const PAIRS: &str = "stringToString";
const DESCRIPTION: Flag = Flag::text("description", "Description of the context");
const ENDPOINT: Flag =
    Flag::list("docker", "set the docker endpoint").type_name(PAIRS).default("[]").check(|text| pairs(text).map(drop));

/// `context create`
pub static CREATE: Command = Command {
    names: &["context create"],
    usage: "[OPTIONS] CONTEXT",
    about: "Create a context\n\nDocker endpoint config:\n\n\
            NAME                DESCRIPTION\n\
            from                Copy named context's Docker endpoint configuration\n\
            host                Docker endpoint on which to connect\n\
            ca                  Trust certs signed only by this CA\n\
            cert                Path to TLS certificate file\n\
            key                 Path to TLS key file\n\
            skip-tls-verify     Skip TLS certificate validation\n\n\
            Example:\n\n\
            $ tare context create my-context --description \"some description\" --docker \
            \"host=tcp://myserver:2376,ca=~/ca-file,cert=~/cert-file,key=~/key-file\"",
    common: 0,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[DESCRIPTION, ENDPOINT, Flag::text("from", "create context from a named context")],
    run: |cli, m| Box::pin(async { create(cli, m) }),
};

/// `context update`
pub static UPDATE: Command = Command {
    names: &["context update"],
    usage: "[OPTIONS] CONTEXT",
    about: "Update a context\n\nDocker endpoint config:\n\n\
            NAME                DESCRIPTION\n\
            from                Copy named context's Docker endpoint configuration\n\
            host                Docker endpoint on which to connect\n\
            ca                  Trust certs signed only by this CA\n\
            cert                Path to TLS certificate file\n\
            key                 Path to TLS key file\n\
            skip-tls-verify     Skip TLS certificate validation\n\n\
            Example:\n\n\
            $ tare context update my-context --description \"some description\" --docker \
            \"host=tcp://myserver:2376,ca=~/ca-file,cert=~/cert-file,key=~/key-file\"",
    common: 0,
    arity: Arity::Exactly(1),
    interspersed: true,
    flags: &[DESCRIPTION, ENDPOINT],
    run: |cli, m| Box::pin(async { update(cli, m) }),
};

/// `context rm`
pub static REMOVE: Command = Command {
    names: &["context rm", "context remove"],
    usage: "CONTEXT [CONTEXT...]",
    about: "Remove one or more contexts",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: true,
    flags: &[Flag::bool("force", "Force the removal of a context in use").short('f')],
    run: |cli, m| Box::pin(async { remove(cli, m) }),
};

/// `context export`
pub static EXPORT: Command = Command {
    names: &["context export"],
    usage: "[OPTIONS] CONTEXT [FILE|-]",
    about: "Export a context to a tar archive FILE or a tar stream on STDOUT.",
    common: 0,
    arity: Arity::Range(1, 2),
    interspersed: true,
    flags: &[],
    run: |cli, m| Box::pin(async { export(cli, m) }),
};

/// `context import`
pub static IMPORT: Command = Command {
    names: &["context import"],
    usage: "CONTEXT FILE|-",
    about: "Import a context from a tar or zip file",
    common: 0,
    arity: Arity::Exactly(2),
    interspersed: true,
    flags: &[],
    run: |cli, m| Box::pin(async { import(cli, m) }),
};

/// `key=value,key=value`
fn pairs(text: &str) -> Result<Vec<(&str, &str)>, String> {
    let pair = |pair| str::split_once(pair, '=').ok_or_else(|| format!("{pair} must be formatted as key=value"));
    text.split(',').map(pair).collect()
}

/// Docker's endpoint of a context, and the files that go with it.
struct Target {
    endpoint: Value,
    files: BTreeMap<String, Vec<u8>>,
}

impl Target {
    /// Makes it a context's.
    fn put(self, document: &mut Value, files: &mut TlsFiles) {
        document["Endpoints"][context::ENDPOINT] = self.endpoint;
        files.remove(context::ENDPOINT);
        if !self.files.is_empty() {
            files.insert(context::ENDPOINT.to_owned(), self.files);
        }
    }
}

/// A context with all that belongs to it.
fn of(cli: &Cli, name: &str) -> Result<(Context, TlsFiles), CliError> {
    let context = context::find(cli, name)?;
    let files = store::tls_files(cli, &context)?;
    Ok((context, files))
}

/// The endpoint that `--docker` describes; `None`: it was not given.
fn target(cli: &Cli, m: &Matches) -> Result<Option<Target>, CliError> {
    let wrong = |why: String| CliError::new(format!("unable to create docker endpoint config: {why}"));
    let mut config: BTreeMap<&str, &str> = BTreeMap::new();
    for text in m.list("docker") {
        config.extend(pairs(text).map_err(wrong)?);
    }
    if config.is_empty() {
        return Ok(None);
    }
    const KEYS: [&str; 6] = ["from", "host", "ca", "cert", "key", "skip-tls-verify"];
    let unknown: Vec<_> =
        config.keys().filter(|key| !KEYS.contains(key)).map(|key| format!("unrecognized config key: {key}")).collect();
    if !unknown.is_empty() {
        return Err(wrong(unknown.join("\n")));
    }
    if let Some(name) = config.get("from") {
        let (context, mut files) = of(cli, name)?;
        let endpoint = context.document.pointer("/Endpoints/docker").cloned();
        let endpoint = endpoint.ok_or_else(|| wrong(format!("unable to get endpoint from context \"{name}\"")))?;
        return Ok(Some(Target { endpoint, files: files.remove(context::ENDPOINT).unwrap_or_default() }));
    }
    let read = |key: &str| match config.get(key).filter(|path| !path.is_empty()) {
        None => Ok(None),
        Some(path) => crate::tls::read_named(path.as_ref()).map(Some).map_err(|error| wrong(error.message)),
    };
    let skip_verify = match config.get("skip-tls-verify").filter(|text| !text.is_empty()) {
        None => false,
        Some(text) => values::parse_bool(text)
            .map_err(|error| wrong(format!("skip-tls-verify: {}", error.trim_start_matches("strconv.ParseBool: "))))?,
    };
    let host = config.get("host").copied().unwrap_or_default();
    if !host.is_empty() && !host.contains("://") {
        return Err(wrong(format!("unable to apply docker endpoint options: unable to parse docker host `{host}`")));
    }
    let identity = read("cert")?.zip(read("key")?);
    let material = Material { authority: read("ca")?, identity, skip_verify };
    Ok(Some(Target { endpoint: store::endpoint(host, skip_verify), files: store::files_of(&material) }))
}

fn exists(cli: &Cli, name: &str) -> bool {
    context::all(cli).iter().any(|context| context.name == name)
}

fn check_new(cli: &Cli, name: &str) -> Result<(), CliError> {
    store::check_name(name)?;
    match exists(cli, name) {
        true => Err(CliError::new(format!("context \"{name}\" already exists"))),
        false => Ok(()),
    }
}

fn create(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let name = m.arg(0);
    check_new(cli, name)?;
    let (mut document, mut files);
    match (target(cli, m)?, m.text("from")) {
        (Some(_), from) if !from.is_empty() => {
            return Err(CliError::new("cannot use --docker flag when --from is set"));
        }
        (Some(target), _) => {
            (document, files) = (json!({"Metadata": {}, "Endpoints": {}}), TlsFiles::new());
            target.put(&mut document, &mut files);
        }
        (None, from) => {
            let from = if from.is_empty() { context::current(cli)? } else { from.to_owned() };
            let (source, its_files) = of(cli, &from)?;
            (document, files) = (store::definition(&source.document), its_files);
        }
    }
    document["Name"] = name.into();
    describe(&mut document, m);
    store::write(cli, name, &document, &files)?;
    cli.out.println(name)?;
    cli.err.println(format!("Successfully created context \"{name}\""))?;
    Ok(0)
}

/// Takes over a description, if there is one.
fn describe(document: &mut Value, m: &Matches) {
    if !m.text("description").is_empty() {
        document["Metadata"]["Description"] = m.text("description").into();
    }
}

fn update(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let name = m.arg(0);
    store::check_name(name)?;
    let (context, mut files) = of(cli, name)?;
    let mut document = store::definition(&context.document);
    describe(&mut document, m);
    if let Some(target) = target(cli, m)? {
        target.put(&mut document, &mut files);
    }
    store::write(cli, name, &document, &files)?;
    cli.out.println(name)?;
    cli.err.println(format!("Successfully updated context \"{name}\""))?;
    Ok(0)
}

fn remove(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let force = m.bool("force");
    let current = context::current(cli)?;
    let mut errors = Vec::new();
    for name in &m.args {
        let refused = |why: &str| CliError::new(format!("context \"{name}\" {why}"));
        let removed = if name == DEFAULT {
            Err(refused("cannot be removed"))
        } else if !exists(cli, name) && !force {
            Err(refused("does not exist"))
        } else if *name == current && !force {
            Err(refused("is in use, set -f flag to force remove"))
        } else {
            remove_one(cli, name, *name == current)
        };
        match removed {
            Ok(()) => cli.out.println(name)?,
            Err(error) => errors.push(error),
        }
    }
    CliError::join(errors).map_or(Ok(0), Err)
}

fn remove_one(cli: &Cli, name: &str, in_use: bool) -> Result<(), CliError> {
    if in_use {
        context::choose(cli, DEFAULT)?;
    }
    match context::find(cli, name) {
        Ok(context) => store::remove(cli, &context.directory),
        Err(_) => Ok(()),
    }
}

fn export(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let name = m.arg(0);
    if name != DEFAULT {
        store::check_name(name)?;
    }
    let (context, files) = of(cli, name)?;
    let mut bytes = Vec::new();
    archive::write(&store::definition(&context.document), &files, &mut bytes)?;
    let default = format!("{name}.dockercontext");
    let path = if m.args.len() > 1 { m.arg(1) } else { &default };
    if path == "-" {
        if cli.out.is_terminal() {
            return Err(CliError::new("cowardly refusing to export to a terminal, specify a file path"));
        }
        return cli.out.write(&bytes).map(|()| 0);
    }
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, &bytes));
    written.map_err(|error| CliError::new(path_error("open", path, &error)))?;
    cli.err.println(format!("Written file \"{path}\""))?;
    Ok(0)
}

fn import(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let (name, path) = (m.arg(0), m.arg(1));
    check_new(cli, name)?;
    let (document, files) = match path {
        "-" => archive::read(std::io::stdin().lock())?,
        path => {
            let file = File::open(path).map_err(|error| CliError::new(path_error("open", path, &error)))?;
            archive::read(file)?
        }
    };
    if !document.is_object() {
        return Err(CliError::new(format!("{path}: meta.json is not a context")));
    }
    let mut document = store::definition(&document);
    document["Name"] = name.into();
    store::write(cli, name, &document, &files)?;
    cli.out.println(name)?;
    cli.err.println(format!("Successfully imported context \"{name}\""))?;
    Ok(0)
}
