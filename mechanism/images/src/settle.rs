//! Layers that no archive has, made on top of an image's own: one that gives directories the attributes they should
//! show, and one with the mount points of containers.
//!
//! A layer's archive may leave out the entries of directories that it has files in; extracted on its own, such a
//! directory gets a default mode, which as the topmost one would show in the image (`/tmp` without its sticky bit).
//! For images where that matters there is a layer of empty directories with the right attributes.
//!
//! Containers get files and directories mounted at paths that images rarely have. Were they made for each container,
//! they would cost calls at each start and show up in `docker diff` and `commit`. Docker has a layer of its own for
//! them between image and container, and so have we, but one per image instead of one per container.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use sha2::{Digest as _, Sha256};
use tare_archive::path::{join, split};
use tare_reference::Digest;

use crate::layers::{Layer, make_diff};
use crate::rootdir::{OPAQUE_XATTR, RootDir, is_whiteout};
use crate::store::ImageStore;
use crate::unpack::Unpacked;
use crate::{Error, Result, files};

/// Directories that something is mounted on in containers, parents first.
const MOUNT_DIRECTORIES: [&str; 6] = ["dev", "dev/pts", "dev/shm", "etc", "proc", "sys"];
/// Files that something is mounted on, and the one by which programs know that they are in a container.
const MOUNT_FILES: [&str; 5] = [".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"];
/// What old programs read for the list of mounts.
const MTAB: (&str, &str) = ("etc/mtab", "/proc/mounts");

/// The key of the layer of directory attributes for a stack of layers.
pub(crate) fn directories_id(diff_ids: &[Digest]) -> Digest {
    made_id("directories", diff_ids)
}

/// The key of the layer of mount points for a stack of layers.
pub(crate) fn mount_points_id(diff_ids: &[Digest]) -> Digest {
    made_id("mount points", diff_ids)
}

fn made_id(kind: &str, diff_ids: &[Digest]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(kind);
    for diff_id in diff_ids {
        hasher.update(" ");
        hasher.update(diff_id.as_str());
    }
    let hash: [u8; 32] = hasher.finalize().into();
    Digest::from_sha256(&hash)
}

/// What a directory should show.
#[derive(Debug, Clone, Copy)]
struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    /// `None` leaves the time of making.
    mtime: Option<Timespec>,
}

impl Attributes {
    const DEFAULT: Attributes = Attributes { mode: 0o755, uid: 0, gid: 0, mtime: None };

    #[allow(clippy::cast_possible_wrap, reason = "nanoseconds as the kernel gives them")]
    fn of(stat: &Stat) -> Attributes {
        let mtime = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as i64 };
        Attributes { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime: Some(mtime) }
    }
}

impl ImageStore {
    /// Makes the two layers for a stack of unpacked layers (lowest first), as far as they are needed and not there.
    pub fn settle(&self, diff_ids: &[Digest]) -> Result<()> {
        let (directories, mount_points) = (directories_id(diff_ids), mount_points_id(diff_ids));
        let (stack, have_directories, have_mount_points) = {
            let state = self.state();
            let stack: Option<Vec<Arc<Layer>>> = diff_ids.iter().rev().map(|d| state.layers.get(d).cloned()).collect();
            let have = |id| state.layers.contains_key(id);
            (stack, have(&directories), have(&mount_points))
        };
        // an image of another platform may not be unpacked at all
        let Some(stack) = stack else { return Ok(()) };
        let implicit: BTreeSet<&Vec<u8>> = stack.iter().flat_map(|layer| &layer.implicit).collect();
        if (have_directories || implicit.is_empty()) && have_mount_points {
            return Ok(());
        }
        let mut roots = Vec::new();
        for layer in &stack {
            let diff = self.inner.root.join("layers").join(&layer.directory).join("diff");
            roots.push((layer, RootDir::open(&diff).map_err(Error::io("open", &diff))?));
        }
        if !have_directories {
            let wanted = directories_to_settle(&roots, &implicit);
            if !wanted.is_empty() {
                self.make_layer(directories, wanted, false)?;
            }
        }
        if !have_mount_points {
            let wanted = MOUNT_DIRECTORIES.iter().map(|path| {
                let attributes = merged(&roots, path.as_bytes()).map(|(stat, _)| Attributes::of(&stat));
                (path.as_bytes().to_vec(), attributes.unwrap_or(Attributes::DEFAULT))
            });
            self.make_layer(mount_points, wanted.collect(), true)?;
        }
        Ok(())
    }

