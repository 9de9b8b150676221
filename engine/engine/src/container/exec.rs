//! Running further commands in a container.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tare_docker_api::container::{ExecConfig, ExecInspect, ExecProcessConfig, ExecStart, IdResponse};
use tare_oci_runtime::{ConsoleSize, Process};
use tare_shim_protocol::{Attach, Exec as ExecRequest, FailureKind, FdRole, Op};

use super::state::Status;
use super::{Container, exec_record, exec_user, signal};
use crate::Engine;
use crate::error::{Error, Result};
use crate::host::random;
use crate::host::stream::until_read;
use crate::shim::CallError;
use crate::spec;

/// Docker's words before the error of an exec.
const EXEC_FAILED: &str = "OCI runtime exec failed: exec failed: unable to start container process: ";
/// What every failure of the runtime begins with.
const RUNTIME_FAILED: &str = "OCI runtime exec failed: exec failed: ";
/// How long a finished exec can be inspected, at least.
const FINISHED_KEPT: Duration = Duration::from_secs(300);

/// Longest wait for the exit code of a process that has ended.
const EXIT_CODE_TIMEOUT: Duration = Duration::from_secs(2);

/// One exec instance.
#[derive(Debug)]
pub(crate) struct Exec {
    pub(crate) id: String,
    pub(crate) container: Arc<Container>,
    pub(crate) config: ExecConfig,
    detach_keys: Vec<u8>,
    /// Where it is described for the next daemon.
    pub(super) record: Option<exec_record::Place>,
    progress: Mutex<Progress>,
    /// The shim has said whether it started.
    launched: tokio::sync::watch::Sender<bool>,
    ended: tokio::sync::watch::Sender<Option<i32>>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) started: bool,
    pub(super) running: bool,
    pub(super) exit_code: Option<i32>,
    pub(super) pid: i32,
    finished: Option<Instant>,
}

impl Exec {
    pub(super) fn new(
        id: String,
        container: Arc<Container>,
        config: ExecConfig,
        record: Option<exec_record::Place>,
    ) -> Result<Self> {
        Ok(Self {
            id,
            container,
            detach_keys: super::attach::detach_keys(Some(config.detach_keys.as_str()))
                .map_err(|_| Error::internal(format!("Invalid escape keys ({}) provided", config.detach_keys)))?,
            config,
            record,
            progress: Mutex::default(),
            launched: tokio::sync::watch::Sender::new(false),
            ended: tokio::sync::watch::Sender::new(None),
        })
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is known whether the process started, and if it has ended already, for its exit code.
    async fn settled(&self) {
        let mut launched = self.launched.subscribe();
        // The senders live as long as this.
        let _ = launched.wait_for(|launched| *launched).await;
        let pid = self.progress().pid;
        if pid > 0 && !process_exists(pid) {
            let mut ended = self.ended.subscribe();
            let _ = ended.wait_for(Option::is_some).await;
        }
    }

    /// Waits for its exit code.
    pub(crate) async fn code(&self) -> i32 {
        let mut ended = self.ended.subscribe();
        ended.wait_for(Option::is_some).await.map_or(None, |code| *code).unwrap_or(-1)
    }

    /// It is known that its process runs, or has run.
    pub(super) fn set_launched(&self) {
        self.launched.send_replace(true);
    }

    pub(super) fn finish(&self, code: i32) {
        let mut progress = self.progress();
        if progress.exit_code.is_none() {
            *progress =
                // The process's ID stays, as in Docker.
                Progress { running: false, exit_code: Some(code), finished: Some(Instant::now()), ..*progress };
            drop(progress);
            self.ended.send_replace(Some(code));
        }
    }
}

/// All exec instances, by ID.
#[derive(Debug, Default)]
pub(crate) struct Execs(Mutex<BTreeMap<String, Arc<Exec>>>);

impl Execs {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Exec>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str) -> Result<Arc<Exec>> {
        self.all().get(id).cloned().ok_or_else(|| Error::not_found(format!("No such exec instance: {id}")))
    }

