//! Where containers are remembered: one directory per container below `--root`.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use tare_cgroup::{Cgroup, Hierarchies};
use tare_oci_runtime::{Spec, State, Status};

/// All containers.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
}

/// What is remembered of a container.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    /// Process ID of its init.
    pub(super) pid: i32,
    /// When that started, in clock ticks since boot.
    pub(super) start_time: u64,
    pub(super) bundle: PathBuf,
    /// When it was created, RFC 3339.
    pub(super) created: String,
    /// Its group in every hierarchy.
    pub(super) cgroup: String,
}

/// A container's directory.
#[derive(Debug, Clone)]
pub(super) struct Directory(PathBuf);

/// A container that exists.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) directory: Directory,
    pub(super) record: Record,
}

/// Bytes of a name; a directory's name can be no longer.
const ID_BYTES_MAX: usize = 255;

impl Store {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Makes the directory of a new container.
    pub(super) fn add(&self, id: &str) -> anyhow::Result<Directory> {
        let path = self.path(id)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(&self.root)
            .with_context(|| format!("make directory `{}`", self.root.display()))?;
        match DirBuilder::new().mode(0o711).create(&path) {
            Ok(()) => Ok(Directory(path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!("container with given ID already exists")
            }
            Err(error) => Err(error).with_context(|| format!("make directory `{}`", path.display())),
        }
    }

    /// A container by its name.
    pub(super) fn get(&self, id: &str) -> anyhow::Result<Container> {
        let directory = Directory(self.path(id)?);
        let path = directory.file("state.json");
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bail!("container does not exist")
            }
            Err(error) => return Err(error).with_context(|| format!("read `{}`", path.display())),
        };
        let record = serde_json::from_slice(&json).with_context(|| format!("parse `{}`", path.display()))?;
        Ok(Container { directory, record })
    }

    /// All containers, by name.
    pub(super) fn all(&self) -> anyhow::Result<Vec<Container>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(error).with_context(|| format!("list `{}`", self.root.display()));
            }
        };
        let mut all: Vec<Container> = entries
            .filter_map(Result::ok)
            // One that is being made or deleted right now is not there.
            .filter_map(|entry| self.get(entry.file_name().to_str()?).ok())
            .collect();
        all.sort_by(|a, b| a.record.id.cmp(&b.record.id));
        Ok(all)
    }

    /// What a creation that was cut short has left.
    pub(super) fn remnant(&self, id: &str) -> anyhow::Result<Option<Directory>> {
        let path = self.path(id)?;
        Ok(path.is_dir().then_some(Directory(path)))
    }

    fn path(&self, id: &str) -> anyhow::Result<PathBuf> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_+-.".contains(&byte);
        if id.is_empty() || id == "." || id == ".." || id.len() > ID_BYTES_MAX || !id.bytes().all(fine) {
            bail!("invalid container ID format: {id:?}");
        }
        Ok(self.root.join(id))
    }
}

impl Directory {
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The FIFO that the init waits on; there until it is started.
    pub(super) fn fifo(&self) -> PathBuf {
        self.file("exec.fifo")
    }

    pub(super) fn write(&self, name: &str, value: &impl Serialize) -> anyhow::Result<()> {
        let json = serde_json::to_vec(value)?;
        replace(&self.file(name), &json)
    }

    pub(super) fn remove(&self) -> anyhow::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove `{}`", self.0.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Writes a file whole or not at all.
pub(super) fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    fs::write(&temporary, content)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("write `{}`", path.display()))
}

impl Container {
    /// The specification that it was created from, whatever the bundle has now.
    pub(super) fn spec(&self) -> anyhow::Result<Spec> {
        let path = self.directory.file("config.json");
        let json = fs::read(&path).with_context(|| format!("read `{}`", path.display()))?;
        Spec::from_slice(&json).with_context(|| format!("parse `{}`", path.display()))
    }

    pub(super) fn cgroup(&self) -> anyhow::Result<Cgroup> {
        Ok(Cgroup::open(&Hierarchies::detect_hybrid()?, &self.record.cgroup))
    }

    pub(super) fn status(&self) -> anyhow::Result<Status> {
        if !is_running(self.record.pid, self.record.start_time) {
            return Ok(Status::Stopped);
        }
        if self.directory.fifo().exists() {
            return Ok(Status::Created);
        }
        Ok(if self.cgroup()?.frozen()? { Status::Paused } else { Status::Running })
    }

    /// The init's pidfd.
    pub(super) fn pidfd(&self) -> anyhow::Result<OwnedFd> {
        let pid = Pid::from_raw(self.record.pid).context("container not running")?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| anyhow::anyhow!("container not running"))?;
        // Only now is it certain that the number was not given to another process meanwhile.
        if is_running(self.record.pid, self.record.start_time) { Ok(pidfd) } else { bail!("container not running") }
    }

    /// The state as the specification has it.
    pub(super) fn state(&self, spec: &Spec, status: Status) -> State {
        State {
            oci_version: spec.oci_version.clone(),
            id: self.record.id.clone(),
            status,
            pid: if status == Status::Stopped { 0 } else { self.record.pid },
            bundle: self.record.bundle.clone(),
            annotations: spec.annotations.clone(),
        }
    }
}

/// Whether the process that started then is still there. One that has ended and was not waited for is not.
fn is_running(pid: i32, start_time: u64) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X')) && tare_runtime::start_time(pid).is_ok_and(|time| time == start_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let directory = std::env::temp_dir().join(format!("tare-oci-store-{}", std::process::id()));
        let store = Store::new(&directory);
        for bad in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(256)] {
            assert!(store.add(bad).is_err(), "{bad}");
        }
        assert_eq!(store.get("x").unwrap_err().to_string(), "container does not exist");
        let made = store.add("a_B-1.+").unwrap();
        assert_eq!(store.add("a_B-1.+").unwrap_err().to_string(), "container with given ID already exists");
        made.write("state.json", &Record { id: "a_B-1.+".to_owned(), ..Record::default() }).unwrap();
        assert_eq!(store.all().unwrap().len(), 1);
        assert_eq!(store.get("a_B-1.+").unwrap().status().unwrap(), Status::Stopped);
        made.remove().unwrap();
        fs::remove_dir(directory).unwrap();
    }

    #[test]
    fn processes() {
        let own = std::process::id().cast_signed();
        let time = tare_runtime::start_time(own).unwrap();
        assert!(is_running(own, time));
        assert!(!is_running(own, time + 1));
        assert!(!is_running(0, 0));
    }
}
