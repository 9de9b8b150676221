//! Volumes: named directories that outlive containers. [`provide`] makes and fills them, [`sources`] finds them when a
//! container starts, [`local`] mounts those that have options, [`held`] says for how long.

pub(crate) mod api;
pub(crate) mod held;
pub(crate) mod local;
pub(crate) mod provide;
pub(crate) mod sources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tare_state::{Change, Kind, Store};

use crate::error::{Error, Result};
use crate::host::{clock, random};

/// Label Docker gives to anonymous volumes.
pub(crate) const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";
/// Directory of a volume's content below the volume's own.
const CONTENT: &str = "_data";

/// A volume's record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Volume {
    /// Its name; 64 hexadecimal digits for one that was not given any.
    pub(crate) name: String,
    /// Nanoseconds since the epoch.
    pub(crate) created_at: i64,
    pub(crate) labels: BTreeMap<String, String>,
    /// Options of the local driver (`type`, `device`, `o`).
    pub(crate) options: BTreeMap<String, String>,
}

/// All volumes.
#[derive(Debug)]
pub(crate) struct Volumes {
    root: PathBuf,
    store: Arc<Store>,
    by_name: Mutex<BTreeMap<String, Volume>>,
}

impl Volumes {
    pub(crate) fn open(root: PathBuf, store: Arc<Store>) -> Result<Self> {
        let mut by_name = BTreeMap::new();
        for (name, body) in store.load(Kind::Volume)? {
            match serde_json::from_str::<Volume>(&body) {
                Ok(volume) => {
                    by_name.insert(name, volume);
                }
                Err(error) => tracing::error!("volume {name} in the state database cannot be read: {error}"),
            }
        }
        Ok(Self { root, store, by_name: Mutex::new(by_name) })
    }

    fn volumes(&self) -> MutexGuard<'_, BTreeMap<String, Volume>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn all(&self) -> Vec<Volume> {
        self.volumes().values().cloned().collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<Volume> {
        self.volumes().get(name).cloned()
    }

    /// Where a volume's content is.
    pub(crate) fn content(&self, name: &str) -> PathBuf {
        self.root.join(name).join(CONTENT)
    }

    /// Makes a volume, or finds the one of that name; says whether it is new. An empty name makes an anonymous one.
    pub(crate) fn create(
        &self,
        name: &str,
        mut labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    ) -> Result<(Volume, bool)> {
        let name = if name.is_empty() {
            labels.insert(ANONYMOUS_LABEL.to_owned(), String::new());
            random::id()
        } else {
            validate(name)?;
            name.to_owned()
        };
        check_options(&options)?;
        let mut volumes = self.volumes();
        if let Some(volume) = volumes.get(&name) {
            if !options.is_empty() && options != volume.options {
                return Err(Error::conflict(format!(
                    "create {name}: volume {name} already exists with different options"
                )));
            }
            return Ok((volume.clone(), false));
        }
        let volume = Volume { name: name.clone(), created_at: clock::now_ns(), labels, options };
        make_content(&self.content(&name))?;
        let body = serde_json::to_string(&volume).map_err(|error| Error::internal(error.to_string()))?;
        self.store.write_sync(vec![Change::Put(Kind::Volume, name.clone(), body)])?;
        volumes.insert(name, volume.clone());
        Ok((volume, true))
    }

    /// Removes a volume; the caller has checked that nobody uses it.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let mut volumes = self.volumes();
        // Whatever is mounted there is not the volume's, and must not be deleted with it.
        if volumes.contains_key(name) && held::is_mount_point(&self.content(name)) {
            return Err(Error::conflict(format!("remove {name}: something is mounted at its content")));
        }
        if volumes.remove(name).is_none() {
            return Err(no_such(name));
        }
        self.store.write_sync(vec![Change::Delete(Kind::Volume, name.to_owned())])?;
        drop(volumes);
        crate::remove_tree(&self.root.join(name));
        Ok(())
    }
}

/// Docker's sentence about a volume that does not exist.
pub(crate) fn no_such(name: &str) -> Error {
    Error::not_found(format!("get {name}: no such volume"))
}

fn make_content(path: &Path) -> Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
    let failed = |error| Error::io("mkdir", path.display(), error);
    std::fs::DirBuilder::new().recursive(true).mode(0o701).create(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(failed)
}

/// Docker's rule for names of local volumes.
fn validate(name: &str) -> Result<()> {
    if name.len() == 1 {
        return Err(Error::invalid("volume name is too short, names should be at least two alphanumeric characters"));
    }
    let mut bytes = name.bytes();
    let valid = bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if valid {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "create {name}: {name:?} includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )))
}

fn check_options(options: &BTreeMap<String, String>) -> Result<()> {
    if options.is_empty() {
        return Ok(());
    }
    if let Some(unknown) = options.keys().find(|name| !matches!(name.as_str(), "type" | "device" | "o" | "size")) {
        return Err(Error::invalid(format!("invalid option: {unknown:?}")));
    }
    if options.contains_key("size") {
        return Err(Error::invalid("quota size requested but no quota support"));
    }
    for required in ["device", "type"] {
        if options.get(required).is_none_or(String::is_empty) {
            return Err(Error::invalid(format!("missing required option: {required:?}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(validate("data-1.x").is_ok());
        assert_eq!(
            validate("my/vol").unwrap_err().message,
            "create my/vol: \"my/vol\" includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        );
        assert!(validate("a").unwrap_err().message.starts_with("volume name is too short"));
    }

    #[test]
    fn volumes_are_made_once_and_survive() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("state.db")).unwrap());
        let volumes = Volumes::open(dir.path().join("v"), Arc::clone(&store)).unwrap();
        let (_, new) = volumes.create("data", BTreeMap::new(), BTreeMap::new()).unwrap();
        assert!(new);
        assert!(!volumes.create("data", BTreeMap::new(), BTreeMap::new()).unwrap().1);
        assert!(volumes.content("data").is_dir());
        let reopened = Volumes::open(dir.path().join("v"), store).unwrap();
        assert_eq!(reopened.all().len(), 1);
        reopened.remove("data").unwrap();
        assert!(!reopened.content("data").exists());
        assert_eq!(reopened.remove("data").unwrap_err().message, "get data: no such volume");
    }
}
