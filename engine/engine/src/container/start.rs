//! Starting a container: the use case, and the launch that restarts share with it.
//!
//! The launch prepares the root mount and the network side by side ([`crate::container::prepare`]), hands everything to
//! a shim that is already there, and commits nothing durable before it answers.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;
use tare_shim_protocol::{Attach, Event, FailureKind, FdRole, Launch, Op, SOCKET_NAME};
use tare_sys::errno::NO_SPACE;
use tokio::sync::mpsc;

use super::prepare::Prepared;
use super::record::Record;
use super::state::Status;
use super::{Container, supervise};
use crate::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::host::clock;
use crate::shim::spawn::Spare;
use crate::shim::{CallError, Connection, Started};

/// Docker's words before a runtime's error.
const START_FAILED: &str =
    "failed to create task for container: failed to create shim task: OCI runtime create failed: ";
/// Docker's words before an error of the container's command itself.
const INIT_FAILED: &str = "unable to start container process: error during container init: ";

impl Engine {
    /// Starts a container. [`ErrorKind::NotModified`] if it runs.
    pub async fn start(self: &Arc<Self>, name: &str) -> Result<()> {
        let container = self.find(name)?;
        let _operation = container.operation.lock().await;
        self.start_locked(&container).await
    }

    /// The same, with the container's operation lock held.
    pub(crate) async fn start_locked(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        {
            let mut inner = container.read();
            match inner.state.status {
                Status::Paused => {
                    return Err(Error::conflict("cannot start a paused container, try unpause instead"));
                }
                Status::Running | Status::Restarting => {
                    return Err(Error::not_modified("container is already running"));
                }
                Status::Removing | Status::Dead => {
                    return Err(Error::conflict("container is marked for removal and cannot be started"));
                }
                Status::Created | Status::Exited => {}
            }
            inner.state.manually_stopped = false;
            inner.state.restart_count = 0;
            inner.restart_delay = std::time::Duration::ZERO;
        }
        let result = self.launch(container).await;
        let removed = {
            let inner = container.read();
            inner.record.host_config.auto_remove && !inner.kept
        };
        if result.is_err() && removed {
            self.remove_failed(container).await;
        }
        result
    }

    /// Starts the container's process. The operation lock is held and the container does not run.
    pub(crate) async fn launch(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        container.await_tickets().await;
        if let Err(error) = self.check_destination(container).await {
            return Err(self.failed_to_start(container, error));
        }
        let prepared = match self.prepare(container).await {
            Ok(prepared) => prepared,
            Err(error) => return Err(self.failed_to_start(container, error)),
        };
        let sandbox = prepared.sandbox.clone();
        self.mounted(container);
        for endpoint in &sandbox.endpoints {
            self.network_event("connect", &endpoint.network_id, &endpoint.network_name, &container.id);
        }
        match self.hand_over(container, prepared).await {
            Ok((connection, events, started)) => {
                self.started(container, &connection, started, sandbox);
                tokio::spawn(supervise::run(Arc::clone(self), Arc::clone(container), connection, events));
                Ok(())
            }
            Err(error) => {
                self.drop_sandbox(&container.id, &sandbox);
                self.release_mounts(&container.id).await;
                crate::remove_tree(&self.bundle(&container.id));
                self.released(container, &sandbox);
                Err(self.failed_to_start(container, error))
            }
        }
    }

    /// Gives a prepared container to a shim and waits until its process runs. A shim that was killed while it waited is
    /// replaced, as long as it has not begun with the container.
    async fn hand_over(&self, container: &Container, prepared: Prepared) -> Result<Launched> {
        let Prepared { bundle, fds, .. } = prepared;
        let clients = std::mem::take(&mut container.read().waiting_clients);
        let launched = match give(self.spare()?, &bundle, &fds, &clients).await {
            // The socket is the first thing that a shim makes there.
            Err(CallError::Lost(error)) if !bundle.join(SOCKET_NAME).exists() => {
                tracing::warn!("a waiting shim was killed ({error}): container {} gets another one", container.id);
                // Whoever killed that one may have killed all that wait.
                give(self.fresh()?, &bundle, &fds, &clients).await
            }
            launched => launched,
        };
        self.spares.replenish();
        launched.map_err(call_failed)
    }

    fn spare(&self) -> Result<Spare> {
        self.spares.take().map_err(|error| self.no_shim(error))
    }

    fn fresh(&self) -> Result<Spare> {
        self.spares.spawn().map_err(|error| self.no_shim(error))
    }

    fn no_shim(&self, error: std::io::Error) -> Error {
        Error::io("start a shim", self.config.shim.display(), error)
    }

    fn started(
        &self,
        container: &Arc<Container>,
        connection: &Arc<Connection>,
        started: Started,
        sandbox: crate::network::sandbox::Sandbox,
    ) {
        // Behind the answer: other firewalls come and go.
        let engine = self.me.clone();
        tokio::task::spawn_blocking(move || engine.upgrade().map(|engine| engine.networks.renew_passages()));
        let (snapshot, attributes) = {
            let mut inner = container.read();
            self.note_networks(&mut inner.record);
            inner.shim = Some(Arc::clone(connection));
            inner.sandbox = sandbox;
            let state = &mut inner.state;
            state.status = Status::Running;
            state.pid = started.pid;
            state.start_time = started.start_time;
            // The shim's time, which the next daemon finds, too.
            state.started_at = if started.started_at == 0 { clock::now_ns() } else { started.started_at };
            state.finished_at = 0;
            state.exit_code = 0;
            state.error.clear();
            state.oom_killed = false;
            state.ended_unhealthy = false;
            (inner.snapshot(), super::attributes(&inner.record))
        };
        container.announce(|progress| progress.running = true);
        self.events.publish("container", "start", &container.id, attributes);
        self.save_later(&snapshot);
        self.update_links_to(container);
        self.forward(container);
        self.start_health(container);
    }

