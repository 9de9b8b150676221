//! The directory that a container starts in: made with the container where its image has none, so that files can be copied
//! there before the first start.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{Mode, mkdirat};
use rustix::io::Errno;
use tare_archive::path::{clean, join};

use crate::overlay::Durability;
use crate::rootdir::RootDir;
use crate::settle::{Look, look};
use crate::store::ImageStore;
use crate::{Error, Result};

impl ImageStore {
    /// Makes a directory and those above it in a container's layer, where its image does not have them. For a container
    /// that does not run.
    pub fn make_working_directory(&self, container: &str, directory: &str) -> Result<()> {
        let Ok(path) = clean(directory.as_bytes()) else { return Ok(()) };
        // Most images have it, and no mount is needed to see that.
        if path.is_empty() || self.is_plain_directory(container, &path)? {
            return Ok(());
        }
        // What is made is as durable as the container's own directories: it is in the same journal.
        let root = RootDir::from_fd(self.mount_rw_layer(container, Durability::Volatile)?);
        let mut made = Vec::new();
        for name in path.split(|&byte| byte == b'/') {
            let next = join(&made, name);
            match root.open_dir(&next) {
                Ok(_) => {}
                Err(Errno::NOENT) => {
                    let above = root.open_dir(&made).map_err(Error::io("open", directory))?;
                    match mkdirat(above, OsStr::from_bytes(name), Mode::from_raw_mode(0o755)) {
                        Ok(()) => {}
                        // A link to what is not there: the start deals with it.
                        Err(Errno::EXIST) => return Ok(()),
                        Err(errno) => return Err(Error::io("mkdirat", directory)(errno)),
                    }
                }
                Err(Errno::NOTDIR) => return Err(Error::NoWorkingDirectory(directory.to_owned())),
                Err(errno) => return Err(Error::io("open", directory)(errno)),
            }
            made = next;
        }
        Ok(())
    }

    /// Whether a path is a directory in the layers below a container's own, without a link on the way.
    fn is_plain_directory(&self, container: &str, path: &[u8]) -> Result<bool> {
        for layer in self.rw_layer_lowers(container)? {
            let root = RootDir::open(&layer).map_err(Error::io("open", &layer))?;
            match look(&root, path) {
                Look::Absent => {}
                Look::Directory { .. } => return Ok(true),
                Look::Cut | Look::Opaque => return Ok(false),
            }
        }
        Ok(false)
    }
}
