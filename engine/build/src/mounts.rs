//! `RUN --mount`: what one command sees besides the image, and its layer does not.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, FlockOperation, flock, unlinkat};
use sha2::{Digest as _, Sha256};
use tare_archive::path::join;
use tare_docker_api::container::{ImageOptions, Mount as Mounted, TmpfsOptions};
use tare_dockerfile::{Expander, Mount, MountType};
use tare_engine::{Error, Result};
use tare_images::rootdir::RootDir;

use crate::builder::Builder;
use crate::context::{inside, open_root, outside};
use crate::grants::Grants;
use crate::place::{self, Destination};
use crate::sources::Source;
use crate::stage::State;
use crate::{blocking, sources};

/// Between two looks at a cache that another build uses.
const CACHE_POLL: Duration = Duration::from_millis(20);
/// Mode of a new cache.
const CACHE_MODE: u32 = 0o755;

/// What is mounted for one command.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    /// For the container.
    pub(crate) mounts: Vec<Mounted>,
    /// Stand for them in the cache of steps: how they were asked for, and what is in them as far as the caller decides it.
    pub(crate) words: Vec<String>,
    /// Caches, by directory, with what they are like when they are new.
    caches: BTreeMap<PathBuf, Mount>,
    /// What the command may write, and nobody sees afterwards: what is copied to which empty directory.
    copies: Vec<(Source, PathBuf)>,
    /// What the caller is to be asked for.
    asked: Vec<Mount>,
}

/// What is taken while the command runs.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Places that the image does not have, from the outermost: they are only there to be mounted on.
    places: Vec<Vec<u8>>,
    /// Locked caches.
    _caches: Vec<File>,
    /// What the caller has granted.
    pub(crate) grants: Grants,
}

impl Builder {
    /// What a command is to see, for which nothing is made or waited for yet.
    pub(crate) async fn mounts(&self, state: &State, wanted: &[Mount]) -> Result<Mounts> {
        let expander = state.expander(self.escape);
        let mut all = Mounts::default();
        for mount in wanted {
            let mount = expanded(mount, &expander, &state.config.working_dir).map_err(Error::invalid)?;
            let mounted = match mount.kind {
                MountType::Bind => self.bind(&mount, &mut all).await?,
                MountType::Cache if !mount.from.is_empty() => return Err(self.needs_buildkit("mount=type=cache,from")),
                MountType::Cache => {
                    let path = self.cache_path(&mount);
                    let mounted = bound(&path);
                    all.caches.entry(path).or_insert_with(|| mount.clone());
                    mounted
                }
                MountType::Tmpfs => Mounted {
                    kind: "tmpfs".to_owned(),
                    tmpfs_options: Some(TmpfsOptions { size_bytes: mount.size, ..TmpfsOptions::default() }),
                    ..Mounted::default()
                },
                // What comes of it is no part of the key: another secret is no reason to do it again.
                MountType::Secret | MountType::Ssh => {
                    all.words.push(format!("--mount={mount:?}"));
                    all.asked.push(mount);
                    continue;
                }
            };
            all.words.push(format!("--mount={mount:?}"));
            let read_only = mount.read_only && mount.kind != MountType::Tmpfs;
            all.mounts.push(Mounted { target: mount.target, read_only, ..mounted });
        }
        Ok(all)
    }

    /// Takes what a command needs that follows now.
    pub(crate) async fn hold_mounts(&self, state: &State, mounts: &Mounts) -> Result<Held> {
        let mut caches = Vec::new();
        // In one order everywhere: two builds that want the same two caches do not wait for each other.
        for (path, mount) in &mounts.caches {
            make_cache(path, mount)?;
            caches.push(locked(path).await?);
        }
        let copies = mounts.copies.clone();
        blocking(move || copies.iter().try_for_each(|(source, place)| copy_to(source, place))).await?;
        let grants = self.grants(&mounts.asked).await?;
        let all: Vec<Mounted> = mounts.mounts.iter().chain(&grants.mounts).cloned().collect();
        Ok(Held { places: self.places(state, &all).await?, _caches: caches, grants })
    }

    /// Files of the context, of a stage, or of an image.
    async fn bind(&self, mount: &Mount, all: &mut Mounts) -> Result<Mounted> {
        let source = inside(&mount.source).ok_or_else(|| Error::invalid(outside(&mount.source)))?;
        let source = String::from_utf8_lossy(&source).into_owned();
        let here = self.named_directory(&mount.from).map(|here| (&here.root, &here.place));
        let here = here.or_else(|| mount.from.is_empty().then_some((&self.context.root, &self.context.place)));
        if let Some((root, place)) = here {
            let root = Arc::clone(root);
            let (name, words_of) = (source.clone(), self.words(true));
            let found = blocking(move || sources::one(&root, &name, words_of).map_err(Error::invalid)).await?;
            all.words.push(sources::hash(std::slice::from_ref(&found)));
            if mount.read_only {
                return Ok(bound(&place.join(String::from_utf8_lossy(&found.path).as_ref())));
            }
            let copy = self.context.workspace.directory()?;
            let path = copy.join(String::from_utf8_lossy(if found.is_directory { b"" } else { &found.name }).as_ref());
            all.copies.push((found, copy));
            return Ok(bound(&path));
        }
        let id = match self.stage(&mount.from)? {
            Some("") => return Ok(bound(&self.context.workspace.directory()?)),
            Some(id) => id.to_owned(),
            None => self.image_of(&mount.from, self.options.platform.as_ref()).await?.id.to_string(),
        };
        all.words.push(id.clone());
        let image_options = Some(ImageOptions { subpath: source }).filter(|options| !options.subpath.is_empty());
        Ok(Mounted { kind: "image".to_owned(), source: id, image_options, ..Mounted::default() })
    }

