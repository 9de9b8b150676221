//! Plugins of the command line: programs named `docker-NAME`, found and called as docker does (docker/cli, `cli-plugins`), so
//! that `tare compose` and `tare buildx` are what is installed for docker.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::app;
use crate::cli::Cli;
use crate::commands::GROUPS;
use crate::config::reason;
use crate::context;
use crate::error::CliError;

/// What every plugin's file name begins with.
const PREFIX: &str = "docker-";
/// The argument that has a plugin print its [`Metadata`].
const METADATA: &str = "docker-cli-plugin-metadata";
/// Most bytes of metadata that are read: real ones have some hundred.
const MAX_METADATA: u64 = 1 << 20;
/// Tells a plugin how to call the program that called it: Compose builds with `$… buildx`.
const CALLER: &str = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND";
/// Where packages put plugins.
const SYSTEM: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// What a plugin says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Metadata {
    /// Version of the agreement: 0 or 1.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub schema_version: String,
    /// Who makes it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vendor: String,
    /// Its version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// One line of help.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub short_description: String,
    /// Where there is more about it.
    #[serde(rename = "URL", skip_serializing_if = "String::is_empty")]
    pub url: String,
}

/// A plugin.
#[derive(Debug, Clone)]
pub struct Plugin {
    /// The command it is.
    pub name: String,
    /// Its program.
    pub path: PathBuf,
    /// What it says about itself, or why it is none.
    pub metadata: Result<Metadata, String>,
}

/// All plugins by name, those that cannot be used among them. Each program is asked for its metadata.
pub fn all(cli: &Cli) -> Vec<Plugin> {
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for directory in directories(cli) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Some(name) = entry.file_name().to_str().and_then(|n| n.strip_prefix(PREFIX)).map(str::to_owned) else {
                continue;
            };
            // The first directory wins; what is no file, or a link to nothing, is no plugin.
            if fs::metadata(entry.path()).is_ok_and(|m| m.is_file()) && found.iter().all(|(known, _)| *known != name) {
                found.push((name, entry.path()));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(name, path)| Plugin { metadata: examine(cli, &name, &path), name, path }).collect()
}

/// The program of the plugin that is the command `name`.
pub fn find(cli: &Cli, name: &str) -> Option<PathBuf> {
    let file = format!("{PREFIX}{name}");
    let path = directories(cli).into_iter().map(|d| d.join(&file)).find(|path| path.exists());
    path.filter(|path| examine(cli, name, path).is_ok())
}

/// Becomes a plugin; returns when it cannot.
pub async fn run(cli: &Cli, path: &Path, args: Vec<OsString>) -> CliError {
    let mut command = Command::new(path);
    command.args(args);
    match address(cli) {
        Ok((variable, value)) => command.env(variable, value),
        Err(error) => return error,
    };
    if let Some(executable) = &cli.globals.executable {
        command.env(CALLER, executable);
    }
    if is_own_daemon(cli)
        && let Ok(client) = cli.client()
    {
        // It is started when it does not run. When that fails, the plugin says so if it wants a daemon at all.
        let _ = client.ping().await;
    }
    CliError::new(format!("{}: {}", path.display(), command.exec()))
}

/// Whether nothing but our own daemon can be meant.
fn is_own_daemon(cli: &Cli) -> bool {
    cli.globals.host.is_none()
        && cli.globals.tls.is_none()
        && context::current(cli).is_ok_and(|c| c == context::DEFAULT)
}

/// The variable by which a plugin learns of the daemon: it knows neither our default nor which of our contexts is in use.
/// Options on the command line go to it as they are, and come before the variable.
fn address(cli: &Cli) -> Result<(&'static str, String), CliError> {
    let current = context::current(cli)?;
    if current == context::DEFAULT {
        return Ok(("DOCKER_HOST", cli.host()));
    }
    Ok(("DOCKER_CONTEXT", current))
}

/// Where plugins are looked for, the first match winning.
fn directories(cli: &Cli) -> Vec<PathBuf> {
    let settings = cli.config().ok().and_then(|config| config.values.get("cliPluginsExtraDirs"));
    let extra = settings.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(PathBuf::from);
    extra.chain([cli.globals.config_dir.join("cli-plugins")]).chain(SYSTEM.map(PathBuf::from)).collect()
}

/// Asks a program for its metadata; or why it is no plugin.
fn examine(cli: &Cli, name: &str, path: &Path) -> Result<Metadata, String> {
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !valid {
        return Err(format!("plugin candidate \"{name}\" did not match \"^[a-z][a-z0-9]*$\""));
    }
    let ours = app::find(name).is_some() || GROUPS.iter().any(|g| g.name == name);
    if ours || cli.globals.local.iter().any(|(local, _)| *local == name) {
        return Err(format!("plugin \"{name}\" duplicates builtin command"));
    }
    let text = ask(path).map_err(|e| format!("failed to fetch metadata: {e}"))?;
    let metadata: Metadata =
        serde_json::from_slice(&text).map_err(|e| format!("invalid metadata: {}", reason(&text, &e)))?;
    if !metadata.schema_version.starts_with("0.") && !metadata.schema_version.starts_with("1.") {
        return Err(format!("plugin SchemaVersion \"{}\" is not valid", metadata.schema_version));
    }
    if metadata.vendor.is_empty() {
        return Err("plugin metadata does not define a vendor".to_owned());
    }
    Ok(metadata)
}

/// What a program prints as its metadata.
fn ask(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut command = Command::new(path);
    let mut child = command.arg(METADATA).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut text = Vec::new();
    // Closed after that: a program that prints on ends by it.
    let read = child.stdout.take().map_or(Ok(0), |out| out.take(MAX_METADATA).read_to_end(&mut text));
    let status = child.wait()?;
    read?;
    if status.success() { Ok(text) } else { Err(std::io::Error::other(status.to_string())) }
}
