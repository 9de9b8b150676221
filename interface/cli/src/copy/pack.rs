//! A local file or tree as an archive: entries under one name, links as links, owners and modes as they are.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use tare_archive::{Entry, Kind, Time, Writer};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;

use crate::opts::surroundings::path_error;
use tare_dockerfile::ignore::Ignore;

/// Bytes sent at once.
const CHUNK: usize = 64 << 10;
/// Pieces of an archive between the file system and the connection.
const AHEAD: usize = 4;
/// The attribute that file capabilities are in; others stay behind, as with Docker.
const CAPABILITY: &str = "security.capability";
/// Largest value of that attribute in bytes (vfs_ns_cap_data has 24).
const MAX_CAPABILITY: usize = 256;

/// Why an archive was not written to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// Nobody reads it any more: whoever did has said why.
    #[error("the archive is no longer read")]
    Gone,
    /// A file cannot be read.
    #[error("{0}")]
    Failed(String),
}

impl PackError {
    fn of(path: &Path, error: tare_archive::Error) -> PackError {
        match error {
            tare_archive::Error::Io(e) if e.kind() == io::ErrorKind::BrokenPipe => PackError::Gone,
            error => PackError::Failed(format!("{}: {error}", path.display())),
        }
    }
}

fn failed(step: &str, path: &Path, error: &io::Error) -> PackError {
    PackError::Failed(path_error(step, path, error))
}

/// Packs in a thread; gives what it writes, and how it ended. An archive that cannot be finished ends in an error, so that
/// half of it is not taken for the whole.
pub fn in_background(
    work: impl FnOnce(ChannelWriter) -> Result<(), PackError> + Send + 'static,
) -> (Receiver<io::Result<Bytes>>, JoinHandle<Result<(), PackError>>) {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let packing = tokio::task::spawn_blocking(move || {
        let done = work(ChannelWriter::new(sender.clone()));
        if let Err(PackError::Failed(why)) = &done {
            let _ = sender.blocking_send(Err(io::Error::other(why.clone())));
        }
        done
    });
    (receiver, packing)
}

/// Writes `path` and everything below it to `out`, the top under the name `name`.
pub fn pack(path: &Path, name: &[u8], out: impl Write) -> Result<(), PackError> {
    let mut packer = Packer { writer: Writer::new(out), context: None, seen: HashMap::new() };
    packer.add(path, name.to_vec())?;
    packer.writer.finish().map(drop).map_err(|e| PackError::of(path, e))
}

/// Writes what is in the directory `path` to `out`, as root's, without what is ignored; then further files.
pub fn pack_context(path: &Path, ignore: Ignore, more: &[(String, Vec<u8>)], out: impl Write) -> Result<(), PackError> {
    let mut packer = Packer { writer: Writer::new(out), context: Some(ignore), seen: HashMap::new() };
    packer.children(path, b"")?;
    for (name, content) in more {
        let entry = Entry { size: content.len() as u64, ..Entry::new(name.as_str(), Kind::File, 0o600) };
        packer.append(Path::new(name), &entry, &mut &**content)?;
    }
    packer.writer.finish().map(drop).map_err(|e| PackError::of(path, e))
}

/// The same, compressed.
pub fn pack_context_compressed(
    path: &Path,
    ignore: Ignore,
    more: &[(String, Vec<u8>)],
    out: impl Write,
) -> Result<(), PackError> {
    let mut out = GzEncoder::new(out, Compression::default());
    pack_context(path, ignore, more, &mut out)?;
    let ended = out.finish().and_then(|mut out| out.flush());
    ended.map_err(|e| PackError::of(path, tare_archive::Error::Io(e)))
}

