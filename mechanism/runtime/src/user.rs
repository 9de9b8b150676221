//! Users and groups by name, from the container's own `/etc/passwd` and `/etc/group`.

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, OFlags, ResolveFlags, fstat};
use rustix::io::Errno;
use tare_sys::scoped;

use crate::error::{Error, Result};

/// Whom a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User ID in the container.
    pub uid: u32,
    /// Group ID in the container.
    pub gid: u32,
    /// Supplementary groups, the primary one first.
    pub additional_gids: Vec<u32>,
    /// Home directory; `/` when the user has no entry.
    pub home: String,
    /// `HOME=` and the home directory.
    pub(crate) home_variable: String,
}

impl User {
    pub(crate) fn new(uid: u32, gid: u32, home: &str) -> Self {
        let home = if home.is_empty() { "/" } else { home };
        let home_variable = format!("HOME={home}");
        Self { uid, gid, additional_gids: Vec::new(), home: home.to_owned(), home_variable }
    }
}

/// Bytes of `/etc/passwd` or `/etc/group` that are read: a hundred thousand entries; more is an error.
const FILE_BYTES_MAX: u64 = 8 << 20;
/// IDs that Docker takes.
const ID_MAX: u32 = i32::MAX.cast_unsigned();

const NO_USER: &str = "no matching entries in passwd file";
const NO_GROUP: &str = "no matching entries in group file";

/// Resolves `name|uid[:group|gid]` (empty: user 0) and further groups (names or IDs) in the files below `root`. A
/// number without an entry stands for itself. Without an explicit group the user's own applies, and all groups that
/// list the user become supplementary ones.
pub fn resolve_user(root: BorrowedFd<'_>, user: &str, groups: &[String]) -> Result<User> {
    let (user, group) = user.split_once(':').unwrap_or((user, ""));
    let passwd = read(root, "etc/passwd")?;
    let entry = entries(&passwd).find(|fields| match user {
        "" => field(fields, 2) == "0",
        user => field(fields, 0) == user || field(fields, 2) == user,
    });
    let mut found = match &entry {
        Some(fields) => User::new(id(field(fields, 2))?, id(field(fields, 3))?, field(fields, 5)),
        None if user.is_empty() => User::new(0, 0, "/"),
        None if is_number(user) => User::new(id(user)?, 0, "/"),
        None => return Err(Error::invalid(format!("unable to find user {user}: {NO_USER}"))),
    };
    let name = entry.as_ref().map(|fields| field(fields, 0)).unwrap_or_default();
    let needs_groups = !group.is_empty() || !name.is_empty() || groups.iter().any(|group| !is_number(group));
    let file = if needs_groups { read(root, "etc/group")? } else { String::new() };
    let mut supplementary = Vec::new();
    if !group.is_empty() {
        found.gid = group_id(&file, group)?;
    } else if !name.is_empty() {
        let member = |fields: &Vec<&str>| field(fields, 3).split(',').any(|user| user == name);
        for fields in entries(&file).filter(member) {
            supplementary.push(id(field(&fields, 2))?);
        }
    }
    for group in groups {
        supplementary.push(if is_number(group) { id(group)? } else { group_id(&file, group)? });
    }
    found.additional_gids.push(found.gid);
    for gid in supplementary {
        if !found.additional_gids.contains(&gid) {
            found.additional_gids.push(gid);
        }
    }
    Ok(found)
}

/// The home directory of a user ID; `/` if it has no entry.
pub(crate) fn home(root: BorrowedFd<'_>, uid: u32) -> Result<String> {
    let passwd = read(root, "etc/passwd")?;
    let uid = uid.to_string();
    let entry = entries(&passwd).find(|fields| field(fields, 2) == uid);
    Ok(entry.map(|fields| field(&fields, 5)).filter(|home| !home.is_empty()).unwrap_or("/").to_owned())
}

fn group_id(file: &str, group: &str) -> Result<u32> {
    match entries(file).find(|fields| field(fields, 0) == group || field(fields, 2) == group) {
        Some(fields) => id(field(&fields, 2)),
        None if is_number(group) => id(group),
        None => Err(Error::invalid(format!("unable to find group {group}: {NO_GROUP}"))),
    }
}

fn entries(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines().map(str::trim).filter(|line| !line.is_empty()).map(|line| line.split(':').collect())
}

