//! A container's file system: changes, export, copying in and out.
//!
//! A running container's is a copy of its own mount, never a second overlay mount on the same layer. For one that does
//! not run its layers are mounted, detached, for as long as the operation takes.

use std::io::{self, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tare_archive::Writer;
use tare_docker_api::container::{Change, PathStat};
use tare_docker_api::time::Time;
use tare_images::copy::{self, PutOptions};
use tare_images::export::{Naming, export};
use tare_images::overlay::Durability;
use tare_images::rootdir::RootDir;
use tare_images::view::{self, Covering};
use tokio::sync::mpsc;

use super::Container;
use super::record::{Mount, MountKind, Record};
use crate::Engine;
use crate::error::{Error, Result};
use crate::host::stream::{self, ChannelWriter};
use crate::network::files::Files;
use crate::options::{ByteSource, ByteStream};
use crate::volume::held::Visit;

/// A directory tree and the path in it that is meant.
struct Place {
    root: RootDir,
    path: String,
    /// What is mounted for it, and only for it.
    _visit: Option<Visit>,
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
        let root = self.covered_root(&container, Vec::new()).await?;
        self.container_event(&container, "export");
        Ok(produce(move |out| {
            let mut writer = Writer::new(out);
            export(&root, b"", &Naming::default(), &mut writer).map_err(io::Error::other)?;
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
        let record = container.read().record.clone();
        let asked = path.to_owned();
        let called = name.to_owned();
        let reader = BufReader::new(stream::blocking_reader(source));
        crate::blocking(move || {
            // Where links lead decides: one in a volume may lead out of it.
            let real = copy::directory(&place.root, &place.path).map_err(|error| missing(error, &asked, &called))?;
            check_writable(&record, &real)?;
            let owner = if copy_uid_gid { owner(&place.root, &record.config.user)? } else { None };
            let options = PutOptions { owner, no_overwrite_dir_non_dir };
            copy::put(place.root, &place.path, reader, options).map_err(|error| missing(error, &asked, &called))
        })
        .await?;
        self.container_event(&container, "extract-to-dir");
        Ok(())
    }

    /// Where a path lies: what is mounted as volumes, and the files of the network, are in their places; other file
    /// systems are seen only by asking for a path in a `tmpfs`.
    async fn place(self: &Arc<Self>, container: &Arc<Container>, path: &str) -> Result<Place> {
        if path.is_empty() {
            return Err(Error::invalid("bad parameter: path is empty"));
        }
        let (record, pid) = {
            let inner = container.read();
            (inner.record.clone(), inner.state.pid)
        };
        let clean = super::mounts::clean(path);
        let mount = mount_of(&record, &clean);
        let tmpfs = record.host_config.tmpfs.keys().any(|destination| is_below(&clean, destination))
            || mount.is_some_and(|mount| mount.kind == MountKind::Tmpfs);
        let mut visit = None;
        let root = if tmpfs && pid > 0 {
            let path = Path::new("/proc").join(pid.to_string()).join("root");
            RootDir::open(&path).map_err(|error| Error::io("open", path.display(), error))?
        } else {
            let (engine, record) = (Arc::clone(self), record.clone());
            let held = crate::blocking(move || {
                let visit = Visit::new(&engine);
                let sources = engine.hold_sources(&record, &visit.user)?;
                let coverings = coverings(&record, &sources, &engine.container_directory(&record.id));
                Ok((visit, coverings))
            });
            let (seen, coverings) = held.await?;
            visit = Some(seen);
            self.covered_root(container, coverings).await?
        };
        Ok(Place { root, path: path.to_owned(), _visit: visit })
    }

    /// The root of a container's file system, with something over it.
    async fn covered_root(self: &Arc<Self>, container: &Container, coverings: Vec<Covering>) -> Result<RootDir> {
        let pid = container.read().state.pid;
        let engine = Arc::clone(self);
        let id = container.id.clone();
        crate::blocking(move || {
            let root = if pid > 0 {
                view::root_of_process(pid)
            } else {
                engine.images.mount_rw_layer(&id, Durability::Durable)
            };
            root.and_then(|root| view::cover(root, &coverings, &engine.config.exec_root)).map_err(crate::image::error)
        })
        .await
    }
}

/// Volumes, host directories, and the files of the network.
fn coverings(record: &Record, mounts: &[Mount], directory: &Path) -> Vec<Covering> {
    let mounts = mounts.iter().filter(|mount| mount.kind != MountKind::Tmpfs);
    let mounts = mounts.map(|mount| (PathBuf::from(&mount.source), mount.destination.as_str()));
    let files = Files::in_directory(directory).mounts().into_iter().filter(|(source, destination)| {
        source.exists() && !record.mounts.iter().any(|mount| mount.destination == *destination)
    });
    let covering = |(source, destination): (PathBuf, &str)| Covering { source, destination: destination.to_owned() };
    mounts.chain(files).map(covering).collect()
}

/// Whom copies belong to that are to be the container's own: its user; without one they stay whose they are.
fn owner(root: &RootDir, user: &str) -> Result<Option<(u32, u32)>> {
    if user.is_empty() {
        return Ok(None);
    }
    let user = tare_runtime::resolve_user(root.as_fd(), user, &[]).map_err(|e| Error::invalid(e.to_string()))?;
    Ok(Some((user.uid, user.gid)))
}

/// The mount that a path without links lies in; `None` for the root.
fn mount_of<'r>(record: &'r Record, path: &str) -> Option<&'r Mount> {
    let mounts = record.mounts.iter().filter(|mount| is_below(path, &mount.destination));
    mounts.max_by_key(|mount| mount.destination.len())
}

/// Fails where a path without links may not be written to.
fn check_writable(record: &Record, path: &str) -> Result<()> {
    let (writable, what) = match mount_of(record, path) {
        Some(mount) => (mount.writable, "mounted volume"),
        None => (!record.host_config.readonly_rootfs, "container rootfs"),
    };
    if writable { Ok(()) } else { Err(Error::invalid(format!("{what} is marked read-only"))) }
}

fn is_below(path: &str, directory: &str) -> bool {
    let directory = directory.trim_end_matches('/');
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
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
