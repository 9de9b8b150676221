//! The daemon's sockets.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use tare_docker_http::Listener;
use tare_sys::errno::words;
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::activation::Inherited;
use super::hosts::Address;
use super::settings::{DEFAULT_GROUP, Settings};
use super::tls::Protection;

/// Opens every address the settings name.
pub(super) async fn open(settings: &Settings, mut inherited: Inherited) -> Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for address in settings.hosts() {
        match address {
            Address::Inherited(which) => {
                listeners.extend(inherited.listen(which)?.into_iter().map(|listener| encrypted(listener, settings)));
            }
            Address::Tcp(at) => {
                if !settings.tls().is_some_and(Protection::verifies_clients) {
                    warn(address);
                }
                listeners.push(encrypted(Listener::Tcp(tcp(at).await?), settings));
            }
            Address::Unix(path) => listeners.push(unix(Path::new(path), settings.group()).await?),
        }
    }
    Ok(listeners)
}

/// TLS is for TCP; a unix socket has the file system's permissions.
fn encrypted(listener: Listener, settings: &Settings) -> Listener {
    match (listener, settings.tls()) {
        (Listener::Tcp(listener), Some(protection)) => Listener::Tls(listener, protection.tls.clone()),
        (listener, _) => listener,
    }
}

/// Docker's words.
fn warn(address: &Address) {
    tracing::warn!(
        host = %address,
        "Binding to IP address without --tlsverify is insecure and gives root access on this machine to everyone who has \
         access to your network."
    );
    tracing::warn!(
        host = %address,
        "Binding to an IP address, even on localhost, can also give access to scripts run in a browser. Be safe out there!"
    );
}

async fn tcp(address: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| anyhow!("listen tcp {address}: bind: {}", words(&error)))
}

async fn unix(path: &Path, group: &str) -> Result<Listener> {
    let at = || format!("can't create unix socket {}", path.display());
    let group = socket_group(group, path)?;
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
    if let Some(group) = group {
        std::os::unix::fs::chown(path, None, Some(group)).with_context(at)?;
    }
    Ok(Listener::Unix(listener))
}

/// The number of the socket's group. Only the default one may be missing: the socket is its owner's alone then.
fn socket_group(name: &str, path: &Path) -> Result<Option<u32>> {
    let id = group_id(name);
    if id.is_none() && !name.is_empty() {
        if name != DEFAULT_GROUP {
            bail!("group {name} not found");
        }
        tracing::warn!("could not change group {} to {name}: group {name} not found", path.display());
    }
    Ok(id)
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

/// TCP addresses that are listened on.
pub(super) fn ports(listeners: &[Listener]) -> Vec<SocketAddr> {
    let address = |listener: &Listener| match listener {
        Listener::Tcp(listener) | Listener::Tls(listener, _) => listener.local_addr().ok(),
        Listener::Unix(_) => None,
    };
    listeners.iter().filter_map(address).collect()
}

/// Removes socket files.
pub(super) fn close(settings: &Settings) {
    for address in settings.hosts() {
        if let Address::Unix(path) = address {
            // Somebody may have removed it already.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_in_use_are_named_as_docker_names_them() {
        let taken = tcp("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let error = tcp(&address).await.unwrap_err().to_string();
        assert_eq!(error, format!("listen tcp {address}: bind: address already in use"));
    }

    #[test]
    fn only_the_default_group_may_be_missing() {
        let path = Path::new("/x");
        assert_eq!(socket_group("root", path).unwrap(), Some(0));
        assert_eq!(socket_group("12", path).unwrap(), Some(12));
        assert_eq!(socket_group("no-such-group", path).unwrap_err().to_string(), "group no-such-group not found");
    }
}
