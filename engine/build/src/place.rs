//! Writing files into an image's file system: through archives in both directions, so that links, devices and attributes
//! come along as everywhere else, and nothing leaves the root whatever links the image has.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::os::fd::AsFd as _;

use rustix::fs::{AtFlags, FileType, Gid, OFlags, Uid, chownat};
use rustix::io::Errno;
use tare_archive::path::{clean, split};
use tare_archive::{Reader, Writer};
use tare_images::compression::{buffered, decompress};
use tare_images::export::{Naming, export_part};
use tare_images::mode::NewMode;
use tare_images::rootdir::{DirCache, RootDir};
use tare_images::unpack::{self, unpack};

use crate::context::sentence;
use crate::sources::Source;

/// Bytes of an archive on their way at once.
const BUFFER: usize = 256 << 10;

/// How files look where they go.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Instead of their own.
    pub(crate) owner: Option<(u32, u32)>,
    /// Instead of their own.
    pub(crate) mode: Option<NewMode>,
    /// Archives become what is in them.
    pub(crate) extract: bool,
}

/// A place in a root.
#[derive(Debug)]
pub(crate) struct Destination {
    root: RootDir,
    path: Vec<u8>,
    /// Named with a slash at its end.
    is_directory: bool,
}

impl Destination {
    pub(crate) fn new(root: RootDir, path: &str) -> Result<Destination, String> {
        let is_directory = path.ends_with('/');
        let path = clean(path.as_bytes()).map_err(|error| format!("invalid destination {path}: {error}"))?;
        Ok(Destination { root, path, is_directory })
    }

    /// Makes the place a directory, with those above it.
    pub(crate) fn make_directory(&self, owner: Option<(u32, u32)>) -> Result<(), String> {
        self.directory(&self.path, owner).map(drop)
    }

    /// Writes a file, or what is in a directory or archive.
    pub(crate) fn write(&self, source: &Source, options: &Options) -> Result<(), String> {
        if source.is_directory {
            let base = self.directory(&self.path, options.owner)?;
            let naming = Naming { strip: source.path.clone(), prefix: Vec::new(), with_base: false };
            return self.transfer(source, &naming, base, options);
        }
        if options.extract && self.extract(source, options)? {
            return Ok(());
        }
        let (directory, name) = match self.existing()? {
            Some(true) => (self.path.clone(), source.name.clone()),
            _ if self.is_directory => (self.path.clone(), source.name.clone()),
            Some(false) => {
                let real = self.root.real_path(&self.path, true).map_err(|error| self.failed(error))?;
                let (parent, name) = split(&real);
                (parent.to_vec(), name.to_vec())
            }
            None => {
                let (parent, name) = split(&self.path);
                (parent.to_vec(), name.to_vec())
            }
        };
        let base = self.directory(&directory, options.owner)?;
        let naming = Naming { strip: source.path.clone(), prefix: name, with_base: true };
        self.transfer(source, &naming, base, options)
    }

    /// Whether there is a directory, or something else; `None` for nothing.
    fn existing(&self) -> Result<Option<bool>, String> {
        match self.root.real_path(&self.path, true).and_then(|real| self.root.lstat(&real)) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// A directory's path without links; it and those above it are made where they are missing.
    fn directory(&self, path: &[u8], owner: Option<(u32, u32)>) -> Result<Vec<u8>, String> {
        let mut made = Vec::new();
        let mut cache = DirCache::new(copy_of(&self.root).map_err(|error| self.failed(error))?);
        cache.get_or_make(path, &mut |new| made.push(new.to_vec())).map_err(|error| self.failed(error))?;
        for new in made {
            let (uid, gid) = owner.unwrap_or((0, 0));
            let (parent, name) = self.root.open_parent(&new).map_err(|error| self.failed(error))?;
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|error| self.failed(error))?;
        }
        self.root.real_path(path, true).map_err(|error| self.failed(error))
    }

