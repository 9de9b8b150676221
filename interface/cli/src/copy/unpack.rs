//! An archive into a local directory, and nowhere else, whatever the archive says: every path is resolved below the
//! directory without following links (openat2(2), RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS).

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::{Buf, Bytes};
use rustix::fs::{self, AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;
use tare_archive::{Entry, Kind, Reader, Time, path};
use tare_sys::scoped;
use tokio::sync::mpsc::Receiver;

use super::paths::rename;
use crate::opts::surroundings::path_error;

/// Mode of directories that the archive does not mention.
const IMPLIED: Mode = Mode::from_raw_mode(0o755);
/// Most directories whose mode and time are set at the end; a tree of more is not copied by hand.
const MAX_DIRECTORIES: usize = 4 << 20;

/// Extracts an archive into `directory`. The first element `renamed.0` of names becomes `renamed.1`.
pub fn unpack(archive: impl BufRead, directory: &Path, renamed: Option<&(String, String)>) -> Result<(), String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root =
        fs::openat(CWD, directory, flags, Mode::empty()).map_err(|e| path_error("open", directory, &e.into()))?;
    let mut unpacker = Unpacker { root, parent: None, directories: Vec::new() };
    let mut reader = Reader::new(archive);
    while let Some(mut entry) = reader.next_entry().map_err(|e| e.to_string())? {
        if let Some((old, new)) = renamed {
            entry.path = rename(&entry.path, old, new);
            if entry.kind == Kind::HardLink {
                entry.link = rename(&entry.link, old, new);
            }
        }
        let name = path::clean(&entry.path).map_err(|e| format!("{}: {e}", show(&entry.path)))?;
        if !name.is_empty() {
            unpacker.add(&entry, &name, &mut reader).map_err(|why| format!("{}: {why}", show(&name)))?;
        }
    }
    unpacker.finish()
}

