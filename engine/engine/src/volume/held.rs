//! Mounts on the host that containers need for as long as they run: volumes with mount options, and images.
//!
//! A mount is made for its first user and goes with its last. Users are containers by ID, and whoever looks into one
//! for a moment. Nothing of this is stored: after a crash the kernel says what is mounted, and what runs says who uses
//! it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::mount::{UnmountFlags, unmount};
use tare_sys::errno;

use crate::Engine;
use crate::error::{Error, Result};

type Users = Arc<Mutex<BTreeSet<String>>>;

/// Who uses which mount point. Each has a lock of its own: a file server that does not answer holds up its users only.
#[derive(Debug)]
pub(crate) struct Held {
    users: Mutex<BTreeMap<PathBuf, Users>>,
    /// Mount points in here go with their mounts.
    places: PathBuf,
}

impl Held {
    pub(crate) fn new(places: PathBuf) -> Self {
        Self { users: Mutex::default(), places }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Users>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `user` a user of what is mounted at a path; `mount` mounts it, unless it is there already. Blocking.
    pub(crate) fn hold(&self, path: &Path, user: &str, mount: impl FnOnce() -> Result<()>) -> Result<()> {
        let users = Arc::clone(self.all().entry(path.to_owned()).or_default());
        let mut users = users.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_mount_point(path) {
            mount()?;
        }
        users.insert(user.to_owned());
        Ok(())
    }

    /// Ends everything that `user` uses, and unmounts what nobody else does. Blocking.
    pub(crate) fn release(&self, user: &str) {
        let all: Vec<_> = self.all().iter().map(|(path, users)| (path.clone(), Arc::clone(users))).collect();
        for (path, users) in all {
            let mut users = users.lock().unwrap_or_else(PoisonError::into_inner);
            if users.remove(user) && users.is_empty() {
                self.end(&path);
            }
        }
        // Whoever is about to hold one has a reference, too.
        self.all().retain(|_, users| {
            Arc::strong_count(users) > 1 || !users.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
        });
    }

    /// Unmounts what an engine that crashed has left at a path, if nobody uses it.
    pub(crate) fn sweep(&self, path: &Path) {
        let users = Arc::clone(self.all().entry(path.to_owned()).or_default());
        let users = users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.is_empty() {
            self.end(path);
        }
    }

    fn end(&self, path: &Path) {
        if is_mount_point(path)
            && let Err(error) = unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
        {
            tracing::warn!("unmounting {}: {error}", path.display());
        }
        if path.starts_with(&self.places) {
            // Empty, or a file that something was mounted on; with something mounted still, neither works.
            let _ = std::fs::remove_dir(path).or_else(|_| std::fs::remove_file(path));
        }
    }

    /// Whether nobody uses anything.
    fn is_empty(&self) -> bool {
        self.all().is_empty()
    }
}

/// Whether something is mounted exactly there.
pub(crate) fn is_mount_point(path: &Path) -> bool {
    statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Uses mounts of a container until it is dropped.
#[derive(Debug)]
pub(crate) struct Visit {
    engine: Arc<Engine>,
    pub(crate) user: String,
}

impl Visit {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        Self { engine: Arc::clone(engine), user: format!("visit-{}", crate::host::random::id()) }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.engine.held.release(&self.user);
    }
}

impl Engine {
    /// A container uses its mounts on the host no more.
    pub(crate) async fn release_mounts(self: &Arc<Self>, id: &str) {
        if self.held.is_empty() {
            return;
        }
        let (engine, id) = (Arc::clone(self), id.to_owned());
        let released = crate::blocking(move || {
            engine.held.release(&id);
            Ok(())
        });
        if let Err(error) = released.await {
            tracing::warn!("releasing mounts: {error}");
        }
    }
}

/// The error of a path that leads nowhere.
pub(crate) fn not_accessible(path: &Path, error: impl Into<std::io::Error>) -> Error {
    // Clients look for the words of Go: a missing file is another exit status.
    Error::internal(format!("cannot access path {}: {}", path.display(), errno::words(&error.into())))
}
