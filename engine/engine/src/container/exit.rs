//! What follows a container's exit: cleaning up, recording, telling, and perhaps starting it again.

use std::sync::Arc;
use std::time::Duration;

use tare_docker_api::container::RestartPolicy;
use tare_shim_protocol::ExitRecord;

use super::Container;
use super::state::Status;
use crate::Engine;
use crate::error::ErrorKind;
use crate::network::sandbox::Sandbox;
use crate::shim::Connection;

/// Wait before the first restart; doubles with each.
const RESTART_DELAY_MIN: Duration = Duration::from_millis(100);
/// Longest wait before a restart.
const RESTART_DELAY_MAX: Duration = Duration::from_secs(60);
/// Longest wait for a shim that was told it may end.
const SHIM_END_TIMEOUT: Duration = Duration::from_secs(1);
/// Time that the kernel gets to remove the interfaces of a container that has ended.
const INTERFACE_DELAY: Duration = Duration::from_secs(1);
/// A run this long makes the next wait the shortest again.
const RESTART_RESET: Duration = Duration::from_secs(10);

/// The policy that Docker has not: `on-failure`, and a container whose health check has failed too often is ended and
/// started again.
pub(crate) const ON_UNHEALTHY: &str = "on-unhealthy";

impl Engine {
    /// Deals with an exit. Everything else follows the commit: acknowledgement, waiters, events, restart, removal.
    pub(crate) async fn exited(
        self: &Arc<Self>,
        container: &Arc<Container>,
        exit: ExitRecord,
        connection: Option<&Arc<Connection>>,
    ) {
        let sandbox = {
            let mut inner = container.read();
            inner.tasks.drain(..).for_each(|task| task.abort());
            inner.shim = None;
            std::mem::take(&mut inner.sandbox)
        };
        self.drop_sandbox(&container.id, &sandbox);
        self.end_interfaces(&sandbox);
        self.release_mounts(&container.id).await;
        self.refresh_names(&sandbox);
        self.execs.container_exited(&container.id);
        let (snapshot, attributes, outcome) = settle(container, &exit, self.is_ending());
        if outcome != Outcome::Remove
            && let Err(error) = self.save_container(&snapshot).await
        {
            tracing::error!("recording the exit of container {}: {error}", container.id);
        }
        if let Some(hook) = self.exit_hook.get() {
            hook(crate::watch::exit(container, &snapshot.state)).await;
        }
        self.acknowledge(container, connection).await;
        if let Some(connection) = connection.filter(|_| !sandbox.mappings.is_empty()) {
            // The shim holds the sockets of published ports; a new start must find them free.
            let _ = tokio::time::timeout(SHIM_END_TIMEOUT, crate::shim::spawn::ended(connection.pid)).await;
        }
        self.released(container, &sandbox);
        let mut die = attributes;
        die.insert("exitCode".to_owned(), exit.code.to_string());
        die.insert("execDuration".to_owned(), run_seconds(&snapshot.state).to_string());
        self.events.publish("container", "die", &container.id, die);
        container.announce(|progress| {
            progress.exits += 1;
            progress.exit_code = exit.code;
            progress.running = matches!(outcome, Outcome::Restart(_));
        });
        match outcome {
            Outcome::Stay => {}
            Outcome::Restart(delay) => self.restart_later(container, delay),
            Outcome::Remove => self.remove_ended(container).await,
        }
    }

