//! `create`: makes a container, pulling its image where the engine does not have it.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use tare_docker_api::container::{CreateRequest, CreateResponse};
use tare_docker_api::oci::Platform;
use tare_docker_client::{Error, Query};
use tare_reference::{AnyReference, Reference};

use super::pull;
use crate::PROGRAM;
use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::{CliError, EXIT_USAGE};
use crate::flags::Matches;
use crate::opts::plan::plan;
use crate::opts::surroundings::{Surroundings, path_error};
use crate::opts::text::{self, Pull};
use crate::opts::{flags, platform};

/// `create`
pub static COMMAND: Command = Command {
    names: &["container create", "create"],
    usage: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create a new container",
    common: 0,
    arity: Arity::AtLeast(1),
    interspersed: false,
    flags: &flags::CREATE,
    run: |cli, m| Box::pin(run(cli, m)),
};

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let creation = Creation::read(cli, m).map_err(|e| with_help(&e, "create", EXIT_USAGE))?;
    let id = creation.create(cli).await?;
    cli.out.println(id)?;
    Ok(0)
}

/// An error as `run` and `create` show it.
pub fn with_help(error: &CliError, command: &str, code: i32) -> CliError {
    let text = format!("{PROGRAM}: {error}\n\nRun '{PROGRAM} {command} --help' for more information");
    CliError::with_code(text, code)
}

/// Everything that is needed to make a container.
pub struct Creation {
    /// The request's body.
    pub request: CreateRequest,
    name: String,
    platform: String,
    pull: Pull,
    quiet: bool,
}

impl Creation {
    /// Reads flags and arguments of `create` or `run`.
    pub fn read(cli: &Cli, m: &Matches) -> Result<Creation, CliError> {
        let pull = text::pull(m.text("pull")).map_err(|e| CliError::new(e.0))?;
        let cwd = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let around = Surroundings { var: &|name| std::env::var(name).ok(), cwd: &cwd };
        let command = m.args.get(1..).unwrap_or_default();
        let request = plan(m, m.arg(0), command, &proxies(cli)?, &around).map_err(|e| CliError::new(e.0))?;
        let platform = pull::platform_flag(m);
        Ok(Creation { request, name: m.text("name").to_owned(), platform, pull, quiet: m.bool("quiet") })
    }

    /// Makes the container; gives its ID.
    pub async fn create(mut self, cli: &Cli) -> Result<String, CliError> {
        let platform = match self.platform.as_str() {
            "" => None,
            text => Some(
                platform::parse(text).map_err(|e| CliError::new(format!("error parsing specified platform: {e}")))?,
            ),
        };
        let cid_file = CidFile::create(&self.request.host_config.container_id_file)?;
        let image = Reference::parse_any(&self.request.config.image).map_err(|e| CliError::new(e.to_string()))?;
        let named = match image {
            AnyReference::Named(name) => Some(name.with_default_tag()),
            AnyReference::Id(_) => None,
        };
        if self.pull == Pull::Always {
            self.pull(cli, named.as_ref(), platform.as_ref()).await?;
        }
        if let Some((rows, columns)) = cli.out.size() {
            self.request.host_config.console_size = [u64::from(rows), u64::from(columns)];
        }
        let created = match self.post(cli, platform.as_ref()).await {
            Err(error) if error.is_not_found() && self.pull == Pull::Missing && named.is_some() => {
                if let Some(name) = &named
                    && !self.quiet
                {
                    // Only the ID goes to stdout.
                    cli.err.println(format!("Unable to find image '{}' locally", name.familiar()))?;
                }
                self.pull(cli, named.as_ref(), platform.as_ref()).await?;
                self.post(cli, platform.as_ref()).await?
            }
            created => created?,
        };
        for warning in &created.warnings {
            cli.warn(warning)?;
        }
        cid_file.write(&created.id)?;
        Ok(created.id)
    }

    async fn post(&self, cli: &Cli, platform: Option<&Platform>) -> Result<CreateResponse, Error> {
        let client = cli.client().map_err(|e| Error::Connect { text: e.message })?;
        let platform = platform.map(platform::format).unwrap_or_default();
        let query = Query::new().some("name", &self.name).some("platform", platform);
        client.post_json("/containers/create", query, &self.request).await
    }

    async fn pull(&self, cli: &Cli, name: Option<&Reference>, platform: Option<&Platform>) -> Result<(), CliError> {
        let Some(name) = name else {
            // An ID cannot be pulled: the engine says so in its own words.
            return Err(CliError::new(format!(
                "invalid repository name ({}), cannot specify 64-byte hexadecimal strings",
                self.request.config.image
            )));
        };
        let out = if self.quiet { None } else { Some(&cli.err) };
        pull::pull(cli, name, false, platform, out).await
    }
}

/// Variables for containers from the client's configuration: `proxies.default`, or those of the daemon's address.
fn proxies(cli: &Cli) -> Result<Vec<(String, String)>, CliError> {
    const VARIABLES: [(&str, &str); 5] = [
        ("HTTP_PROXY", "httpProxy"),
        ("HTTPS_PROXY", "httpsProxy"),
        ("NO_PROXY", "noProxy"),
        ("FTP_PROXY", "ftpProxy"),
        ("ALL_PROXY", "allProxy"),
    ];
    let Some(proxies) = cli.config()?.values.get("proxies") else { return Ok(Vec::new()) };
    let host = cli.client()?.host();
    let Some(own) = proxies.get(&host).or_else(|| proxies.get("default")) else { return Ok(Vec::new()) };
    let set = VARIABLES.iter().filter_map(|(name, key)| {
        let value = own.get(key)?.as_str().filter(|v| !v.is_empty())?;
        Some([((*name).to_owned(), value.to_owned()), (name.to_lowercase(), value.to_owned())])
    });
    Ok(set.flatten().collect())
}

/// The file that gets the container's ID: reserved before the container is made, removed again when it is not.
struct CidFile {
    path: String,
    file: Option<File>,
    written: bool,
}

impl CidFile {
    /// Reserves `path`, which must not exist; nothing when it is empty.
    fn create(path: &str) -> Result<CidFile, CliError> {
        let mut out = CidFile { path: path.to_owned(), file: None, written: false };
        if path.is_empty() {
            return Ok(out);
        }
        match File::create_new(path) {
            Ok(file) => out.file = Some(file),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(CliError::new(format!(
                    "container ID file found, make sure the other container isn't running or delete {path}"
                )));
            }
            Err(e) => {
                let why = path_error("open", path, &e);
                return Err(CliError::new(format!("failed to create the container ID file: {why}")));
            }
        }
        Ok(out)
    }

    fn write(mut self, id: &str) -> Result<(), CliError> {
        if let Some(file) = &mut self.file {
            file.write_all(id.as_bytes()).map_err(|e| {
                let why = path_error("write", &self.path, &e);
                CliError::new(format!("failed to write the container ID ({id}) to file: {why}"))
            })?;
            self.written = true;
        }
        Ok(())
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if self.file.is_some() && !self.written {
            // Nothing better can be done about a file that cannot be removed.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
