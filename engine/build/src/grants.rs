//! `RUN --mount=type=secret` and `type=ssh`: what the caller grants to one command, and no layer or key shows.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tare_docker_api::container::Mount as Mounted;
use tare_dockerfile::{Mount, MountType};
use tare_engine::{Engine, Error, Result};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use crate::builder::Builder;
use crate::caller::Caller;
use crate::context::last;
use crate::mounts::bound;

/// Largest secret, bytes, as in BuildKit.
const SECRET_MAX: usize = 500 * 1024;
/// Where secrets are that do not say.
const SECRETS: &str = "/run/secrets";

/// What a command was granted; gone when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    /// For the container.
    pub(crate) mounts: Vec<Mounted>,
    /// For the command, as `NAME=value`.
    pub(crate) environment: Vec<String>,
    directory: Option<Directory>,
    /// Connections to agents.
    agents: JoinSet<()>,
}

/// A directory that goes with its owner.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn make(engine: &Engine) -> Result<Directory> {
        let path = engine.build_secrets_directory().join(Engine::random_id());
        std::fs::create_dir_all(&path).map_err(|error| Error::io("mkdir", path.display(), error))?;
        Ok(Directory(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("removing what a build was granted, {}: {error}", self.0.display());
        }
    }
}

impl Builder {
    /// Asks the caller for secrets and agents.
    pub(crate) async fn grants(&self, wanted: &[Mount]) -> Result<Grants> {
        let mut grants = Grants::default();
        for mount in wanted {
            match (self.context.caller(), &mount.kind) {
                (Some(caller), MountType::Secret) => self.secret(&mut grants, caller, mount).await?,
                (Some(caller), MountType::Ssh) => self.agent(&mut grants, caller, mount).await?,
                // Nobody can be asked.
                _ if mount.required => return Err(missing(mount)),
                _ => {}
            }
        }
        Ok(grants)
    }

    async fn secret(&self, grants: &mut Grants, caller: &Arc<dyn Caller>, mount: &Mount) -> Result<()> {
        let id = mount.key();
        let Some(secret) = caller.secret(id).await? else {
            return if mount.required { Err(missing(mount)) } else { Ok(()) };
        };
        if secret.len() > SECRET_MAX {
            return Err(Error::invalid(format!("invalid secret size {}", secret.len())));
        }
        if !mount.env.is_empty() {
            let text = String::from_utf8_lossy(&secret);
            grants.environment.push(format!("{}={text}", mount.env));
            if mount.target.is_empty() {
                return Ok(());
            }
        }
        let path = grants.place(&self.engine)?;
        std::fs::write(&path, &secret).map_err(|error| Error::io("write", path.display(), error))?;
        own(&path, mount, 0o400)?;
        let target = match mount.target.as_str() {
            "" => format!("{SECRETS}/{}", last(id)),
            target => target.to_owned(),
        };
        grants.mounts.push(Mounted { target, read_only: true, ..bound(&path) });
        Ok(())
    }

    async fn agent(&self, grants: &mut Grants, caller: &Arc<dyn Caller>, mount: &Mount) -> Result<()> {
        let id = mount.key();
        if !caller.has_agent(id).await? {
            return if mount.required { Err(missing(mount)) } else { Ok(()) };
        }
        let path = grants.place(&self.engine)?;
        let listener = UnixListener::bind(&path).map_err(|error| Error::io("bind", path.display(), error))?;
        own(&path, mount, 0o600)?;
        let number = grants.mounts.iter().filter(|mount| mount.target.contains("ssh_agent.")).count();
        let target = match mount.target.as_str() {
            "" => format!("/run/buildkit/ssh_agent.{number}"),
            target => target.to_owned(),
        };
        if !grants.environment.iter().any(|variable| variable.starts_with("SSH_AUTH_SOCK=")) {
            grants.environment.push(format!("SSH_AUTH_SOCK={target}"));
        }
        grants.mounts.push(Mounted { target, ..bound(&path) });
        let (caller, id) = (Arc::clone(caller), id.to_owned());
        grants.agents.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                let (caller, id) = (Arc::clone(&caller), id.clone());
                open.spawn(async move { caller.agent(&id, connection).await });
                while open.try_join_next().is_some() {}
            }
        });
        Ok(())
    }
}

impl Grants {
    /// A name for a file that only this command sees. The directory is in memory where the system has its run directory there.
    fn place(&mut self, engine: &Engine) -> Result<PathBuf> {
        let directory = match &mut self.directory {
            Some(directory) => directory,
            none => none.insert(Directory::make(engine)?),
        };
        Ok(directory.0.join(self.mounts.len().to_string()))
    }
}

fn missing(mount: &Mount) -> Error {
    match mount.kind {
        MountType::Ssh => Error::invalid(format!("ssh {}: not found", mount.id)),
        _ => Error::invalid(format!("secret {}: not found", mount.key())),
    }
}

fn own(path: &Path, mount: &Mount, mode: u32) -> Result<()> {
    let failed = |step| move |error| Error::io(step, path.display(), error);
    chown(path, Some(mount.owner.0), Some(mount.owner.1)).map_err(failed("chown"))?;
    std::fs::set_permissions(path, Permissions::from_mode(mount.mode.unwrap_or(mode))).map_err(failed("chmod"))
}