    /// Removes the interfaces of a container that has ended, should they still be there in a while. Mostly the kernel does
    /// it with the network namespace, at no cost to anybody; but connections whose other end has gone keep the
    /// namespace, and its interfaces, until they give up.
    fn end_interfaces(self: &Arc<Self>, sandbox: &Sandbox) {
        let ids: Vec<_> = sandbox.endpoints.iter().map(|endpoint| endpoint.endpoint_id.clone()).collect();
        if ids.is_empty() {
            return;
        }
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(INTERFACE_DELAY).await;
            let ended = crate::blocking(move || {
                let detach = |id: &String| engine.networks.mechanism.detach(id).map_err(crate::network::network_error);
                ids.iter().try_for_each(detach)
            });
            if let Err(error) = ended.await {
                tracing::warn!("removing interfaces of a container that has ended: {error}");
            }
        });
    }

    /// Tells that a container's networks and volumes are not in use by it any more.
    pub(crate) fn released(&self, container: &Container, sandbox: &Sandbox) {
        for endpoint in &sandbox.endpoints {
            self.network_event("disconnect", &endpoint.network_id, &endpoint.network_name, &container.id);
        }
        self.unmounted(container);
    }

    fn restart_later(self: &Arc<Self>, container: &Arc<Container>, delay: Duration) {
        let engine = Arc::clone(self);
        let waiting = Arc::clone(container);
        let task = tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            // From here on the restart is not to be interrupted half-way: it runs on its own.
            tokio::spawn(async move { engine.restart_due(&waiting).await });
        });
        container.read().tasks.push(task.abort_handle());
    }

    async fn restart_due(self: Arc<Self>, container: &Arc<Container>) {
        let _operation = container.operation.lock().await;
        if container.read().state.status != Status::Restarting || self.is_ending() {
            return;
        }
        container.read().state.restart_count += 1;
        if let Err(error) = self.launch(container).await {
            tracing::warn!("restarting container {}: {error}", container.id);
            let snapshot = {
                let mut inner = container.read();
                inner.state.status = Status::Exited;
                inner.snapshot()
            };
            self.save_later(&snapshot);
            container.announce(|progress| {
                progress.exits += 1;
                progress.running = false;
            });
        }
    }

    /// Removes a container that asked to be (`--rm`).
    async fn remove_ended(self: &Arc<Self>, container: &Arc<Container>) {
        if let Err(error) = self.remove_container(container, true).await
            && error.kind != ErrorKind::NotFound
        {
            tracing::error!("removing container {}: {error}", container.id);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Stay,
    Restart(Duration),
    Remove,
}

/// Sets the state after an exit and decides what comes next. Nothing starts when the machine is `ending`.
fn settle(
    container: &Container,
    exit: &ExitRecord,
    ending: bool,
) -> (super::record::Record, std::collections::BTreeMap<String, String>, Outcome) {
    let mut inner = container.read();
    let inner = &mut *inner;
    let state = &mut inner.state;
    state.pid = 0;
    state.exit_code = exit.code;
    state.oom_killed |= exit.oom_killed;
    state.finished_at = exit.finished_at;
    exit.error.clone_into(&mut state.error);
    state.health = None;
    let ran = Duration::from_nanos(u64::try_from(state.finished_at - state.started_at).unwrap_or(0));
    let host = &inner.record.host_config;
    let outcome = if host.auto_remove && !inner.kept {
        Outcome::Remove
    } else if !ending && state.status != Status::Removing && wants_restart(&host.restart_policy, state) {
        inner.restart_delay = next_delay(inner.restart_delay, ran);
        Outcome::Restart(inner.restart_delay)
    } else {
        Outcome::Stay
    };
    if state.status != Status::Removing {
        state.status = if matches!(outcome, Outcome::Restart(_)) { Status::Restarting } else { Status::Exited };
    }
    (inner.snapshot(), super::attributes(&inner.record), outcome)
}

/// Docker's rule of restart policies, and [`ON_UNHEALTHY`].
pub(crate) fn wants_restart(policy: &RestartPolicy, state: &super::state::State) -> bool {
    if state.manually_stopped {
        return false;
    }
    let left = policy.maximum_retry_count == 0 || i64::from(state.restart_count) < policy.maximum_retry_count;
    match policy.name.as_str() {
        "always" | "unless-stopped" => true,
        "on-failure" => state.exit_code != 0 && left,
        ON_UNHEALTHY => (state.exit_code != 0 || state.ended_unhealthy) && left,
        _ => false,
    }
}

fn next_delay(last: Duration, ran: Duration) -> Duration {
    if last.is_zero() || ran >= RESTART_RESET { RESTART_DELAY_MIN } else { (last * 2).min(RESTART_DELAY_MAX) }
}

fn run_seconds(state: &super::state::State) -> i64 {
    (state.finished_at - state.started_at).max(0) / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::state::State;

    #[test]
    fn delays_double_up_to_a_minute_and_reset() {
        let mut delay = Duration::ZERO;
        let mut seen = Vec::new();
        for _ in 0..12 {
            delay = next_delay(delay, Duration::from_secs(1));
            seen.push(delay.as_millis());
        }
        assert_eq!(seen, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        assert_eq!(next_delay(delay, Duration::from_secs(10)), RESTART_DELAY_MIN);
    }

    #[test]
    fn policies() {
        let policy = |name: &str, count| RestartPolicy { name: name.into(), maximum_retry_count: count };
        let state = |code, count, stopped| State {
            exit_code: code,
            restart_count: count,
            manually_stopped: stopped,
            ..State::default()
        };
        assert!(wants_restart(&policy("always", 0), &state(0, 9, false)));
        assert!(!wants_restart(&policy("always", 0), &state(0, 9, true)));
        assert!(!wants_restart(&policy("on-failure", 0), &state(0, 0, false)));
        assert!(wants_restart(&policy("on-failure", 3), &state(1, 2, false)));
        assert!(!wants_restart(&policy("on-failure", 3), &state(1, 3, false)));
        assert!(!wants_restart(&policy("no", 0), &state(1, 0, false)));
        let unhealthy = |count| State { ended_unhealthy: true, ..state(0, count, false) };
        assert!(wants_restart(&policy("on-unhealthy", 2), &unhealthy(1)));
        assert!(!wants_restart(&policy("on-unhealthy", 2), &unhealthy(2)));
        assert!(wants_restart(&policy("on-unhealthy", 0), &state(1, 0, false)));
        assert!(!wants_restart(&policy("on-unhealthy", 0), &state(0, 0, false)));
        assert!(!wants_restart(&policy("on-failure", 0), &unhealthy(0)));
    }
}
