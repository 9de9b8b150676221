//! Where the container's processes live: its cgroup, made ahead of time where that saves time.

use std::sync::{Arc, Mutex};

use tare_cgroup::{Cgroup, Error, Hierarchies, Version};

use crate::launcher::{Launcher, lock};

/// What a shim prepares before it knows its container.
#[derive(Debug)]
pub(crate) struct Place {
    pub launcher: Launcher,
    pub ground: Ground,
}

/// What the launcher thread makes the container's group from.
#[derive(Debug)]
pub(crate) struct Ground {
    pub hierarchies: Hierarchies,
    /// The parent of containers' groups, as the daemon told it.
    parent: String,
    /// v1: a group that the launcher thread has joined, or the reason why not.
    spare: Option<Spare>,
}

#[derive(Debug)]
struct Spare {
    group: Cgroup,
    joined: Arc<Mutex<Option<Error>>>,
}

impl Place {
    /// Finds the hierarchies and starts the thread; on v1, for a spare, makes its group and lets the thread join it.
    pub(crate) fn new(spare_name: Option<&str>, parent: &str) -> Result<Self, Error> {
        let hierarchies = Hierarchies::detect()?;
        let launcher = Launcher::start().map_err(|error| Error::Invalid(format!("start launcher thread: {error}")))?;
        let mut ground = Ground { hierarchies, parent: parent.to_owned(), spare: None };
        if let Some(name) = spare_name.filter(|_| ground.hierarchies.version() == Version::V1) {
            let group = Cgroup::create(&ground.hierarchies, &format!("{parent}/spare-{name}"))?;
            let (own, failure) = (group.clone(), Arc::new(Mutex::new(None)));
            let joined = Arc::clone(&failure);
            launcher.begin(move || {
                *lock(&failure) = own.add_current_thread().err();
            });
            ground.spare = Some(Spare { group, joined });
        }
        Ok(Self { launcher, ground })
    }

    /// Undoes everything.
    pub(crate) fn abandon(self) {
        self.launcher.end();
        self.ground.clean();
    }
}

impl Ground {
    /// On the launcher thread: the group for a container, and whether the thread is in it already. `path` if the
    /// specification names one, else the container's ID below the parent. The spare's group may be left for
    /// [`Self::clean`].
    pub(crate) fn group(&self, path: &str, id: &str) -> Result<(Cgroup, bool), Error> {
        let path = if path.is_empty() { format!("{}/{id}", self.parent) } else { path.to_owned() };
        let wanted = Cgroup::open(&self.hierarchies, &path);
        if let Some(spare) = &self.spare {
            if let Some(error) = lock(&spare.joined).take() {
                return Err(error);
            }
            let (parent, name) = split(wanted.path());
            if split(spare.group.path()).0 == parent {
                return Ok((rename(spare.group.clone(), name, &wanted)?, true));
            }
        }
        Ok((Cgroup::create(&self.hierarchies, wanted.path())?, false))
    }

    /// On the launcher thread: joins a group, where that is needed for children to be born in it.
    pub(crate) fn enter(&self, group: &Cgroup) -> Result<(), Error> {
        match group.version() {
            Version::V1 => group.add_current_thread(),
            Version::V2 => Ok(()),
        }
    }

    /// Removes the spare's group if it has not become the container's. After the end of the thread.
    pub(crate) fn clean(&self) {
        if let Some(spare) = &self.spare {
            // What stays is found by the daemon: the name is a spare's and the process is gone.
            let _ = spare.group.remove();
        }
    }
}

/// Makes the spare's group the wanted one, which is cheap: they have the same parent.
fn rename(mut spare: Cgroup, name: &str, wanted: &Cgroup) -> Result<Cgroup, Error> {
    let mut renamed = spare.rename(name);
    if renamed.is_err() && wanted.exists() {
        // Left behind by a container of the same name; no process is in it, or it cannot be removed.
        wanted.remove()?;
        renamed = spare.rename(name);
    }
    renamed.map(|()| spare)
}

/// Parent and last name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
