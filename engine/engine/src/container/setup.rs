//! Small things a container needs before its first start: directories, its init.

use std::path::PathBuf;

use super::record::Record;
use crate::Engine;
use crate::error::{Error, Result};
use crate::image::ContainerImage;

impl Engine {
    /// Makes a container's directory and its layer. Blocking.
    pub(crate) fn make_directories(&self, record: &Record, image: &ContainerImage) -> Result<()> {
        crate::make_directory(&self.container_directory(&record.id), 0o710)?;
        self.images.create_rw_layer(&record.id, &image.diff_ids).map(|_| ()).map_err(crate::image::error)
    }

    /// The init that `--init`, or the engine's settings, ask for.
    pub(crate) fn init_program(&self, record: &Record) -> Result<Option<PathBuf>> {
        if !record.host_config.init.unwrap_or(self.config.init) {
            return Ok(None);
        }
        let path = self.config.shim.with_file_name("tare-init");
        if !path.is_file() {
            return Err(Error::internal(format!("the init for --init is missing: expected it at {}", path.display())));
        }
        Ok(Some(path))
    }
}