fn field<'a>(fields: &[&'a str], index: usize) -> &'a str {
    fields.get(index).copied().unwrap_or_default()
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Like Docker, a field that is no number counts as 0.
fn id(text: &str) -> Result<u32> {
    if !is_number(text) {
        return Ok(0);
    }
    let id = text.parse().ok().filter(|id| *id <= ID_MAX);
    id.ok_or_else(|| Error::invalid(format!("uids and gids must be in range 0-{ID_MAX}")))
}

/// Reads a file below the container's root; one that does not exist is empty.
fn read(root: BorrowedFd<'_>, path: &str) -> Result<String> {
    // The container decides what lies there: a FIFO must not block.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fail = |step, errno| Error::os(step, format_args!("/{path}"), errno);
    let file = match scoped::open(root, path, flags, ResolveFlags::IN_ROOT) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(errno) => return Err(fail("open", errno)),
    };
    let kind = FileType::from_raw_mode(fstat(&file).map_err(|errno| fail("stat", errno))?.st_mode);
    if kind != FileType::RegularFile {
        return Err(Error::invalid(format!("read `/{path}`: not a regular file")));
    }
    let mut bytes = Vec::new();
    File::from(file)
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| fail("read", Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::invalid(format!("read `/{path}`: larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;

    use super::*;

    fn root() -> (tempfile::TempDir, File) {
        let directory = tempfile::tempdir().unwrap();
        let etc = directory.path().join("etc");
        fs::create_dir(&etc).unwrap();
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\nbroken\nweb:x:33:33::/var/www:/bin/sh\nbig:x:4294967295:0::/:\n";
        fs::write(etc.join("passwd"), passwd).unwrap();
        fs::write(etc.join("group"), "root:x:0:\nweb:x:33:\nextra:x:44:web,other\nmore:x:45:web\n").unwrap();
        let root = File::open(directory.path()).unwrap();
        (directory, root)
    }

    fn resolved(user: &str, groups: &[&str]) -> std::result::Result<(u32, u32, Vec<u32>, String), String> {
        let (_directory, root) = root();
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        resolve_user(root.as_fd(), user, &groups)
            .map(|user| (user.uid, user.gid, user.additional_gids, user.home))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_form() {
        let www = || "/var/www".to_owned();
        assert_eq!(resolved("web", &[]), Ok((33, 33, vec![33, 44, 45], www())));
        assert_eq!(resolved("33", &[]), Ok((33, 33, vec![33, 44, 45], www())));
        assert_eq!(resolved("web:extra", &["more", "7"]), Ok((33, 44, vec![44, 45, 7], www())));
        assert_eq!(resolved("1000:1000", &[]), Ok((1000, 1000, vec![1000], "/".to_owned())));
        assert_eq!(resolved("1000", &[]), Ok((1000, 0, vec![0], "/".to_owned())));
        assert_eq!(resolved("", &[]), Ok((0, 0, vec![0], "/root".to_owned())));
        assert_eq!(resolved(":extra", &[]), Ok((0, 44, vec![44], "/root".to_owned())));
    }

    #[test]
    fn errors_are_dockers() {
        assert_eq!(resolved("x", &[]).unwrap_err(), "unable to find user x: no matching entries in passwd file");
        assert_eq!(resolved("web:x", &[]).unwrap_err(), "unable to find group x: no matching entries in group file");
        assert_eq!(resolved("0", &["x"]).unwrap_err(), "unable to find group x: no matching entries in group file");
        assert_eq!(resolved("-1", &[]).unwrap_err(), "uids and gids must be in range 0-2147483647");
        assert_eq!(resolved("big", &[]).unwrap_err(), "uids and gids must be in range 0-2147483647");
    }

    #[test]
    fn files_that_are_none() {
        let (directory, root) = root();
        let etc = directory.path().join("etc");
        fs::remove_file(etc.join("passwd")).unwrap();
        assert_eq!(resolve_user(root.as_fd(), "5", &[]).unwrap().uid, 5);
        // Links are followed inside the root only.
        std::os::unix::fs::symlink("/../../../etc/real", etc.join("passwd")).unwrap();
        fs::write(etc.join("real"), "me:x:7:8::/me:\n").unwrap();
        assert_eq!(resolve_user(root.as_fd(), "me", &[]).unwrap().uid, 7);
        fs::remove_file(etc.join("passwd")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, etc.join("passwd"), FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        let error = resolve_user(root.as_fd(), "me", &[]).unwrap_err();
        assert_eq!(error.to_string(), "read `/etc/passwd`: not a regular file");
    }
}
