//! Tar archives as container images use them: a strict streaming reader, a writer, and the rules for entry names.
//!
//! * here: [`Entry`], one member of an archive
//! * [`path`]: names made safe, whiteouts told apart
//! * [`reader`]: [`Reader`], ustar, PAX, GNU and old tar in, sparse files included
//! * [`writer`]: [`Writer`], ustar with PAX records where needed
//! * [`header`], [`pax`], [`sparse`]: the wire format
//!
//! Values only: nothing here touches a file system. Input is hostile: every length is bounded by a named constant.
//! Sources: POSIX.1-2024 `pax`, GNU tar manual ("Basic Tar Format", "Storing Sparse Files"), OCI image-spec layer.md.

#![forbid(unsafe_code)]

pub mod header;
pub mod path;
pub mod pax;
pub mod reader;
pub mod sparse;
pub mod writer;

pub use path::{EntryName, Whiteout};
pub use reader::{Chunk, Reader};
pub use sparse::Segment;
pub use writer::Writer;

use std::io;

/// Blocks of an archive, in bytes.
pub const BLOCK: usize = 512;
/// Most bytes of one PAX header or long name, as Go's archive/tar has it: real ones are a few hundred bytes.
pub const MAX_EXTENSION: u64 = 1 << 20;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Regular file.
    File,
    /// Another name ([`Entry::link`]) of an earlier entry.
    HardLink,
    /// Symbolic link to [`Entry::link`].
    Symlink,
    /// Character device [`Entry::device`].
    CharDevice,
    /// Block device [`Entry::device`].
    BlockDevice,
    /// Directory.
    Directory,
    /// Named pipe.
    Fifo,
    /// A type flag that means none of these.
    Other(u8),
}

/// Seconds and nanoseconds since 1970; nanoseconds count forward also before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds.
    pub seconds: i64,
    /// 0..1,000,000,000
    pub nanoseconds: u32,
}

/// One member of an archive: everything but its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As in the archive, see [`path::clean`].
    pub path: Vec<u8>,
    /// Target of links, else empty.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permissions with setuid, setgid and sticky bit: 12 bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Bytes of the file as it should become, holes included.
    pub size: u64,
    /// Modification time.
    pub mtime: Time,
    /// Major and minor number of devices.
    pub device: (u32, u32),
    /// Extended attributes, names without the `SCHILY.xattr.` of the archive.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// An entry of root's, at the epoch.
    pub fn new(path: impl Into<Vec<u8>>, kind: Kind, mode: u32) -> Entry {
        Entry {
            path: path.into(),
            link: Vec::new(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: Time::default(),
            device: (0, 0),
            xattrs: Vec::new(),
        }
    }
}

/// Why an archive cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes could not be had or given.
    #[error("tar: {0}")]
    Io(#[from] io::Error),
    /// It ends in the middle.
    #[error("tar: unexpected EOF")]
    Truncated,
    /// A header that is none.
    #[error("tar: invalid header: {0}")]
    Header(&'static str),
    /// A PAX record, long name or sparse map beyond its limit.
    #[error("tar: {0} too long")]
    TooLong(&'static str),
    /// [`Writer`]: data shorter or longer than the entry's size.
    #[error("tar: data does not have the size of its header")]
    Size,
}
