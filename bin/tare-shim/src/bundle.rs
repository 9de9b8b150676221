//! The bundle: the directory that the daemon made for one run of a container.
//!
//! A daemon may die in the middle of a launch, and the next one, which finds no record of a run in the directory, takes it
//! away and perhaps makes another one of that name. So what is ours in there is reached through a descriptor of the
//! directory, never by its name, which is only looked at to see whether it still means the same.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstat, stat};
use tare_shim_protocol::Failure;

/// An open bundle.
#[derive(Debug)]
pub(crate) struct Bundle {
    name: PathBuf,
    directory: OwnedFd,
    path: PathBuf,
}

impl Bundle {
    /// Opens the directory of this name.
    pub(crate) fn open(name: &Path) -> io::Result<Self> {
        let directory = rustix::fs::open(name, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string());
        Ok(Self { name: name.to_owned(), directory, path })
    }

    /// What the daemon called it.
    pub(crate) fn name(&self) -> &Path {
        &self.name
    }

    /// Where it is, whatever it is called by now.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A failure in the daemon's words.
    pub(crate) fn named(&self, mut failure: Failure) -> Failure {
        failure.message = failure.message.replace(&self.path.display().to_string(), &self.name.display().to_string());
        failure
    }

    /// Whether a daemon to come finds it where it looks.
    pub(crate) fn is_in_place(&self) -> bool {
        let (Ok(named), Ok(own)) = (stat(&self.name), fstat(&self.directory)) else { return false };
        (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino)
    }
}

#[cfg(test)]
mod tests {
    use super::Bundle;

    #[test]
    fn a_directory_is_not_its_name() {
        let outer = tempfile::tempdir().unwrap();
        let (name, other) = (outer.path().join("one"), outer.path().join("two"));
        std::fs::create_dir(&name).unwrap();
        let bundle = Bundle::open(&name).unwrap();
        assert!(bundle.is_in_place());
        std::fs::rename(&name, &other).unwrap();
        assert!(!bundle.is_in_place());
        std::fs::create_dir(&name).unwrap();
        assert!(!bundle.is_in_place());
        std::fs::write(bundle.path().join("file"), "").unwrap();
        assert!(other.join("file").exists());
        std::fs::remove_dir_all(&other).unwrap();
        assert!(!bundle.is_in_place());
    }
}
