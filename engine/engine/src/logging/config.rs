//! The options of a container's log driver.

use tare_docker_api::go::Map;
use tare_shim_protocol::LogConfig;

use super::attributes;
use super::destination::Destination;
use crate::Engine;
use crate::container::record::Record;
use crate::error::{Error, Result};

/// A log file is rotated at this size, and so many are kept, unless options say otherwise: an unattended container
/// cannot fill the disk, and a log of a million lines is still there whole.
const MAX_SIZE: u64 = 100 * 1000 * 1000;
const MAX_FILE: u32 = 10;

/// Options of the files that lines wait in for their destination, as in Docker.
const CACHE: &[&str] = &["cache-compress", "cache-disabled", "cache-max-file", "cache-max-size"];

impl Engine {
    /// Decides how a container's output is logged.
    pub(crate) fn log_config(&self, record: &Record) -> Result<LogConfig> {
        let driver = record.host_config.log_config.kind.as_str();
        let options = &record.host_config.log_config.config;
        check(driver, options)?;
        let json = driver == "json-file";
        // Lines that go elsewhere, too, wait in the files of `local`.
        let kept = if matches!(driver, "json-file" | "none") { driver } else { "local" };
        let prefix = if matches!(driver, "json-file" | "local") { "" } else { "cache-" };
        let option = |name: &str| options.get(&format!("{prefix}{name}")).map(String::as_str);
        let (max_size, max_file, compress) = if json {
            (MAX_SIZE, MAX_FILE, false)
        } else {
            (tare_logs::LOCAL_MAX_SIZE, tare_logs::LOCAL_MAX_FILE, tare_logs::LOCAL_COMPRESS)
        };
        let max_file = match option("max-file") {
            // As in Docker: a size alone keeps one file.
            None if json && options.contains_key("max-size") => 1,
            None => max_file,
            Some(text) => text.parse().ok().filter(|count| *count >= 1).ok_or_else(|| {
                Error::invalid(format!("strconv.Atoi: parsing {text:?}: max-file must be a positive number"))
            })?,
        };
        let max_size = match option("max-size") {
            None => Some(max_size),
            Some("-1") => None,
            Some(text) => Some(size(text).ok_or_else(|| Error::invalid(format!("invalid size: '{text}'")))?),
        };
        let mut attrs = attributes::of(record)?;
        if options.contains_key("tag") {
            let tag = attributes::tag(record, "")?;
            if json {
                attrs.insert("tag".to_owned(), tag);
            }
        }
        let id = &record.id;
        let extension = if kept == "local" { "local.log" } else { "json.log" };
        Ok(LogConfig {
            driver: kept.to_owned(),
            path: self.container_directory(id).join(format!("{id}-{extension}")),
            max_size,
            max_file,
            compress: option("compress").map_or(Ok(compress), truth)?,
            attrs,
        })
    }
}

/// Whether a container's log can be read: lines that only wait for their destination are not for that.
pub(crate) fn is_readable(record: &Record) -> bool {
    let options = &record.host_config.log_config.config;
    let hidden = options.get("cache-disabled").is_some_and(|text| truth(text).unwrap_or(false));
    record.log.driver != "none" && !hidden
}

/// Refuses options that the driver does not have.
pub(crate) fn check(driver: &str, options: &Map<String>) -> Result<()> {
    let known: Vec<&str> = match driver {
        "json-file" => [&["compress", "max-file", "max-size"], attributes::OPTIONS].concat(),
        "local" => vec!["compress", "max-file", "max-size"],
        "none" => Vec::new(),
        other => {
            let own = Destination::options(other);
            let own =
                own.ok_or_else(|| Error::invalid(format!("logger: no log driver named '{other}' is registered")))?;
            [own, CACHE, attributes::OPTIONS].concat()
        }
    };
    mode(options.get("mode").map(String::as_str), options.get("max-buffer-size").map(String::as_str))?;
    let common = |name: &str| matches!(name, "mode" | "max-buffer-size");
    if let Some(unknown) = options.keys().find(|name| !known.contains(&name.as_str()) && !common(name)) {
        return Err(Error::invalid(format!("unknown log opt '{unknown}' for {driver} log driver")));
    }
    if let Some(text) = options.get("cache-disabled") {
        truth(text)?;
    }
    Destination::parse(driver, options).map(|_| ())
}

/// Checks the options every driver has. Lines are written to files as they come, so that both modes are the same here.
fn mode(mode: Option<&str>, buffer: Option<&str>) -> Result<()> {
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

fn truth(text: &str) -> Result<bool> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::invalid(format!("strconv.ParseBool: parsing {text:?}: invalid syntax"))),
    }
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
