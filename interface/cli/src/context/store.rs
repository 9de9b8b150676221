//! Changing the store: definitions, and the certificates that go with them.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tare_docker_client::tls::Material;
use tare_reference::Digest;

use super::{Context, DEFAULT};
use crate::cli::Cli;
use crate::error::CliError;

/// Names of the files of an endpoint's certificates.
pub const FILES: [&str; 3] = ["ca.pem", "cert.pem", "key.pem"];
/// What names look like.
const PATTERN: &str = "^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$";

/// Whether a new context may have this name.
pub fn check_name(name: &str) -> Result<(), CliError> {
    if name.is_empty() {
        return Err(CliError::new("context name cannot be empty"));
    }
    if name == DEFAULT {
        return Err(CliError::new(format!("\"{DEFAULT}\" is a reserved context name")));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '+' | '-');
    let first = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !first || name.len() < 2 || !name.chars().all(allowed) {
        return Err(CliError::new(format!(
            "context name \"{name}\" is invalid, names are validated against regexp \"{PATTERN}\""
        )));
    }
    Ok(())
}

/// The directory of a context's definition.
pub fn metadata_path(cli: &Cli, directory: &str) -> PathBuf {
    cli.globals.config_dir.join("contexts/meta").join(directory)
}

/// The directory of a context's certificates.
pub fn tls_path(cli: &Cli, directory: &str) -> PathBuf {
    cli.globals.config_dir.join("contexts/tls").join(directory)
}

/// The name of a context's directories: a digest of its own, as docker has it.
pub fn directory(name: &str) -> String {
    Digest::from_sha256(&Sha256::digest(name).into()).hex().to_owned()
}

/// A definition for docker's endpoint at `host`.
pub fn document(name: &str, description: &str, host: &str, skip_verify: bool) -> Value {
    let metadata = if description.is_empty() { json!({}) } else { json!({ "Description": description }) };
    let mut endpoint = json!({ "SkipTLSVerify": skip_verify });
    if !host.is_empty() {
        endpoint["Host"] = host.into();
    }
    json!({"Name": name, "Metadata": metadata, "Endpoints": {"docker": endpoint}})
}

/// What `inspect` shows: the definition, with the names of its certificates and where everything is.
pub fn described(cli: &Cli, context: &Context) -> Value {
    let mut document = context.document.clone();
    if context.name == DEFAULT {
        return document;
    }
    let files = tls_path(cli, &context.directory).join("docker");
    let present: Vec<&str> = FILES.into_iter().filter(|name| files.join(name).exists()).collect();
    document["TLSMaterial"] = if present.is_empty() { json!({}) } else { json!({ "docker": present }) };
    document["Storage"] = json!({
        "MetadataPath": metadata_path(cli, &context.directory),
        "TLSPath": tls_path(cli, &context.directory),
    });
    document
}

/// Writes a definition and its certificates, in place of those that were there.
pub fn write(cli: &Cli, name: &str, document: &Value, material: &Material) -> Result<(), CliError> {
    let directory = directory(name);
    let metadata = metadata_path(cli, &directory);
    let fail = |path: &Path, error: &std::io::Error| CliError::new(format!("write `{}`: {error}", path.display()));
    fs::create_dir_all(&metadata).map_err(|error| fail(&metadata, &error))?;
    let tls = tls_path(cli, &directory);
    remove_all(&tls)?;
    let files = tls.join("docker");
    for (name, content) in certificates(material) {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&files).map_err(|error| fail(&files, &error))?;
        let path = files.join(name);
        // A key is its owner's alone from the first moment.
        let mut options = fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, content));
        written.map_err(|error| fail(&path, &error))?;
    }
    let path = metadata.join("meta.json");
    let mut file = tempfile::NamedTempFile::new_in(&metadata).map_err(|error| fail(&path, &error))?;
    serde_json::to_writer(&mut file, document).map_err(|error| CliError::new(error.to_string()))?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode).map_err(|error| fail(&path, &error))?;
    file.persist(&path).map_err(|error| fail(&path, &error.error))?;
    Ok(())
}

/// The files of an endpoint's certificates that there are, by name.
pub fn certificates(material: &Material) -> impl Iterator<Item = (&'static str, &[u8])> {
    let identity = material.identity.as_ref();
    let contents = [material.authority.as_ref(), identity.map(|pair| &pair.0), identity.map(|pair| &pair.1)];
    FILES.into_iter().zip(contents).filter_map(|(name, content)| Some((name, content?.as_slice())))
}

/// Removes a context, with its certificates.
pub fn remove(cli: &Cli, directory: &str) -> Result<(), CliError> {
    remove_all(&tls_path(cli, directory))?;
    remove_all(&metadata_path(cli, directory))
}

fn remove_all(path: &Path) -> Result<(), CliError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CliError::new(format!("remove `{}`: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(check_name("a+b_c.d-1"), Ok(()));
        for name in ["", "default", "x", "-ab", "a b", "a/b", "..", "é1"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert_eq!(directory("xx"), "5dde896887f6754c9b15bfe3a441ae4806df2fde94001311e08bf110622e0bbe");
    }
}
