//! Where the container's processes live: its cgroup, made ahead of time where that saves time.

use tare_cgroup::{Cgroup, Error, Hierarchies, Version};

use crate::launcher::Launcher;

/// What a spare prepares.
#[derive(Debug)]
pub(crate) struct Place {
    hierarchies: Hierarchies,
    /// The parent of containers' groups, as the daemon told it.
    parent: String,
    /// v1: a group, and the thread that waits in it.
    spare: Option<(Cgroup, Launcher)>,
}

/// A container's group, ready for its first process.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub group: Cgroup,
    /// v1: the thread that is in the group.
    pub launcher: Option<Launcher>,
}

impl Place {
    /// Finds the hierarchies; on v1, for a spare, makes its group and starts its thread.
    pub(crate) fn new(spare_name: Option<&str>, parent: &str) -> Result<Self, Error> {
        let mut place = Self { hierarchies: Hierarchies::detect()?, parent: parent.to_owned(), spare: None };
        if let Some(name) = spare_name.filter(|_| place.hierarchies.version() == Version::V1) {
            let group = Cgroup::create(&place.hierarchies, &format!("{parent}/spare-{name}"))?;
            let launcher = start(&group)?;
            place.spare = Some((group, launcher));
        }
        Ok(place)
    }

    /// Undoes everything.
    pub(crate) fn abandon(self) {
        if let Some((group, launcher)) = self.spare {
            launcher.end();
            // What stays is found by the daemon: the name is a spare's and the process is gone.
            let _ = group.remove();
        }
    }

    /// The group for a container: `path` if the specification names one, else its ID below the parent.
    pub(crate) fn prepare(self, path: &str, id: &str) -> Result<Prepared, Error> {
        let path = if path.is_empty() { format!("{}/{id}", self.parent) } else { path.to_owned() };
        let wanted = Cgroup::open(&self.hierarchies, &path);
        if let Some((spare, launcher)) = self.spare {
            return take(&self.hierarchies, spare, launcher, wanted);
        }
        let group = Cgroup::create(&self.hierarchies, wanted.path())?;
        let launcher = match group.version() {
            Version::V1 => Some(start(&group).and_then(joined)?),
            Version::V2 => None,
        };
        Ok(Prepared { group, launcher })
    }
}

fn start(group: &Cgroup) -> Result<Launcher, Error> {
    Launcher::start(group.clone()).map_err(|error| Error::Invalid(format!("start launcher thread: {error}")))
}

fn joined(launcher: Launcher) -> Result<Launcher, Error> {
    match launcher.wait_joined() {
        Ok(()) => Ok(launcher),
        Err(error) => {
            launcher.end();
            Err(error)
        }
    }
}

/// Makes the spare's group the wanted one: by renaming it, which is cheap, if it has the same parent.
fn take(hierarchies: &Hierarchies, mut spare: Cgroup, launcher: Launcher, wanted: Cgroup) -> Result<Prepared, Error> {
    let launcher = joined(launcher)?;
    let (parent, name) = split(wanted.path());
    if split(spare.path()).0 == parent {
        let mut renamed = spare.rename(name);
        if renamed.is_err() && wanted.exists() {
            // Left behind by a container of the same name; no process is in it, or it cannot be removed.
            wanted.remove()?;
            renamed = spare.rename(name);
        }
        return match renamed {
            Ok(()) => Ok(Prepared { group: spare, launcher: Some(launcher) }),
            Err(error) => {
                launcher.end();
                let _ = spare.remove();
                Err(error)
            }
        };
    }
    let group = wanted.clone();
    let moved = Cgroup::create(hierarchies, wanted.path()).and_then(|_| {
        launcher.run(move || wanted.add_current_thread()).unwrap_or_else(|| Err(Error::Invalid("launcher died".into())))
    });
    let _ = spare.remove();
    match moved {
        Ok(()) => Ok(Prepared { group, launcher: Some(launcher) }),
        Err(error) => {
            launcher.end();
            let _ = group.remove();
            Err(error)
        }
    }
}

/// Parent and last name.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
