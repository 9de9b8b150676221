//! What becomes of a container's output: the options of its log driver, and passing it on to other programs.
//!
//! A shim writes files and nothing else. Drivers that send elsewhere ([`destination`]) are the engine's: it reads what the
//! shim has written, as `logs` does, and sends it ([`forward`]), in the form the other side wants ([`message`]). So a
//! destination that is slow or away holds up no container, and no end of the engine loses a line; how much may wait is
//! bounded by the size of the files (options `cache-max-size` and `cache-max-file`).

pub(crate) mod attributes;
pub(crate) mod config;
pub(crate) mod destination;
pub(crate) mod forward;
pub(crate) mod message;

/// The drivers, for `info`.
pub(crate) const DRIVERS: &[&str] = &["gelf", "journald", "json-file", "local", "none", "syslog"];

#[cfg(test)]
pub(crate) mod tests {
    use crate::container::record::Record;

    /// A container's record with options of its log driver, labels and variables.
    pub(crate) fn record(driver: &str, options: &[(&str, &str)], labels: &[(&str, &str)], env: &[&str]) -> Record {
        let pairs = |all: &[(&str, &str)]| {
            all.iter()
                .map(|(key, value)| ((*key).to_owned(), serde_json::Value::from(*value)))
                .collect::<serde_json::Map<_, _>>()
        };
        let id = "0123456789abcdef".repeat(4);
        let mut record: Record = serde_json::from_value(serde_json::json!({
            "id": id, "name": "box", "created_at": 0, "image_id": format!("sha256:{}", "fedcba9876543210".repeat(4)),
            "path": "sh", "args": ["-c", "true"], "os": "linux", "networks": {}, "mounts": [], "state": crate::container::state::State::default(),
            "log": tare_shim_protocol::LogConfig::default(),
            "config": {"Image": "busybox", "Labels": pairs(labels), "Env": env},
            "host_config": {"LogConfig": {"Type": driver, "Config": pairs(options)}},
        }))
        .unwrap_or_else(|error| panic!("{error}"));
        record.log.attrs = super::attributes::of(&record).unwrap_or_default();
        record
    }
}
