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
/// What the directory of a volume that is being removed is called, before the volume's name: no name begins like this.
const REMOVED: &str = ".removed-";

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
    /// ID of the container that an anonymous one was made for, as long as that is there: should the daemon die while the
    /// two are made or removed, neither stays without the other.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) owner: String,
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
        let volumes = Self { root, store, by_name: Mutex::new(by_name) };
        volumes.tidy();
        Ok(volumes)
    }

    /// Finishes what a daemon that died was about: a volume has its directory, one that was removed has none.
    fn tidy(&self) {
        let by_name = self.volumes();
        for entry in crate::recover::names_in(&self.root) {
            let Some(name) = entry.strip_prefix(REMOVED) else { continue };
            if !by_name.contains_key(name) {
                crate::remove_tree(&self.root.join(&entry));
            } else if let Err(error) = std::fs::rename(self.root.join(&entry), self.root.join(name)) {
                tracing::error!("bringing the volume {name} back: {error}");
            }
        }
        for name in by_name.keys() {
            if !self.content(name).exists()
                && let Err(error) = make_content(&self.content(name))
            {
                tracing::error!("volume {name}: {error}");
            }
        }
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

    /// Makes a volume, or finds the one of that name; says whether it is new. An empty name makes an anonymous one, for the
    /// container `owner` if there is one.
    pub(crate) fn create(
        &self,
        name: &str,
        owner: &str,
        mut labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    ) -> Result<(Volume, bool)> {
        let owner = if name.is_empty() { owner.to_owned() } else { String::new() };
        let name = if name.is_empty() {
            labels.insert(ANONYMOUS_LABEL.to_owned(), String::new());
            random::id()
        } else {
            validate(name)?;
            name.to_owned()
        };
        let mut volumes = self.volumes();
        // One that is there stays as it is, whatever else is asked for.
        if let Some(volume) = volumes.get(&name) {
            return Ok((volume.clone(), false));
        }
        check_options(&options)?;
        let volume = Volume { name: name.clone(), created_at: clock::now_ns(), labels, options, owner };
        self.store.write_sync(vec![put(&volume)?])?;
        if let Err(error) = make_content(&self.content(&name)) {
            self.store.write_sync(vec![Change::Delete(Kind::Volume, name.clone())])?;
            crate::remove_tree(&self.root.join(&name));
            return Err(error);
        }
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
        if !volumes.contains_key(name) {
            return Err(no_such(name));
        }
        self.set_aside(name);
        if let Err(error) = self.store.write_sync(vec![Change::Delete(Kind::Volume, name.to_owned())]) {
            self.bring_back(name);
            return Err(error.into());
        }
        volumes.remove(name);
        drop(volumes);
        crate::remove_tree(&self.aside(name));
        Ok(())
    }

    /// Ends a container's part in its anonymous volumes: `unused` ones go with it, `kept` ones stay for good.
    pub(crate) fn release(&self, unused: Vec<String>, mut kept: Vec<String>) -> Release<'_> {
        // Whatever is mounted there is not the volume's, and must not be deleted with it.
        let (mounted, unused): (Vec<_>, Vec<_>) =
            unused.into_iter().partition(|name| held::is_mount_point(&self.content(name)));
        kept.extend(mounted);
        let known: Vec<Volume> = {
            let volumes = self.volumes();
            kept.iter()
                .filter_map(|name| volumes.get(name))
                .filter(|volume| !volume.owner.is_empty())
                .cloned()
                .collect()
        };
        unused.iter().for_each(|name| self.set_aside(name));
        let kept = known.into_iter().map(|volume| Volume { owner: String::new(), ..volume }).collect();
        Release { volumes: self, unused, kept, done: false }
    }

    /// Anonymous volumes of containers that are not `known`.
    pub(crate) fn ownerless(&self, known: impl Fn(&str) -> bool) -> Vec<String> {
        let volumes = self.volumes();
        let ownerless = volumes.values().filter(|volume| !volume.owner.is_empty() && !known(&volume.owner));
        ownerless.map(|volume| volume.name.clone()).collect()
    }

    fn aside(&self, name: &str) -> PathBuf {
        self.root.join(format!("{REMOVED}{name}"))
    }

    fn set_aside(&self, name: &str) {
        if let Err(error) = std::fs::rename(self.root.join(name), self.aside(name)) {
            tracing::warn!("removing the directory of volume {name}: {error}");
        }
    }

    fn bring_back(&self, name: &str) {
        if let Err(error) = std::fs::rename(self.aside(name), self.root.join(name)) {
            tracing::error!("bringing the volume {name} back: {error}");
        }
    }
}