    /// The directory of a cache.
    fn cache_path(&self, mount: &Mount) -> PathBuf {
        let id = mount.key();
        let name = match self.options.given.cache_namespace.as_str() {
            "" => id.to_owned(),
            namespace => format!("{namespace}/{id}"),
        };
        self.engine.build_cache_directory().join(sources::hex(&Sha256::digest(name)))
    }

    /// Which places of mounts, and directories above them, the image does not have.
    async fn places(&self, state: &State, mounts: &[Mounted]) -> Result<Vec<Vec<u8>>> {
        let targets: Vec<Vec<u8>> = mounts.iter().filter_map(|mount| inside(&mount.target)).collect();
        let Some(image) = state.image.clone().filter(|_| !targets.is_empty()) else { return Ok(Vec::new()) };
        let store = self.engine.image_store().clone();
        blocking(move || {
            let root = store.mount_image(&image.config.rootfs.diff_ids).map_err(crate::stored)?;
            Ok(missing(&RootDir::from_fd(root), &targets))
        })
        .await
    }
}

impl Held {
    /// Takes what was only there to be mounted on out of a layer, where nothing else came into it.
    pub(crate) fn clean(&self, upper: &Path) -> Result<()> {
        if self.places.is_empty() {
            return Ok(());
        }
        let root = open_root(upper)?;
        for place in self.places.iter().rev() {
            let Ok((parent, name)) = root.open_parent(place) else { continue };
            let Ok(stat) = root.lstat(place) else { continue };
            // What is not empty is not removed: a directory by the kernel's rule, a file by this one.
            if stat.st_size == 0 && unlinkat(&parent, name, AtFlags::empty()).is_ok() {
                continue;
            }
            let _ = unlinkat(&parent, name, AtFlags::REMOVEDIR);
        }
        Ok(())
    }
}

/// Every prefix of the targets that a root does not have, the outer ones first.
fn missing(root: &RootDir, targets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut places = Vec::new();
    for target in targets {
        let mut place = Vec::new();
        for part in target.split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
            let parent = std::mem::take(&mut place);
            place = join(&parent, part);
            // Through links, the place is not where it is named; it stays.
            let is_plain = || root.real_path(&parent, true).is_ok_and(|real| real == parent);
            if places.contains(&parent) || root.lstat(&place).is_err() && is_plain() {
                places.push(place.clone());
            }
        }
    }
    places.sort();
    places.dedup();
    places
}

fn copy_to(source: &Source, place: &Path) -> Result<()> {
    let destination = Destination::new(open_root(place)?, "/").map_err(Error::internal)?;
    destination.write(source, &place::Options { owner: None, mode: None, extract: false }).map_err(Error::internal)
}

pub(crate) fn bound(path: &Path) -> Mounted {
    Mounted { kind: "bind".to_owned(), source: path.display().to_string(), ..Mounted::default() }
}

/// Makes the directory of a cache where there is none.
fn make_cache(path: &Path, mount: &Mount) -> Result<()> {
    let failed = |step| move |error| Error::io(step, path.display(), error);
    std::fs::create_dir_all(path.parent().unwrap_or(path)).map_err(failed("mkdir"))?;
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        made => made.map_err(failed("mkdir"))?,
    }
    chown(path, Some(mount.owner.0), Some(mount.owner.1)).map_err(failed("chown"))?;
    let mode = std::fs::Permissions::from_mode(mount.mode.unwrap_or(CACHE_MODE));
    std::fs::set_permissions(path, mode).map_err(failed("chmod"))
}

/// Waits until no other build uses a cache.
async fn locked(path: &Path) -> Result<File> {
    let failed = |error| Error::io("open", path.display(), error);
    let file = File::open(path).map_err(failed)?;
    while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(failed(error.into()));
        }
        tokio::time::sleep(CACHE_POLL).await;
    }
    Ok(file)
}

fn expanded(mount: &Mount, expander: &Expander, directory: &str) -> Result<Mount, String> {
    let mut mount = mount.clone();
    for text in [&mut mount.target, &mut mount.source, &mut mount.from, &mut mount.id, &mut mount.env] {
        *text = expander.word(text)?;
    }
    if !mount.target.is_empty() {
        mount.target = crate::copy::absolute(directory, &mount.target);
    }
    Ok(mount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_the_image_has_not_go() {
        let (image, layer) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(image.path().join("there")).unwrap();
        std::os::unix::fs::symlink("there", image.path().join("link")).unwrap();
        let targets = [&b"there/a/b"[..], b"file", b"kept/c", b"link/x", b"there"].map(<[u8]>::to_vec);
        let root = RootDir::open(image.path()).unwrap();
        let places = missing(&root, &targets);
        let text: Vec<_> = places.iter().map(|place| String::from_utf8_lossy(place).into_owned()).collect();
        assert_eq!(text, ["file", "kept", "kept/c", "there/a", "there/a/b"]);
        for place in ["there/a/b", "kept/c"] {
            std::fs::create_dir_all(layer.path().join(place)).unwrap();
        }
        std::fs::write(layer.path().join("file"), "").unwrap();
        std::fs::write(layer.path().join("kept/more"), "").unwrap();
        Held { places, ..Held::default() }.clean(layer.path()).unwrap();
        let left = |path: &str| layer.path().join(path).exists();
        assert!(left("there") && !left("there/a") && !left("file") && left("kept/more") && !left("kept/c"));
    }
}