    fn transfer(&self, source: &Source, naming: &Naming, base: Vec<u8>, options: &Options) -> Result<(), String> {
        let (reader, writer) = std::io::pipe().map_err(|error| format!("pipe: {error}"))?;
        let root = copy_of(&self.root).map_err(|error| self.failed(error))?;
        let options =
            unpack::Options { owner: options.owner, mode: options.mode.clone(), base, ..unpack::Options::default() };
        std::thread::scope(|scope| {
            let packing = scope.spawn(move || {
                let mut writer = Writer::new(BufWriter::with_capacity(BUFFER, writer));
                let counts = |path: &[u8]| source.only.as_ref().is_none_or(|only| only.contains(path));
                export_part(&source.root, &source.path, naming, &counts, &mut writer).map_err(sentence)?;
                writer.finish().map(drop).map_err(|error| error.to_string())
            });
            let mut archive = Reader::new(BufReader::with_capacity(BUFFER, reader));
            let written = unpack(&mut archive, root, options).map(drop).map_err(sentence);
            // Whoever still writes must not wait for a reader that has given up.
            drop(archive);
            let packed = packing.join().unwrap_or_else(|_| Err("thread died".to_owned()));
            // If writing failed, packing only noticed that nobody reads.
            written.and(packed)
        })
    }

    /// Extracts an archive; false if the file is none.
    fn extract(&self, source: &Source, options: &Options) -> Result<bool, String> {
        let open = || {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            source.root.open_at(&source.path, flags).map(|file| buffered(File::from(file)))
        };
        let name = String::from_utf8_lossy(&source.name).into_owned();
        let failed = |error: Errno| format!("open {name}: {error}");
        let (_, plain) = decompress(open().map_err(failed)?).map_err(sentence)?;
        if !matches!(Reader::new(buffered(plain)).next_entry(), Ok(Some(_))) {
            return Ok(false);
        }
        let base = self.directory(&self.path, options.owner)?;
        let (_, plain) = decompress(open().map_err(failed)?).map_err(sentence)?;
        let root = copy_of(&self.root).map_err(|error| self.failed(error))?;
        let options = unpack::Options { base, mode: options.mode.clone(), ..unpack::Options::default() };
        unpack(&mut Reader::new(buffered(plain)), root, options).map_err(sentence)?;
        Ok(true)
    }

    fn failed(&self, error: Errno) -> String {
        format!("/{}: {error}", String::from_utf8_lossy(&self.path))
    }
}

/// The same directory for another owner.
fn copy_of(root: &RootDir) -> Result<RootDir, Errno> {
    root.as_fd().try_clone_to_owned().map(RootDir::from_fd).map_err(|_| Errno::MFILE)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::sources::{Words, find};

    #[test]
    fn files_go_where_docker_puts_them() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir_all(from.path().join("d/sub")).unwrap();
        std::fs::write(from.path().join("d/sub/f"), "f").unwrap();
        std::fs::write(from.path().join("a"), "a").unwrap();
        std::os::unix::fs::symlink("a", from.path().join("link")).unwrap();
        std::fs::create_dir(to.path().join("there")).unwrap();
        std::os::unix::fs::symlink("/there", to.path().join("way")).unwrap();
        let root = Arc::new(RootDir::open(from.path()).unwrap());
        let options = Options { owner: None, mode: None, extract: true };
        let copy = |source: &str, to_path: &str| {
            let destination = Destination::new(RootDir::open(to.path()).unwrap(), to_path).unwrap();
            destination.write(find(&root, source, Words::Context).unwrap().first().unwrap(), &options).unwrap();
        };
        let hash = |name: &str| crate::sources::hash(&find(&root, name, Words::Context).unwrap());
        assert_ne!(hash("a"), hash("link"), "the copies have other names");
        copy("a", "/new/dir/");
        copy("a", "/renamed");
        copy("a", "/there");
        copy("link", "/way/");
        copy("d", "/tree");
        for (path, content) in
            [("new/dir/a", "a"), ("renamed", "a"), ("there/a", "a"), ("there/link", "a"), ("tree/sub/f", "f")]
        {
            assert_eq!(std::fs::read_to_string(to.path().join(path)).unwrap(), content, "{path}");
        }
        assert!(to.path().join("there/link").symlink_metadata().unwrap().is_file());
    }

    #[test]
    fn sources_stay_in_the_context() {
        let from = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/hostname", from.path().join("link")).unwrap();
        let root = Arc::new(RootDir::open(from.path()).unwrap());
        let said = |path: &str| find(&root, path, Words::Context).unwrap_err();
        assert_eq!(said("../x"), "forbidden path outside the build context: ../x ()");
        assert_eq!(
            said("link"),
            "file not found in build context or excluded by .dockerignore: stat link: file does not exist"
        );
        assert!(find(&root, "no*", Words::Context).unwrap().is_empty());
    }
}
