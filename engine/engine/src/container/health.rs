//! Health checks: a command run in the container again and again, and what is made of its results.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tare_docker_api::container::{ExecConfig, Health, HealthLog, Healthcheck};
use tare_docker_api::time::Time;

use super::Container;
use crate::Engine;
use crate::error::Error;

/// Defaults of Docker.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: i64 = 3;
/// Results kept.
const RESULTS_MAX: usize = 5;
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
        let result = probe(&engine, &container, &command, timeout).await;
        let grace = started.elapsed() < start_period;
        record(&engine, &container, &check, result, grace);
    }
}

async fn probe(engine: &Arc<Engine>, container: &Arc<Container>, command: &[String], timeout: Duration) -> HealthLog {
    let start = Time::now();
    let result = tokio::time::timeout(timeout, run(engine, container, command)).await;
    let (exit_code, output) = match result {
        Ok(Ok((code, output))) => (i64::from(code), output),
        Ok(Err(error)) => (-1, error.message),
        Err(_) => (-1, format!("Health check exceeded timeout ({})", human(timeout))),
    };
    HealthLog { start, end: Time::now(), exit_code, output }
}

/// Go's notation of a duration, as far as health checks need it.
fn human(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    if milliseconds.is_multiple_of(1000) { format!("{}s", milliseconds / 1000) } else { format!("{milliseconds}ms") }
}

async fn run(engine: &Arc<Engine>, container: &Arc<Container>, command: &[String]) -> Result<(i32, String), Error> {
    let (ours, theirs) =
        std::os::unix::net::UnixStream::pair().map_err(|error| Error::io("socketpair", "health", error))?;
    let config = ExecConfig {
        cmd: Some(command.to_vec()),
        attach_stdout: true,
        attach_stderr: true,
        tty: false,
        ..ExecConfig::default()
    };
    let reading = tokio::task::spawn_blocking(move || collect(ours));
    let (_, code) = engine.exec_captured(container, config, OwnedFd::from(theirs)).await?;
    let output = reading.await.unwrap_or_default();
    Ok((code, output))
}

/// The payload of a multiplexed stream, cut to what is kept.
fn collect(mut stream: std::os::unix::net::UnixStream) -> String {
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

fn record(engine: &Engine, container: &Container, check: &Healthcheck, result: HealthLog, grace: bool) {
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
    }
}
