//! Health checks: a command run in the container again and again, and what is made of its results.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use tare_docker_api::container::{ExecConfig, Health, HealthLog, Healthcheck};
use tare_docker_api::time::Time;

use super::state::Status;
use super::{Container, exit, signal};
use crate::Engine;
use crate::error::Error;
use crate::options::StopOptions;

/// Defaults of Docker.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: i64 = 3;
/// Results kept.
const RESULTS_MAX: usize = 5;
/// Longest wait for the rest of a check's output after its end.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(500);
/// Bytes kept of a check's output.
const OUTPUT_BYTES_MAX: usize = 4096;

impl Engine {
    /// Starts checking, if the container has a check.
    pub(crate) fn start_health(&self, container: &Arc<Container>) {
        let Some(engine) = self.me.upgrade() else { return };
        let check = container.read().record.config.healthcheck.clone();
        let Some((check, command)) = check.and_then(|check| command(&check, container).map(|command| (check, command)))
        else {
            return;
        };
        container.read().state.health = Some(Health { status: "starting".to_owned(), ..Health::default() });
        let task = tokio::spawn(monitor(engine, Arc::clone(container), check, command));
        container.read().tasks.push(task.abort_handle());
    }
}

/// Whether there is something to check.
pub(crate) fn is_check(check: &Healthcheck) -> bool {
    check.test.first().is_some_and(|kind| matches!(kind.as_str(), "CMD" | "CMD-SHELL")) && check.test.len() > 1
}

/// The words to run; `None` when there is nothing to check.
fn command(check: &Healthcheck, container: &Container) -> Option<Vec<String>> {
    let (kind, rest) = check.test.split_first()?;
    match kind.as_str() {
        "CMD" if !rest.is_empty() => Some(rest.to_vec()),
        "CMD-SHELL" => {
            let shell = container.read().record.config.shell.to_vec();
            let mut words = if shell.is_empty() { vec!["/bin/sh".to_owned(), "-c".to_owned()] } else { shell };
            words.push(rest.first()?.clone());
            Some(words)
        }
        _ => None,
    }
}

fn duration(nanoseconds: i64, default: Duration) -> Duration {
    u64::try_from(nanoseconds).ok().filter(|ns| *ns > 0).map_or(default, Duration::from_nanos)
}

async fn monitor(engine: Arc<Engine>, container: Arc<Container>, check: Healthcheck, command: Vec<String>) {
    let started = tokio::time::Instant::now();
    let start_period = duration(check.start_period, Duration::ZERO);
    let timeout = duration(check.timeout, TIMEOUT);
    loop {
        let starting = started.elapsed() < start_period
            && container.read().state.health.as_ref().is_some_and(|health| health.status == "starting");
        let interval =
            if starting { duration(check.start_interval, START_INTERVAL) } else { duration(check.interval, INTERVAL) };
        tokio::time::sleep(interval).await;
        if is_paused(&container) {
            continue;
        }
        let result = probe(&engine, &container, &command, timeout).await;
        // A frozen process answers nothing: that says nothing about its health.
        if !is_paused(&container) {
            let grace = started.elapsed() < start_period;
            record(&engine, &container, &check, result, grace);
        }
    }
}

fn is_paused(container: &Container) -> bool {
    container.read().state.status == Status::Paused
}

async fn probe(engine: &Arc<Engine>, container: &Arc<Container>, command: &[String], timeout: Duration) -> HealthLog {
    let start = Time::now();
    let (exit_code, output) = match run(engine, container, command, timeout).await {
        Ok((Some(code), output)) => (i64::from(code), output),
        Ok((None, output)) if output.is_empty() => (-1, format!("Health check exceeded timeout ({})", human(timeout))),
        Ok((None, output)) => (-1, format!("Health check exceeded timeout ({}): {output}", human(timeout))),
        Err(error) => (-1, error.message),
    };
    HealthLog { start, end: Time::now(), exit_code, output }
}

/// Runs a check; no exit code is one that took too long, and was killed.
async fn run(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    command: &[String],
    timeout: Duration,
) -> Result<(Option<i32>, String), Error> {
    let failed = |error| Error::io("socketpair", "health", error);
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let end = ours.try_clone().map_err(failed)?;
    let config = ExecConfig {
        cmd: Some(command.to_vec()),
        attach_stdout: true,
        attach_stderr: true,
        tty: false,
        ..ExecConfig::default()
    };
    let mut reading = tokio::task::spawn_blocking(move || collect(ours));
    let exec = engine.exec_captured(container, config, OwnedFd::from(theirs)).await?;
    let code = tokio::time::timeout(timeout, exec.code()).await.ok();
    if code.is_none()
        && let Err(error) = engine.exec_kill(&exec).await
    {
        tracing::debug!("ending a health check of {}: {error}", container.id);
    }
    let output = match tokio::time::timeout(OUTPUT_TIMEOUT, &mut reading).await {
        Ok(output) => output,
        Err(_) => {
            // Something that the check left behind holds its output open.
            let _ = end.shutdown(std::net::Shutdown::Both);
            reading.await
        }
    };
    Ok((code, output.unwrap_or_default()))
}

