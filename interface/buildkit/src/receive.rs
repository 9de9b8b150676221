//! Writing what a client sends of a directory: first what there is, then the content of the files that are asked for.
//!
//! Anybody may have made it up. Everything goes below one directory that nobody else writes into, through descriptors
//! found with openat2; the last component of a name is never followed.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use bollard_buildkit_proto::fsutil::types::{Packet, Stat};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use tare_archive::path::clean;
use tare_docker_api::file_mode::{CHARACTER_DEVICE, DEVICE, DIRECTORY, NAMED_PIPE, SOCKET, SYMLINK, permissions};
use tare_images::rootdir::RootDir;

/// Files whose content is on its way at once. No more requests than these are ever unanswered.
pub(crate) const ASKED_MAX: usize = 64;
/// Entries of one directory.
const ENTRIES_MAX: u32 = 2_000_000;
/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// More packets.
    More,
    /// Everything is here.
    Finished,
}

/// A file whose content is missing.
struct Missing {
    id: u32,
    path: Vec<u8>,
    mode: u32,
    modified: i64,
    attributes: Vec<(String, Vec<u8>)>,
}

/// Takes packets until everything is here.
pub(crate) struct Receiver {
    root: RootDir,
    /// To be asked for.
    missing: VecDeque<Missing>,
    asked: HashMap<u32, (File, Missing)>,
    /// Their times come last, since filling them changes these.
    directories: Vec<(Vec<u8>, i64, u32)>,
    entries: u32,
    has_all: bool,
}

impl Receiver {
    pub(crate) fn new(root: RootDir) -> Receiver {
        let (missing, asked, directories) = (VecDeque::new(), HashMap::new(), Vec::new());
        Receiver { root, missing, asked, directories, entries: 0, has_all: false }
    }

    /// Takes a packet; what is to be sent goes to `send`.
    pub(crate) fn packet(&mut self, packet: Packet, send: &mut dyn FnMut(Packet)) -> Result<Next, String> {
        match PacketType::try_from(packet.r#type) {
            Ok(PacketType::PacketStat) => match packet.stat {
                Some(stat) => self.entry(stat)?,
                None => self.has_all = true,
            },
            Ok(PacketType::PacketData) => self.data(packet.id, &packet.data)?,
            Ok(PacketType::PacketFin) if self.is_complete() => {
                self.finish_directories()?;
                return Ok(Next::Finished);
            }
            Ok(PacketType::PacketErr) => {
                return Err(format!("error from sender: {}", String::from_utf8_lossy(&packet.data)));
            }
            other => return Err(format!("unexpected packet {other:?} in a transfer of files")),
        }
        self.ask(send)?;
        Ok(Next::More)
    }

    fn is_complete(&self) -> bool {
        self.has_all && self.missing.is_empty() && self.asked.is_empty()
    }

    fn entry(&mut self, stat: Stat) -> Result<(), String> {
        if self.has_all {
            return Err("an entry after the last one".to_owned());
        }
        let id = self.entries;
        self.entries += 1;
        if id >= ENTRIES_MAX {
            return Err(format!("more than {ENTRIES_MAX} files"));
        }
        let path = clean(stat.path.as_bytes()).map_err(|error| format!("{}: {error}", stat.path))?;
        if path.is_empty() {
            return Err(format!("invalid path {:?}", stat.path));
        }
        self.place(id, path, &stat).map_err(|error| format!("{}: {error}", stat.path))
    }

