//! Being woken when a log grows or a new file takes its place.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

/// Bytes of events read at a time; which events they are does not matter.
const EVENTS_BYTES: usize = 4096;

/// An inotify instance with the log's directory and its current file.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: OwnedFd,
    file: Option<i32>,
}

impl Watch {
    /// `None` when the user has no inotify instance or watch left.
    pub(super) fn new(path: &Path) -> io::Result<Option<Self>> {
        let inotify = match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
            Ok(inotify) => inotify,
            Err(Errno::MFILE | Errno::NFILE) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let directory = path.parent().unwrap_or(Path::new("/"));
        let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        match inotify::add_watch(&inotify, directory, flags) {
            Ok(_) => Ok(Some(Self { inotify, file: None })),
            Err(Errno::NOSPC) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Watches this file instead of the one before. By descriptor, because the name may be another file's by now.
    pub(super) fn file(&mut self, file: &File) {
        if let Some(old) = self.file.take() {
            // Gone already if the file is.
            let _ = inotify::remove_watch(&self.inotify, old);
        }
        let name = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.file = inotify::add_watch(&self.inotify, name, WatchFlags::MODIFY).ok();
    }

    /// Forgets all events so far.
    pub(super) fn drain(&mut self) {
        let mut buffer = [MaybeUninit::uninit(); EVENTS_BYTES];
        while rustix::io::read(&self.inotify, &mut buffer).is_ok_and(|(bytes, _)| !bytes.is_empty()) {}
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