    pub(super) fn insert(&self, exec: Arc<Exec>) {
        let mut all = self.all();
        all.retain(|_, old| {
            let kept = old.progress().finished.is_none_or(|finished| finished.elapsed() < FINISHED_KEPT);
            if !kept && let Some(record) = &old.record {
                record.remove();
            }
            kept
        });
        all.insert(exec.id.clone(), exec);
    }

    /// Instances of a container that have not finished.
    pub(crate) fn of(&self, container: &str) -> Vec<String> {
        let all = self.all();
        let own = all.values().filter(|exec| exec.container.id == container && exec.progress().finished.is_none());
        own.map(|exec| exec.id.clone()).collect()
    }

    /// A container's processes have all ended with it, and what was not started yet is forgotten: it is not for a later
    /// run.
    pub(crate) fn container_exited(&self, container: &str) {
        self.all().retain(|_, exec| {
            if exec.container.id != container {
                return true;
            }
            let Progress { started, running, .. } = *exec.progress();
            if running {
                exec.finish(128 + signal::KILL);
            }
            if !started && let Some(record) = &exec.record {
                record.remove();
            }
            started
        });
    }

    pub(crate) fn container_removed(&self, container: &str) {
        self.all().retain(|_, exec| exec.container.id != container);
    }
}

/// A client about to be attached to an exec. See [`ExecTicket::connect`].
#[derive(Debug)]
pub struct ExecTicket {
    /// The client wants output without frames. Clients say so when they start an exec, whatever it was created with.
    raw: bool,
    engine: Arc<Engine>,
    exec: Arc<Exec>,
    size: Option<(u16, u16)>,
}

/// Whoever an exec talks to.
struct Client {
    stream: OwnedFd,
    /// What it has sent already.
    input: Vec<u8>,
    /// It wants output without frames.
    raw: bool,
}

impl Engine {
    /// Prepares a command to run in a running container.
    pub async fn exec_create(self: &Arc<Self>, name: &str, config: ExecConfig) -> Result<IdResponse> {
        let exec = self.new_exec(name, config, true)?;
        exec_user::check(&exec.container, &exec.config.user).await?;
        exec.save()?;
        self.exec_event("exec_create", &exec);
        self.execs.insert(Arc::clone(&exec));
        Ok(IdResponse { id: exec.id.clone() })
    }

    /// What happens to an exec's command.
    fn exec_event(&self, action: &str, exec: &Exec) {
        let mut attributes = super::attributes(&exec.container.read().record);
        attributes.insert("execID".to_owned(), exec.id.clone());
        // Docker writes a space after the program even where no arguments follow.
        let command = exec.config.cmd.as_deref().unwrap_or_default();
        let (program, arguments) = command.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
        let action = format!("{action}: {program} {}", arguments.join(" "));
        self.events.publish("container", action, &exec.container.id, attributes);
    }

    /// An exec, to be remembered beyond the daemon's life or not.
    fn new_exec(&self, name: &str, config: ExecConfig, remembered: bool) -> Result<Arc<Exec>> {
        let container = self.find(name)?;
        runs(&container, name)?;
        if config.cmd.as_ref().is_none_or(Vec::is_empty) {
            return Err(Error::invalid("No exec command specified"));
        }
        if let Some(bad) = config.env.iter().find(|variable| variable.is_empty() || variable.starts_with('=')) {
            return Err(Error::invalid(format!("invalid environment variable: {bad}")));
        }
        let id = random::id();
        let record = remembered.then(|| exec_record::Place::new(self.bundle(&container.id), &id));
        Ok(Arc::new(Exec::new(id, container, config, record)?))
    }

    /// Starts an exec nobody is attached to.
    pub async fn exec_start_detached(self: &Arc<Self>, id: &str, start: &ExecStart) -> Result<()> {
        let exec = self.claim_exec(id)?;
        self.run_exec(&exec, None, exec_size(&exec.config, start)).await
    }

