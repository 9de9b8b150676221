//! Whether it is only the daemon that ends, or the machine.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Set for what systemd has started.
const INVOCATION: &str = "INVOCATION_ID";
/// Longest wait for systemd's answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the machine is being shut down, as far as systemd has started us and says so.
pub(super) async fn ends() -> bool {
    if std::env::var_os(INVOCATION).is_none() {
        return false;
    }
    let mut command = Command::new("systemctl");
    command.arg("is-system-running").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => output.stdout.trim_ascii() == b"stopping",
        Ok(Err(error)) => {
            tracing::warn!("asking systemd whether the machine ends: {error}");
            false
        }
        Err(_) => {
            tracing::warn!("asking systemd whether the machine ends: no answer in {} s", PATIENCE.as_secs());
            false
        }
    }
}
