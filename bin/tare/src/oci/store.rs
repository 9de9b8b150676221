//! Where containers are remembered: one directory per container below `--root`.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open, stat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use tare_cgroup::{Cgroup, Error, Hierarchies};
use tare_oci_runtime::{Spec, State, Status};

use super::warn;

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

/// Held by whoever makes, starts or deletes a container, as one at a time may; let go of when dropped, and with the
/// process.
#[derive(Debug)]
pub(super) struct Lock(OwnedFd);

/// A container that exists.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) directory: Directory,
    pub(super) record: Record,
}

/// The [`Record`]; written last when a container is made.
const STATE: &str = "state.json";
/// The specification.
const SPEC: &str = "config.json";

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
        let path = directory.file(STATE);
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

    /// All containers, by name. What cannot be read is told.
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
            .filter_map(|entry| {
                let id = entry.file_name().into_string().ok()?;
                match self.get(&id) {
                    Ok(container) => Some(container),
                    // One that is being made or deleted right now is not there.
                    Err(_) if !entry.path().join(STATE).exists() => None,
                    Err(error) => {
                        warn(&format!("load container {id}: {error:#}"));
                        None
                    }
                }
            })
            .collect();
        all.sort_by(|a, b| a.record.id.cmp(&b.record.id));
        Ok(all)
    }

    /// The directory of a container, or of one that is being made, or that was not made to the end.
    pub(super) fn directory(&self, id: &str) -> anyhow::Result<Option<Directory>> {
        let directory = Directory(self.path(id)?);
        Ok(directory.exists().then_some(directory))
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
    pub(super) fn exists(&self) -> bool {
        self.0.is_dir()
    }

    /// Whether the container has been made.
    pub(super) fn is_complete(&self) -> bool {
        self.file(STATE).exists()
    }

    /// For making and deleting the container. A container that is complete is waited for; one that is being made may take
    /// as long as its hooks do.
    pub(super) fn lock(&self) -> anyhow::Result<Lock> {
        let operation = match self.is_complete() {
            true => FlockOperation::LockExclusive,
            false => FlockOperation::NonBlockingLockExclusive,
        };
        let lock = lock(&self.0, operation)?.context("container is being created or deleted")?;
        // What was locked may be gone, and another container in its place.
        let locked = fstat(&lock.0).with_context(|| format!("look at `{}`", self.0.display()))?;
        match stat(&self.0) {
            Ok(now) if (now.st_dev, now.st_ino) == (locked.st_dev, locked.st_ino) => Ok(lock),
            _ => bail!("container does not exist"),
        }
    }

    /// For starting the container, which may take as long as its hooks do: it can be deleted meanwhile.
    pub(super) fn lock_start(&self) -> anyhow::Result<Lock> {
        lock(&self.file(SPEC), FlockOperation::LockExclusive)?.context("container is being started")
    }

    /// The specification that the container was created from, whatever the bundle has now.
    pub(super) fn spec(&self) -> anyhow::Result<Spec> {
        let path = self.file(SPEC);
        let json = fs::read(&path).with_context(|| format!("read `{}`", path.display()))?;
        Spec::from_slice(&json).with_context(|| format!("parse `{}`", path.display()))
    }

    pub(super) fn write_spec(&self, json: &[u8]) -> anyhow::Result<()> {
        replace(&self.file(SPEC), json)
    }

    /// Makes the container one that exists.
    pub(super) fn write_record(&self, record: &Record) -> anyhow::Result<()> {
        replace(&self.file(STATE), &serde_json::to_vec(record)?)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The FIFO that the init waits on.
    pub(super) fn fifo(&self) -> PathBuf {
        self.file("exec.fifo")
    }

    /// Whether an init waits on it: that has it open until it is executed. The FIFO itself stays when whoever starts the
    /// container is killed.
    fn is_waited_on(&self) -> bool {
        open(self.fifo(), OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).is_ok()
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

/// `None`: somebody else has it, and was not to be waited for.
fn lock(path: &Path, operation: FlockOperation) -> anyhow::Result<Option<Lock>> {
    let file = match open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => bail!("container does not exist"),
        opened => opened.with_context(|| format!("open `{}`", path.display()))?,
    };
    match rustix::io::retry_on_intr(|| flock(&file, operation)) {
        Ok(()) => Ok(Some(Lock(file))),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno).with_context(|| format!("lock `{}`", path.display())),
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
    /// What it was created from.
    pub(super) fn spec(&self) -> anyhow::Result<Spec> {
        self.directory.spec()
    }

    pub(super) fn cgroup(&self) -> anyhow::Result<Cgroup> {
        Ok(Cgroup::open(&Hierarchies::detect_hybrid()?, &self.record.cgroup))
    }

    pub(super) fn status(&self) -> anyhow::Result<Status> {
        if !is_running(self.record.pid, self.record.start_time) {
            return Ok(Status::Stopped);
        }
        if self.directory.is_waited_on() {
            return Ok(Status::Created);
        }
        match self.cgroup()?.frozen() {
            Ok(true) => Ok(Status::Paused),
            Ok(false) => Ok(Status::Running),
            // It has ended just now, and its group with it.
            Err(_) if !is_running(self.record.pid, self.record.start_time) => Ok(Status::Stopped),
            // What has no group, or no freezer, does not stand still.
            Err(error) if error.is_gone() || matches!(error, Error::NoController { .. }) => Ok(Status::Running),
            Err(error) => Err(error.into()),
        }
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
        made.write_record(&Record { id: "a_B-1.+".to_owned(), ..Record::default() }).unwrap();
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
