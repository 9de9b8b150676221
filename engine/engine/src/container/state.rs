//! A container's present state.

use serde::{Deserialize, Serialize};

/// The states of Docker's `State.Status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Never started.
    #[default]
    Created,
    /// Its process runs.
    Running,
    /// Frozen.
    Paused,
    /// Ended, to be started again by its restart policy.
    Restarting,
    /// Being removed.
    Removing,
    /// Ended.
    Exited,
    /// Could not be removed.
    Dead,
}

impl Status {
    /// Docker's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Restarting => "restarting",
            Status::Removing => "removing",
            Status::Exited => "exited",
            Status::Dead => "dead",
        }
    }
}

/// The present; its durable part is stored with the record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    /// Where it stands.
    pub(crate) status: Status,
    /// Exit code of the last run.
    pub(crate) exit_code: i32,
    /// The last run lost a process to the OOM killer.
    pub(crate) oom_killed: bool,
    /// Why the last start failed or the last run ended abnormally.
    pub(crate) error: String,
    /// Start of the last run in nanoseconds since the epoch; 0 for never.
    pub(crate) started_at: i64,
    /// End of the last run in nanoseconds since the epoch; 0 for never.
    pub(crate) finished_at: i64,
    /// Restarts by policy since the last manual start.
    pub(crate) restart_count: u32,
    /// Stopped or killed by hand: policies leave it alone.
    pub(crate) manually_stopped: bool,
    /// Its last run was ended because it was unhealthy.
    pub(crate) ended_unhealthy: bool,
    /// Init's process ID in the host's namespace; 0 when not running.
    #[serde(skip)]
    pub(crate) pid: i32,
    /// Its start time in clock ticks since boot.
    #[serde(skip)]
    pub(crate) start_time: u64,
    /// Health, when it is checked.
    #[serde(skip)]
    pub(crate) health: Option<tare_docker_api::container::Health>,
}

impl State {
    /// Its process exists (running or paused).
    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.status, Status::Running | Status::Paused)
    }

    /// Docker's `Running`: true while restarting, too.
    pub(crate) fn counts_as_running(&self) -> bool {
        self.is_alive() || self.status == Status::Restarting
    }
}

/// What waiters wait for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Runs that have ended since the daemon started.
    pub(crate) exits: u64,
    /// A process exists, or its restart is due.
    pub(crate) running: bool,
    /// The container is gone.
    pub(crate) removed: bool,
    /// Exit code of the newest ended run.
    pub(crate) exit_code: i32,
    /// Clients about to attach.
    pub(crate) tickets: usize,
}
