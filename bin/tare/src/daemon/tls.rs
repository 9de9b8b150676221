//! What protects TCP sockets: certificates from files, by dockerd's rules.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tare_docker_http::tls::{Identity, Tls};

/// Files that were named.
#[derive(Debug)]
pub(super) struct Files<'a> {
    /// Authority of clients' certificates.
    pub(super) authority: Option<&'a PathBuf>,
    /// The daemon's certificate.
    pub(super) certificate: Option<&'a PathBuf>,
    /// Its key.
    pub(super) key: Option<&'a PathBuf>,
}

/// TLS as it is set up.
#[derive(Debug)]
pub(super) struct Protection {
    /// The server's side.
    pub(super) tls: Tls,
    verifies: bool,
}

impl Protection {
    /// Reads the files; those that are not named have docker's names in docker's directory.
    pub(super) fn new(files: &Files<'_>, verifies: bool) -> Result<Self> {
        let directory = default_directory();
        let named = |file: Option<&PathBuf>, default: &str| {
            file.cloned().unwrap_or_else(|| {
                let path = directory.join(default);
                // Nobody asked for it, so nobody is told where it was expected.
                if path.exists() { path } else { PathBuf::new() }
            })
        };
        let authority = files.authority.cloned().unwrap_or_else(|| directory.join("ca.pem"));
        let identity = Identity {
            certificate: named(files.certificate, "cert.pem"),
            key: named(files.key, "key.pem"),
            client_authority: verifies.then_some(authority),
        };
        let tls = Tls::new(&identity).map_err(anyhow::Error::msg).context("invalid TLS configuration")?;
        Ok(Self { tls, verifies })
    }

    /// Whether clients need a certificate.
    pub(super) fn verifies_clients(&self) -> bool {
        self.verifies
    }
}

/// `DOCKER_CERT_PATH`, `DOCKER_CONFIG` or `~/.docker`.
fn default_directory() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let named = variable("DOCKER_CERT_PATH").or_else(|| variable("DOCKER_CONFIG"));
    named.map_or_else(
        || variable("HOME").map_or_else(|| Path::new("/").to_owned(), PathBuf::from).join(".docker"),
        PathBuf::from,
    )
}