struct Packer<W> {
    writer: Writer<W>,
    /// For a build: what stays behind; the rest becomes root's.
    context: Option<Ignore>,
    /// Names of files with several links, by device and inode.
    seen: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Packer<W> {
    fn add(&mut self, path: &Path, name: Vec<u8>) -> Result<(), PackError> {
        let meta = fs::symlink_metadata(path).map_err(|e| failed("lstat", path, &e))?;
        if let Some(ignore) = &self.context
            && ignore.ignores(&String::from_utf8_lossy(&name))
        {
            let may_hold_more = meta.is_dir() && ignore.has_exceptions();
            return if may_hold_more { self.children(path, &name) } else { Ok(()) };
        }
        let Some(mut entry) = entry(&meta, name.clone()) else {
            // Sockets mean nothing elsewhere.
            return Ok(());
        };
        if self.context.is_some() {
            (entry.uid, entry.gid) = (0, 0);
        }
        if meta.is_symlink() {
            let target = fs::read_link(path).map_err(|e| failed("readlink", path, &e))?;
            entry.link = OsString::from(target).into_vec();
        }
        if meta.is_file() && meta.nlink() > 1 {
            if let Some(first) = self.seen.get(&(meta.dev(), meta.ino())) {
                entry.kind = Kind::HardLink;
                entry.size = 0;
                entry.link.clone_from(first);
                return self.append(path, &entry, &mut io::empty());
            }
            self.seen.insert((meta.dev(), meta.ino()), name.clone());
        }
        if meta.is_file() {
            let mut file = File::open(path).map_err(|e| failed("open", path, &e))?;
            entry.xattrs = capability(path);
            return self.append(path, &entry, &mut file);
        }
        self.append(path, &entry, &mut io::empty())?;
        if meta.is_dir() {
            self.children(path, &name)?;
        }
        Ok(())
    }

    fn children(&mut self, path: &Path, name: &[u8]) -> Result<(), PackError> {
        let fail = |e: io::Error| failed("open", path, &e);
        let mut names: Vec<OsString> = Vec::new();
        for entry in fs::read_dir(path).map_err(fail)? {
            names.push(entry.map_err(fail)?.file_name());
        }
        names.sort_unstable();
        for child in names {
            self.add(&path.join(&child), tare_archive::path::join(name, child.as_bytes()))?;
        }
        Ok(())
    }

    fn append(&mut self, path: &Path, entry: &Entry, data: &mut dyn io::Read) -> Result<(), PackError> {
        self.writer.append_data(entry, data).map_err(|e| PackError::of(path, e))
    }
}

fn entry(meta: &Metadata, name: Vec<u8>) -> Option<Entry> {
    let kind = match meta.file_type() {
        t if t.is_dir() => Kind::Directory,
        t if t.is_symlink() => Kind::Symlink,
        t if t.is_file() => Kind::File,
        t if t.is_fifo() => Kind::Fifo,
        t if t.is_char_device() => Kind::CharDevice,
        t if t.is_block_device() => Kind::BlockDevice,
        _ => return None,
    };
    let device = meta.rdev();
    Some(Entry {
        uid: meta.uid().into(),
        gid: meta.gid().into(),
        size: if kind == Kind::File { meta.len() } else { 0 },
        // Whole seconds: no extension header for every file.
        mtime: Time { seconds: meta.mtime(), nanoseconds: 0 },
        device: (rustix::fs::major(device), rustix::fs::minor(device)),
        ..Entry::new(name, kind, meta.mode() & 0o7777)
    })
}

fn capability(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut value = [0_u8; MAX_CAPABILITY];
    match rustix::fs::lgetxattr(path, CAPABILITY, &mut value[..]) {
        Ok(length) => vec![(CAPABILITY.into(), value[..length.min(MAX_CAPABILITY)].to_vec())],
        // Most files have none, some file systems have no attributes at all.
        Err(_) => Vec::new(),
    }
}

/// Sends what is written to a channel, in large pieces.
pub struct ChannelWriter {
    sender: Sender<io::Result<Bytes>>,
    buffer: BytesMut,
}

impl ChannelWriter {
    fn new(sender: Sender<io::Result<Bytes>>) -> ChannelWriter {
        ChannelWriter { sender, buffer: BytesMut::with_capacity(CHUNK) }
    }

    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = self.buffer.split().freeze();
        self.buffer.reserve(CHUNK);
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}
