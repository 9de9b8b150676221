//! Programs that cannot be written to through a process that runs them.
//!
//! A process that enters a container can be found there as `/proc/PID/exe`: a way to the host's file, also when the
//! process has ended and only a descriptor is left (CVE-2019-5736). A program that was executed from here leads to a
//! mount that is read-only, belongs to no mount namespace and therefore cannot be changed by anyone; or to a sealed copy
//! in memory where the kernel refuses such a mount. The mount costs no memory: pages are those of the file.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, ResolveFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::mount::{MountAttr, attr, mount_setattr, propagation};

/// The running program, as the kernel knows it.
const OWN: &str = "/proc/self/exe";

/// Opens a program for [`crate::spawn::spawn_file`]. It stays the same when the file is replaced. Errors: `open_tree(2)`,
/// `mount_setattr(2)`, `openat2(2)`.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = path.canonicalize()?;
    // An error of the first way says more than one of the second.
    below(&path).or_else(|refused| copy(&path).map_err(|_| refused))
}

/// Opens the running program; `None`: it has been executed from such a descriptor, or from a read-only file system.
pub fn open_own() -> io::Result<Option<OwnedFd>> {
    let own = File::open(OWN)?;
    if is_sealed(&own)? {
        return Ok(None);
    }
    // The file may have been replaced since it was executed, and is then not to be found by its name.
    let named = std::fs::read_link(OWN).ok().filter(|path| is_same(path, &own)).and_then(|path| below(&path).ok());
    let found = named.map_or_else(|| alone(Path::new(OWN)).or_else(|_| copy(Path::new(OWN))), Ok);
    found.map(Some)
}

fn is_sealed(program: &File) -> io::Result<bool> {
    if rustix::fs::fstatvfs(program)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    // Other files than those in memory have no seals, which is an error.
    Ok(rustix::fs::fcntl_get_seals(program).is_ok_and(|seals| seals.contains(SealFlags::WRITE)))
}

fn is_same(path: &Path, file: impl AsFd) -> bool {
    let key = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
    let (named, open) = (rustix::fs::stat(path), rustix::fs::fstat(file));
    named.is_ok_and(|named| open.is_ok_and(|open| key(named) == key(open)))
}

/// Through a read-only mount of the program's directory: so it keeps its name for those who look at its processes.
fn below(path: &Path) -> io::Result<OwnedFd> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::ISDIR.into()) };
    let mount = read_only(directory)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match crate::scoped::open(&mount, Path::new(name), OFlags::PATH | OFlags::NOFOLLOW, resolve) {
        Ok(file) if is_same(path, &file) => Ok(file),
        // Another file is mounted over it, and this is the one below.
        Ok(_) | Err(Errno::NOENT) => alone(path),
        Err(errno) => Err(errno.into()),
    }
}

/// Through a read-only mount of the file itself.
fn alone(path: &Path) -> io::Result<OwnedFd> {
    let mount = read_only(path)?;
    Ok(rustix::fs::open(proc_path(&mount), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// A detached read-only mount. What has been opened through it stays read-only when it is closed; until then, a process
/// with privileges in a user namespace of its own could make it writable again.
fn read_only(path: &Path) -> io::Result<OwnedFd> {
    let mount = open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let change = MountAttr { set: attr::RDONLY, propagation: propagation::PRIVATE, ..MountAttr::default() };
    mount_setattr(&mount, c"", false, &change)?;
    Ok(mount)
}

/// A copy in memory that nobody can change.
fn copy(path: &Path) -> io::Result<OwnedFd> {
    let name = path.file_name().unwrap_or_default();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = match rustix::fs::memfd_create(Path::new(name), flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 all of them can be executed.
        Err(Errno::INVAL) => rustix::fs::memfd_create(Path::new(name), flags)?,
        result => result?,
    };
    let mut memory = File::from(memory);
    io::copy(&mut File::open(path)?, &mut memory)?;
    rustix::fs::fchmod(&memory, Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH)?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&memory, seals)?;
    // What somebody holds open for writing cannot be executed.
    Ok(File::open(proc_path(&memory))?.into())
}

fn proc_path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A program of the test's own.
    fn program() -> std::path::PathBuf {
        let path =
            std::env::temp_dir().join(format!("tare-sealed-{}-{:?}", std::process::id(), std::thread::current().id()));
        std::fs::copy("/bin/cat", &path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Runs it, and opens what is found as its executable, for later too.
    fn run(program: &OwnedFd) -> (String, Option<Errno>, File) {
        let (input, mut feed) = io::pipe().unwrap();
        let (mut output, writer) = io::pipe().unwrap();
        let fds = [input.as_fd(), writer.as_fd(), writer.as_fd()];
        let pid = crate::spawn::spawn_file(program, &[c"me".to_owned()], &[], &fds).unwrap();
        drop((input, writer));
        feed.write_all(b"hello").unwrap();
        let mut bytes = [0; 5];
        output.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
        let exe = format!("/proc/{pid}/exe");
        let name = std::fs::read_link(&exe).unwrap().display().to_string();
        let held = File::open(&exe).unwrap();
        let running = write_to(&held);
        drop(feed);
        rustix::process::waitpid(rustix::process::Pid::from_raw(pid), rustix::process::WaitOptions::empty()).unwrap();
        (name, running, held)
    }

    /// Why it cannot be opened for writing again, or be written to.
    fn write_to(held: &File) -> Option<Errno> {
        let written = File::options().write(true).open(proc_path(held)).and_then(|mut file| file.write_all(b"x"));
        written.err().and_then(|error| Errno::from_io_error(&error))
    }

    #[test]
    fn what_runs_through_a_mount_is_never_writable() {
        let path = program();
        for open in [open, below as fn(&Path) -> _, alone] {
            let opened = open(&path).unwrap();
            let (name, running, held) = run(&opened);
            assert!(name == "/" || path.ends_with(name.trim_start_matches('/')), "{name}");
            assert!(running == Some(Errno::TXTBSY) || running == Some(Errno::ROFS), "{running:?}");
            assert_eq!(write_to(&held), Some(Errno::ROFS));
            let change = MountAttr { clear: attr::RDONLY, ..MountAttr::default() };
            for fd in [held.as_fd(), opened.as_fd()] {
                assert_eq!(mount_setattr(fd, c"", false, &change), Err(Errno::INVAL));
                let clone = open_tree(fd, c"", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_EMPTY_PATH);
                assert_eq!(clone.map(drop), Err(Errno::INVAL));
            }
        }
        // The file itself can be written to, so that it is the mount that refuses.
        File::options().write(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_runs_from_memory_is_never_writable() {
        let path = program();
        let opened = copy(&path).unwrap();
        assert!(is_sealed(&File::open(proc_path(&opened)).unwrap()).unwrap());
        let (_, _, held) = run(&opened);
        assert_eq!(write_to(&held), Some(Errno::PERM));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_replaced_file_is_not_executed() {
        let path = program();
        let opened = open(&path).unwrap();
        let new = path.with_extension("new");
        std::fs::write(&new, "nonsense").unwrap();
        std::fs::rename(&new, &path).unwrap();
        run(&opened);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_missing_program_is_an_error() {
        assert_eq!(open(Path::new("/nonexistent")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_running_program() {
        let own = open_own().unwrap().expect("tests are not started from a read-only place");
        assert!(is_same(Path::new(OWN), &own));
        assert!(is_sealed(&File::open(proc_path(&own)).unwrap()).unwrap());
    }
}
