//! The processes of a group: listing, freezing, killing.

use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Access, AtFlags, accessat};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::group::Cgroup;
use crate::hierarchy::{Hierarchy, Version};
use crate::{Error, files, tree};

/// Until freezing or killing counts as failed: a process in uninterruptible sleep does neither.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long killing waits for the group to stand still; what it then misses, the next round gets.
const KILL_FREEZE: Duration = Duration::from_millis(50);
/// Between two looks at a group; the waits double from the first to the second.
const FIRST_WAIT: Duration = Duration::from_micros(20);
const LONGEST_WAIT: Duration = Duration::from_millis(10);

impl Cgroup {
    /// The processes directly in the group; on v1 those, too, of which only one thread is in it. None when it does not
    /// exist.
    pub fn procs(&self) -> Result<Vec<i32>, Error> {
        let hierarchy = self.process_hierarchy()?;
        let mut procs = Vec::new();
        let path = format!("{}/cgroup.procs", self.relative());
        read_procs(&hierarchy.root, &path, &mut procs)
            .map_err(|errno| Error::os("read", self.display(hierarchy, "cgroup.procs"), errno))?;
        Ok(procs)
    }

    /// The processes in the group and in all groups below it.
    pub fn all_procs(&self) -> Result<Vec<i32>, Error> {
        let mut procs = self.procs()?;
        let hierarchy = self.process_hierarchy()?;
        let failed = |errno| Error::os("walk", self.display(hierarchy, ""), errno);
        let root = match files::directory(&hierarchy.root, self.relative()) {
            Ok(root) => root,
            Err(Errno::NOENT) => return Ok(procs),
            Err(errno) => return Err(failed(errno)),
        };
        match tree::walk(&root, |directory, _, _| read_procs(directory, "cgroup.procs", &mut procs)) {
            Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(procs),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Names of the groups directly below, in any hierarchy. None when the group does not exist.
    pub fn children(&self) -> Result<Vec<String>, Error> {
        let mut names = std::collections::BTreeSet::new();
        for hierarchy in self.hierarchies.all() {
            let found = match files::directory(&hierarchy.root, self.relative()) {
                Ok(root) => tree::children(&root),
                Err(Errno::NOENT) => continue,
                Err(errno) => Err(errno),
            };
            let found = found.map_err(|errno| Error::os("readdir", self.display(hierarchy, ""), errno))?;
            names.extend(found.into_iter().filter_map(|name| name.into_string().ok()));
        }
        Ok(names.into_iter().collect())
    }

    /// Stops every process in the group and below, and returns when they stand still. The caller must not be in it.
    pub fn freeze(&self) -> Result<(), Error> {
        if self.freeze_within(PATIENCE)? {
            return Ok(());
        }
        // Half frozen would be worse than not at all; the error says that it is not.
        let _ = self.set_frozen(false);
        Err(self.timeout("freeze"))
    }

    /// False when some process still runs after the time.
    fn freeze_within(&self, patience: Duration) -> Result<bool, Error> {
        self.set_frozen(true)?;
        let start = Instant::now();
        let mut wait = FIRST_WAIT;
        while !self.frozen()? {
            if start.elapsed() > patience {
                return Ok(false);
            }
            pause(&mut wait);
        }
        Ok(true)
    }

    fn timeout(&self, step: &'static str) -> Error {
        Error::Timeout { step, path: self.path().to_owned(), seconds: PATIENCE.as_secs() }
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<(), Error> {
        self.set_frozen(false)
    }

    /// Whether the group is frozen, all its processes standing still.
    pub fn frozen(&self) -> Result<bool, Error> {
        let (hierarchy, _) = self.freezer()?;
        let mut buffer = [0; 256];
        let (file, frozen) = match self.version() {
            Version::V1 => ("freezer.state", "FROZEN"),
            Version::V2 => ("cgroup.events", "frozen 1"),
        };
        let text = files::read(&hierarchy.root, &format!("{}/{file}", self.relative()), &mut buffer)
            .map_err(|errno| Error::os("read", self.display(hierarchy, file), errno))?;
        Ok(text.lines().any(|line| line == frozen))
    }

    /// Whether a process that joined now would be frozen: by the group, or by the nearest of those above it that exist.
    /// False where nothing can be frozen.
    pub fn freezes_newcomers(&self) -> Result<bool, Error> {
        let Ok((hierarchy, file)) = self.freezer() else { return Ok(false) };
        let mut path = self.path();
        while !path.is_empty() && path != "/" {
            let group = Self::open(&self.hierarchies, path);
            match accessat(&hierarchy.root, group.relative(), Access::EXISTS, AtFlags::empty()) {
                // It freezes with those above it.
                Ok(()) => return group.frozen(),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::os("look for", self.display(hierarchy, file), errno)),
            }
            path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
        Ok(false)
    }

    fn set_frozen(&self, frozen: bool) -> Result<(), Error> {
        let (hierarchy, file) = self.freezer()?;
        let value = match (self.version(), frozen) {
            (Version::V1, true) => "FROZEN",
            (Version::V1, false) => "THAWED",
            (Version::V2, true) => "1",
            (Version::V2, false) => "0",
        };
        files::write(&hierarchy.root, &format!("{}/{file}", self.relative()), value)
            .map_err(|errno| Error::os("write", self.display(hierarchy, file), errno))
    }

    fn freezer(&self) -> Result<(&Hierarchy, &'static str), Error> {
        let file = match self.version() {
            Version::V1 => "freezer.state",
            Version::V2 => "cgroup.freeze",
        };
        let hierarchy = self.hierarchies.controller("freezer");
        hierarchy
            .map(|hierarchy| (hierarchy, file))
            .ok_or_else(|| Error::NoController { controller: "freezer".to_owned(), file: file.to_owned() })
    }

    /// Sends a signal to every process in the group and below. SIGKILL also thaws the group and returns when it is
    /// empty; for every other signal the group stands still meanwhile, so that no new child is missed, and stays frozen
    /// if it was. The caller is spared: it may have a thread in the group.
    pub fn kill_all(&self, signal: i32) -> Result<(), Error> {
        if signal == Signal::KILL.as_raw() {
            return self.kill();
        }
        let stand_still = self.freezer().is_ok() && !self.frozen()?;
        if stand_still {
            self.freeze()?;
        }
        let sent = self.signal_each(signal).map(drop);
        if stand_still {
            self.thaw()?;
        }
        sent
    }

    fn kill(&self) -> Result<(), Error> {
        let start = Instant::now();
        let mut wait = FIRST_WAIT;
        while !self.kill_round()? {
            if start.elapsed() > PATIENCE {
                return Err(self.timeout("kill"));
            }
            pause(&mut wait);
        }
        Ok(())
    }

    /// Kills what is there; true when nothing was.
    fn kill_round(&self) -> Result<bool, Error> {
        if self.others()?.is_empty() {
            return Ok(true);
        }
        if self.version() == Version::V2 {
            let unified = self.process_hierarchy()?;
            match files::write(&unified.root, &format!("{}/cgroup.kill", self.relative()), "1") {
                Ok(()) => return Ok(false),
                // Linux before 5.14.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::os("write", self.display(unified, "cgroup.kill"), errno)),
            }
        }
        // Standing still they cannot fork away from the list; a failure to freeze only costs another round.
        let freezer = self.freezer().is_ok();
        if freezer {
            let _ = self.freeze_within(KILL_FREEZE);
        }
        let sent = self.signal_each(Signal::KILL.as_raw());
        if freezer {
            self.thaw()?;
        }
        sent.map(|count| count == 0)
    }

    /// All processes but the caller's.
    fn others(&self) -> Result<Vec<i32>, Error> {
        let mut procs = self.all_procs()?;
        procs.retain(|pid| pid.cast_unsigned() != std::process::id());
        Ok(procs)
    }

    fn signal_each(&self, signal: i32) -> Result<usize, Error> {
        let procs = self.others()?;
        for pid in &procs {
            match tare_sys::kill::kill(*pid, signal) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {}
                Err(error) => return Err(Error::io("kill", pid, &error)),
            }
        }
        Ok(procs.len())
    }

    /// The hierarchy to list processes in: the one that can also stop them.
    fn process_hierarchy(&self) -> Result<&Hierarchy, Error> {
        let hierarchies = &self.hierarchies;
        hierarchies.controller("freezer").or_else(|| hierarchies.all().first()).ok_or(Error::NotMounted)
    }
}

fn read_procs(directory: impl std::os::fd::AsFd, path: &str, into: &mut Vec<i32>) -> Result<(), Errno> {
    let mut buffer = Vec::new();
    match files::read_all(directory, path, &mut buffer) {
        // Zero stands for a process outside our PID namespace, which cannot be reached from here.
        Ok(text) => into.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0)),
        // Removed meanwhile, or a threaded group of v2, whose processes are listed by the domain above it.
        Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => {}
        Err(errno) => return Err(errno),
    }
    Ok(())
}

fn pause(wait: &mut Duration) {
    thread::sleep(*wait);
    *wait = (*wait * 2).min(LONGEST_WAIT);
}
