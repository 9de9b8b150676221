//! The daemon's sockets.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use tare_docker_http::Listener;
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::settings::Settings;

/// Opens every address the settings name.
pub(super) async fn open(settings: &Settings) -> Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for host in settings.hosts() {
        if let Some(path) = host.strip_prefix("unix://") {
            listeners.push(unix(Path::new(path), settings.group()).await?);
        } else if let Some(address) = host.strip_prefix("tcp://") {
            tracing::warn!("listening on {host} without TLS: everyone who can reach it is root on this machine");
            let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {host}"))?;
            listeners.push(Listener::Tcp(listener));
        } else if host.starts_with("fd://") {
            bail!("socket activation (fd://) is not supported yet: use -H unix://PATH");
        } else {
            bail!("invalid host {host:?}: expected unix://PATH or tcp://ADDRESS:PORT");
        }
    }
    Ok(listeners)
}

async fn unix(path: &Path, group: &str) -> Result<Listener> {
    let at = || format!("listen on {}", path.display());
    if UnixStream::connect(path).await.is_ok() {
        bail!("{}: another daemon listens there", at());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(at)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(at),
        _ => {}
    }
    // Nobody else may connect before the mode is set.
    let old = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o117));
    let listener = UnixListener::bind(path);
    rustix::process::umask(old);
    let listener = listener.with_context(at)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).with_context(at)?;
    match group_id(group) {
        Some(gid) => std::os::unix::fs::chown(path, None, Some(gid)).with_context(at)?,
        None => tracing::debug!("group {group} not found: {} belongs to root's group", path.display()),
    }
    Ok(Listener::Unix(listener))
}

/// Removes socket files.
pub(super) fn close(settings: &Settings) {
    for path in settings.hosts().iter().filter_map(|host| host.strip_prefix("unix://")) {
        // Somebody may have removed it already.
        let _ = std::fs::remove_file(path);
    }
}

fn group_id(name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let text = std::fs::read_to_string("/etc/group").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}
