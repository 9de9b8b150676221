//! Walking the groups below a group. A container that may write its cgroups decides how many there are and how deep
//! they lie, so nothing here recurses or holds a descriptor per level.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

/// Calls `visit` for every group below `root`, children before parents, with the group's directory, its parent's and
/// its name in that. A group that disappears meanwhile is skipped.
pub(crate) fn walk(
    root: &OwnedFd,
    mut visit: impl FnMut(BorrowedFd<'_>, BorrowedFd<'_>, &CStr) -> Result<(), Errno>,
) -> Result<(), Errno> {
    // One entry per level: the groups of it still to be visited, the last being the one walked into.
    let mut levels = vec![children(root)?];
    let mut here = openat(root, c".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    while let Some(siblings) = levels.last_mut() {
        let Some(name) = siblings.last() else {
            levels.pop();
            let Some(name) = levels.last_mut().and_then(Vec::pop) else { break };
            let parent = open(&here, c"..")?;
            visit(here.as_fd(), parent.as_fd(), &name)?;
            here = parent;
            continue;
        };
        let child = match open(&here, name) {
            Ok(child) => child,
            Err(Errno::NOENT | Errno::NODEV) => {
                siblings.pop();
                continue;
            }
            Err(errno) => return Err(errno),
        };
        levels.push(children(&child)?);
        here = child;
    }
    Ok(())
}

/// Removes every group below `root`; stops at the first that is busy.
pub(crate) fn remove_children(root: &OwnedFd) -> Result<(), Errno> {
    walk(root, |_, parent, name| match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    })
}

fn open(directory: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::empty())
}

/// Names of the groups directly below a directory; none when it has gone.
pub(crate) fn children(directory: impl AsFd) -> Result<Vec<CString>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut names = Vec::new();
    let listing = match openat(directory, c".", flags, Mode::empty()) {
        Ok(listing) => listing,
        Err(Errno::NOENT | Errno::NODEV) => return Ok(names),
        Err(errno) => return Err(errno),
    };
    for entry in Dir::new(listing)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn children_come_before_parents() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("a/b/c")).unwrap();
        fs::create_dir_all(directory.path().join("a/d")).unwrap();
        fs::create_dir_all(directory.path().join("e")).unwrap();
        fs::write(directory.path().join("a/file"), "").unwrap();
        let root = OwnedFd::from(fs::File::open(directory.path()).unwrap());
        let mut seen = Vec::new();
        walk(&root, |_, parent, name| {
            assert!(rustix::fs::accessat(parent, name, rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok());
            seen.push(name.to_str().unwrap().to_owned());
            Ok(())
        })
        .unwrap();
        let place = |name: &str| seen.iter().position(|own| own == name).unwrap();
        assert_eq!(seen.len(), 5);
        assert!(place("c") < place("b") && place("b") < place("a") && place("d") < place("a"));
    }

    #[test]
    fn a_very_deep_tree_is_removed_without_a_descriptor_per_level() {
        const DEPTH: usize = 3000;
        // In memory: on a busy disk this takes seconds.
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let root = OwnedFd::from(fs::File::open(directory.path()).unwrap());
        let mut here = root.try_clone().unwrap();
        for _ in 0..DEPTH {
            rustix::fs::mkdirat(&here, c"nested", Mode::RWXU).unwrap();
            here = open(&here, c"nested").unwrap();
        }
        remove_children(&root).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
