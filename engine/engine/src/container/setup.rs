//! Small things a container needs before its first start: directories, its log, its init.

use std::path::PathBuf;

use tare_docker_api::container::{Config, HostConfig};
use tare_shim_protocol::LogConfig;

use super::record::Record;
use crate::Engine;
use crate::error::{Error, Result};
use crate::image::ContainerImage;

/// A log file is rotated at this size, and so many are kept, unless options say otherwise: an unattended container
/// cannot fill the disk, and a log of a million lines is still there whole.
const LOG_MAX_SIZE: u64 = 100 * 1000 * 1000;
const LOG_MAX_FILE: u32 = 10;

impl Engine {
    /// Makes a container's directory and its layer. Blocking.
    pub(crate) fn make_directories(&self, record: &Record, image: &ContainerImage) -> Result<()> {
        crate::make_directory(&self.container_directory(&record.id), 0o710)?;
        self.images.create_rw_layer(&record.id, &image.diff_ids).map(|_| ()).map_err(crate::image::error)
    }

    /// The init that `--init`, or the engine's settings, ask for.
    pub(crate) fn init_program(&self, record: &Record) -> Result<Option<PathBuf>> {
        if !record.host_config.init.unwrap_or(self.config.init) {
            return Ok(None);
        }
        let path = self.config.shim.with_file_name("tare-init");
        if !path.is_file() {
            return Err(Error::internal(format!("the init for --init is missing: expected it at {}", path.display())));
        }
        Ok(Some(path))
    }

    /// Decides how a container's output is logged.
    pub(crate) fn log_config(&self, id: &str, name: &str, config: &Config, host: &HostConfig) -> Result<LogConfig> {
        let driver = host.log_config.kind.as_str();
        let options = &host.log_config.config;
        let known: &[&str] = match driver {
            "json-file" => &["max-size", "max-file", "compress", "labels", "labels-regex", "env", "env-regex", "tag"],
            "local" => &["max-size", "max-file", "compress"],
            "none" => &[],
            other => {
                return Err(Error::invalid(format!("logger: no log driver named '{other}' is registered")));
            }
        };
        log_mode(options.get("mode").map(String::as_str), options.get("max-buffer-size").map(String::as_str))?;
        let common = |name: &str| matches!(name, "mode" | "max-buffer-size");
        if let Some(unknown) = options.keys().find(|name| !known.contains(&name.as_str()) && !common(name)) {
            return Err(Error::invalid(format!("unknown log opt '{unknown}' for {driver} log driver")));
        }
        for unsupported in ["labels-regex", "env-regex"] {
            if options.contains_key(unsupported) {
                return Err(Error::not_implemented(format!("log option {unsupported:?} is not supported yet")));
            }
        }
        let (max_size, max_file, compress) = match driver {
            "local" => (tare_logs::LOCAL_MAX_SIZE, tare_logs::LOCAL_MAX_FILE, tare_logs::LOCAL_COMPRESS),
            _ => (LOG_MAX_SIZE, LOG_MAX_FILE, false),
        };
        let extension = if driver == "local" { "local.log" } else { "json.log" };
        let max_size = match options.get("max-size").map(String::as_str) {
            None => Some(max_size),
            Some("-1") => None,
            Some(text) => Some(size(text).ok_or_else(|| Error::invalid(format!("invalid size: '{text}'")))?),
        };
        let max_file = match options.get("max-file") {
            // As in Docker: a size alone keeps one file.
            None if options.contains_key("max-size") && driver == "json-file" => 1,
            None => max_file,
            Some(text) => text.parse().ok().filter(|count| *count >= 1).ok_or_else(|| {
                Error::invalid(format!("strconv.Atoi: parsing {text:?}: max-file must be a positive number"))
            })?,
        };
        let compress = match options.get("compress").map(String::as_str) {
            None => compress,
            Some("true" | "1") => true,
            Some("false" | "0") => false,
            Some(text) => return Err(Error::invalid(format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))),
        };
        Ok(LogConfig {
            driver: driver.to_owned(),
            path: self.container_directory(id).join(format!("{id}-{extension}")),
            max_size,
            max_file,
            compress,
            attrs: attributes(id, name, config, host),
        })
    }
}

/// Checks the options every driver has. Lines are written to files as they come, so that both modes are the same here.
fn log_mode(mode: Option<&str>, buffer: Option<&str>) -> Result<()> {
    if let Some(mode) = mode.filter(|mode| !matches!(*mode, "" | "blocking" | "non-blocking")) {
        return Err(Error::invalid(format!("logger: logging mode not supported: {mode}")));
    }
    let Some(buffer) = buffer else { return Ok(()) };
    if mode != Some("non-blocking") {
        return Err(Error::invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'"));
    }
    if size(buffer).is_none() {
        return Err(Error::invalid(format!("error parsing option max-buffer-size: invalid size: '{buffer}'")));
    }
    Ok(())
}

/// The attributes that the options `labels`, `env` and `tag` store with each line.
fn attributes(id: &str, name: &str, config: &Config, host: &HostConfig) -> std::collections::BTreeMap<String, String> {
    let options = &host.log_config.config;
    let mut attributes = std::collections::BTreeMap::new();
    let list = |option: &str| options.get(option).cloned().unwrap_or_default();
    for wanted in list("labels").split(',').filter(|wanted| !wanted.is_empty()) {
        if let Some(value) = config.labels.get(wanted) {
            attributes.insert(wanted.to_owned(), value.clone());
        }
    }
    for wanted in list("env").split(',').filter(|wanted| !wanted.is_empty()) {
        let value = config.env.iter().filter_map(|variable| variable.split_once('=')).find(|(key, _)| *key == wanted);
        if let Some((_, value)) = value {
            attributes.insert(wanted.to_owned(), value.to_owned());
        }
    }
    if let Some(tag) = options.get("tag") {
        let short: String = id.chars().take(12).collect();
        let tag = tag
            .replace("{{.ID}}", &short)
            .replace("{{.FullID}}", id)
            .replace("{{.Name}}", name)
            .replace("{{.ImageName}}", &config.image);
        attributes.insert("tag".to_owned(), tag);
    }
    attributes
}

/// `10m`, `1.5g`, `4096`: decimal units, as Docker reads log sizes.
fn size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let lower = lower.trim_end_matches('b');
    let (number, unit) = match lower.char_indices().next_back()? {
        (at, 'k') => (lower.get(..at)?, 1_000),
        (at, 'm') => (lower.get(..at)?, 1_000_000),
        (at, 'g') => (lower.get(..at)?, 1_000_000_000),
        (at, 't') => (lower.get(..at)?, 1_000_000_000_000_u64),
        _ => (lower, 1),
    };
    if let Ok(whole) = number.trim().parse::<u64>() {
        return whole.checked_mul(unit).filter(|size| *size > 0);
    }
    let (whole, fraction) = number.trim().split_once('.')?;
    let thousandths: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(unit / 1000 * thousandths).filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn log_sizes() {
        for (text, bytes) in [("10m", 10_000_000), ("1.5g", 1_500_000_000), ("4096", 4096), ("1kb", 1000)] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for bad in ["", "x", "-1", "0", "99999999999t"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }
}