/// Go's notation of a duration.
fn human(duration: Duration) -> String {
    let fraction = |value: f64, unit: &str| format!("{value}{unit}");
    if duration < Duration::from_secs(1) {
        return fraction(duration.as_secs_f64() * 1e3, "ms");
    }
    let seconds = duration.as_secs();
    let rest = fraction((seconds % 60) as f64 + f64::from(duration.subsec_nanos()) / 1e9, "s");
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => rest,
        (0, minutes) => format!("{minutes}m{rest}"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
    }
}

/// The payload of a multiplexed stream, cut to what is kept.
fn collect(mut stream: UnixStream) -> String {
    let mut output = Vec::new();
    let mut header = [0; 8];
    while stream.read_exact(&mut header).is_ok() {
        let [_, _, _, _, length @ ..] = header;
        let mut payload = (&mut stream).take(u64::from(u32::from_be_bytes(length)));
        let left = OUTPUT_BYTES_MAX.saturating_sub(output.len());
        // What is over the limit is read and dropped, so that the check is not held up.
        let kept = (&mut payload).take(left as u64).read_to_end(&mut output);
        if kept.is_err() || std::io::copy(&mut payload, &mut std::io::sink()).is_err() {
            break;
        }
    }
    String::from_utf8_lossy(&output).into_owned()
}

fn record(engine: &Arc<Engine>, container: &Arc<Container>, check: &Healthcheck, result: HealthLog, grace: bool) {
    let retries = if check.retries > 0 { check.retries } else { RETRIES };
    let changed = {
        let mut inner = container.read();
        let inner = &mut *inner;
        let Some(health) = inner.state.health.as_mut() else { return };
        let before = health.status.clone();
        if result.exit_code == 0 {
            health.failing_streak = 0;
            "healthy".clone_into(&mut health.status);
        } else if !(grace && before == "starting") {
            health.failing_streak += 1;
            if health.failing_streak >= retries {
                "unhealthy".clone_into(&mut health.status);
            }
        }
        health.log.push(result);
        let surplus = health.log.len().saturating_sub(RESULTS_MAX);
        health.log.drain(..surplus);
        (health.status != before).then(|| (health.status.clone(), super::attributes(&inner.record)))
    };
    if let Some((status, attributes)) = changed {
        let attributes: BTreeMap<String, String> = attributes;
        engine.events.publish("container", format!("health_status: {status}"), &container.id, attributes);
        if status == "unhealthy" {
            // Not part of the monitor, which ends with the container's run.
            tokio::spawn(end_unhealthy(Arc::clone(engine), Arc::clone(container)));
        }
    }
}

/// Ends an unhealthy container, if its policy then starts it again: politely, and after its stop timeout by force. One
/// without restarts left goes on as it is, which is more than nothing.
async fn end_unhealthy(engine: Arc<Engine>, container: Arc<Container>) {
    let run = container.read().state.started_at;
    let _operation = container.operation.lock().await;
    let Ok((stop, timeout)) = engine.stop_parameters(&container, &StopOptions::default()) else { return };
    let mut progress = container.watch();
    let exits = progress.borrow().exits;
    let snapshot = {
        let mut inner = container.read();
        let inner = &mut *inner;
        let unhealthy = inner.state.health.as_ref().is_some_and(|health| health.status == "unhealthy");
        if inner.state.started_at != run || inner.state.status != Status::Running || !unhealthy {
            return;
        }
        inner.state.ended_unhealthy = true;
        if inner.record.host_config.restart_policy.name != exit::ON_UNHEALTHY
            || !exit::wants_restart(&inner.record.host_config.restart_policy, &inner.state)
        {
            inner.state.ended_unhealthy = false;
            return;
        }
        inner.snapshot()
    };
    // Should the daemon end now, the next one restarts it.
    engine.save_later(&snapshot);
    tracing::info!("container {} is unhealthy and is restarted", container.id);
    for (number, timeout) in [(stop, timeout), (signal::KILL, None)] {
        if let Err(error) = engine.deliver_signal(&container, number).await {
            tracing::debug!("ending the unhealthy container {}: {error}", container.id);
        }
        // The sender lives as long as the container.
        let ended = async {
            let _ = progress.wait_for(|progress| progress.exits > exits || progress.removed).await;
        };
        match timeout {
            Some(timeout) => {
                if tokio::time::timeout(timeout, ended).await.is_ok() {
                    return;
                }
            }
            None => ended.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_does() {
        for (nanoseconds, text) in [
            (500_000_000, "500ms"),
            (1_500_000, "1.5ms"),
            (5_000_000_000, "5s"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(human(Duration::from_nanos(nanoseconds)), text);
        }
    }
}