    /// Writes down which networks a container was on: that is shown after its end, too.
    fn note_networks(&self, record: &mut Record) {
        for (name, settings) in &mut record.networks {
            if let Ok(net) = self.networks.find(name) {
                settings.network_id.clone_from(&net.id);
            }
        }
    }

    /// Records why a start failed, with Docker's exit codes.
    fn failed_to_start(&self, container: &Arc<Container>, error: Error) -> Error {
        // The other codes are about what the runtime met.
        let from_runtime = error.message.to_lowercase().starts_with(&START_FAILED.to_lowercase());
        let code = exit_code_of_failure(&error.message).filter(|_| from_runtime).unwrap_or(128);
        let denied = code == 126 && !error.message.to_lowercase().contains("permission denied");
        let message = if denied { format!("{}: permission denied", error.message) } else { error.message };
        let error = Error { message, ..error };
        let snapshot = {
            let mut inner = container.read();
            inner.waiting_clients.clear();
            inner.state.exit_code = code;
            inner.state.error.clone_from(&error.message);
            inner.state.pid = 0;
            inner.snapshot()
        };
        container.announce(|progress| progress.exit_code = code);
        self.save_later(&snapshot);
        error
    }
}

fn call_failed(error: CallError) -> Error {
    match error {
        CallError::Failed(failure) if failure.errno == Errno::NOSPC.raw_os_error() => {
            let message = failure.message.strip_suffix("ENOSPC").unwrap_or(&failure.message);
            Error::internal(format!("{START_FAILED}{message}{NO_SPACE}"))
        }
        CallError::Failed(failure) => match failure.kind {
            FailureKind::NotFound | FailureKind::Permission => {
                Error { kind: ErrorKind::Invalid, message: format!("{START_FAILED}{INIT_FAILED}{}", failure.message) }
            }
            FailureKind::State | FailureKind::Setup if before_runtime(&failure.message) => {
                Error::internal(failure.message)
            }
            FailureKind::State | FailureKind::Setup => Error::internal(match no_directory(&failure.message) {
                Some(path) => format!("Cannot mkdir: {path} is not a directory"),
                None => format!("{START_FAILED}{INIT_FAILED}{}", failure.message),
            }),
        },
        CallError::Lost(error) => Error::internal(format!("{START_FAILED}the container's shim is lost: {error}")),
    }
}

/// The working directory, if it is why a container could not start: Docker makes it beforehand and fails then.
fn no_directory(message: &str) -> Option<&str> {
    message.strip_prefix("chdir to cwd (\"")?.strip_suffix("\") set in config.json failed: not a directory")
}

/// Whether a mistake is one that Docker finds before the runtime's part begins, so that its words have nothing before
/// them.
pub(super) fn before_runtime(message: &str) -> bool {
    const FOUND: &[&str] = &["unable to find user ", "unable to find group ", "uids and gids must be "];
    FOUND.iter().any(|start| message.starts_with(start))
}

/// Docker's exit code for a command that cannot be run: 127 if it is not there, 126 if it may not be run; `None` when the
/// words are about something else, for which starting and executing have codes of their own.
pub(super) fn exit_code_of_failure(message: &str) -> Option<i32> {
    let lower = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|words| lower.contains(words));
    if has(&["executable file not found", "no such file or directory"]) {
        Some(127)
    } else {
        has(&["permission denied", "is a directory"]).then_some(126)
    }
}

/// A running container: its shim, what that tells, and what it has started.
type Launched = (Arc<Connection>, mpsc::UnboundedReceiver<Event>, Started);

/// Gives a container to a shim.
async fn give(
    spare: Spare,
    bundle: &Path,
    fds: &[(FdRole, OwnedFd)],
    clients: &[(Attach, OwnedFd)],
) -> Result<Launched, CallError> {
    let (connection, events) =
        Connection::open(spare.socket, spare.pid, tare_shim_protocol::VERSION).map_err(CallError::Lost)?;
    for (attach, stream) in clients {
        // Its reply tells nothing that matters here; a lost shim shows at the launch.
        let _ = connection.lend(Op::Attach(attach.clone()), vec![(FdRole::Client, stream.as_fd())]).await;
    }
    let launch = Op::Launch(Launch { bundle: bundle.to_owned() });
    let fds = fds.iter().map(|(role, fd)| (role.clone(), fd.as_fd())).collect();
    let started = connection.lend(launch, fds).await?.await?;
    Ok((connection, events, started))
}

/// Descriptors for a shim, with what each is for.
pub(crate) type Fds = Vec<(FdRole, OwnedFd)>;

/// Where a container's process finds its namespaces.
pub(crate) fn namespace_path(pid: i32, name: &str) -> std::path::PathBuf {
    Path::new("/proc").join(pid.to_string()).join("ns").join(name)
}
