//! Stopping, killing, restarting.

use std::sync::Arc;
use std::time::Duration;

use tare_shim_protocol::Op;

use super::state::Status;
use super::{Container, signal};
use crate::Engine;
use crate::error::{Error, Result};
use crate::options::StopOptions;

/// Time that SIGKILL gets to end a container before it is reported as unkillable.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

impl Engine {
    /// Stops a container: its stop signal, then SIGKILL after the timeout. Not modified if it does not run.
    pub async fn stop(self: &Arc<Self>, name: &str, options: StopOptions) -> Result<()> {
        let container = self.find(name)?;
        let _operation = container.operation.lock().await;
        if !container.read().state.counts_as_running() {
            return Err(Error::not_modified("container is already stopped"));
        }
        self.stop_locked(&container, &options)
            .await
            .map_err(|error| error.context(format!("cannot stop container: {name}: ")))?;
        self.container_event(&container, "stop");
        Ok(())
    }

    /// Stops and starts a container.
    pub async fn restart(self: &Arc<Self>, name: &str, options: StopOptions) -> Result<()> {
        let container = self.find(name)?;
        let _operation = container.operation.lock().await;
        let failed = |error: Error| error.context(format!("Cannot restart container {name}: "));
        container.read().kept = true;
        let result = self.restart_locked(&container, &options).await;
        container.read().kept = false;
        result.map_err(failed)?;
        self.container_event(&container, "restart");
        Ok(())
    }

    async fn restart_locked(self: &Arc<Self>, container: &Arc<Container>, options: &StopOptions) -> Result<()> {
        if container.read().state.status == Status::Paused {
            self.unpause_locked(container)?;
        }
        if container.read().state.counts_as_running() {
            self.stop_locked(container, options).await?;
            self.container_event(container, "stop");
        }
        self.start_locked(container).await
    }

    /// Sends a signal. SIGKILL and the container's stop signal count as stopping by hand.
    pub async fn kill(self: &Arc<Self>, name: &str, signal: Option<&str>) -> Result<()> {
        let failed = |error: Error| error.context(format!("cannot kill container: {name}: "));
        let signal = signal.filter(|signal| !signal.is_empty());
        let number = signal.map_or(Ok(signal::KILL), signal::parse).map_err(failed)?;
        let container = self.find(name).map_err(failed)?;
        let restarting = container.read().state.status == Status::Restarting;
        if restarting && number == signal::KILL {
            let _operation = container.operation.lock().await;
            self.cancel_restart(&container);
            return Ok(());
        }
        if !container.read().state.is_alive() {
            return Err(failed(Error::not_running(&container.id)));
        }
        self.send_signal(&container, number).await.map_err(failed)?;
        if number == signal::KILL {
            self.wait_for_exit(&container, Some(KILL_TIMEOUT)).await;
        }
        Ok(())
    }

    /// Stops a running, paused or restarting container and waits for its end.
    pub(crate) async fn stop_locked(self: &Arc<Self>, container: &Arc<Container>, options: &StopOptions) -> Result<()> {
        let (number, timeout) = self.stop_parameters(container, options)?;
        container.read().state.manually_stopped |= !self.is_ending();
        if container.read().state.status == Status::Restarting {
            self.cancel_restart(container);
            return Ok(());
        }
        let paused = container.read().state.status == Status::Paused;
        // The exit may come while the signal is being sent: a container that is gone has been stopped.
        if self.send_signal(container, number).await.is_err() && !container.read().state.is_alive() {
            return Ok(());
        }
        if paused {
            self.unpause_locked(container)?;
        }
        if self.wait_for_exit(container, timeout).await {
            return Ok(());
        }
        self.force_kill(container).await
    }

