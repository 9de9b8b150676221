//! The running container: what is needed to end it, and to tell that it has ended.

use std::os::fd::OwnedFd;

use rustix::process::Signal;
use tare_cgroup::Cgroup;
use tare_shim_protocol::{EXIT_NAME, ExitRecord, STATE_NAME};

use crate::bundle::Bundle;
use crate::memory::MemoryWatch;
use crate::{clock, record};

/// A started container.
#[derive(Debug)]
pub(crate) struct Container {
    pub id: String,
    pub bundle: Bundle,
    pub group: Cgroup,
    /// Its init, for exec.
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// The end of its init is the end of all its processes.
    pub private_pids: bool,
    pub memory: MemoryWatch,
    /// `oom_score_adj` for its processes, if they would otherwise inherit ours.
    pub oom_score: Option<i32>,
    /// Set when the init has ended.
    pub exit: Option<ExitRecord>,
    /// The exit has been written and announced.
    pub announced: bool,
}

impl Container {
    /// The init has ended: the rest of its processes follow.
    pub(crate) fn ended(&mut self, code: i32) {
        let finished_at = clock::now_ns();
        let mut error = String::new();
        if !self.private_pids
            && let Err(failure) = self.group.kill_all(Signal::KILL.as_raw())
        {
            error = failure.to_string();
        }
        let oom_killed = self.memory.has_killed(&self.group);
        self.exit = Some(ExitRecord { code, oom_killed, finished_at, error });
    }

    /// Writes the exit record.
    pub(crate) fn write_exit(&self) {
        if let Some(exit) = &self.exit {
            // If it cannot be written, the event still tells a daemon that is there.
            let _ = record::write(self.bundle.path(), EXIT_NAME, exit);
        }
    }

    /// Removes the cgroup.
    pub(crate) fn remove_group(&self) {
        // What stays is found by the daemon, by its name.
        let _ = self.group.remove();
    }

    /// Whether its state is where a daemon finds it.
    pub(crate) fn is_recorded(&self) -> bool {
        // In this order: whoever takes the directory away renames it first, and looks for the record then.
        self.bundle.path().join(STATE_NAME).exists() && self.bundle.is_in_place()
    }

    /// The daemon knows of the exit.
    pub(crate) fn acknowledged(&self) {
        record::remove(self.bundle.path(), &[EXIT_NAME, STATE_NAME]);
    }
}
