//! File systems that are small enough to be filled.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Name of the file that takes all the room.
const FILLER: &str = "filler";
/// Bytes written at once: a page, the least that a tmpfs gives.
const PIECE: [u8; 4096] = [0; 4096];

/// A tmpfs of its own; gone when dropped.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts one over a directory, with so many bytes.
    ///
    /// # Panics
    /// When it cannot be mounted.
    pub fn mount(path: &Path, bytes: u64) -> Self {
        fs::create_dir_all(path).expect("a directory to mount on");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=755"), "tmpfs"]).arg(path);
        assert!(mount.status().expect("mount").success(), "{mount:?}");
        Self { path: path.to_owned() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that are free.
    ///
    /// # Panics
    /// When the file system does not say.
    pub fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.path).expect("statvfs");
        disk.f_bavail * disk.f_frsize
    }

    /// Takes every byte that is free, again if it was done before.
    ///
    /// # Panics
    /// When there is no file to write to.
    pub fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.path.join(FILLER)).expect("the filler");
        while file.write_all(&PIECE).is_ok() {}
    }

    /// Gives back what [`Self::fill`] took.
    ///
    /// # Panics
    /// When it cannot be removed.
    pub fn clear(&self) {
        fs::remove_file(self.path.join(FILLER)).expect("to remove the filler");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: after a test that failed something may still be in there.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
