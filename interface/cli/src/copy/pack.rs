//! A local file or tree as an archive: entries under one name, links as links, owners and modes as they are.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use bytes::{Bytes, BytesMut};
use tare_archive::{Entry, Kind, Time, Writer};
use tokio::sync::mpsc::Sender;

use crate::opts::surroundings::path_error;

/// Bytes sent at once.
const CHUNK: usize = 64 << 10;
/// The attribute that file capabilities are in; others stay behind, as with Docker.
const CAPABILITY: &str = "security.capability";
/// Largest value of that attribute in bytes (vfs_ns_cap_data has 24).
const MAX_CAPABILITY: usize = 256;

/// Writes `path` and everything below it to `out`, the top under the name `name`.
pub fn pack(path: &Path, name: &[u8], out: impl Write) -> Result<(), String> {
    let mut packer = Packer { writer: Writer::new(out), seen: HashMap::new() };
    packer.add(path, name.to_vec())?;
    packer.writer.finish().map(drop).map_err(|e| e.to_string())
}

struct Packer<W> {
    writer: Writer<W>,
    /// Names of files with several links, by device and inode.
    seen: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Packer<W> {
    fn add(&mut self, path: &Path, name: Vec<u8>) -> Result<(), String> {
        let meta = fs::symlink_metadata(path).map_err(|e| path_error("lstat", path, &e))?;
        let Some(mut entry) = entry(&meta, name.clone()) else {
            // Sockets mean nothing elsewhere.
            return Ok(());
        };
        if meta.is_symlink() {
            let target = fs::read_link(path).map_err(|e| path_error("readlink", path, &e))?;
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
            let mut file = File::open(path).map_err(|e| path_error("open", path, &e))?;
            entry.xattrs = capability(path);
            return self.append(path, &entry, &mut file);
        }
        self.append(path, &entry, &mut io::empty())?;
        if meta.is_dir() {
            self.children(path, &name)?;
        }
        Ok(())
    }

    fn children(&mut self, path: &Path, name: &[u8]) -> Result<(), String> {
        let fail = |e: io::Error| path_error("open", path, &e);
        let mut names: Vec<OsString> = Vec::new();
        for entry in fs::read_dir(path).map_err(fail)? {
            names.push(entry.map_err(fail)?.file_name());
        }
        names.sort_unstable();
        for child in names {
            self.add(&path.join(&child), [name, b"/", child.as_bytes()].concat())?;
        }
        Ok(())
    }

    fn append(&mut self, path: &Path, entry: &Entry, data: &mut dyn io::Read) -> Result<(), String> {
        self.writer.append_data(entry, data).map_err(|e| format!("{}: {e}", path.display()))
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
    /// For use in a thread that may wait.
    pub fn new(sender: Sender<io::Result<Bytes>>) -> ChannelWriter {
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
