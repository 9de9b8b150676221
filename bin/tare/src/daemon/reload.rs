//! SIGHUP: the configuration file is read again. As with dockerd, some settings change, those that the file no longer names
//! stay as they are, and nothing changes when anything in the file is wrong.

use anyhow::{Context as _, Result};
use serde_json::{Map, Value};
use tare_engine::{Engine, Reloadable, without_password};
use tracing_subscriber::filter::LevelFilter;

use super::level::{self, Level};
use super::proxies;
use super::reloadable::log_level;
use super::settings::Settings;

/// Keys of settings that change.
const RELOADABLE: [&str; 13] = [
    "debug",
    "default-cgroupns-mode",
    "default-ipc-mode",
    "default-shm-size",
    "insecure-registries",
    "labels",
    "log-level",
    "max-concurrent-downloads",
    "max-concurrent-uploads",
    "max-download-attempts",
    "registry-mirrors",
    "live-restore",
    "shutdown-timeout",
];

/// Reads the file again when it is asked to.
pub(super) struct Reloader {
    /// As at the start.
    settings: Settings,
    log: Level,
    /// What is logged where not everything is.
    level: LevelFilter,
}

impl Reloader {
    pub(super) fn new(settings: Settings, log: Level) -> Result<Self> {
        let level = level::parse(log_level(&settings.flags, &settings.file))?;
        Ok(Self { settings, log, level })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Reads the file again, and tells in the log what came of it.
    pub(super) fn reload(&mut self, engine: &Engine) {
        let file = self.settings.config_file().display();
        tracing::info!(config_file = %file, "Got signal to reload configuration");
        match self.try_reload(engine) {
            Ok(settings) => tracing::info!("Reloaded configuration: {settings}"),
            Err(error) => tracing::error!("Error reloading configuration: {error:#}"),
        }
    }

    /// What the file says now.
    fn try_reload(&mut self, engine: &Engine) -> Result<Value> {
        let read = self.settings.read_again()?;
        let new = read.reloadable().context("file configuration validation failed")?;
        // What does not change now is to be right at the next start, too.
        read.engine().context("file configuration validation failed")?;
        let given = &read.file.given;
        let settings = merge(&engine.settings(), new, given);
        let debug = settings.debug;
        for line in super::transfers(&settings) {
            tracing::debug!("Reset {line}");
        }
        tracing::debug!("Reset Shutdown Timeout: {}", settings.shutdown_timeout_s);
        engine.reload(settings).context("Error reconfiguring the daemon")?;
        if given.contains_key("log-level") {
            self.level = level::parse(log_level(&read.flags, &read.file))?;
        }
        self.log.set(if debug { self.level.max(LevelFilter::DEBUG) } else { self.level });
        for key in later(&self.settings.file.given, given) {
            tracing::warn!("{key} cannot be changed while the daemon runs: it will be from the next start on");
        }
        Ok(shown(&read))
    }
}

/// What flags and file say that a reload looks at, without passwords.
fn shown(read: &Settings) -> Value {
    let mut keys = read.file.given.clone();
    let proxies = proxies::given(&read.flags, &read.file);
    let proxies: Map<String, Value> =
        proxies.map(|(name, value)| (name.replace('_', "-"), without_password(value).into())).collect();
    if !proxies.is_empty() {
        keys.insert("proxies".to_owned(), proxies.into());
    }
    keys.into()
}

/// `now` with what the file gives. The limits of transfers go back to what holds without the file.
fn merge(now: &Reloadable, new: Reloadable, given: &Map<String, Value>) -> Reloadable {
    fn keep<T: Clone>(new: &mut T, now: &T, is_given: bool) {
        if !is_given {
            new.clone_from(now);
        }
    }
    let is_given = |key: &str| given.contains_key(key);
    let mut settings = new;
    keep(&mut settings.registry_mirrors, &now.registry_mirrors, is_given("registry-mirrors"));
    keep(&mut settings.insecure_registries, &now.insecure_registries, is_given("insecure-registries"));
    keep(&mut settings.labels, &now.labels, is_given("labels"));
    keep(&mut settings.shm_size, &now.shm_size, is_given("default-shm-size"));
    keep(&mut settings.ipc_mode, &now.ipc_mode, is_given("default-ipc-mode"));
    keep(&mut settings.cgroupns_mode, &now.cgroupns_mode, is_given("default-cgroupns-mode"));
    keep(&mut settings.shutdown_timeout_s, &now.shutdown_timeout_s, is_given("shutdown-timeout"));
    keep(&mut settings.debug, &now.debug, is_given("debug"));
    settings
}

/// Keys with other values than at the start, of settings that do not change.
fn later<'a>(start: &'a Map<String, Value>, given: &'a Map<String, Value>) -> Vec<&'a String> {
    let gone = start.keys().filter(|key| !given.contains_key(*key));
    let changed = given.iter().filter(|(key, value)| start.get(*key) != Some(*value)).map(|(key, _)| key);
    let mut keys: Vec<&String> = gone.chain(changed).filter(|key| !RELOADABLE.contains(&key.as_str())).collect();
    keys.sort_unstable();
    keys
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn keys(value: Value) -> Map<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_does_not_change_is_named() {
        let start = keys(json!({"mtu": 1400, "bip": "10.0.0.1/24", "labels": ["a=b"], "dns": ["1.1.1.1"]}));
        let given = keys(json!({"mtu": 1500, "dns": ["1.1.1.1"], "group": "wheel", "debug": true}));
        assert_eq!(later(&start, &given), ["bip", "group", "mtu"]);
        assert_eq!(later(&start, &start), [""; 0]);
    }
}