fn show(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

struct Unpacker {
    root: OwnedFd,
    /// The directory of the last entry.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Directories whose mode and time are set when nothing more is put into them.
    directories: Vec<(Vec<u8>, u32, Time)>,
}

type Step<T> = Result<T, String>;

fn errno(step: &'static str) -> impl Fn(Errno) -> String {
    move |e| format!("{step}: {}", tare_sys::errno::words(&e.into()))
}

impl Unpacker {
    /// Opens a directory below the root, making it where it is missing.
    fn directory(&mut self, name: &[u8]) -> Step<OwnedFd> {
        if let Some((last, fd)) = &self.parent
            && last == name
        {
            return fd.try_clone().map_err(|e| e.to_string());
        }
        let fd = match self.open(name) {
            Err(Errno::NOENT) => {
                self.make(name)?;
                self.open(name)
            }
            opened => opened,
        };
        let fd = fd.map_err(|e| match e {
            Errno::LOOP => "a symbolic link in its path is not followed".to_owned(),
            e => errno("openat2")(e),
        })?;
        self.parent = Some((name.to_vec(), fd.try_clone().map_err(|e| e.to_string())?));
        Ok(fd)
    }

    fn open(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let name = if name.is_empty() { &b"."[..] } else { name };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        scoped::open(&self.root, name, OFlags::PATH | OFlags::DIRECTORY, resolve)
    }

    fn make(&self, name: &[u8]) -> Step<()> {
        let ends = name.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).chain([name.len()]);
        for end in ends {
            let (parent, last) = path::split(&name[..end]);
            let parent = self.open(parent).map_err(errno("openat2"))?;
            match fs::mkdirat(&parent, last, IMPLIED) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(errno("mkdirat")(e)),
            }
        }
        Ok(())
    }

    fn add<R: BufRead>(&mut self, entry: &Entry, name: &[u8], reader: &mut Reader<R>) -> Step<()> {
        let (parent_name, last) = path::split(name);
        let parent = self.directory(parent_name)?;
        if self.is_there(entry, &parent, last)? {
            return self.note_directory(entry, name);
        }
        let mode = Mode::from_raw_mode(entry.mode & 0o7777);
        let device = fs::makedev(entry.device.0, entry.device.1);
        let node = |kind| fs::mknodat(&parent, last, kind, mode, device).map_err(errno("mknodat"));
        match entry.kind {
            Kind::Directory => {
                fs::mkdirat(&parent, last, IMPLIED).map_err(errno("mkdirat"))?;
                return self.note_directory(entry, name);
            }
            Kind::File => return file(entry, &parent, last, reader),
            Kind::Symlink => fs::symlinkat(&*entry.link, &parent, last).map_err(errno("symlinkat"))?,
            Kind::HardLink => {
                let target = path::clean(&entry.link).map_err(|e| format!("link target {e}"))?;
                let (directory, target) = path::split(&target);
                let directory = self.open(directory).map_err(errno("openat2"))?;
                return fs::linkat(&directory, target, &parent, last, AtFlags::empty()).map_err(errno("linkat"));
            }
            Kind::Fifo => node(FileType::Fifo)?,
            Kind::CharDevice => node(FileType::CharacterDevice)?,
            Kind::BlockDevice => node(FileType::BlockDevice)?,
            Kind::Other(flag) => return Err(format!("unknown type {flag:#04x}")),
        }
        if entry.kind != Kind::Symlink {
            fs::chmodat(&parent, last, mode, AtFlags::empty()).map_err(errno("chmodat"))?;
        }
        fs::utimensat(&parent, last, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(errno("utimensat"))
    }

    /// Makes room for an entry. True when it is a directory that is already there.
    fn is_there(&self, entry: &Entry, parent: &OwnedFd, last: &[u8]) -> Step<bool> {
        let stat = match fs::statat(parent, last, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(e) => return Err(errno("statat")(e)),
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        match (is_directory, entry.kind == Kind::Directory) {
            (true, true) => Ok(true),
            (true, false) => Err("cannot overwrite directory with non-directory".into()),
            (false, true) => Err("cannot overwrite non-directory with directory".into()),
            (false, false) => {
                fs::unlinkat(parent, last, AtFlags::empty()).map_err(errno("unlinkat"))?;
                Ok(false)
            }
        }
    }

    fn note_directory(&mut self, entry: &Entry, name: &[u8]) -> Step<()> {
        if self.directories.len() >= MAX_DIRECTORIES {
            return Err("too many directories".into());
        }
        self.directories.push((name.to_vec(), entry.mode, entry.mtime));
        Ok(())
    }

    /// Directories get their modes and times, the inner ones first.
    fn finish(mut self) -> Result<(), String> {
        for (name, mode, time) in std::mem::take(&mut self.directories).into_iter().rev() {
            let set = || {
                let (parent, last) = path::split(&name);
                let parent = self.open(parent)?;
                fs::chmodat(&parent, last, Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?;
                fs::utimensat(&parent, last, &times(time), AtFlags::SYMLINK_NOFOLLOW)
            };
            set().map_err(|e: Errno| format!("{}: {}", show(&name), errno("chmodat")(e)))?;
        }
        Ok(())
    }
}

fn file<R: BufRead>(entry: &Entry, parent: &OwnedFd, last: &[u8], reader: &mut Reader<R>) -> Step<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(parent, last, flags, Mode::from_raw_mode(0o600)).map_err(errno("openat"))?;
    let file = File::from(fd);
    while let Some(chunk) = reader.chunk().map_err(|e| e.to_string())? {
        file.write_all_at(chunk.data, chunk.offset).map_err(|e| format!("pwrite: {e}"))?;
    }
    // Holes at the end.
    file.set_len(entry.size).map_err(|e| format!("ftruncate: {e}"))?;
    for (name, value) in &entry.xattrs {
        // Not every file system takes them, nor every user may set them.
        let _ = fs::fsetxattr(&file, &**name, value, fs::XattrFlags::empty());
    }
    fs::fchmod(file.as_fd(), Mode::from_raw_mode(entry.mode & 0o7777)).map_err(errno("fchmod"))?;
    fs::futimens(file.as_fd(), &times(entry.mtime)).map_err(errno("futimens"))
}

fn times(time: Time) -> Timestamps {
    let spec = Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    Timestamps { last_access: spec, last_modification: spec }
}

/// Reads what comes over a channel, in a thread that may wait.
pub struct ChannelReader {
    receiver: Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl ChannelReader {
    /// From the channel's next piece on.
    pub fn new(receiver: Receiver<io::Result<Bytes>>) -> ChannelReader {
        ChannelReader { receiver, piece: Bytes::new() }
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for ChannelReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => break,
            }
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, count: usize) {
        self.piece.advance(count.min(self.piece.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::pack::pack;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use tare_archive::Writer;

    fn archive(entries: &[(Entry, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (entry, data) in entries {
            let entry = Entry { size: data.len() as u64, ..entry.clone() };
            writer.append_data(&entry, &mut &**data).unwrap();
        }
        writer.finish().unwrap()
    }

    fn linked(path: &str, kind: Kind, target: &str) -> Entry {
        Entry { link: target.into(), ..Entry::new(path, kind, 0o777) }
    }

    #[test]
    fn a_tree_there_and_back() {
        let from = tempfile::tempdir().unwrap();
        let to = tempfile::tempdir().unwrap();
        let tree = from.path().join("tree");
        std::fs::create_dir_all(tree.join("sub/empty")).unwrap();
        std::fs::write(tree.join("sub/file"), b"content").unwrap();
        std::fs::hard_link(tree.join("sub/file"), tree.join("twin")).unwrap();
        symlink("../outside", tree.join("link")).unwrap();
        std::fs::set_permissions(tree.join("sub/empty"), PermissionsExt::from_mode(0o2555)).unwrap();
        std::fs::set_permissions(tree.join("sub/file"), PermissionsExt::from_mode(0o741)).unwrap();
        let mut bytes = Vec::new();
        pack(&tree, b"tree", &mut bytes).unwrap();
        unpack(&*bytes, to.path(), Some(&("tree".into(), "new".into()))).unwrap();
        let new = to.path().join("new");
        assert_eq!(std::fs::read(new.join("twin")).unwrap(), b"content");
        let meta = |path: &str| std::fs::symlink_metadata(new.join(path)).unwrap();
        assert_eq!(meta("twin").ino(), meta("sub/file").ino());
        assert_eq!(meta("sub/file").mode() & 0o7777, 0o741);
        assert_eq!(meta("sub/empty").mode() & 0o7777, 0o2555);
        assert_eq!(meta("sub").mtime(), std::fs::metadata(tree.join("sub")).unwrap().mtime());
        assert_eq!(std::fs::read_link(new.join("link")).unwrap(), Path::new("../outside"));
        // Once more over what is there.
        unpack(&*bytes, to.path(), Some(&("tree".into(), "new".into()))).unwrap();
    }

    #[test]
    fn nothing_gets_out() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir(&root).unwrap();
        symlink(outer.path(), root.join("way-out")).unwrap();
        let file = |path: &str| (Entry::new(path, Kind::File, 0o644), &b"x"[..]);
        let fail = |entries: &[(Entry, &[u8])]| unpack(&*archive(entries), &root, None).unwrap_err();
        insta::assert_snapshot!(fail(&[file("../evil")]), @"../evil: is outside of the root");
        insta::assert_snapshot!(fail(&[file("way-out/evil")]), @"way-out/evil: a symbolic link in its path is not followed");
        insta::assert_snapshot!(fail(&[(linked("l", Kind::Symlink, ".."), b""), file("l/evil")]), @"l/evil: a symbolic link in its path is not followed");
        insta::assert_snapshot!(fail(&[(linked("h", Kind::HardLink, "way-out/secret"), b"")]), @"h: openat2: too many levels of symbolic links");
        insta::assert_snapshot!(fail(&[(linked("h", Kind::HardLink, "../secret"), b"")]), @"h: link target is outside of the root");
        assert_eq!(std::fs::read_dir(outer.path()).unwrap().count(), 1);
        // A file in the place of a link replaces the link, not what it leads to.
        unpack(&*archive(&[file("way-out")]), &root, None).unwrap();
        assert!(std::fs::symlink_metadata(root.join("way-out")).unwrap().is_file());
    }

    #[test]
    fn files_and_directories_do_not_replace_each_other() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("d")).unwrap();
        std::fs::write(root.path().join("f"), "").unwrap();
        let fail = |path: &str, kind| {
            unpack(&*archive(&[(Entry::new(path, kind, 0o755), b"")]), root.path(), None).unwrap_err()
        };
        insta::assert_snapshot!(fail("d", Kind::File), @"d: cannot overwrite directory with non-directory");
        insta::assert_snapshot!(fail("f", Kind::Directory), @"f: cannot overwrite non-directory with directory");
    }
}
