//! Stopping all containers because the machine ends: what dockerd does when it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::Engine;
use crate::options::StopOptions;

/// Docker's extra time beyond the longest that any container has to stop.
const GRACE_S: i64 = 5;

impl Engine {
    /// How long [`Engine::stop_all`] takes at most: the setting, or what the most patient container has; `None`: as long as
    /// it takes.
    pub fn farewell_timeout(&self) -> Option<Duration> {
        let mut seconds = self.settings().shutdown_timeout_s;
        for container in self.all_containers() {
            let own = container.read().record.config.stop_timeout.unwrap_or(self.config.stop_timeout_s);
            // Negative: without end.
            if own < 0 || seconds < 0 {
                return None;
            }
            seconds = seconds.max(own.saturating_add(GRACE_S));
        }
        u64::try_from(seconds).ok().map(Duration::from_secs)
    }

    /// Stops all containers, each with its stop signal and timeout. They do not count as stopped by hand: the next engine
    /// starts those whose policy says so. From now on none is started again.
    pub async fn stop_all(self: &Arc<Self>) {
        self.ending.store(true, Ordering::Relaxed);
        let mut stops = tokio::task::JoinSet::new();
        for container in self.all_containers() {
            let engine = Arc::clone(self);
            stops.spawn(async move {
                let _operation = container.operation.lock().await;
                if !container.read().state.counts_as_running() {
                    return;
                }
                if let Err(error) = engine.stop_locked(&container, &StopOptions::default()).await {
                    tracing::error!("stopping container {}: {error}", container.id);
                    return;
                }
                engine.container_event(&container, "stop");
            });
        }
        let all = async { while stops.join_next().await.is_some() {} };
        let in_time = match self.farewell_timeout() {
            Some(timeout) => tokio::time::timeout(timeout, all).await.is_ok(),
            None => {
                all.await;
                true
            }
        };
        if !in_time {
            tracing::error!("not all containers have stopped in time");
        }
    }

    /// Whether the machine ends.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }
}
