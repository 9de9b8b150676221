//! Containers' own layers: what they change goes to `snapshots/<id>/upper`, and the layers below stay for them.
//!
//! Which layers those are is the target of the symbolic link `layers`: one call, and journalled as a whole with the
//! directory, where a file would need an fsync.

use std::collections::HashMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use tare_reference::Digest;

use crate::overlay::{self, Durability, Writable};
use crate::store::ImageStore;
use crate::{Error, Result, files, gc};

/// Stands for "no layers": a link cannot be empty.
const NO_LAYERS: &str = ".";

/// Where a container's own layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RwLayer {
    /// Changes.
    pub upper: PathBuf,
    /// Overlayfs's own.
    pub work: PathBuf,
}

impl ImageStore {
    /// Makes the writable layer of a container on top of an image's layers (lowest first), which then stay on disk
    /// even if the image is removed. The root directory gets the image's mode and owner.
    pub fn create_rw_layer(&self, container: &str, diff_ids: &[Digest]) -> Result<RwLayer> {
        // made when the image came, unless that was before this version
        self.settle(diff_ids)?;
        let (mode, uid, gid) = self.root_attributes(diff_ids);
        let directory = self.snapshot(container);
        let layer = self.rw_layer(container);
        fs::create_dir(&directory).map_err(Error::io("mkdir", &directory))?;
        let made = (|| {
            for path in [&layer.upper, &layer.work] {
                fs::create_dir(path).map_err(Error::io("mkdir", path))?;
            }
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(&layer.upper, permissions).map_err(Error::io("chmod", &layer.upper))?;
            if (uid, gid) != (0, 0) {
                chown(&layer.upper, Some(uid), Some(gid)).map_err(Error::io("chown", &layer.upper))?;
            }
            let (names, unmarked) = self.state().container_names(diff_ids)?;
            if unmarked {
                self.commit_pending()?;
            }
            let mut state = self.state();
            // a collection may have taken them
            state.container_names(diff_ids)?;
            let target = if names.is_empty() { NO_LAYERS.to_owned() } else { names.join(":") };
            let link = directory.join("layers");
            symlink(target, &link).map_err(Error::io("symlink", &link))?;
            state.snapshots.insert(container.to_owned(), names);
            Ok(())
        })();
        match made {
            Ok(()) => Ok(layer),
            Err(e) => {
                self.discard(&directory);
                Err(e)
            }
        }
    }

    /// The writable layer's directories, whether or not they exist.
    pub fn rw_layer(&self, container: &str) -> RwLayer {
        let directory = self.snapshot(container);
        RwLayer { upper: directory.join("upper"), work: directory.join("work") }
    }

    /// The directories of the image layers below a container's own, topmost first.
    pub fn rw_layer_lowers(&self, container: &str) -> Result<Vec<PathBuf>> {
        let names = self.state().snapshots.get(container).cloned();
        let names = names.ok_or_else(|| Error::NoPath(self.snapshot(container).display().to_string()))?;
        Ok(self.directory_paths(&names))
    }

    /// All containers that have a writable layer.
    pub fn rw_layers(&self) -> Vec<String> {
        self.state().snapshots.keys().cloned().collect()
    }

    /// Removes a container's layer; deletion itself goes on in the background. Fine if there is none.
    pub fn remove_rw_layer(&self, container: &str) -> Result<()> {
        self.state().snapshots.remove(container);
        let directory = self.snapshot(container);
        let to = self.inner.root.join("trash").join(files::unique("snapshot-"));
        match fs::rename(&directory, &to) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::io("rename", &directory)(e)),
            Ok(()) => {
                gc::start(self);
                Ok(())
            }
        }
    }

    /// Mounts a container's root file system, detached: nothing on the host shows it until someone attaches it.
    ///
    /// Only one such mount may exist at a time; cp, diff and export of a running container use its own.
    pub fn mount_rw_layer(&self, container: &str, durability: Durability) -> Result<OwnedFd> {
        let lowers = self.rw_layer_lowers(container)?;
        let RwLayer { upper, work } = self.rw_layer(container);
        // How overlayfs tells that the last mount was volatile, so that nobody relies on what a crash has left. Whoever
        // says so here gives that up with its container.
        let mark = work.join("work/incompat");
        match fs::remove_dir_all(&mark) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", &mark)(e)),
            _ => {}
        }
        overlay::mount(&lowers, Some(Writable { upper: &upper, work: &work, durability }))
    }

    /// Mounts an image read-only, detached.
    pub fn mount_image(&self, diff_ids: &[Digest]) -> Result<OwnedFd> {
        overlay::mount(&self.lower_dirs(diff_ids)?, None)
    }

    fn snapshot(&self, container: &str) -> PathBuf {
        // container IDs are hexadecimal; a slash in one would lead elsewhere
        self.inner.root.join("snapshots").join(container.replace('/', "_"))
    }
}

/// The layers that containers use; what has no link goes to the trash.
pub(crate) fn load(root: &Path) -> Result<HashMap<String, Vec<String>>> {
    let directory = root.join("snapshots");
    let mut snapshots = HashMap::new();
    for entry in fs::read_dir(&directory).map_err(Error::io("readdir", &directory))? {
        let entry = entry.map_err(Error::io("readdir", &directory))?;
        let target =
            fs::read_link(entry.path().join("layers")).ok().and_then(|t| t.into_os_string().into_string().ok());
        match (target, entry.file_name().into_string()) {
            (Some(target), Ok(id)) if target == NO_LAYERS => drop(snapshots.insert(id, Vec::new())),
            (Some(target), Ok(id)) => drop(snapshots.insert(id, target.split(':').map(str::to_owned).collect())),
            _ => {
                let to = root.join("trash").join(files::unique("snapshot-"));
                fs::rename(entry.path(), &to).map_err(Error::io("rename", &to))?;
            }
        }
    }
    Ok(snapshots)
}
