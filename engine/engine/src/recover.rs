//! After a start of the daemon: adopting what runs, recording what has ended meanwhile, starting what should run, and
//! removing what belongs to nothing.
//!
//! The kernel and the shims are the truth. A bundle directory whose shim answers is a running container; one with an
//! exit record is a container that has ended; anything else is the rest of a lost run.

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use tare_network::Expected;
use tare_shim_protocol::{ExitRecord, Op, SOCKET_NAME, STATE_NAME, ShimState};
use tare_state::Kind;

use crate::Engine;
use crate::claim::Taken;
use crate::container::record::Record;
use crate::container::state::Status;
use crate::container::{Container, prepare, supervise};
use crate::error::{Error, Result};
use crate::host::clock;
use crate::network::sandbox::Sandbox;
use crate::shim::Connection;

/// Exit code of a container that was running when its engine, or the machine, went down with it.
const LOST_CODE: i32 = 255;
/// Longest wait of a container, started with the engine, for those it depends on.
const DEPENDENCY_TIMEOUT: Duration = Duration::from_secs(5);

impl Engine {
    pub(crate) async fn recover(self: &Arc<Self>) -> Result<()> {
        for (id, body) in self.store.load(Kind::Container)? {
            match serde_json::from_str::<Record>(&body) {
                Ok(record) => self.restore(record)?,
                Err(error) => tracing::error!("container {id} in the state database cannot be read: {error}"),
            }
        }
        self.restore_unknown().await?;
        let mut over = Vec::new();
        for container in self.all_containers() {
            if let Some(recorded) = self.settle_run(&container).await {
                over.push((container, recorded));
            }
        }
        // What was found out is on disk before the bundles go that tell of it.
        if let Err(error) = self.write(Vec::new()).await {
            tracing::error!("recording what has ended meanwhile: {error}");
        }
        for (container, recorded) in over {
            if let Some(taken) = Taken::take(&self.bundle(&container.id))
                && !recorded
                && taken.is_recorded()
            {
                self.kill_rest(&container).await;
            }
        }
        // All are known by now, and so are their names.
        for container in self.all_containers() {
            self.finish_connecting(&container).await;
            if container.read().state.started_at != 0 {
                self.forward(&container);
            }
        }
        let engine = Arc::clone(self);
        crate::blocking(move || {
            engine.sweep();
            Ok(())
        })
        .await?;
        self.remove_unfinished_builds().await;
        Ok(())
    }

    /// Takes containers back that run and that the database knows nothing of: it was lost, or is older than they are.
    /// Nothing that runs is killed for want of a record.
    async fn restore_unknown(self: &Arc<Self>) -> Result<()> {
        let known: BTreeSet<String> = self.all_containers().iter().map(|container| container.id.clone()).collect();
        for id in names_in(&self.config.exec_root.join("containers")) {
            let bundle = self.bundle(&id);
            if known.contains(&id) {
                continue;
            }
            let runs = dial(&bundle.join(SOCKET_NAME)).is_ok();
            let body = std::fs::read(bundle.join(prepare::RECORD_NAME)).ok();
            let Some(record) = body.and_then(|body| serde_json::from_slice::<Record>(&body).ok()) else {
                if runs {
                    tracing::error!("container {id} runs, but its record cannot be read");
                }
                continue;
            };
            if record.id != id {
                continue;
            }
            if !runs {
                // One with `--rm` that has ended meanwhile is removed as at its end, with what was made for it.
                if record.host_config.auto_remove && read_run(&bundle).is_some() {
                    self.restore(record)?;
                }
                continue;
            }
            tracing::warn!("container {id} runs and was not in the state database: it is taken back");
            if let Err(error) = self.save_container(&record).await {
                // Its bundle still tells of it.
                tracing::error!("storing container {id}: {error}");
            }
            self.restore(record)?;
        }
        Ok(())
    }

