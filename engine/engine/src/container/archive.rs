//! A container's file system: changes, export, copying in and out.
//!
//! A running container's is looked at through its init's root, never by a second overlay mount on the same layer. For
//! one that does not run its layers are mounted, detached, for as long as the operation takes.

use std::io::{self, BufReader};
use std::path::Path;
use std::sync::Arc;

use tare_archive::Writer;
use tare_docker_api::container::{Change, PathStat};
use tare_docker_api::time::Time;
use tare_images::copy::{self, PutOptions};
use tare_images::export::{Naming, export};
use tare_images::rootdir::RootDir;
use tokio::sync::mpsc;

use super::Container;
use super::record::MountKind;
use crate::Engine;
use crate::error::{Error, Result};
use crate::host::stream::{self, ChannelWriter};
use crate::options::{ByteSource, ByteStream};

/// A directory tree and the path in it that is meant.
struct Place {
    root: RootDir,
    path: String,
    writable: bool,
    volume: bool,
}

impl Engine {
    /// What a container changed in its file system.
    pub async fn changes(self: &Arc<Self>, name: &str) -> Result<Vec<Change>> {
        let container = self.find(name)?;
        let engine = Arc::clone(self);
        crate::blocking(move || {
            let upper = engine.images.rw_layer(&container.id).upper;
            let lowers = engine.images.rw_layer_lowers(&container.id).map_err(crate::image::error)?;
            let changes = tare_images::changes::changes(&upper, &lowers).map_err(crate::image::error)?;
            let change = |change: tare_images::changes::Change| Change {
                kind: change.kind as u16,
                path: change.path.to_string_lossy().into_owned(),
            };
            Ok(changes.into_iter().map(change).collect())
        })
        .await
    }

    /// A container's whole file system as an archive.
    pub async fn export(self: &Arc<Self>, name: &str) -> Result<ByteStream> {
        let container = self.find(name)?;
        let place = self.root_of(&container).await?;
        self.container_event(&container, "export");
        Ok(produce(move |out| {
            let mut writer = Writer::new(out);
            export(&place, b"", &Naming::default(), &mut writer).map_err(io::Error::other)?;
            writer.finish().map(|_| ()).map_err(io::Error::other)
        }))
    }

    /// Looks at a path in a container.
    pub async fn archive_stat(self: &Arc<Self>, name: &str, path: &str) -> Result<PathStat> {
        let container = self.find(name)?;
        let place = self.place(&container, path).await?;
        let asked = path.to_owned();
        let called = name.to_owned();
        crate::blocking(move || look(&place, &asked, &called)).await
    }

    /// Reads a path in a container as an archive.
    pub async fn archive_get(self: &Arc<Self>, name: &str, path: &str) -> Result<(PathStat, ByteStream)> {
        let container = self.find(name)?;
        let place = self.place(&container, path).await?;
        let asked = path.to_owned();
        let called = name.to_owned();
        let (stat, place) = crate::blocking(move || Ok((look(&place, &asked, &called)?, place))).await?;
        self.container_event(&container, "archive-path");
        let stream = produce(move |out| copy::get(&place.root, &place.path, out).map_err(io::Error::other));
        Ok((stat, stream))
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
        let container = self.find(name)?;
        let place = self.place(&container, path).await?;
        if !place.writable {
            let what = if place.volume { "mounted volume" } else { "container rootfs" };
            return Err(Error::invalid(format!("{what} is marked read-only")));
        }
        let owner = if copy_uid_gid { Some((0, 0)) } else { None };
        let options = PutOptions { owner, no_overwrite_dir_non_dir };
        let asked = path.to_owned();
        let called = name.to_owned();
        let reader = BufReader::new(stream::blocking_reader(source));
        crate::blocking(move || {
            copy::put(place.root, &place.path, reader, options).map_err(|error| missing(error, &asked, &called))
        })
        .await?;
        self.container_event(&container, "extract-to-dir");
        Ok(())
    }

    /// The root of a container's file system.
    async fn root_of(self: &Arc<Self>, container: &Arc<Container>) -> Result<RootDir> {
        let pid = container.read().state.pid;
        let engine = Arc::clone(self);
        let id = container.id.clone();
        crate::blocking(move || {
            if pid > 0 {
                let path = Path::new("/proc").join(pid.to_string()).join("root");
                return RootDir::open(&path).map_err(|error| Error::io("open", path.display(), error));
            }
            engine.images.mount_rw_layer(&id).map(RootDir::from_fd).map_err(crate::image::error)
        })
        .await
    }

    /// Where a path lies: in a running container below its root; else perhaps in what is mounted over it.
    async fn place(self: &Arc<Self>, container: &Arc<Container>, path: &str) -> Result<Place> {
        if path.is_empty() {
            return Err(Error::invalid("bad parameter: path is empty"));
        }
        let record = container.read().record.clone();
        let clean = super::mounts::clean(path);
        let below =
            |destination: &str| clean.strip_prefix(destination).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let mount = record
            .mounts
            .iter()
            .filter(|mount| matches!(mount.kind, MountKind::Bind | MountKind::Volume))
            .filter(|mount| below(&mount.destination).is_some())
            .max_by_key(|mount| mount.destination.len());
        let writable = mount.map_or(!record.host_config.readonly_rootfs, |mount| mount.writable);
        let volume = mount.is_some();
        let running = container.read().state.is_alive();
        if let (Some(mount), false) = (mount, running) {
            let source = mount.source.clone();
            let rest = below(&mount.destination).unwrap_or_default();
            // A trailing `/.` says that a directory's content is meant; it must not get lost.
            let tail = if path.ends_with("/.") { "/." } else { "" };
            let path = format!("/{}{tail}", rest.trim_start_matches('/'));
            let root = crate::blocking(move || {
                RootDir::open(Path::new(&source)).map_err(|error| Error::io("open", source, error))
            });
            return Ok(Place { root: root.await?, path, writable, volume });
        }
        Ok(Place { root: self.root_of(container).await?, path: path.to_owned(), writable, volume })
    }
}

fn look(place: &Place, asked: &str, container: &str) -> Result<PathStat> {
    let stat = copy::stat(&place.root, &place.path).map_err(|error| missing(error, asked, container))?;
    let (seconds, nanoseconds) = stat.mtime;
    Ok(PathStat {
        name: stat.name,
        size: stat.size,
        mode: stat.mode,
        mtime: Time::from_unix(seconds, nanoseconds),
        link_target: stat.link_target,
    })
}

/// Docker's sentence about a path that is not there.
fn missing(error: tare_images::Error, path: &str, container: &str) -> Error {
    match error {
        tare_images::Error::NoPath(_) => {
            Error::not_found(format!("Could not find the file {path} in container {container}"))
        }
        other => crate::image::error(other),
    }
}

/// Runs a producer of bytes on a thread of its own.
pub(crate) fn produce(work: impl FnOnce(ChannelWriter) -> io::Result<()> + Send + 'static) -> ByteStream {
    let (sender, receiver) = mpsc::channel(stream::CHUNKS_MAX);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = work(ChannelWriter::new(sender.clone())) {
            // The client may have gone, which may be the error.
            let _ = sender.blocking_send(Err(error));
        }
    });
    receiver
}