    fn make_layer(&self, id: Digest, wanted: BTreeMap<Vec<u8>, Attributes>, mount_points: bool) -> Result<()> {
        let temporary = self.inner.root.join("layers").join(files::unique("tmp-"));
        let made = make_diff(&temporary).and_then(|diff| {
            let root = RootDir::open(&diff).map_err(Error::io("open", &diff))?;
            wanted.iter().try_for_each(|(path, attributes)| make_directory(&root, path, *attributes))?;
            if mount_points {
                make_files(&diff)?;
            }
            // what is made in a directory changes its time
            wanted.iter().rev().try_for_each(|(path, attributes)| set_time(&root, path, attributes.mtime))?;
            let entries = wanted.len() as u64;
            self.adopt_layer(&temporary, id, Unpacked { entries, ..Unpacked::default() })
        });
        if made.is_err() {
            self.discard(&temporary);
        }
        made.map(drop)
    }
}

/// Directories that show wrong attributes, and their parents, with the right ones. `roots` is topmost first.
fn directories_to_settle(
    roots: &[(&Arc<Layer>, RootDir)],
    implicit: &BTreeSet<&Vec<u8>>,
) -> BTreeMap<Vec<u8>, Attributes> {
    let mut wanted = BTreeMap::new();
    for path in implicit {
        let Some((stat, true)) = merged(roots, path) else { continue };
        wanted.insert(path.to_vec(), Attributes::of(&stat));
        let (mut parent, _) = split(path);
        while !parent.is_empty() {
            let attributes = merged(roots, parent).map_or(Attributes::DEFAULT, |(stat, _)| Attributes::of(&stat));
            wanted.insert(parent.to_vec(), attributes);
            parent = split(parent).0;
        }
    }
    wanted
}

/// The attributes a directory should show in a stack of layers, and whether the topmost one that has it lacks them
/// because its archive had no entry for it. `None` where the merged tree has no directory or all are implicit.
fn merged(roots: &[(&Arc<Layer>, RootDir)], path: &[u8]) -> Option<(Stat, bool)> {
    let mut hidden = false;
    for (layer, root) in roots {
        match look(root, path) {
            Look::Absent => {}
            Look::Cut => return None,
            Look::Directory { stat, opaque } => {
                if !layer.implicit.contains(path) {
                    return Some((stat, hidden));
                }
                hidden = true;
                if opaque {
                    return None;
                }
            }
            Look::Opaque => return None,
        }
    }
    None
}

/// What a layer has at a path.
pub(crate) enum Look {
    /// Not in this layer; the ones below count.
    Absent,
    /// Deleted here, or no directory.
    Cut,
    /// Not in this layer, and a parent hides what is below.
    Opaque,
    Directory {
        stat: Stat,
        opaque: bool,
    },
}

/// Looks for a directory in one layer, component by component, without following links.
pub(crate) fn look(root: &RootDir, path: &[u8]) -> Look {
    let mut at: Vec<u8> = Vec::new();
    let mut opaque = false;
    for component in path.split(|&b| b == b'/') {
        at = join(&at, component);
        let Ok(stat) = root.lstat(&at) else {
            return if opaque { Look::Opaque } else { Look::Absent };
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory || is_whiteout(&stat) {
            return Look::Cut;
        }
        opaque |= root.open_at(&at, OFlags::RDONLY | OFlags::DIRECTORY).is_ok_and(|fd| {
            let mut value = [0u8; 1];
            rustix::fs::fgetxattr(&fd, OPAQUE_XATTR, &mut value[..]).is_ok_and(|n| n == 1 && value == *b"y")
        });
        if at == path {
            return Look::Directory { stat, opaque };
        }
    }
    Look::Absent
}

fn make_directory(root: &RootDir, path: &[u8], attributes: Attributes) -> Result<()> {
    let shown = Path::new(OsStr::from_bytes(path));
    let (parent, name) = root.open_parent(path).map_err(Error::io("open", shown))?;
    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)).map_err(Error::io("mkdirat", shown))?;
    let directory = open_directory(root, path)?;
    let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
    rustix::fs::fchown(&directory, Some(uid), Some(gid)).map_err(Error::io("fchown", shown))?;
    rustix::fs::fchmod(&directory, Mode::from_raw_mode(attributes.mode)).map_err(Error::io("fchmod", shown))
}

fn set_time(root: &RootDir, path: &[u8], mtime: Option<Timespec>) -> Result<()> {
    let Some(time) = mtime else { return Ok(()) };
    let directory = open_directory(root, path)?;
    rustix::fs::futimens(&directory, &Timestamps { last_access: time, last_modification: time })
        .map_err(Error::io("futimens", OsStr::from_bytes(path)))
}

fn open_directory(root: &RootDir, path: &[u8]) -> Result<std::os::fd::OwnedFd> {
    root.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(Error::io("open", OsStr::from_bytes(path)))
}

/// Empty files with the mode that Docker gives them, below a directory of our own.
fn make_files(diff: &Path) -> Result<()> {
    for file in MOUNT_FILES {
        let path = diff.join(file);
        std::fs::write(&path, "").map_err(Error::io("create", &path))?;
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, permissions).map_err(Error::io("chmod", &path))?;
    }
    let mtab = diff.join(MTAB.0);
    std::os::unix::fs::symlink(MTAB.1, &mtab).map_err(Error::io("symlink", &mtab))
}