    /// Claims an exec for a client that will be attached.
    pub fn exec_attach(self: &Arc<Self>, id: &str, start: &ExecStart) -> Result<ExecTicket> {
        let exec = self.claim_exec(id)?;
        Ok(ExecTicket { raw: start.tty, size: exec_size(&exec.config, start), engine: Arc::clone(self), exec })
    }

    fn claim_exec(&self, id: &str) -> Result<Arc<Exec>> {
        let exec = self.execs.find(id)?;
        runs(&exec.container, &exec.container.id)?;
        let mut progress = exec.progress();
        if progress.exit_code.is_some() {
            return Err(Error::conflict(format!("exec command {id} has already run")));
        }
        if progress.started {
            return Err(Error::conflict(format!("exec command {id} is already running")));
        }
        progress.started = true;
        drop(progress);
        Ok(exec)
    }

    async fn run_exec(
        self: &Arc<Self>,
        exec: &Arc<Exec>,
        client: Option<Client>,
        size: Option<(u16, u16)>,
    ) -> Result<()> {
        // Of one that then cannot be started, too.
        self.exec_event("exec_start", exec);
        let result = self.send_exec(exec, client, size).await;
        exec.launched.send_replace(true);
        if let Err(error) = &result {
            let unknown = if error.message.starts_with(RUNTIME_FAILED) { 128 } else { 126 };
            let code = super::start::exit_code_of_failure(&error.message).unwrap_or(unknown);
            exec.finish(code);
        }
        result
    }

    async fn send_exec(
        self: &Arc<Self>,
        exec: &Arc<Exec>,
        client: Option<Client>,
        size: Option<(u16, u16)>,
    ) -> Result<()> {
        let shim = exec.container.shim()?;
        let process = self.exec_process(exec)?;
        let process_file = format!("exec-{}.json", exec.id);
        let path = self.bundle(&exec.container.id).join(&process_file);
        let body = serde_json::to_vec(&process).map_err(|error| Error::internal(error.to_string()))?;
        std::fs::write(&path, body).map_err(|error| {
            // Half of it is there, perhaps.
            let _ = std::fs::remove_file(&path);
            Error::io("write", path.display(), error)
        })?;
        let config = &exec.config;
        let (attach, fds) = match client {
            Some(Client { stream, input, raw }) => {
                let attach = Attach {
                    id: 0,
                    stdin: config.attach_stdin,
                    stdout: config.attach_stdout,
                    stderr: config.attach_stderr,
                    multiplexed: !raw,
                    // Keys are typed at terminals. Elsewhere the same bytes are data.
                    detach_keys: if config.tty { exec.detach_keys.clone() } else { Vec::new() },
                    input,
                    hold: false,
                };
                (Some(attach), vec![(FdRole::Client, stream)])
            }
            None => (None, Vec::new()),
        };
        exec.progress().running = true;
        let exit_file = exec.record.as_ref().map(exec_record::Place::exit_file).unwrap_or_default();
        let request = ExecRequest { id: exec.id.clone(), process_file, attach, size, exit_file };
        let started = shim.call(Op::Exec(request), fds).await.map_err(|error| {
            // The shim deletes the file when it reads it; a lost one did not.
            let _ = std::fs::remove_file(&path);
            exec.progress().running = false;
            exec_failed(error)
        })?;
        {
            let mut progress = exec.progress();
            // The exit may have been told already.
            if progress.exit_code.is_none() {
                progress.pid = started.pid;
            }
        }
        if let Err(error) = exec.save() {
            // It runs; only a daemon to come will know less of it.
            tracing::warn!("exec {}: {error}", exec.id);
        }
        Ok(())
    }