    /// Brings a container's record back.
    fn restore(&self, record: Record) -> Result<()> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.reserve_name(&record.name, &record.id)?;
        for (child, alias) in &record.links {
            // A child that was removed took its link with it.
            let _ = index.reserve_name(&format!("{}/{alias}", record.name), child);
        }
        let mut state = record.state.clone();
        state.health = None;
        index.insert(Container::new(record, state));
        Ok(())
    }

    /// Finds out what became of a container's last run. None if it goes on; else whether there was a record of it.
    async fn settle_run(self: &Arc<Self>, container: &Arc<Container>) -> Option<bool> {
        let bundle = self.bundle(&container.id);
        if let Some((shim, sandbox)) = read_run(&bundle) {
            match self.adopt(container, &bundle, &shim, sandbox.clone()).await {
                Ok(()) => return None,
                Err(error) => tracing::info!("container {} does not run any more: {error}", container.id),
            }
            container.read().sandbox = sandbox;
            container.read().state.started_at = shim.started_at;
            let exit = supervise::read_exit(&bundle);
            let known = exit.is_some();
            // A container whose shim was killed is killed, too. With the machine it was not us who ended it.
            let gone = || if shim.boot_id == boot_id() { supervise::lost() } else { lost() };
            let exit = exit.unwrap_or_else(gone);
            if !known {
                self.kill_rest(container).await;
            }
            self.restore_execs(container, &bundle, None).await;
            self.forget_run(container, &exit);
            return Some(true);
        }
        if container.read().state.counts_as_running() {
            // The machine went down, or the exec root was emptied, with the container running.
            self.kill_rest(container).await;
            self.forget_run(container, &lost());
        }
        Some(false)
    }

    /// Takes over a running container from its shim.
    async fn adopt(
        self: &Arc<Self>,
        container: &Arc<Container>,
        bundle: &Path,
        shim: &ShimState,
        sandbox: Sandbox,
    ) -> Result<()> {
        if shim.boot_id != boot_id() {
            return Err(Error::internal("it ran before the machine was started"));
        }
        let socket = dial(&bundle.join(SOCKET_NAME))?;
        let (connection, events) = Connection::open(socket, shim.shim_pid, shim.version)
            .map_err(|error| Error::io("connect to", bundle.display(), error))?;
        connection.call(Op::Ping, Vec::new()).await.map_err(|error| Error::internal(error.to_string()))?;
        for endpoint in &sandbox.endpoints {
            self.networks.remember(endpoint);
        }
        self.networks.ports.reserve(&container.id, &sandbox.mappings);
        let paused = self.stays_paused(container, shim).await;
        self.restore_execs(container, bundle, Some(&connection)).await;
        {
            let mut inner = container.read();
            inner.shim = Some(Arc::clone(&connection));
            inner.sandbox = sandbox;
            inner.state.status = if paused { Status::Paused } else { Status::Running };
            inner.state.pid = shim.pid;
            inner.state.start_time = shim.start_time;
            inner.state.started_at = shim.started_at;
        }
        container.announce(|progress| progress.running = true);
        self.start_health(container);
        tokio::spawn(supervise::run(Arc::clone(self), Arc::clone(container), connection, events));
        Ok(())
    }

    /// Records the end of a run that this daemon did not see.
    fn forget_run(&self, container: &Container, exit: &ExitRecord) {
        let (snapshot, attributes) = {
            let mut inner = container.read();
            inner.sandbox = Sandbox::default();
            let state = &mut inner.state;
            state.status = Status::Exited;
            state.pid = 0;
            state.exit_code = exit.code;
            state.oom_killed = exit.oom_killed;
            state.finished_at = exit.finished_at;
            state.error.clone_from(&exit.error);
            (inner.snapshot(), crate::container::attributes(&inner.record))
        };
        container.announce(|progress| progress.running = false);
        if exit.oom_killed {
            self.events.publish("container", "oom", &container.id, attributes);
        }
        self.save_later(&snapshot);
    }

    /// Processes of a container without a shim are nobody's: they are killed.
    async fn kill_rest(&self, container: &Container) {
        let cgroup = self.cgroup(container);
        let id = container.id.clone();
        let killed = crate::blocking(move || {
            cgroup
                .kill_all(crate::container::signal::KILL)
                .and_then(|()| cgroup.remove())
                .map_err(|error| Error::internal(error.to_string()))
        });
        if let Err(error) = killed.await {
            tracing::error!("ending the rest of container {id}: {error}");
        }
    }

    /// Removes what this engine made for containers that do not exist, or do not run. Blocking.
    fn sweep(&self) {
        let containers = self.all_containers();
        let known: BTreeSet<String> = containers.iter().map(|container| container.id.clone()).collect();
        let directory = self.config.data_root.join("containers");
        for name in names_in(&directory).into_iter().filter(|name| !known.contains(name)) {
            crate::remove_tree(&directory.join(name));
        }
        let directory = self.config.exec_root.join("containers");
        for name in names_in(&directory).into_iter().filter(|name| !known.contains(name)) {
            self.sweep_bundle(&directory.join(name));
        }
        self.sweep_mounts();
        // A layer of an image that a container mounts has the container's ID and a name of its own.
        let owner = |layer: &String| layer.split('-').next().unwrap_or_default().to_owned();
        for id in self.images.rw_layers().into_iter().filter(|layer| !known.contains(&owner(layer))) {
            if let Err(error) = self.images.remove_rw_layer(&id) {
                tracing::warn!("removing the file system of {id}, which is no container: {error}");
            }
        }
        self.remove_ownerless_volumes(|owner| known.contains(owner));
        let mut expected = Expected::default();
        for net in self.networks.all() {
            if net.driver() == "bridge" {
                expected.bridges.push(net.bridge());
            }
        }
        for container in &containers {
            let inner = container.read();
            expected.endpoint_ids.extend(inner.sandbox.endpoints.iter().map(|endpoint| endpoint.endpoint_id.clone()));
            expected.mappings.extend(inner.sandbox.mappings.iter().cloned());
        }
        if let Err(error) = self.networks.mechanism.reconcile(&expected) {
            tracing::warn!("removing network leftovers: {error}");
        }
        self.sweep_names();
        self.sweep_cgroups(&containers);
    }

    /// Removes the bundle of a container that does not exist, and ends what was started from it.
    fn sweep_bundle(&self, bundle: &Path) {
        let Some(taken) = Taken::take(bundle).filter(Taken::is_recorded) else { return };
        let body = std::fs::read(taken.directory().join(prepare::RECORD_NAME)).ok();
        // One in our own cgroup is found there.
        let Some(record) = body.and_then(|body| serde_json::from_slice::<Record>(&body).ok()) else { return };
        let cgroup = tare_cgroup::Cgroup::open(&self.hierarchies, &self.cgroup_path(&record));
        if let Err(error) = cgroup.kill_all(crate::container::signal::KILL).and_then(|()| cgroup.remove()) {
            tracing::warn!("removing the cgroup {}: {error}", cgroup.path());
        }
    }

    fn sweep_cgroups(&self, containers: &[Arc<Container>]) {
        let alive: BTreeSet<String> = containers
            .iter()
            .filter(|container| container.read().state.is_alive())
            .map(|container| container.id.clone())
            .collect();
        let parent = tare_cgroup::Cgroup::open(&self.hierarchies, &format!("/tare-{}", self.instance));
        for name in parent.children().unwrap_or_default() {
            // Spares carry the process ID of the daemon that started them and end with it.
            let own_spare = name.starts_with(&format!("spare-{}-", std::process::id()));
            if alive.contains(&name) || own_spare {
                continue;
            }
            let cgroup = tare_cgroup::Cgroup::open(&self.hierarchies, &format!("/tare-{}/{name}", self.instance));
            if let Err(error) = cgroup.kill_all(crate::container::signal::KILL).and_then(|()| cgroup.remove()) {
                tracing::warn!("removing the cgroup {}: {error}", cgroup.path());
            }
        }
    }

    /// Starts what its policy says, each container after those it is linked to or shares a namespace with, and removes what
    /// was to be removed at its end. After [`Engine::ended`] has told of their ends whoever wants to know.
    pub fn go_on(self: &Arc<Self>) {
        for container in self.all_containers() {
            let (wanted, remove) = {
                let inner = container.read();
                let stopped = !inner.state.is_alive();
                (
                    stopped && restarts_with_engine(&inner.record, &inner.state),
                    stopped && inner.record.host_config.auto_remove && inner.state.started_at != 0,
                )
            };
            let engine = Arc::clone(self);
            if remove {
                tokio::spawn(async move { engine.remove_failed(&container).await });
            } else if wanted {
                container.read().state.status = Status::Restarting;
                tokio::spawn(async move { engine.start_restored(container).await });
            }
        }
    }

    async fn start_restored(self: Arc<Self>, container: Arc<Container>) {
        for other in self.dependencies(&container) {
            let mut progress = other.watch();
            // Out of patience, the start is tried all the same and reports what is missing.
            let _ = tokio::time::timeout(DEPENDENCY_TIMEOUT, progress.wait_for(|progress| progress.running)).await;
        }
        let _operation = container.operation.lock().await;
        if container.read().state.status != Status::Restarting {
            return;
        }
        container.read().state.status = Status::Exited;
        if let Err(error) = self.launch(&container).await {
            tracing::error!("starting container {}: {error}", container.id);
        }
    }

    /// Containers that have to run before this one.
    fn dependencies(&self, container: &Container) -> Vec<Arc<Container>> {
        let record = container.read().record.clone();
        let host = &record.host_config;
        let joined = [&host.network_mode, &host.pid_mode, &host.ipc_mode];
        let names = joined.into_iter().filter_map(|mode| mode.strip_prefix("container:"));
        let links = record.links.iter().map(|(id, _)| id.as_str());
        names.chain(links).filter_map(|name| self.find(name).ok()).collect()
    }
}

