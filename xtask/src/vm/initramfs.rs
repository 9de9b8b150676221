//! A file tree, and the archive of it that a kernel unpacks at boot: cpio in its "new ASCII" form, as
//! `Documentation/driver-api/early-userspace/buffer-format.rst` describes it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

/// A file tree that is being put together.
pub struct Stage {
    root: PathBuf,
}

impl Stage {
    /// An empty one; whatever was there is removed.
    pub fn new(root: &Path) -> Result<Self, String> {
        let made = match fs::remove_dir_all(root) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => fs::create_dir_all(root),
        };
        made.map_err(|error| format!("`{}`: {error}", root.display()))?;
        Ok(Self { root: root.to_owned() })
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Copies a file, through links, with its mode; `to` is relative.
    pub fn copy(&self, from: &Path, to: &str) -> Result<(), String> {
        let to = self.place(to)?;
        fs::copy(from, &to).map(drop).map_err(|error| format!("copy `{}`: {error}", from.display()))
    }

    /// Copies a file that need not exist.
    pub fn copy_if_there(&self, from: &Path, to: &str) -> Result<(), String> {
        if from.exists() { self.copy(from, to) } else { Ok(()) }
    }

    /// Copies a directory with everything in it.
    pub fn tree(&self, from: &Path, to: &str) -> Result<(), String> {
        for path in children(from)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let to = format!("{to}/{name}");
            if path.is_dir() { self.tree(&path, &to)? } else { self.copy(&path, &to)? }
        }
        Ok(())
    }

    /// A symbolic link.
    pub fn link(&self, text: &str, at: &str) -> Result<(), String> {
        symlink(text, self.place(at)?).map_err(|error| format!("link `{at}`: {error}"))
    }

    /// Writes the archive.
    pub fn pack(&self, archive: &Path) -> Result<(), String> {
        let written = File::create(archive).and_then(|file| {
            let mut writer = Writer { out: BufWriter::new(file), inode: 0 };
            writer.directory(&self.root, &self.root)?;
            writer.end()
        });
        written.map_err(|error| format!("write `{}`: {error}", archive.display()))
    }

    fn place(&self, at: &str) -> Result<PathBuf, String> {
        let path = self.root.join(at);
        let parent = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent).map_err(|error| format!("create `{}`: {error}", parent.display()))?;
        Ok(path)
    }
}

/// What is in a directory, in order.
fn children(directory: &Path) -> Result<Vec<PathBuf>, String> {
    sorted(directory).map_err(|error| format!("read `{}`: {error}", directory.display()))
}

fn sorted(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

struct Writer<W: Write> {
    out: W,
    inode: u32,
}

impl<W: Write> Writer<W> {
    fn directory(&mut self, root: &Path, directory: &Path) -> io::Result<()> {
        for path in sorted(directory)? {
            let metadata = fs::symlink_metadata(&path)?;
            let name = path.strip_prefix(root).unwrap_or(&path).as_os_str().as_bytes();
            let data = if metadata.is_symlink() {
                fs::read_link(&path)?.as_os_str().as_bytes().to_vec()
            } else if metadata.is_file() {
                fs::read(&path)?
            } else {
                Vec::new()
            };
            self.entry(name, metadata.mode(), &data)?;
            if metadata.is_dir() {
                self.directory(root, &path)?;
            }
        }
        Ok(())
    }

    /// Everything belongs to root and is as old as the epoch.
    fn entry(&mut self, name: &[u8], mode: u32, data: &[u8]) -> io::Result<()> {
        let size = |length: usize| u32::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge));
        self.inode += 1;
        let (links, name_size) = (1, size(name.len() + 1)?);
        let fields = [self.inode, mode, 0, 0, links, 0, size(data.len())?, 0, 0, 0, 0, name_size, 0];
        let mut header = b"070701".to_vec();
        for field in fields {
            write!(header, "{field:08X}")?;
        }
        header.extend(name);
        header.push(0);
        self.padded(&header)?;
        self.padded(data)
    }

    /// Header and name together, and data, each end at a multiple of four.
    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        let padding = bytes.len().next_multiple_of(4) - bytes.len();
        self.out.write_all(bytes)?;
        self.out.write_all(&[0; 3][..padding])
    }

    fn end(mut self) -> io::Result<()> {
        self.entry(b"TRAILER!!!", 0, &[])?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let mut out = Vec::new();
        let mut writer = Writer { out: &mut out, inode: 0 };
        writer.entry(b"bin/x", 0o100_755, b"hello").unwrap();
        writer.end().unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap().replace('\0', "."),
            "07070100000001000081ED00000000000000000000000100000000000000050000000000000000000000000000000000000006\
             00000000bin/x.hello...\
             07070100000002000000000000000000000000000000010000000000000000000000000000000000000000000000000000000B\
             00000000TRAILER!!!...."
        );
    }
}
