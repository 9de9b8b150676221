//! Taking away a bundle in which a shim may still be at work, launching a container for a daemon that is gone.
//!
//! The shim writes its record of the run and looks then whether the directory still has its name. We take the name away and
//! look then whether there is a record. One of the two sees the other; whoever does ends the container.

use std::path::{Path, PathBuf};

use tare_shim_protocol::STATE_NAME;

use crate::host::random;

/// A bundle that nobody finds by its name any more.
#[derive(Debug)]
pub(crate) struct Taken {
    directory: PathBuf,
}

impl Taken {
    /// Takes it away; none if it is not there.
    pub(crate) fn take(bundle: &Path) -> Option<Self> {
        let name = bundle.file_name()?.to_string_lossy().into_owned();
        // Unknown to everybody: a daemon that dies here leaves it to the next, which removes what belongs to nothing.
        let directory = bundle.with_file_name(format!(".{name}-{}", random::number()));
        match std::fs::rename(bundle, &directory) {
            Ok(()) => Some(Self { directory }),
            Err(error) => {
                if error.kind() != std::io::ErrorKind::NotFound {
                    tracing::warn!("taking {} away: {error}", bundle.display());
                    crate::remove_tree(bundle);
                }
                None
            }
        }
    }

    /// Where it is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether a shim has recorded a run in it.
    pub(crate) fn is_recorded(&self) -> bool {
        self.directory.join(STATE_NAME).exists()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        crate::remove_tree(&self.directory);
    }
}

#[cfg(test)]
mod tests {
    use super::Taken;

    #[test]
    fn what_is_written_meanwhile_is_seen_and_everything_goes() {
        let directory = tempfile::tempdir().unwrap();
        let bundle = directory.path().join("c1");
        assert!(Taken::take(&bundle).is_none());
        std::fs::create_dir(&bundle).unwrap();
        let taken = Taken::take(&bundle).unwrap();
        assert!(!taken.is_recorded() && !bundle.exists());
        // A shim that had the directory open.
        std::fs::write(taken.directory().join("state.json"), "{}").unwrap();
        assert!(taken.is_recorded());
        drop(taken);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
