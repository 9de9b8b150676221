//! A container's file system: changes, export, copying in and out.

use std::sync::Arc;

use tare_docker_api::container::{Change, PathStat};

use crate::Engine;
use crate::error::{Error, Result};
use crate::options::{ByteSource, ByteStream};

impl Engine {
    /// What a container changed in its file system.
    pub async fn changes(&self, name: &str) -> Result<Vec<Change>> {
        let _ = name;
        Err(Error::not_implemented("diff is not there yet"))
    }

    /// A container's whole file system as an archive.
    pub async fn export(self: &Arc<Self>, name: &str) -> Result<ByteStream> {
        let _ = name;
        Err(Error::not_implemented("export is not there yet"))
    }

    /// Looks at a path in a container.
    pub async fn archive_stat(&self, name: &str, path: &str) -> Result<PathStat> {
        let _ = (name, path);
        Err(Error::not_implemented("cp is not there yet"))
    }

    /// Reads a path in a container as an archive.
    pub async fn archive_get(self: &Arc<Self>, name: &str, path: &str) -> Result<(PathStat, ByteStream)> {
        let _ = (name, path);
        Err(Error::not_implemented("cp is not there yet"))
    }

    /// Extracts an archive at a path in a container.
    pub async fn archive_put(
        self: &Arc<Self>,
        name: &str,
        path: &str,
        no_overwrite_dir_non_dir: bool,
        copy_uid_gid: bool,
        source: ByteSource,
    ) -> Result<()> {
        let _ = (name, path, no_overwrite_dir_non_dir, copy_uid_gid, source);
        Err(Error::not_implemented("cp is not there yet"))
    }
}
