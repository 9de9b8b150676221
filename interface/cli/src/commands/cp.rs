//! `cp`: files and directories between a container and the local file system.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tare_docker_api::container::PathStat;
use tare_docker_api::file_mode;
use tare_docker_api::stream::media;
use tare_docker_client::{Body, Query, Request, Response};
use tokio::sync::mpsc;

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::copy::pack::{PackError, in_background, pack};
use crate::copy::paths::{Side, link_target, place, rebased, split_argument, split_entry};
use crate::copy::progress::{Counter, shown, summary};
use crate::copy::unpack::{ChannelReader, unpack};
use crate::copy::{local, paths};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::streams::transfer;

/// `cp`
pub static COMMAND: Command = Command {
    names: &["container cp", "cp"],
    usage: "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\ttare cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH",
    about: "Copy files/folders between a container and the local filesystem\n\nUse '-' as the source to read a tar archive \
            from stdin\nand extract it to a directory destination in a container.\nUse '-' as the destination to stream \
            a tar archive of a\ncontainer source to stdout.",
    common: 0,
    arity: Arity::Exactly(2),
    interspersed: true,
    flags: &[
        Flag::bool("archive", "Archive mode (copy all uid/gid information)").short('a'),
        Flag::bool("follow-link", "Always follow symlinks in SRC_PATH").short('L'),
        Flag::bool(
            "quiet",
            "Suppress progress output during copy. Progress output is automatically suppressed if no terminal is attached",
        )
        .short('q'),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

/// The argument that stands for standard input or output.
const STREAM: &str = "-";
/// The header that describes a path in a container.
const STAT_HEADER: &str = "x-docker-container-path-stat";
/// Pieces of an archive between the connection and the file system.
const AHEAD: usize = 4;

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let (source, destination) = (m.arg(0), m.arg(1));
    if source.is_empty() {
        return Err(CliError::new("source can not be empty"));
    }
    if destination.is_empty() {
        return Err(CliError::new("destination can not be empty"));
    }
    let quiet = if m.given("quiet") { m.bool("quiet") } else { !cli.out.is_terminal() };
    let copy = |container, from, to| Copy {
        cli,
        container,
        from,
        to,
        follow: m.bool("follow-link"),
        keep_owner: m.bool("archive"),
        quiet,
        counter: Counter::default(),
    };
    match (split_argument(source), split_argument(destination)) {
        ((Some(_), _), (Some(_), _)) => Err(CliError::new("copying between containers is not supported")),
        ((Some(container), from), (None, to)) => copy(container, from, to).download().await,
        ((None, from), (Some(container), to)) => copy(container, from, to).send_in().await,
        ((None, _), (None, _)) => Err(CliError::new("must specify at least one container source")),
    }?;
    Ok(0)
}

struct Copy<'a> {
    cli: &'a Cli,
    container: &'a str,
    from: &'a str,
    to: &'a str,
    follow: bool,
    keep_owner: bool,
    quiet: bool,
    counter: Counter,
}

