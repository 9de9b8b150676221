//! Whoever asked for a build, where it can be asked back: BuildKit's clients give files, secrets and credentials when they
//! are wanted, instead of sending everything beforehand.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tare_engine::{ByteSource, Result};
use tare_registry::Credentials;
use tokio::net::UnixStream;

/// The registry's host where its name stands for it.
const HUB_HOST: &str = "registry-1.docker.io";

/// A directory of the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directory {
    /// What is built from.
    Context,
    /// Where the Dockerfile is.
    Dockerfile,
    /// Another, by the caller's name for it.
    Named(String),
}

/// Files that are wanted of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which one.
    pub directory: Directory,
    /// Paths or patterns, with what links in them lead to; everything where there are none.
    pub follow: Vec<String>,
    /// Patterns of files that stay, as in `.dockerignore`.
    pub exclude: Vec<String>,
    /// Where the files go: an existing directory that nobody else writes into.
    pub place: PathBuf,
}

/// A name and a password for a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Login {
    /// Empty where the password is an identity token.
    pub username: String,
    /// Password or token.
    pub secret: String,
}

/// Answers what a build asks. Errors say why in a sentence for the caller itself.
pub trait Caller: Send + Sync {
    /// The context and the Dockerfile as one archive, where the caller has them so.
    fn archive(&self) -> BoxFuture<'_, Result<Option<ByteSource>>>;

    /// Fetches files. `progress` hears of the bytes received so far.
    fn files<'a>(&'a self, wanted: Wanted, progress: &'a (dyn Fn(u64) + Send + Sync)) -> BoxFuture<'a, Result<()>>;

    /// What the caller has for a registry's host.
    fn login<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<Login>>>;

    /// A secret, if the caller has it.
    fn secret<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>>>;

    /// Whether the caller has an SSH agent of this name.
    fn has_agent<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool>>;

    /// Connects somebody with the agent, to the end of either.
    fn agent<'a>(&'a self, id: &'a str, connection: UnixStream) -> BoxFuture<'a, ()>;
}

/// What a caller has for a registry, by the domain of its images.
pub(crate) async fn credentials(caller: Option<&Arc<dyn Caller>>, domain: &str) -> Result<Option<Credentials>> {
    let Some(caller) = caller else { return Ok(None) };
    let login = caller.login(if domain == "docker.io" { HUB_HOST } else { domain }).await?;
    Ok(login.map(|Login { username, secret }| match username.is_empty() {
        true => Credentials { identity_token: secret, ..Credentials::default() },
        false => Credentials { username, password: secret, ..Credentials::default() },
    }))
}