    /// SIGKILL, and the cgroup's processes after it if need be.
    pub(crate) async fn force_kill(self: &Arc<Self>, container: &Arc<Container>) -> Result<()> {
        container.read().state.manually_stopped |= !self.is_ending();
        let paused = container.read().state.status == Status::Paused;
        let sent = self.send_signal(container, signal::KILL).await;
        if paused {
            // A frozen v1 cgroup handles no signal until it is thawed.
            self.unpause_locked(container)?;
        }
        if sent.is_err() && !container.read().state.is_alive() {
            return Ok(());
        }
        if self.wait_for_exit(container, Some(KILL_TIMEOUT)).await {
            return Ok(());
        }
        let cgroup = self.cgroup(container);
        let killed =
            crate::blocking(move || cgroup.kill_all(signal::KILL).map_err(|error| Error::internal(error.to_string())));
        killed.await?;
        if self.wait_for_exit(container, Some(KILL_TIMEOUT)).await {
            return Ok(());
        }
        Err(Error::internal(format!("tried to kill container {}, but did not receive an exit event", container.id)))
    }

    /// The signal that stops a container, and how long it gets to have its effect.
    pub(crate) fn stop_parameters(
        &self,
        container: &Container,
        options: &StopOptions,
    ) -> Result<(i32, Option<Duration>)> {
        let inner = container.read();
        let config = &inner.record.config;
        let number = match options.signal.as_deref().filter(|signal| !signal.is_empty()) {
            Some(text) => signal::parse(text)?,
            None if !config.stop_signal.is_empty() => signal::parse(&config.stop_signal)?,
            None => signal::TERM,
        };
        let seconds = options.timeout_s.or(config.stop_timeout).unwrap_or(self.config.stop_timeout_s);
        Ok((number, u64::try_from(seconds).ok().map(Duration::from_secs)))
    }

    fn cancel_restart(&self, container: &Arc<Container>) {
        let snapshot = {
            let mut inner = container.read();
            inner.tasks.drain(..).for_each(|task| task.abort());
            inner.state.status = Status::Exited;
            inner.state.manually_stopped |= !self.is_ending();
            inner.snapshot()
        };
        self.save_later(&snapshot);
        container.announce(|progress| {
            progress.exits += 1;
            progress.running = false;
        });
    }

    /// Sends a signal that somebody asked for to the container's init.
    async fn send_signal(&self, container: &Arc<Container>, number: i32) -> Result<()> {
        container.shim()?;
        {
            // Docker's rule: any signal counts as stopping by hand, but where the container names its stop signal, only
            // that one and SIGKILL do.
            let mut inner = container.read();
            let stop = &inner.record.config.stop_signal;
            if stop.is_empty() || number == signal::KILL || signal::parse(stop).is_ok_and(|stop| stop == number) {
                inner.state.manually_stopped |= !self.is_ending();
            }
        }
        self.deliver_signal(container, number).await
    }

    /// Sends a signal to the container's init.
    pub(crate) async fn deliver_signal(&self, container: &Arc<Container>, number: i32) -> Result<()> {
        let shim = container.shim()?;
        shim.call(Op::Signal { exec: None, signal: number, all: false }, Vec::new())
            .await
            .map_err(|error| Error::internal(error.to_string()))?;
        let mut attributes = super::attributes(&container.read().record);
        attributes.insert("signal".to_owned(), number.to_string());
        self.events.publish("container", "kill", &container.id, attributes);
        Ok(())
    }

    /// Waits until the container does not run; false when the time is over first.
    async fn wait_for_exit(&self, container: &Container, timeout: Option<Duration>) -> bool {
        let mut progress = container.watch();
        // The container counts as running while its restart is due, but a stop by hand has ruled that out.
        let ended = async {
            // The sender lives as long as the container, which the caller holds.
            let _ = progress.wait_for(|progress| !progress.running || progress.removed).await;
        };
        match timeout {
            Some(timeout) => tokio::time::timeout(timeout, ended).await.is_ok(),
            None => {
                ended.await;
                true
            }
        }
    }
}
