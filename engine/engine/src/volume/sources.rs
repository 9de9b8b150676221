//! Where on the host a container's mounts come from, just before they are used: volumes with options and images are
//! mounted, and so are paths below the root of a volume or an image, which are never left on the way.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, open};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use tare_images::overlay::Durability;

use super::held::not_accessible;
use super::{local, no_such};
use crate::Engine;
use crate::container::record::{Mount, MountKind, Record};
use crate::error::{Error, Result};

/// Name of the directory, below the exec root, of mounts that are made for containers: images, and what is below volumes.
pub(crate) const PLACES: &str = "mounts";

impl Engine {
    /// Makes `user` a user of all that a container's mounts need. Returns them with the `source` where each is found
    /// now. Blocking.
    pub(crate) fn hold_sources(&self, record: &Record, user: &str) -> Result<Vec<Mount>> {
        record.mounts.iter().map(|mount| self.hold_source(record, mount.clone(), user)).collect()
    }

    fn hold_source(&self, record: &Record, mut mount: Mount, user: &str) -> Result<Mount> {
        match mount.kind {
            MountKind::Volume => {
                let volume = self.volumes.get(&mount.name).ok_or_else(|| no_such(&mount.name))?;
                self.hold_volume(&volume, user)?;
            }
            MountKind::Image => mount.source = self.hold_image(record, &mount, user)?.to_string_lossy().into_owned(),
            MountKind::Bind | MountKind::Tmpfs => {}
        }
        if !mount.subpath.is_empty() {
            let place = self.mount_place(&format!("{}-below", image_layer(&record.id, &mount.destination)));
            self.held.hold(&place, user, || {
                let opened = open_below(Path::new(&mount.source), &mount.subpath)?;
                bind(&opened, &place).map_err(|error| Error::io("bind", place.display(), error))
            })?;
            mount.source = place.to_string_lossy().into_owned();
        }
        Ok(mount)
    }

    fn mount_place(&self, name: &str) -> PathBuf {
        self.config.exec_root.join(PLACES).join(name)
    }

    /// Mounts a volume that has options, for a user. Blocking.
    pub(crate) fn hold_volume(&self, volume: &super::Volume, user: &str) -> Result<()> {
        if volume.options.is_empty() {
            return Ok(());
        }
        let content = self.volumes.content(&volume.name);
        self.held.hold(&content, user, || local::mount_volume(volume, &content))
    }

    fn hold_image(&self, record: &Record, mount: &Mount, user: &str) -> Result<PathBuf> {
        let layer = image_layer(&record.id, &mount.destination);
        let place = self.mount_place(&layer);
        self.held.hold(&place, user, || {
            let tree = self.images.mount_rw_layer(&layer, Durability::Durable).map_err(crate::image::error)?;
            crate::make_directory(&place, 0o711)?;
            attach(&tree, &place).map_err(|error| Error::io("move_mount", place.display(), error))
        })?;
        Ok(place)
    }

    /// Takes up again what running containers use, and ends what a crash has left. Blocking.
    pub(crate) fn sweep_mounts(&self) {
        for container in self.all_containers() {
            let (record, alive) = {
                let inner = container.read();
                (inner.record.clone(), inner.state.is_alive())
            };
            if alive && let Err(error) = self.hold_sources(&record, &record.id) {
                tracing::warn!("mounts of container {}: {error}", record.id);
            }
        }
        for volume in self.volumes.all().iter().filter(|volume| !volume.options.is_empty()) {
            self.held.sweep(&self.volumes.content(&volume.name));
        }
        for name in crate::recover::names_in(&self.config.exec_root.join(PLACES)) {
            self.held.sweep(&self.mount_place(&name));
        }
    }
}

/// Name of the layer that takes what a container changes in an image mounted at a path.
pub(crate) fn image_layer(container: &str, destination: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let hash = Sha256::digest(destination.as_bytes());
    let name: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{container}-{name}")
}

/// Opens a path that is below a directory, and stays there whatever links it meets on its way.
pub(super) fn open_below(directory: &Path, subpath: &str) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = open(directory, flags | OFlags::DIRECTORY, Mode::empty());
    let root = root.map_err(|error| not_accessible(directory, error))?;
    tare_sys::scoped::open(&root, subpath, flags, ResolveFlags::BENEATH).map_err(|errno| match errno {
        Errno::XDEV => Error::invalid(format!(
            "path concatenation escapes the base directory, base: {:?}, subpath: {subpath:?}",
            directory.display().to_string()
        )),
        errno => not_accessible(&directory.join(subpath), errno),
    })
}

/// Mounts a file or directory at a place, which is made.
fn bind(opened: &OwnedFd, place: &Path) -> std::io::Result<()> {
    let directory = FileType::from_raw_mode(fstat(opened)?.st_mode) == FileType::Directory;
    match if directory { std::fs::create_dir(place) } else { File::create_new(place).map(drop) } {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let flags = clone | OpenTreeFlags::AT_RECURSIVE | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(attach(&open_tree(opened, "", flags)?, place)?)
}

fn attach(tree: &OwnedFd, place: &Path) -> Result<(), Errno> {
    move_mount(tree, "", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Docker's rule for paths below a volume or an image.
pub(crate) fn is_local(subpath: &str) -> bool {
    let mut depth = 0_i32;
    for part in subpath.split('/') {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        if depth < 0 {
            return false;
        }
    }
    !subpath.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_below() {
        for (path, local) in
            [("a", true), ("a/../b", true), (".", true), ("..", false), ("a/../..", false), ("/a", false)]
        {
            assert_eq!(is_local(path), local, "{path}");
        }
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        std::fs::create_dir_all(root.join("in")).unwrap();
        std::fs::create_dir(directory.path().join("out")).unwrap();
        for (target, name) in [("in", "good"), ("../out", "up"), ("/", "top"), ("in/../../out", "winding")] {
            std::os::unix::fs::symlink(target, root.join(name)).unwrap();
        }
        assert!(open_below(&root, "in").is_ok());
        assert!(open_below(&root, "good").is_ok());
        for escape in ["up", "top", "winding", "../out", "in/../../out"] {
            let error = open_below(&root, escape).unwrap_err();
            assert!(error.message.starts_with("path concatenation escapes the base directory"), "{error:?}");
        }
        let missing = open_below(&root, "missing").unwrap_err().message;
        let path = root.join("missing");
        assert_eq!(missing, format!("cannot access path {}: no such file or directory", path.display()));
    }

    #[test]
    fn layers_of_images_belong_to_containers() {
        let layer = image_layer("0123", "/x");
        assert!(layer.starts_with("0123-"));
        assert_ne!(layer, image_layer("0123", "/y"));
    }
}
