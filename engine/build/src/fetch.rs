//! Files from elsewhere: `ADD https://…`, and contexts that are an archive or a Dockerfile at a URL.

use std::fs::{File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};
use tare_engine::{Error, Result};
use tare_reference::Digest;
use tare_registry::Download;
use tokio::io::AsyncWriteExt as _;

use crate::builder::Builder;
use crate::context::open_root;
use crate::git::Repository;
use crate::{blocking, sources};

/// Mode of files from elsewhere, as Docker has it.
const MODE: u32 = 0o600;

impl Builder {
    /// Fetches one file into the workspace.
    pub(crate) async fn fetch(&self, url: &str, destination: &str, checksum: &str) -> Result<sources::Source> {
        let download = self.engine.download(url).await?;
        let name = download.name();
        // A destination that is a file needs no name of its own.
        let name = name.or_else(|| (!destination.ends_with('/')).then(|| "file".to_owned()));
        let name = name.ok_or_else(|| Error::internal(format!("cannot determine filename for source URL: {url}")))?;
        let directory = self.context.workspace.directory()?;
        self.output.say(format!("Downloading {url}\n")).await;
        let modified = download.modified();
        let path = directory.join(&name);
        let digest = save(download, &path).await?;
        if !checksum.is_empty() && checksum != digest {
            return Err(Error::internal(format!("digest mismatch {digest}: {checksum}")));
        }
        blocking(move || {
            // As Docker does: without a date, the oldest there is.
            let times = FileTimes::new().set_modified(modified.unwrap_or(SystemTime::UNIX_EPOCH));
            let failed = |error| Error::io("utimensat", path.display(), error);
            File::options().write(true).open(&path).and_then(|file| file.set_times(times)).map_err(failed)?;
            std::fs::set_permissions(&path, Permissions::from_mode(MODE)).map_err(failed)?;
            let root = Arc::new(open_root(&directory)?);
            let mut source = sources::one(&root, &name, sources::Words::Image).map_err(Error::internal)?;
            source.is_remote = true;
            Ok(source)
        })
        .await
    }

    /// Gets the files of a repository into the workspace.
    pub(crate) async fn clone(&self, repository: &Repository, keep_git: bool) -> Result<sources::Source> {
        let place = repository.clone(&self.context.workspace.directory()?, keep_git).await?;
        blocking(move || {
            let root = Arc::new(open_root(&place)?);
            let mut source = sources::one(&root, "", sources::Words::Image).map_err(Error::internal)?;
            source.is_remote = true;
            Ok(source)
        })
        .await
    }
}

/// Writes a file; gives its digest.
pub(crate) async fn save(download: Download, path: &Path) -> Result<String> {
    let failed = |error| Error::io("write", path.display(), error);
    let mut file = tokio::fs::File::create_new(path).await.map_err(failed)?;
    let mut hash = Sha256::new();
    let length = download.length();
    let mut stream = std::pin::pin!(download.stream());
    let mut written = 0;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| Error::internal(error.to_string()))?;
        hash.update(&chunk);
        file.write_all(&chunk).await.map_err(failed)?;
        written += chunk.len() as u64;
    }
    file.flush().await.map_err(failed)?;
    if length.is_some_and(|length| length != written) {
        return Err(Error::internal("unexpected EOF"));
    }
    Ok(Digest::from_sha256(&hash.finalize().into()).to_string())
}
