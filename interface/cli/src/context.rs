//! Contexts: names for daemons, in docker's store (`contexts/meta/*/meta.json` below the configuration directory).
//!
//! Which one is current is our own matter, kept in the file `tare-context` beside it: docker's current context says where
//! docker's daemon is, and `tare context use` must not change that. [`store`] changes the store, [`archive`] moves contexts.

pub mod archive;
pub mod store;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tare_docker_client::tls::Material;

use crate::app::NO_ENDPOINT;
use crate::cli::Cli;
use crate::error::CliError;
use crate::output::text::natural_order;

/// The only endpoint that there is a use for.
pub const ENDPOINT: &str = "docker";
/// The name of the context that needs no definition: our own daemon.
pub const DEFAULT: &str = "default";
/// Largest definition that is read, in bytes: real ones have some hundred.
const MAX_SIZE: u64 = 1 << 20;

/// A context.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Context {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Address of its daemon.
    pub host: String,
    /// The definition.
    pub document: Value,
    /// Name of its directories.
    pub directory: String,
}

fn current_file(cli: &Cli) -> PathBuf {
    cli.globals.config_dir.join("tare-context")
}

/// The name of the context in use: asked for, or chosen with `context use`. With `-H` or its variable it is the default.
pub fn current(cli: &Cli) -> Result<String, CliError> {
    if cli.globals.host.is_some() {
        return Ok(DEFAULT.to_owned());
    }
    if !cli.globals.context.is_empty() {
        return Ok(cli.globals.context.clone());
    }
    let chosen = fs::read_to_string(current_file(cli)).unwrap_or_default();
    let chosen = chosen.trim();
    Ok(if chosen.is_empty() { DEFAULT } else { chosen }.to_owned())
}

/// Makes a context the one in use.
pub fn choose(cli: &Cli, name: &str) -> Result<(), CliError> {
    let file = current_file(cli);
    let fail = |e: std::io::Error| CliError::new(format!("write `{}`: {e}", file.display()));
    if name == DEFAULT {
        return match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(fail(error)),
            _ => Ok(()),
        };
    }
    fs::create_dir_all(&cli.globals.config_dir).map_err(fail)?;
    fs::write(&file, format!("{name}\n")).map_err(fail)
}

/// How to get to a context's daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub host: String,
    /// What TLS is made with; `None`: in the clear.
    pub tls: Option<Material>,
}

/// The daemon of the context in use; `None`: the default one.
pub fn endpoint(cli: &Cli) -> Result<Option<Endpoint>, CliError> {
    let name = current(cli)?;
    if name == DEFAULT {
        return Ok(None);
    }
    let unresolved = |error: CliError| CliError::new(format!("{NO_ENDPOINT}{error}"));
    let context = find(cli, &name).map_err(unresolved)?;
    let material = material(cli, &context)?;
    let tls = (material != Material::default()).then_some(material);
    Ok(Some(Endpoint { host: context.host, tls }))
}

/// What a context's TLS is made with.
fn material(cli: &Cli, context: &Context) -> Result<Material, CliError> {
    let files = store::tls_files(cli, context)?.remove(ENDPOINT).unwrap_or_default();
    let file = |name: &str| files.get(name).cloned();
    Ok(Material {
        authority: file("ca.pem"),
        identity: file("cert.pem").zip(file("key.pem")),
        skip_verify: context.document.pointer("/Endpoints/docker/SkipTLSVerify") == Some(&Value::Bool(true)),
    })
}

/// A context by name.
pub fn find(cli: &Cli, name: &str) -> Result<Context, CliError> {
    let missing = || {
        let file = store::metadata_path(cli, &store::directory(name)).join("meta.json");
        CliError::new(format!(
            "context \"{name}\": context not found: open {}: no such file or directory",
            file.display()
        ))
    };
    all(cli).into_iter().find(|c| c.name == name).ok_or_else(missing)
}

/// All contexts by name; definitions that cannot be read are left out.
pub fn all(cli: &Cli) -> Vec<Context> {
    let mut contexts = vec![default_context(cli)];
    let directory = cli.globals.config_dir.join("contexts/meta");
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let file = entry.path().join("meta.json");
        let small = fs::metadata(&file).is_ok_and(|m| m.len() <= MAX_SIZE);
        let Some(bytes) = small.then(|| fs::read(&file).ok()).flatten() else { continue };
        let directory = entry.file_name().to_string_lossy().into_owned();
        contexts.extend(parse(&bytes).map(|context| Context { directory, ..context }));
    }
    contexts.sort_by(|a, b| natural_order(&a.name, &b.name));
    contexts
}

fn default_context(cli: &Cli) -> Context {
    let host = cli.host();
    let document = serde_json::json!({
        "Name": DEFAULT, "Metadata": {}, "Endpoints": {"docker": {"Host": host, "SkipTLSVerify": false}},
        "TLSMaterial": {}, "Storage": {"MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>"}
    });
    let is_own = cli.globals.host.is_none() && cli.globals.tls.is_none();
    let description = if is_own { "Tare's own daemon" } else { "Current DOCKER_HOST based configuration" };
    Context { name: DEFAULT.into(), description: description.into(), host, document, ..Context::default() }
}

fn parse(bytes: &[u8]) -> Option<Context> {
    let document: Value = serde_json::from_slice(bytes).ok()?;
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let name = text("/Name");
    let (description, host) = (text("/Metadata/Description"), text("/Endpoints/docker/Host"));
    (!name.is_empty()).then_some(Context { name, description, host, document, ..Context::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions() {
        let text = br#"{"Name":"c","Metadata":{"Description":"d"},"Endpoints":{"docker":{"Host":"tcp://h:1","SkipTLSVerify":false}}}"#;
        let context = parse(text).unwrap();
        assert_eq!(
            (context.name.as_str(), context.description.as_str(), context.host.as_str()),
            ("c", "d", "tcp://h:1")
        );
        assert_eq!(parse(b"{}"), None);
        assert_eq!(parse(b"nonsense"), None);
    }
}
