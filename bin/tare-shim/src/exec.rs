//! `Exec`: a further process in the container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use tare_cgroup::{Cgroup, MountSources};
use tare_oci_runtime::Process;
use tare_runtime::{CgroupPlace, ExecTarget, Init, Stdio};
use tare_shim_protocol::{Exec, Failure};

use crate::container::Container;
use crate::launcher::Launcher;
use crate::session::{Ends, Session};
use crate::{ends, failure, launch};

/// Starts the process with its streams connected to `session`.
pub(crate) fn exec(
    container: &Container,
    mut process: Process,
    exec: &Exec,
    session: &mut Session,
) -> Result<Init, Failure> {
    if let Some(score) = container.oom_score {
        process.oom_score_adj.get_or_insert(score);
    }
    session.terminal = process.terminal;
    session.stdin_once = true;
    let input = exec.attach.as_ref().is_some_and(|attach| attach.stdin);
    let made = if process.terminal {
        Ok((Stdio::Terminal { size: exec.size, raw_newlines: false }, Ends::default()))
    } else if exec.attach.is_some() {
        ends::pipes(input)
    } else {
        ends::nothing()
    };
    let (stdio, ends) = made.map_err(|error| failure::setup("pipe", &exec.id, &error))?;
    // On a thread of its own, with which stack and heap go again.
    let launcher = Launcher::start().map_err(|error| failure::setup("start", "launcher thread", &error))?;
    let target = Target::new(container)?;
    let init = launcher.finish(move || target.exec(&process, stdio));
    let init = init.unwrap_or_else(|| Err(failure::state("the launcher thread has panicked")))?;
    launch::connect(init, ends, input, session)
}

/// Whether a name is that of a file in the directory it is looked up in.
pub(crate) fn is_file_name(name: &str) -> bool {
    !(name.is_empty() || name.contains('/') || name == "." || name == "..")
}

/// Reads the process of a request from its file, and removes that.
pub(crate) fn load(bundle: &Path, name: &str) -> Result<Process, Failure> {
    if !is_file_name(name) {
        return Err(failure::state(format!("`{name}` is no file of the bundle")));
    }
    let path = bundle.join(name);
    let bytes = launch::read_file(&path)?;
    // The daemon makes one per exec.
    let _ = std::fs::remove_file(&path);
    serde_json::from_slice(&bytes).map_err(|error| failure::setup("parse", path.display(), &error.into()))
}

/// What the thread needs of the container.
struct Target {
    id: String,
    bundle: PathBuf,
    pid: i32,
    pidfd: OwnedFd,
    group: Cgroup,
}

impl Target {
    fn new(container: &Container) -> Result<Self, Failure> {
        let pidfd = container.pidfd.try_clone().map_err(|error| failure::setup("dup", "pidfd", &error))?;
        let Container { id, bundle, pid, group, .. } = container;
        let bundle = bundle.path().to_owned();
        Ok(Self { id: id.clone(), bundle, pid: *pid, pidfd, group: group.clone() })
    }

    fn exec(self, process: &Process, stdio: Stdio) -> Result<Init, Failure> {
        // Read again rather than kept: a specification takes more memory than all else here.
        let spec = launch::load_spec(&self.bundle)?;
        let place = Place::new(&self.group)?;
        let target = ExecTarget {
            id: &self.id,
            pid: self.pid,
            pidfd: self.pidfd.as_fd(),
            spec: &spec,
            bundle: &self.bundle,
            cgroup: place.as_cgroup_place(),
            preserve_fds: &[],
        };
        tare_runtime::exec(&target, process, stdio).map_err(|error| failure::runtime(&error))
    }
}

/// How the process gets into the container's cgroup: on v1 by joining it, which has to wait for the kernel.
enum Place {
    Into(OwnedFd),
    Join(Vec<PathBuf>),
}

impl Place {
    fn new(group: &Cgroup) -> Result<Self, Failure> {
        match group.mount_sources() {
            MountSources::V1(sources) => Ok(Self::Join(sources.into_iter().map(|source| source.host).collect())),
            MountSources::V2 { .. } => group.fd_v2().map(Self::Into).map_err(|error| failure::cgroup(&error)),
        }
    }

    fn as_cgroup_place(&self) -> CgroupPlace<'_> {
        match self {
            Self::Into(directory) => CgroupPlace::Into(directory.as_fd()),
            Self::Join(directories) => CgroupPlace::Join(directories),
        }
    }
}
