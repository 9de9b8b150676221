//! Changing the store: definitions, and the certificates that go with them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tare_docker_client::tls::Material;
use tare_reference::Digest;
use tare_sys::errno::words;

use super::{Context, DEFAULT, ENDPOINT};
use crate::cli::Cli;
use crate::error::CliError;

/// What TLS is made with: the files of every endpoint, by its name and theirs. Docker's has `ca.pem`, `cert.pem`, `key.pem`;
/// others are kept for those who know them.
pub type TlsFiles = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

/// Most bytes of a file of them that are read.
const MAX_TLS_FILE: u64 = 10 << 20;
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

/// Docker's endpoint at `host`.
pub fn endpoint(host: &str, skip_verify: bool) -> Value {
    let mut endpoint = json!({ "SkipTLSVerify": skip_verify });
    if !host.is_empty() {
        endpoint["Host"] = host.into();
    }
    endpoint
}

/// A definition without what is known about where it is kept.
pub fn definition(document: &Value) -> Value {
    let object = |key: &str| document.get(key).filter(|value| value.is_object()).cloned().unwrap_or_else(|| json!({}));
    json!({"Name": document["Name"], "Metadata": object("Metadata"), "Endpoints": object("Endpoints")})
}

/// The files of one endpoint.
pub fn files_of(material: &Material) -> BTreeMap<String, Vec<u8>> {
    let (certificate, key) = material.identity.clone().unzip();
    let files = [("ca.pem", material.authority.clone()), ("cert.pem", certificate), ("key.pem", key)];
    files.into_iter().filter_map(|(name, content)| Some((name.to_owned(), content?))).collect()
}

/// What a context's TLS is made with; the default one's is what the options before the command name.
pub fn tls_files(cli: &Cli, context: &Context) -> Result<TlsFiles, CliError> {
    if context.name == DEFAULT {
        let Some(asked) = &cli.globals.tls else { return Ok(TlsFiles::new()) };
        let files = files_of(&asked.read()?);
        return Ok(if files.is_empty() { TlsFiles::new() } else { BTreeMap::from([(ENDPOINT.to_owned(), files)]) });
    }
    let mut all = TlsFiles::new();
    for (endpoint, name, path) in tls_paths(cli, context) {
        let fail = |why: &dyn std::fmt::Display| {
            CliError::new(format!("failed to read TLS data for endpoint {endpoint}: open {}: {why}", path.display()))
        };
        let mut content = Vec::new();
        let file = File::open(&path).map_err(|error| fail(&words(&error)))?;
        file.take(MAX_TLS_FILE + 1).read_to_end(&mut content).map_err(|error| fail(&words(&error)))?;
        if content.len() as u64 > MAX_TLS_FILE {
            return Err(fail(&"file is too large"));
        }
        all.entry(endpoint).or_default().insert(name, content);
    }
    Ok(all)
}

/// Endpoint, name and path of each of these files.
fn tls_paths(cli: &Cli, context: &Context) -> Vec<(String, String, PathBuf)> {
    let mut paths = Vec::new();
    for endpoint in fs::read_dir(tls_path(cli, &context.directory)).into_iter().flatten().flatten() {
        for file in fs::read_dir(endpoint.path()).into_iter().flatten().flatten() {
            let name = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
            if file.path().is_file() {
                paths.push((name(&endpoint), name(&file), file.path()));
            }
        }
    }
    paths.sort();
    paths
}

/// What `inspect` shows, in docker's order: the definition, the names of its certificates, where everything is.
pub fn described(cli: &Cli, context: &Context) -> Result<Vec<u8>, CliError> {
    let mut material: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (endpoint, files) in tls_files(cli, context)? {
        material.insert(endpoint, files.into_keys().collect());
    }
    let definition = definition(&context.document);
    let storage = match context.name.as_str() {
        DEFAULT => json!({ "MetadataPath": "<IN MEMORY>", "TLSPath": "<IN MEMORY>" }),
        _ => json!({
            "MetadataPath": metadata_path(cli, &context.directory),
            "TLSPath": tls_path(cli, &context.directory),
        }),
    };
    let member = |key: &str| definition.get(key).cloned().unwrap_or_else(|| json!({}));
    let text = format!(
        r#"{{"Name":{},"Metadata":{},"Endpoints":{},"TLSMaterial":{},"Storage":{storage}}}"#,
        json!(context.name),
        member("Metadata"),
        member("Endpoints"),
        json!(material),
    );
    // Docker's own encoder writes these so, and they are in texts alone.
    let escaped = text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    Ok(escaped.into_bytes())
}

/// Writes a definition and its certificates, in place of those that were there.
pub fn write(cli: &Cli, name: &str, document: &Value, material: &TlsFiles) -> Result<(), CliError> {
    let directory = directory(name);
    let metadata = metadata_path(cli, &directory);
    let fail = |path: &Path, error: &std::io::Error| CliError::new(format!("write `{}`: {error}", path.display()));
    fs::create_dir_all(&metadata).map_err(|error| fail(&metadata, &error))?;
    let tls = tls_path(cli, &directory);
    remove_all(&tls)?;
    for (endpoint, files) in material {
        let place = tls.join(endpoint);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&place).map_err(|error| fail(&place, &error))?;
        for (name, content) in files {
            let path = place.join(name);
            // A key is its owner's alone from the first moment.
            let mut options = fs::OpenOptions::new();
            let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
            let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, content));
            written.map_err(|error| fail(&path, &error))?;
        }
    }
    let path = metadata.join("meta.json");
    let mut file = tempfile::NamedTempFile::new_in(&metadata).map_err(|error| fail(&path, &error))?;
    serde_json::to_writer(&mut file, document).map_err(|error| CliError::new(error.to_string()))?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode).map_err(|error| fail(&path, &error))?;
    file.persist(&path).map_err(|error| fail(&path, &error.error))?;
    Ok(())
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
