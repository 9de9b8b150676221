//! How much the daemon logs.

use anyhow::{Result, bail};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

use super::lines::Lines;

/// Changes how much is logged.
pub(super) struct Level(Handle<LevelFilter, Registry>);

impl Level {
    /// Starts to log, to stderr.
    pub(super) fn start(level: LevelFilter, form: Lines) -> Self {
        let (filter, handle) = reload::Layer::new(level);
        let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false).event_format(form);
        tracing_subscriber::registry().with(filter).with(lines).init();
        Self(handle)
    }

    /// Logs more, or less, from now on.
    pub(super) fn set(&self, level: LevelFilter) {
        // It fails only when nothing logs any more.
        let _ = self.0.reload(level);
    }
}

/// A level by dockerd's names.
pub(super) fn parse(text: &str) -> Result<LevelFilter> {
    Ok(match text.to_lowercase().as_str() {
        "panic" | "fatal" | "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => bail!("invalid logging level: {text}"),
    })
}