    fn exec_process(&self, exec: &Exec) -> Result<Process> {
        let record = exec.container.read().record.clone();
        let links = if record.links.is_empty() || !self.config.legacy_link_env {
            Vec::new()
        } else {
            self.running_links(&record)?.env
        };
        let config = &exec.config;
        let terminal = tare_docker_api::container::Config { tty: config.tty, ..record.config.clone() };
        let mut env = spec::environment::of(&terminal, &record.config.hostname, &links);
        spec::environment::override_with(&mut env, &config.env);
        let user = if config.user.is_empty() { &record.config.user } else { &config.user };
        let directory = if config.working_dir.is_empty() { &record.config.working_dir } else { &config.working_dir };
        let host = if config.privileged {
            tare_docker_api::container::HostConfig { privileged: true, ..record.host_config.clone() }
        } else {
            record.host_config.clone()
        };
        let security = spec::security::options(&record.host_config, &self.facts)?;
        let capabilities = spec::capabilities::of(&host, &self.facts.capabilities);
        Ok(Process {
            terminal: config.tty,
            console_size: config.console_size.and_then(|[rows, cols]| {
                Some(ConsoleSize { height: u16::try_from(rows).ok()?, width: u16::try_from(cols).ok()? })
            }),
            user: spec::user(user, &record.host_config.group_add),
            args: config.cmd.clone().unwrap_or_default(),
            env,
            cwd: if directory.is_empty() { "/".into() } else { directory.into() },
            capabilities: Some(spec::capability_sets(capabilities, user)),
            rlimits: spec::rlimits(&record, &self.facts),
            no_new_privileges: security.no_new_privileges,
            apparmor_profile: security.apparmor,
            oom_score_adj: spec::oom_score_adj(record.host_config.oom_score_adj, self.facts.oom_score_adj),
            ..Process::default()
        })
    }

    /// Sets the size of an exec's terminal.
    pub async fn exec_resize(&self, id: &str, rows: u16, cols: u16) -> Result<()> {
        let exec = self.execs.find(id)?;
        let shim = exec.container.shim()?;
        shim.call(Op::Resize { exec: Some(exec.id.clone()), rows, cols }, Vec::new())
            .await
            .map(|_| ())
            .map_err(|error| Error::internal(error.to_string()))
    }

    /// Describes an exec. Of one whose process has just ended, the exit code is waited for: its client, whose stream
    /// ended with it, asks for nothing else.
    pub async fn exec_inspect(&self, id: &str) -> Result<ExecInspect> {
        let exec = self.execs.find(id)?;
        if exec.progress().running {
            // Out of patience it counts as running.
            let _ = tokio::time::timeout(EXIT_CODE_TIMEOUT, exec.settled()).await;
        }
        let progress = *exec.progress();
        let config = &exec.config;
        let mut words = config.cmd.clone().unwrap_or_default().into_iter();
        Ok(ExecInspect {
            id: exec.id.clone(),
            running: progress.running,
            exit_code: progress.exit_code.map(i64::from),
            process_config: ExecProcessConfig {
                tty: config.tty,
                entrypoint: words.next().unwrap_or_default(),
                arguments: words.collect(),
                privileged: Some(config.privileged),
                user: config.user.clone(),
            },
            open_stdin: config.attach_stdin,
            open_stderr: config.attach_stderr,
            open_stdout: config.attach_stdout,
            can_remove: false,
            container_id: exec.container.id.clone(),
            detach_keys: Some(config.detach_keys.clone()),
            pid: i64::from(progress.pid),
        })
    }

    /// The shim's word that an exec has ended.
    pub(crate) fn exec_exited(&self, container: &Container, id: &str, code: i32) {
        let Ok(exec) = self.execs.find(id) else { return };
        exec.finish(code);
        let mut attributes = super::attributes(&container.read().record);
        attributes.insert("execID".to_owned(), id.to_owned());
        attributes.insert("exitCode".to_owned(), code.to_string());
        self.events.publish("container", "exec_die", &container.id, attributes);
    }

