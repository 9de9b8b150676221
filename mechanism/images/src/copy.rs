//! `docker cp`: looking at, reading and writing paths of a container's root file system, from outside.
//!
//! Paths are resolved inside the root, whatever links a container plants. A path's last component is followed only
//! where Docker follows it: with a trailing `/` or `/.`, and for the directory that is extracted into.

use std::io::{BufRead, Write};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use tare_archive::path::{clean, split};
use tare_archive::{Reader, Writer};

use crate::export::{Naming, base_name, export};
use crate::rootdir::RootDir;
use crate::unpack::{Options, unpack};
use crate::{Error, Result};

/// Docker's description of a path (`X-Docker-Container-Path-Stat`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// Last component as given.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Go's `os.FileMode`: type and set-ID bits have other places than in `st_mode`.
    pub mode: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Where a link leads in the end, be something there or not, absolute; else empty.
    pub link_target: String,
}

/// Describes a path.
pub fn stat(root: &RootDir, path: &str) -> Result<PathStat> {
    let (resolved, stat) = look(root, path)?;
    let mut link_target = String::new();
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
        let target = root.leads_to(&resolved).map_err(|e| missing(e, path))?;
        link_target = format!("/{}", String::from_utf8_lossy(&target));
    }
    #[allow(clippy::cast_possible_truncation, reason = "nanoseconds are below 2^30")]
    let nanoseconds = stat.st_mtime_nsec as u32;
    Ok(PathStat {
        name: go_base(path),
        size: stat.st_size,
        mode: go_mode(stat.st_mode),
        mtime: (stat.st_mtime, nanoseconds),
        link_target,
    })
}

/// Writes an archive of a path: of a file or link itself, or of a directory with all that it holds. Entries start
/// with the last component of the path as given (`.` for `/etc/.`).
pub fn get<W: Write>(root: &RootDir, path: &str, out: W) -> Result<()> {
    let (resolved, stat) = look(root, path)?;
    let mut writer = Writer::new(out);
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let prefix = if directory { go_base(path).into_bytes() } else { base_name(&resolved).to_vec() };
    let naming = Naming { strip: resolved.clone(), prefix, with_base: true };
    export(root, &resolved, &naming, &mut writer)?;
    writer.finish()?;
    Ok(())
}

/// Whom extracted files belong to, and what they may replace.
#[derive(Debug, Clone, Copy, Default)]
pub struct PutOptions {
    /// Owner and group for everything (`copyUIDGID`); otherwise the archive's.
    pub owner: Option<(u32, u32)>,
    /// `noOverwriteDirNonDir`
    pub no_overwrite_dir_non_dir: bool,
}

/// Extracts an archive into the directory at `path`, following links to it. The archive may be compressed.
pub fn put<R: BufRead + Send + 'static>(root: RootDir, path: &str, archive: R, options: PutOptions) -> Result<()> {
    let base = base(&root, path)?;
    let (_, plain) = crate::compression::decompress(archive)?;
    let options = Options {
        layer: false,
        owner: options.owner,
        mode: None,
        no_overwrite_dir_non_dir: options.no_overwrite_dir_non_dir,
        base,
        contained: false,
    };
    unpack(&mut Reader::new(crate::compression::buffered(plain)), root, options)?;
    Ok(())
}

/// The directory that [`put`] extracts into for a path, absolute and without links.
pub fn directory(root: &RootDir, path: &str) -> Result<String> {
    Ok(format!("/{}", String::from_utf8_lossy(&base(root, path)?)))
}

fn base(root: &RootDir, path: &str) -> Result<Vec<u8>> {
    let base = root.real_path(&clean_path(path)?, true).map_err(|e| missing(e, path))?;
    let stat = root.lstat(&base).map_err(|e| missing(e, path))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Error::NotADirectory);
    }
    Ok(base)
}

/// The path with its directories resolved, its last component only where it must be a directory.
fn look(root: &RootDir, path: &str) -> Result<(Vec<u8>, Stat)> {
    let wanted = clean_path(path)?;
    let follow = path.ends_with('/') || path.ends_with("/.") || path == ".";
    let resolved = root.real_path(&wanted, follow).map_err(|e| missing(e, path))?;
    let stat = root.lstat(&resolved).map_err(|e| missing(e, path))?;
    if follow && FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Error::NoDirectory(path.to_owned()));
    }
    Ok((resolved, stat))
}

fn clean_path(path: &str) -> Result<Vec<u8>> {
    // as if from the root, so that `..` stops there
    clean(format!("/{path}").as_bytes()).map_err(|e| Error::Entry { path: path.to_owned(), reason: e.to_string() })
}

fn missing(errno: Errno, path: &str) -> Error {
    match errno {
        Errno::NOENT | Errno::NOTDIR => Error::NoPath(path.to_owned()),
        _ => Error::Io { step: "open", path: path.to_owned(), source: errno.into() },
    }
}

/// Go's `filepath.Base` of the absolute path: `/` for the root, `.` for `/etc/.`.
fn go_base(path: &str) -> String {
    let trimmed = path.trim_end_matches('/');
    if path.ends_with("/.") || path == "." {
        return ".".to_owned();
    }
    match split(trimmed.as_bytes()).1 {
        b"" => "/".to_owned(),
        name => String::from_utf8_lossy(name).into_owned(),
    }
}

/// `st_mode` as Go's `os.FileMode`.
pub fn go_mode(mode: u32) -> u32 {
    const DIRECTORY: u32 = 1 << 31;
    const SYMLINK: u32 = 1 << 27;
    const DEVICE: u32 = 1 << 26;
    const NAMED_PIPE: u32 = 1 << 25;
    const SOCKET: u32 = 1 << 24;
    const SETUID: u32 = 1 << 23;
    const SETGID: u32 = 1 << 22;
    const CHAR_DEVICE: u32 = 1 << 21;
    const STICKY: u32 = 1 << 20;
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => DIRECTORY,
        FileType::Symlink => SYMLINK,
        FileType::BlockDevice => DEVICE,
        FileType::CharacterDevice => DEVICE | CHAR_DEVICE,
        FileType::Fifo => NAMED_PIPE,
        FileType::Socket => SOCKET,
        FileType::RegularFile | FileType::Unknown => 0,
    };
    let bit = |of: u32, to: u32| if mode & of != 0 { to } else { 0 };
    kind | mode & 0o777 | bit(0o4000, SETUID) | bit(0o2000, SETGID) | bit(0o1000, STICKY)
}
