//! The files that `COPY` and `ADD` name, and what stands for their content.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use rustix::fs::{Dir, FileType, OFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use tare_archive::path::{clean, join, split};
use tare_images::rootdir::RootDir;
use tare_reference::glob::path_match;

use crate::context::{inside, outside};

/// Bytes read at once.
const BUFFER: usize = 128 << 10;

/// One thing to copy.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) root: Arc<RootDir>,
    /// Without links.
    pub(crate) path: Vec<u8>,
    /// The last component as it was named.
    pub(crate) name: Vec<u8>,
    pub(crate) is_directory: bool,
    /// Fetched from elsewhere: it stays as it is, even if it is an archive.
    pub(crate) is_remote: bool,
    /// The paths below a directory that count, where not all do.
    pub(crate) only: Option<Arc<HashSet<Vec<u8>>>>,
    hash: String,
}

/// Whose words say that something is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    /// The classic builder's, of a context.
    Context,
    /// The classic builder's, of an image.
    Image,
    /// BuildKit's, where `..` at the root is the root.
    BuildKit,
}

/// Finds what a path or pattern names.
pub(crate) fn find(root: &Arc<RootDir>, path: &str, words: Words) -> Result<Vec<Source>, String> {
    let wanted = path.trim_start_matches('/');
    let wanted = wanted.strip_prefix("./").unwrap_or(wanted);
    if !has_wildcards(wanted) {
        return Ok(vec![one(root, wanted, words)?]);
    }
    let mut found = Vec::new();
    for name in walk(root, b"")? {
        let name = String::from_utf8_lossy(&name);
        if path_match(wanted, &name).unwrap_or(false) {
            found.push(one(root, &name, words)?);
        }
    }
    Ok(found)
}

/// What stands for all of them in the history and the cache.
pub(crate) fn hash(sources: &[Source]) -> String {
    match sources {
        [one] => one.hash.clone(),
        several => {
            let all: Vec<&str> = several.iter().map(|source| source.hash.as_str()).collect();
            format!("multi:{}", hex(&Sha256::digest(all.join(","))))
        }
    }
}

pub(crate) fn has_wildcards(name: &str) -> bool {
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '*' | '?' | '[' => return true,
            _ => {}
        }
    }
    false
}

/// Finds one path, whatever characters it has.
pub(crate) fn one(root: &Arc<RootDir>, name: &str, words: Words) -> Result<Source, String> {
    let clean = match words {
        Words::BuildKit => clean(format!("/{name}").as_bytes()).map_err(|error| format!("{name}: {error}"))?,
        Words::Context | Words::Image => inside(name).ok_or_else(|| outside(name))?,
    };
    let path = match root.real_path(&clean, true) {
        Ok(path) => path,
        Err(Errno::NOENT | Errno::NOTDIR) => {
            return Err(match words {
                Words::BuildKit => format!(
                    "failed to compute cache key: failed to calculate checksum of ref: {:?}: not found",
                    format!("/{}", String::from_utf8_lossy(&clean))
                ),
                Words::Context => format!(
                    "file not found in build context or excluded by .dockerignore: stat {name}: file does not exist"
                ),
                Words::Image => format!("stat {name}: file does not exist"),
            });
        }
        Err(Errno::LOOP) => return Err(outside(name)),
        Err(error) => return Err(format!("stat {name}: {error}")),
    };
    let stat = root.lstat(&path).map_err(|error| format!("stat {name}: {error}"))?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let name = split(&clean).1;
    let hash = if is_directory {
        hash_of_all(root, walk(root, &path)?.iter())?
    } else {
        let hash = hash_of(root, &path)?;
        if name == split(&path).1 {
            format!("file:{hash}")
        } else {
            // What is found by a link is not what is found by its own name: the copies have other names.
            format!("file:{}", hex(&Sha256::digest([hash.as_bytes(), b"/", name].concat())))
        }
    };
    Ok(Source { root: Arc::clone(root), name: name.to_vec(), path, is_directory, is_remote: false, only: None, hash })
}

impl Source {
    /// A directory, or as much of it as counts.
    pub(crate) fn narrowed(self, only: HashSet<Vec<u8>>) -> Result<Source, String> {
        // The same paths from another directory come to other places.
        let all = hash_of_all(&self.root, only.iter())?;
        let hash = format!("dir:{}", hex(&Sha256::digest([all.as_bytes(), b"/", &self.path].concat())));
        Ok(Source { hash, only: Some(Arc::new(only)), ..self })
    }
}

fn hash_of_all<'p>(root: &RootDir, paths: impl Iterator<Item = &'p Vec<u8>>) -> Result<String, String> {
    let mut all = paths.map(|path| hash_of(root, path)).collect::<Result<Vec<_>, _>>()?;
    all.sort();
    Ok(format!("dir:{}", hex(&Sha256::digest(all.join(",")))))
}

/// Everything below a directory, in the order of names; links are not followed.
pub(crate) fn walk(root: &RootDir, base: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut found = Vec::new();
    let mut pending = vec![base.to_vec()];
    while let Some(path) = pending.pop() {
        let failed = |error: Errno| format!("read {}: {error}", String::from_utf8_lossy(&path));
        let stat = root.lstat(&path).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let mut names = Vec::new();
            let directory =
                root.open_at(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW).map_err(failed)?;
            for entry in Dir::new(directory).map_err(failed)? {
                let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
                if name != b"." && name != b".." {
                    names.push(join(&path, &name));
                }
            }
            names.sort_unstable();
            pending.extend(names.into_iter().rev());
        }
        if !path.is_empty() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Stands for one file: name, kind, mode, owner, and content; not for its times.
fn hash_of(root: &RootDir, path: &[u8]) -> Result<String, String> {
    let failed = |error: Errno| format!("read {}: {error}", String::from_utf8_lossy(path));
    let node = root.open_at(path, OFlags::PATH | OFlags::NOFOLLOW).map_err(failed)?;
    let stat: Stat = rustix::fs::fstat(&node).map_err(failed)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let mut hash = Sha256::new();
    hash.update((path.len() as u64).to_le_bytes());
    hash.update(path);
    for number in [stat.st_mode, stat.st_uid, stat.st_gid] {
        hash.update(number.to_le_bytes());
    }
    match kind {
        FileType::RegularFile => {
            let file = root.open_at(path, OFlags::RDONLY | OFlags::NOFOLLOW).map_err(failed)?;
            let mut file = File::from(file);
            let mut buffer = vec![0; BUFFER];
            loop {
                let read = file.read(&mut buffer);
                let read = read.map_err(|error| format!("read {}: {error}", String::from_utf8_lossy(path)))?;
                if read == 0 {
                    break;
                }
                hash.update(buffer.get(..read).unwrap_or_default());
            }
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(&node, "", Vec::new()).map_err(failed)?;
            hash.update(target.as_bytes());
        }
        FileType::CharacterDevice | FileType::BlockDevice => hash.update(stat.st_rdev.to_le_bytes()),
        _ => {}
    }
    Ok(hex(&hash.finalize()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