    fn place(&mut self, id: u32, path: Vec<u8>, stat: &Stat) -> Result<(), Errno> {
        let (parent, name) = self.root.open_parent(&path)?;
        let mode = permissions(stat.mode);
        let private = Mode::from_raw_mode(0o600);
        if stat.mode & DIRECTORY != 0 {
            rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o700))?;
            let directory = open(&parent, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
            set_attributes(&directory, &attributes(stat))?;
            self.directories.push((path, stat.mod_time, mode));
            return Ok(());
        }
        if stat.mode & SYMLINK != 0 {
            rustix::fs::symlinkat(stat.linkname.as_str(), &parent, name)?;
        } else if stat.mode & SOCKET != 0 {
            // Means nothing without the process behind it; archives have none either.
            return Ok(());
        } else if stat.mode & (DEVICE | NAMED_PIPE) != 0 {
            let (kind, number) = match stat.mode {
                mode if mode & NAMED_PIPE != 0 => (FileType::Fifo, 0),
                mode if mode & CHARACTER_DEVICE != 0 => (FileType::CharacterDevice, device(stat)),
                _ => (FileType::BlockDevice, device(stat)),
            };
            rustix::fs::mknodat(&parent, name, kind, private, number)?;
            rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        } else if !stat.linkname.is_empty() {
            let target = clean(stat.linkname.as_bytes()).map_err(|_| Errno::INVAL)?;
            let (from, file) = self.root.open_parent(&target)?;
            rustix::fs::linkat(from, file, &parent, name, AtFlags::empty())?;
            return Ok(());
        } else {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&parent, name, flags, private)?;
            let missing = Missing { id, path, mode, modified: stat.mod_time, attributes: attributes(stat) };
            if stat.size == 0 {
                return finish(&file, &missing);
            }
            self.missing.push_back(missing);
            return Ok(());
        }
        rustix::fs::utimensat(&parent, name, &times(stat.mod_time), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Asks for files, as many as may be on their way; says so when there are none left.
    fn ask(&mut self, send: &mut dyn FnMut(Packet)) -> Result<(), String> {
        while self.asked.len() < ASKED_MAX
            && let Some(missing) = self.missing.pop_front()
        {
            let opened =
                self.root.open_parent(&missing.path).and_then(|(parent, name)| open(&parent, name, OFlags::WRONLY));
            let file = opened.map_err(|error| format!("{}: {error}", String::from_utf8_lossy(&missing.path)))?;
            send(Packet { r#type: PacketType::PacketReq.into(), id: missing.id, ..Packet::default() });
            self.asked.insert(missing.id, (file.into(), missing));
        }
        if self.is_complete() {
            send(Packet { r#type: PacketType::PacketFin.into(), ..Packet::default() });
        }
        Ok(())
    }

    fn data(&mut self, id: u32, data: &[u8]) -> Result<(), String> {
        let failed =
            |missing: &Missing, error: std::io::Error| format!("{}: {error}", String::from_utf8_lossy(&missing.path));
        if !data.is_empty() {
            let (file, missing) = self.asked.get_mut(&id).ok_or_else(|| format!("invalid file request {id}"))?;
            return file.write_all(data).map_err(|error| failed(missing, error));
        }
        let (file, missing) = self.asked.remove(&id).ok_or_else(|| format!("invalid file request {id}"))?;
        finish(&file.into(), &missing).map_err(|error| failed(&missing, error.into()))
    }

    fn finish_directories(&mut self) -> Result<(), String> {
        // The inner ones first: what is not readable any more has nothing left to be done in it.
        for (path, modified, mode) in self.directories.drain(..).rev() {
            let done = self.root.open_parent(&path).and_then(|(parent, name)| {
                let directory = open(&parent, name, OFlags::RDONLY | OFlags::DIRECTORY)?;
                rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode))?;
                rustix::fs::futimens(&directory, &times(modified))
            });
            done.map_err(|error| format!("{}: {error}", String::from_utf8_lossy(&path)))?;
        }
        Ok(())
    }
}

fn open(parent: &OwnedFd, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(parent, name, flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

/// What comes last: owner, then mode, then times, since each clears or changes what follows.
fn finish(file: &OwnedFd, missing: &Missing) -> Result<(), Errno> {
    rustix::fs::fchown(file, Some(Uid::ROOT), Some(Gid::ROOT))?;
    set_attributes(file, &missing.attributes)?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(missing.mode))?;
    rustix::fs::futimens(file, &times(missing.modified))
}

fn set_attributes(file: &OwnedFd, attributes: &[(String, Vec<u8>)]) -> Result<(), Errno> {
    for (name, value) in attributes {
        match rustix::fs::fsetxattr(file, OsStr::from_bytes(name.as_bytes()), value, XattrFlags::empty()) {
            // A file system without them loses them, as every copy to it does.
            Err(Errno::OPNOTSUPP) => {}
            other => other?,
        }
    }
    Ok(())
}

/// The attributes that go with a file; others steer this machine's own file systems and policies.
fn attributes(stat: &Stat) -> Vec<(String, Vec<u8>)> {
    let goes = |name: &str| name.starts_with("user.") || name == "security.capability";
    stat.xattrs.iter().filter(|(name, _)| goes(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn device(stat: &Stat) -> u64 {
    let number = |part| u32::try_from(part).unwrap_or_default();
    rustix::fs::makedev(number(stat.devmajor), number(stat.devminor))
}

fn times(nanos: i64) -> Timestamps {
    const SECOND: i64 = 1_000_000_000;
    let time = Timespec { tv_sec: nanos.div_euclid(SECOND), tv_nsec: nanos.rem_euclid(SECOND) };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use tare_docker_api::file_mode::{SETUID, STICKY};

    use super::*;

    fn stat(path: &str, mode: u32, size: i64, linkname: &str) -> Packet {
        let (path, linkname) = (path.to_owned(), linkname.to_owned());
        let stat = Stat { path, mode, size, linkname, mod_time: 1_500_000_000_000_000_007, ..Stat::default() };
        Packet { r#type: PacketType::PacketStat.into(), stat: Some(stat), ..Packet::default() }
    }

    fn end() -> Packet {
        Packet { r#type: PacketType::PacketStat.into(), ..Packet::default() }
    }

    fn data(id: u32, text: &str) -> Packet {
        Packet { r#type: PacketType::PacketData.into(), id, data: text.into(), ..Packet::default() }
    }

    fn fin() -> Packet {
        Packet { r#type: PacketType::PacketFin.into(), ..Packet::default() }
    }

    /// What packets come to: what was asked for, or why not.
    fn receive(root: &std::path::Path, packets: Vec<Packet>) -> Result<Vec<(i32, u32)>, String> {
        let mut receiver = Receiver::new(RootDir::open(root).unwrap());
        let mut sent = Vec::new();
        for packet in packets {
            if receiver.packet(packet, &mut |packet| sent.push((packet.r#type, packet.id)))? == Next::Finished {
                return Ok(sent);
            }
        }
        Err("not finished".to_owned())
    }

    #[test]
    fn a_directory_comes_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let packets = vec![
            stat("d", DIRECTORY | STICKY | 0o755, 0, ""),
            stat("d/a", 0o640, 4, ""),
            stat("d/b", SETUID | 0o755, 1, ""),
            stat("d/c", 0o640, 0, "d/a"),
            stat("d/empty", 0o600, 0, ""),
            stat("d/link", SYMLINK | 0o777, 0, "/etc/passwd"),
            stat("d/pipe", NAMED_PIPE | 0o644, 0, ""),
            end(),
            data(2, "b"),
            data(1, "aa"),
            data(1, "aa"),
            data(2, ""),
            data(1, ""),
            fin(),
        ];
        let (request, fin) = (i32::from(PacketType::PacketReq), i32::from(PacketType::PacketFin));
        assert_eq!(receive(root.path(), packets).unwrap(), [(request, 1), (request, 2), (fin, 0)]);
        let of = |name: &str| root.path().join("d").join(name);
        assert_eq!(std::fs::read_to_string(of("c")).unwrap(), "aaaa");
        assert_eq!(of("a").metadata().unwrap().ino(), of("c").metadata().unwrap().ino());
        assert_eq!(of("b").metadata().unwrap().permissions().mode() & 0o7777, 0o4755);
        assert_eq!(of("").metadata().unwrap().permissions().mode() & 0o7777, 0o1755);
        assert_eq!(of("link").read_link().unwrap().to_str(), Some("/etc/passwd"));
        for name in ["", "a", "empty", "link"] {
            let found = of(name).symlink_metadata().unwrap();
            assert_eq!((found.mtime(), found.mtime_nsec()), (1_500_000_000, 7), "{name}");
        }
    }

    #[test]
    fn nothing_leaves_the_directory() {
        let outside = tempfile::tempdir().unwrap();
        let target = outside.path().to_str().unwrap();
        for packets in [
            vec![stat("../x", 0o644, 0, "")],
            vec![stat("a/../../x", 0o644, 0, "")],
            vec![stat("", DIRECTORY | 0o755, 0, "")],
            vec![stat("l", SYMLINK, 0, target), stat("l/x", 0o644, 0, "")],
            vec![stat("l", SYMLINK, 0, target), stat("l", 0o644, 0, "")],
            vec![stat("h", 0o644, 0, "/etc/passwd")],
            vec![stat("a", 0o644, 1, ""), data(7, "x")],
            vec![end(), stat("a", 0o644, 1, "")],
            vec![stat("a", 0o644, 1, ""), end(), fin()],
        ] {
            let root = tempfile::tempdir().unwrap();
            let said = receive(root.path(), packets.clone());
            assert!(said.as_ref().is_err_and(|why| why != "not finished"), "{packets:?}: {said:?}");
            assert_eq!(outside.path().read_dir().unwrap().count(), 0);
        }
    }
}