impl Copy<'_> {
    fn archive_path(&self) -> String {
        format!("/containers/{}/archive", self.container)
    }

    async fn stat(&self, path: &str) -> Result<PathStat, CliError> {
        let request = Request::head(self.archive_path()).query(Query::new().add("path", path));
        let response = self.cli.client()?.send(request).await?;
        let stat = path_stat(&response);
        response.discard().await;
        stat
    }

    async fn download(&self) -> Result<(), CliError> {
        let to_stream = self.to == STREAM;
        let destination = if to_stream { STREAM.to_owned() } else { local::resolve(self.to).map_err(CliError::new)? };
        if !to_stream {
            local::check_output(&destination).map_err(CliError::new)?;
        }
        let (mut from, mut name) = (self.from.to_owned(), None);
        if self.follow
            && let Ok(stat) = self.stat(&from).await
            && stat.mode & file_mode::SYMLINK != 0
        {
            (from, name) = rebased(&from, link_target(&from, &stat.link_target));
        }
        let request = Request::get(self.archive_path()).query(Query::new().add("path", &from));
        let response = self.cli.client()?.send(request).await?;
        if to_stream {
            return transfer::Sink::Stdout(self.cli.out.clone()).fill(response).await;
        }
        let stat = path_stat(&response)?;
        let is_directory = stat.mode & file_mode::DIRECTORY != 0;
        let source = Side { path: from, exists: true, is_directory, name };
        let work = self.extract(response, &source, &destination);
        if self.quiet {
            return work.await;
        }
        let result = shown(&self.cli.err, "Copying from container - ", &self.counter, work).await?;
        let transferred = self.counter.total();
        let content = if is_directory { transferred } else { u64::try_from(stat.size).unwrap_or(0) };
        result?;
        self.cli.err.println(summary(content, transferred, &destination))
    }

    /// Extracts an answer's archive to a local path.
    async fn extract(&self, mut response: Response, source: &Side, destination: &str) -> Result<(), CliError> {
        let destination = local::destination(destination).map_err(CliError::new)?;
        let placement = place(source, &destination).map_err(|e| CliError::new(e.to_string()))?;
        // The archive has the name that the path in the container has; what was asked for may have another.
        let in_archive = split_entry(&source.path).1;
        let renamed = match (placement.rename, &source.name) {
            (Some((_, new)), _) => Some((in_archive, new)),
            (None, Some(name)) => Some((in_archive, name.clone())),
            (None, None) => None,
        };
        let directory = PathBuf::from(placement.directory);
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(AHEAD);
        let unpacking =
            tokio::task::spawn_blocking(move || unpack(ChannelReader::new(receiver), &directory, renamed.as_ref()));
        let receiving = async {
            while let Some(chunk) = response.chunk().await? {
                self.counter.add(chunk.len());
                if sender.send(Ok(chunk)).await.is_err() {
                    break;
                }
            }
            drop(sender);
            Ok::<(), CliError>(())
        };
        let (received, unpacked) = tokio::join!(receiving, unpacking);
        received?;
        unpacked.map_err(|e| CliError::new(e.to_string()))?.map_err(CliError::new)
    }

    async fn send_in(&self) -> Result<(), CliError> {
        let from_stream = self.from == STREAM;
        let from = if from_stream { STREAM.to_owned() } else { local::resolve(self.from).map_err(CliError::new)? };
        let destination = self.destination().await?;
        if from_stream {
            if !destination.is_directory {
                let (container, to) = (self.container, self.to);
                return Err(CliError::new(format!("destination \"{container}:{to}\" must be a directory")));
            }
            return self.put(&destination.path, transfer::input_body(&self.cli.input)?).await;
        }
        let source = local::source(&from, self.follow).map_err(CliError::new)?;
        let placement = place(&source, &destination).map_err(|e| CliError::new(e.to_string()))?;
        let name = match placement.rename {
            Some((_, new)) => new,
            None => source.name.clone().unwrap_or_else(|| split_entry(&source.path).1),
        };
        let content = if self.quiet { None } else { local::content_size(Path::new(&source.path)) };
        let work = self.upload(&source.path, &name, &placement.directory);
        if self.quiet {
            return work.await;
        }
        shown(&self.cli.err, "Copying to container - ", &self.counter, work).await??;
        let transferred = self.counter.total();
        let place = format!("{}:{}", self.container, destination.path);
        self.cli.err.println(summary(content.unwrap_or(transferred), transferred, &place))
    }

    /// What is at the destination in the container. One that cannot be looked at may still come to be.
    async fn destination(&self) -> Result<Side, CliError> {
        let mut side = Side { path: self.to.to_owned(), ..Side::default() };
        let Ok(mut stat) = self.stat(self.to).await else { return Ok(side) };
        if stat.mode & file_mode::SYMLINK != 0 {
            side.path = link_target(self.to, &stat.link_target);
            match self.stat(&side.path).await {
                Ok(target) => stat = target,
                Err(_) => return Ok(side),
            }
        }
        let refused = match stat.mode {
            mode if mode & file_mode::DEVICE != 0 => Some("got a device"),
            mode if mode & file_mode::IRREGULAR != 0 => Some("got an irregular file"),
            _ => None,
        };
        if let Some(why) = refused {
            return Err(CliError::new(format!(
                "destination \"{}:{}\" must be a directory or a regular file: {why}",
                self.container, self.to
            )));
        }
        side.exists = true;
        side.is_directory = stat.mode & file_mode::DIRECTORY != 0;
        Ok(side)
    }

    /// Sends a local tree as an archive whose first element is `name`.
    async fn upload(&self, path: &str, name: &str, directory: &str) -> Result<(), CliError> {
        // A path that ends in `/.` or `/` is packed as the directory it is.
        let (path, name) = (PathBuf::from(paths::cleaned(path)), name.trim_end_matches('/').to_owned());
        let name = if name.is_empty() { ".".to_owned() } else { name };
        let (receiver, packing) = in_background(move |out| pack(&path, name.as_bytes(), out));
        let counter = self.counter.clone();
        let counted = futures_util::stream::unfold((receiver, counter), |(mut receiver, counter)| async move {
            let item: io::Result<Bytes> = receiver.recv().await?;
            counter.add(item.as_ref().map_or(0, Bytes::len));
            Some((item, (receiver, counter)))
        });
        let sent = self.put(directory, Body::stream(counted)).await;
        match packing.await.map_err(|e| CliError::new(e.to_string()))? {
            Err(PackError::Failed(why)) => Err(CliError::new(why)),
            // The daemon's refusal is why nobody read the archive to its end.
            Err(PackError::Gone) | Ok(()) => sent,
        }
    }

    async fn put(&self, directory: &str, body: Body) -> Result<(), CliError> {
        let mut query = Query::new();
        if self.keep_owner {
            query = query.add("copyUIDGID", "true");
        }
        let query = query.add("noOverwriteDirNonDir", "true").add("path", directory);
        let request = Request::put(self.archive_path()).query(query).body(media::TAR, body);
        self.cli.client()?.send(request).await?.discard().await;
        Ok(())
    }
}

/// What the answer says about the path.
fn path_stat(response: &Response) -> Result<PathStat, CliError> {
    let bad =
        |why: &dyn std::fmt::Display| CliError::new(format!("unable to decode container path stat header: {why}"));
    let header = response.header(STAT_HEADER).unwrap_or_default();
    let json = STANDARD.decode(header).map_err(|e| bad(&e))?;
    serde_json::from_slice(&json).map_err(|e| bad(&e))
}
