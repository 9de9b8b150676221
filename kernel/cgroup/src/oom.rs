//! Hearing of a group running out of memory while it happens.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{Mode, OFlags, inotify, openat};
use rustix::io::read;

use crate::group::Cgroup;
use crate::hierarchy::Version;
use crate::{Error, files};

impl Cgroup {
    /// A descriptor that becomes readable when the memory events of the group change, for
    /// [`Cgroup::ran_out_of_memory`] to drain. It also becomes readable when the group is removed.
    /// v1: an eventfd(2) (8 bytes per read) registered in `cgroup.event_control`. v2: an inotify(7) descriptor.
    pub fn oom_notifier(&self) -> Result<OwnedFd, Error> {
        let hierarchy = self.hierarchies.controller("memory").ok_or_else(|| Error::NoController {
            controller: "memory".to_owned(),
            file: "memory.oom_control".to_owned(),
        })?;
        let failed = |step, file: &str, errno| Error::os(step, self.display(hierarchy, file), errno);
        match self.version() {
            Version::V1 => {
                let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
                    .map_err(|errno| failed("eventfd", "memory.oom_control", errno))?;
                let directory =
                    files::directory(&hierarchy.root, self.relative()).map_err(|errno| failed("open", "", errno))?;
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let control = openat(&directory, "memory.oom_control", flags, Mode::empty())
                    .map_err(|errno| failed("open", "memory.oom_control", errno))?;
                let registration = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
                files::write(&directory, "cgroup.event_control", &registration)
                    .map_err(|errno| failed("write", "cgroup.event_control", errno))?;
                Ok(event)
            }
            Version::V2 => {
                let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
                    .map_err(|errno| failed("inotify_init1", "memory.events", errno))?;
                let path = hierarchy.mount.point.join(self.relative()).join("memory.events");
                inotify::add_watch(&watch, path, inotify::WatchFlags::MODIFY)
                    .map_err(|errno| failed("inotify_add_watch", "memory.events", errno))?;
                Ok(watch)
            }
        }
    }

    /// Drains a notifier of the group that is readable. Whether the group has run out of memory more often than `told`,
    /// which is brought up to date. v1 notifies before it kills, and also where nothing is killed (`oom_kill_disable`):
    /// the notification itself counts there, as reading the number of kills at once would be too early.
    pub fn ran_out_of_memory(&self, notifier: &OwnedFd, told: &mut u64) -> bool {
        let mut buffer = [0; 4096];
        let Ok(1..) = read(notifier, &mut buffer) else { return false };
        let Ok(kills) = self.oom_kills() else { return false };
        let times = match self.version() {
            Version::V1 => kills.max(told.saturating_add(u64::from_ne_bytes(*buffer.first_chunk().unwrap_or(&[0; 8])))),
            Version::V2 => kills,
        };
        times > std::mem::replace(told, times)
    }
}