/// A container's part in its volumes, about to end: in the same commit as the container's own end. Dropped without
/// [`Release::finish`], it does not.
#[derive(Debug)]
pub(crate) struct Release<'a> {
    volumes: &'a Volumes,
    unused: Vec<String>,
    kept: Vec<Volume>,
    done: bool,
}

impl Release<'_> {
    /// What is to be committed.
    pub(crate) fn changes(&self) -> Result<Vec<Change>> {
        let deletions = self.unused.iter().map(|name| Ok(Change::Delete(Kind::Volume, name.clone())));
        deletions.chain(self.kept.iter().map(put)).collect()
    }

    /// It is committed. Returns the volumes that are gone.
    pub(crate) fn finish(mut self) -> Vec<String> {
        self.done = true;
        let mut volumes = self.volumes.volumes();
        for volume in self.kept.drain(..) {
            volumes.insert(volume.name.clone(), volume);
        }
        self.unused.retain(|name| volumes.remove(name).is_some());
        drop(volumes);
        self.unused.iter().for_each(|name| crate::remove_tree(&self.volumes.aside(name)));
        std::mem::take(&mut self.unused)
    }
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.unused.iter().for_each(|name| self.volumes.bring_back(name));
        }
    }
}

fn put(volume: &Volume) -> Result<Change> {
    let body = serde_json::to_string(volume).map_err(|error| Error::internal(error.to_string()))?;
    Ok(Change::Put(Kind::Volume, volume.name.clone(), body))
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
        return Err(Error::invalid(format!(
            "create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )));
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
        assert!(validate("a").unwrap_err().message.starts_with("create a: volume name is too short"));
    }

    #[test]
    fn volumes_are_made_once_and_survive() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("state.db")).unwrap());
        let volumes = Volumes::open(dir.path().join("v"), Arc::clone(&store)).unwrap();
        let (_, new) = volumes.create("data", "", BTreeMap::new(), BTreeMap::new()).unwrap();
        assert!(new);
        assert!(!volumes.create("data", "", BTreeMap::new(), BTreeMap::new()).unwrap().1);
        assert!(volumes.content("data").is_dir());
        let reopened = Volumes::open(dir.path().join("v"), store).unwrap();
        assert_eq!(reopened.all().len(), 1);
        reopened.remove("data").unwrap();
        assert!(!reopened.content("data").exists());
        assert_eq!(reopened.remove("data").unwrap_err().message, "get data: no such volume");
    }

    #[test]
    fn what_a_dead_daemon_began_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&dir.path().join("state.db")).unwrap());
        let root = dir.path().join("v");
        let open = || Volumes::open(root.clone(), Arc::clone(&store)).unwrap();
        let volumes = open();
        for name in ["kept", "gone"] {
            volumes.create(name, "", BTreeMap::new(), BTreeMap::new()).unwrap();
            std::fs::write(volumes.content(name).join("file"), "1").unwrap();
            volumes.set_aside(name);
        }
        store.write_sync(vec![Change::Delete(Kind::Volume, "gone".to_owned())]).unwrap();
        let volumes = open();
        assert_eq!(std::fs::read_to_string(volumes.content("kept").join("file")).unwrap(), "1");
        assert_eq!(crate::recover::names_in(&root), ["kept"]);
        let (owned, _) = volumes.create("", "container", BTreeMap::new(), BTreeMap::new()).unwrap();
        assert_eq!(open().ownerless(|id| id == "container"), [""; 0]);
        assert_eq!(open().ownerless(|_| false), std::slice::from_ref(&owned.name));
        // Not committed: it stays. Kept for good: it belongs to nobody.
        drop(volumes.release(vec![owned.name.clone()], Vec::new()));
        assert!(volumes.content(&owned.name).is_dir());
        let release = volumes.release(Vec::new(), vec![owned.name.clone()]);
        store.write_sync(release.changes().unwrap()).unwrap();
        assert_eq!(release.finish(), [""; 0]);
        assert_eq!(open().ownerless(|_| false), [""; 0]);
    }
}