    /// Runs a command with its output going to `stream`.
    pub(crate) async fn exec_captured(
        self: &Arc<Self>,
        container: &Arc<Container>,
        config: ExecConfig,
        stream: OwnedFd,
    ) -> Result<Arc<Exec>> {
        let exec = self.new_exec(&container.id, config, false)?;
        exec.progress().started = true;
        self.exec_event("exec_create", &exec);
        self.execs.insert(Arc::clone(&exec));
        let client = Client { stream, input: Vec::new(), raw: exec.config.tty };
        self.run_exec(&exec, Some(client), None).await?;
        Ok(exec)
    }

    /// Ends an exec's process.
    pub(crate) async fn exec_kill(&self, exec: &Exec) -> Result<()> {
        let request = Op::Signal { exec: Some(exec.id.clone()), signal: signal::KILL, all: false };
        let shim = exec.container.shim()?;
        shim.call(request, Vec::new()).await.map(|_| ()).map_err(|error| Error::internal(error.to_string()))
    }
}

impl ExecTicket {
    /// Starts the exec with the client's stream and the bytes already read from it. A failure to start is written to
    /// the stream, as Docker does.
    pub async fn connect(self, stream: OwnedFd, early: Vec<u8>) -> Result<()> {
        let copy = stream.try_clone().map_err(|error| Error::io("dup", "client", error))?;
        until_read(&stream).await;
        let client = Client { stream, input: early, raw: self.raw };
        let result = self.engine.run_exec(&self.exec, Some(client), self.size).await;
        if let Err(error) = &result {
            let text = format!("{}\r\n", error.message);
            let framed = if self.raw { text.into_bytes() } else { super::logs::frame(1, text.as_bytes()) };
            // A client that has left does not read it.
            let _ = rustix::io::write(&copy, &framed);
        }
        result
    }
}

fn exec_size(config: &ExecConfig, start: &ExecStart) -> Option<(u16, u16)> {
    let [rows, cols] = start.console_size.or(config.console_size)?;
    Some((u16::try_from(rows).ok()?, u16::try_from(cols).ok()?))
}

/// Whether a process runs; one that has ended and waits to be reaped does not.
fn process_exists(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the command's name, which is in parentheses and may contain some itself (proc_pid_stat(5)).
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Fails with Docker's words unless the container, called `name` by the client, runs.
fn runs(container: &Container, name: &str) -> Result<()> {
    match container.read().state.status {
        Status::Running => Ok(()),
        Status::Paused => {
            Err(Error::conflict(format!("Container {name} is paused, unpause the container before exec")))
        }
        Status::Restarting => Err(Error::restarting(&container.id)),
        _ => Err(Error::not_running(&container.id)),
    }
}

fn exec_failed(error: CallError) -> Error {
    match error {
        CallError::Failed(failure) if failure.kind == FailureKind::State => Error::conflict(failure.message),
        CallError::Failed(failure) => Error::invalid(failure_text(&failure.message)),
        CallError::Lost(error) => Error::internal(format!("{EXEC_FAILED}the container's shim is lost: {error}")),
    }
}

/// What the runtime says about a command that could not be run, in Docker's words.
fn failure_text(message: &str) -> String {
    if super::start::before_runtime(message) {
        return message.to_owned();
    }
    // Seen before there is a process.
    if message.starts_with("Cwd must ") {
        return format!("{RUNTIME_FAILED}{message}");
    }
    // Clients take their exit code, 126, from these words.
    let denied = if message.ends_with("is a directory") { ": permission denied" } else { "" };
    format!("{EXEC_FAILED}{message}{denied}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_read_as_dockers() {
        assert_eq!(
            failure_text("exec: \"/etc\": is a directory"),
            format!("{EXEC_FAILED}exec: \"/etc\": is a directory: permission denied")
        );
        let user = "unable to find user x: no matching entries in passwd file";
        assert_eq!(failure_text(user), user);
    }
}
