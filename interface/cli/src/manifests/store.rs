//! Where lists are put together: `manifests/LIST/MANIFEST` below the configuration directory, docker's own place and form.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tare_reference::Reference;

use super::{Descriptor, Manifest};
use crate::cli::Cli;
use crate::error::CliError;
use crate::opts::surroundings::path_error;

/// Largest file that is read, in bytes: a manifest and twice what it becomes in base64.
const MAX_FILE: u64 = 32 << 20;

/// The lists of one user.
pub struct Store(PathBuf);

/// A file, without what the text of the manifest says as well.
#[derive(Deserialize)]
struct Stored {
    #[serde(rename = "Ref")]
    reference: Reference,
    #[serde(rename = "Descriptor")]
    descriptor: Descriptor,
    #[serde(rename = "Raw", default)]
    raw: String,
}

impl Store {
    /// The one beside `config.json`.
    pub fn of(cli: &Cli) -> Store {
        Store(cli.globals.config_dir.join("manifests"))
    }

    fn directory(&self, list: &Reference) -> PathBuf {
        self.0.join(file_name(list))
    }

    /// A manifest of a list.
    pub fn get(&self, list: &Reference, name: &Reference) -> Result<Option<Manifest>, CliError> {
        read(&self.directory(list).join(file_name(name)))
    }

    /// A list's manifests; `None`: there is no such list.
    pub fn list(&self, list: &Reference) -> Result<Option<Vec<Manifest>>, CliError> {
        let directory = self.directory(list);
        let fail = |error: std::io::Error| CliError::new(path_error("open", &directory, &error));
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(fail)?,
        };
        let mut paths = Vec::new();
        for entry in entries {
            paths.push(entry.map_err(fail)?.path());
        }
        paths.sort_unstable();
        let mut manifests = Vec::new();
        for path in paths {
            manifests.extend(read(&path)?);
        }
        Ok(Some(manifests))
    }

    /// Takes a manifest into a list.
    pub fn save(&self, list: &Reference, name: &Reference, manifest: &Manifest) -> Result<(), CliError> {
        let directory = self.directory(list);
        fs::create_dir_all(&directory).map_err(|error| CliError::new(path_error("mkdir", &directory, &error)))?;
        let path = directory.join(file_name(name));
        fs::write(&path, manifest.document()).map_err(|error| CliError::new(path_error("open", &path, &error)))
    }

    /// Removes a list.
    pub fn remove(&self, list: &Reference) -> Result<(), CliError> {
        let directory = self.directory(list);
        fs::remove_dir_all(&directory).map_err(|error| CliError::new(path_error("unlinkat", &directory, &error)))
    }
}

/// What is said about a list or manifest that is not there.
pub fn missing(name: &Reference) -> CliError {
    CliError::new(format!("No such manifest: {name}"))
}

/// A name without what means something in paths.
fn file_name(name: &Reference) -> String {
    name.to_string().replace(':', "-").replace('/', "_")
}

fn read(path: &Path) -> Result<Option<Manifest>, CliError> {
    let wrong = |why: &dyn std::fmt::Display| CliError::new(format!("invalid manifest file {}: {why}", path.display()));
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Ok(meta) if meta.len() > MAX_FILE => return Err(wrong(&"file is too large")),
        _ => {}
    }
    let text = fs::read(path).map_err(|error| CliError::new(path_error("open", path, &error)))?;
    let stored: Stored = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
    let raw = STANDARD.decode(&stored.raw).map_err(|error| wrong(&error))?;
    if raw.is_empty() {
        return Err(wrong(&"it is of an old version of docker: remove the list and create it again"));
    }
    Ok(Some(Manifest { reference: stored.reference, descriptor: stored.descriptor, raw }))
}

#[cfg(test)]
mod tests {
    use super::super::{reference, tests::example};
    use super::*;

    #[test]
    fn what_is_saved_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store(directory.path().join("manifests"));
        let list = reference("example.com:5000/team/list").unwrap();
        let names = ["example.com:5000/team/b:2", "example.com:5000/team/a:1"].map(|name| reference(name).unwrap());
        assert_eq!(store.list(&list), Ok(None));
        for name in &names {
            assert_eq!(store.get(&list, name), Ok(None));
            let manifest = example(&name.to_string());
            store.save(&list, name, &manifest).unwrap();
            assert_eq!(store.get(&list, name), Ok(Some(manifest)));
        }
        let path = "manifests/example.com-5000_team_list-latest/example.com-5000_team_b-2";
        assert!(directory.path().join(path).exists());
        let found = store.list(&list).unwrap().unwrap();
        assert_eq!(found.iter().map(|m| m.reference.tag().unwrap()).collect::<Vec<_>>(), ["1", "2"]);
        store.remove(&list).unwrap();
        assert_eq!(store.list(&list), Ok(None));
    }

    #[test]
    fn nonsense_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        for text in ["nonsense", "{}", r#"{"Ref":"docker.io/library/x:1","Digest":"sha256:00"}"#] {
            fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err().message;
            assert!(error.starts_with(&format!("invalid manifest file {}: ", path.display())), "{error}");
        }
    }
}