/// Docker's rule at the start of the daemon.
fn restarts_with_engine(record: &Record, state: &crate::container::state::State) -> bool {
    match record.host_config.restart_policy.name.as_str() {
        "always" => state.started_at != 0,
        "unless-stopped" => state.started_at != 0 && !state.manually_stopped,
        "on-failure" | crate::container::exit::ON_UNHEALTHY => {
            state.started_at != 0 && crate::container::exit::wants_restart(&record.host_config.restart_policy, state)
        }
        _ => false,
    }
}

fn read_run(bundle: &Path) -> Option<(ShimState, Sandbox)> {
    let shim = serde_json::from_slice(&std::fs::read(bundle.join(STATE_NAME)).ok()?).ok()?;
    let sandbox = std::fs::read(bundle.join(prepare::SANDBOX_NAME)).ok();
    let sandbox = sandbox.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    Some((shim, sandbox))
}

fn lost() -> ExitRecord {
    ExitRecord { code: LOST_CODE, oom_killed: false, finished_at: clock::now_ns(), error: String::new() }
}

pub(crate) fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn dial(path: &Path) -> Result<OwnedFd> {
    let failed = |error: rustix::io::Errno| Error::io("connect", path.display(), error);
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(failed)?;
    // Through the directory's descriptor: an address has room for 108 bytes, a path may be longer.
    let (directory, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty()).map_err(failed)?;
    let address = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    let address = SocketAddrUnix::new(&address).map_err(failed)?;
    connect(&socket, &address).map_err(failed)?;
    Ok(socket)
}

/// What is in a directory; nothing if there is none.
pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
