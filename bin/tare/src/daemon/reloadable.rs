//! Settings that can change while the daemon runs: what flags and file say about them, checked in dockerd's words.

use anyhow::{Context as _, Result, bail};
use tare_engine::Reloadable;

use super::file::{File, Size};
use super::flags::Flags;
use super::level;
use super::settings::list;

/// Docker's default size of `/dev/shm`, bytes.
const SHM_SIZE: i64 = 64 * 1024 * 1024;
/// Docker's default numbers of layers downloaded and uploaded at once, and of attempts.
const DOWNLOADS: i64 = 3;
const UPLOADS: i64 = 5;
const ATTEMPTS: i64 = 5;
/// Docker's default time for all containers to stop, seconds.
const SHUTDOWN_TIMEOUT_S: i64 = 15;
/// Beginnings of labels that Docker keeps for itself.
const RESERVED: [&str; 3] = ["com.docker.", "io.docker.", "org.dockerproject."];

/// What flags and file say together.
pub(super) fn reloadable(flags: &Flags, file: &File) -> Result<Reloadable> {
    level::parse(log_level(flags, file))?;
    let count = |what: &str, flag: Option<i64>, file: Option<i64>, default: i64| match flag.or(file) {
        None | Some(0) => Ok(default),
        Some(count @ 1..) => Ok(count),
        Some(count) => bail!("invalid {what}: {count}"),
    };
    let downloads =
        count("max concurrent downloads", flags.max_concurrent_downloads, file.max_concurrent_downloads, DOWNLOADS)?;
    let uploads = count("max concurrent uploads", flags.max_concurrent_uploads, file.max_concurrent_uploads, UPLOADS)?;
    let attempts = count("max download attempts", flags.max_download_attempts, file.max_download_attempts, ATTEMPTS)?;
    let settings = Reloadable {
        registry_mirrors: list(&flags.registry_mirrors, &file.registry_mirrors),
        insecure_registries: list(&flags.insecure_registries, &file.insecure_registries),
        max_concurrent_downloads: usize::try_from(downloads).unwrap_or(usize::MAX),
        max_concurrent_uploads: usize::try_from(uploads).unwrap_or(usize::MAX),
        max_download_attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        labels: labels(&list(&flags.labels, &file.labels))?,
        shm_size: match (&flags.default_shm_size, &file.default_shm_size) {
            (Some(text), _) | (None, Some(Size::Text(text))) => size(text)?,
            (None, Some(Size::Bytes(bytes))) => *bytes,
            (None, None) => SHM_SIZE,
        },
        ipc_mode: one_of(
            "IPC",
            flags.default_ipc_mode.as_ref().or(file.default_ipc_mode.as_ref()),
            &["private", "shareable"],
        )?
        .unwrap_or_else(|| "private".to_owned()),
        cgroupns_mode: one_of(
            "cgroup namespace",
            flags.default_cgroupns_mode.as_ref().or(file.default_cgroupns_mode.as_ref()),
            &["private", "host"],
        )?,
        shutdown_timeout_s: flags.shutdown_timeout.or(file.shutdown_timeout).unwrap_or(SHUTDOWN_TIMEOUT_S),
        debug: flags.debug || file.debug,
    };
    settings.registries()?;
    Ok(settings)
}

/// The log level where not everything is logged.
pub(super) fn log_level<'a>(flags: &'a Flags, file: &'a File) -> &'a str {
    flags.log_level.as_deref().or(file.log_level.as_deref()).unwrap_or("info")
}

/// Labels, each key once.
fn labels(given: &[String]) -> Result<Vec<String>> {
    let mut labels: Vec<String> = Vec::new();
    for label in given {
        let Some((key, value)) = label.split_once('=') else { bail!("bad attribute format: {label}") };
        let lowered = label.to_lowercase();
        if RESERVED.iter().any(|reserved| lowered.starts_with(reserved)) {
            bail!(
                "label {label} is not allowed: the namespaces com.docker.*, io.docker.*, and org.dockerproject.* are \
                 reserved for internal use"
            );
        }
        let before = labels.iter().filter_map(|label| label.split_once('=')).find(|(other, _)| *other == key);
        match before {
            Some((_, other)) if other != value => {
                bail!("conflict labels for {key}={value} and {key}={other}")
            }
            Some(_) => {}
            None => labels.push(label.clone()),
        }
    }
    Ok(labels)
}

/// A mode that must be one of a few.
fn one_of(what: &str, mode: Option<&String>, known: &[&str]) -> Result<Option<String>> {
    match mode {
        Some(mode) if !known.contains(&mode.as_str()) => {
            bail!("default {what} mode ({mode}) is invalid. Use {}", known.join(" or "))
        }
        mode => Ok(mode.cloned()),
    }
}

fn size(text: &str) -> Result<i64> {
    tare_cli::values::parse_bytes(text)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("invalid --default-shm-size {text:?}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn read(args: &[&str], file: &str) -> Result<Reloadable> {
        let flags = Flags::parse_from(std::iter::once(&"tare daemon").chain(args));
        reloadable(&flags, &serde_json::from_str(file).unwrap())
    }

    #[test]
    fn defaults_stand_where_nothing_is_said() {
        let settings = read(&["--max-concurrent-uploads", "0"], r#"{"max-concurrent-downloads":0}"#).unwrap();
        let numbers =
            (settings.max_concurrent_downloads, settings.max_concurrent_uploads, settings.max_download_attempts);
        assert_eq!(numbers, (3, 5, 5));
    }

    #[test]
    fn a_label_has_one_value() {
        assert_eq!(read(&["--label", "a=1", "--label", "a=1"], "{}").unwrap().labels, ["a=1"]);
        for (file, why) in [
            (r#"{"labels":["a"]}"#, "bad attribute format: a"),
            (r#"{"labels":["a=1","a=2"]}"#, "conflict labels for a=2 and a=1"),
            (r#"{"labels":["COM.docker.x=1"]}"#, "label COM.docker.x=1 is not allowed: "),
            (r#"{"log-level":"loud"}"#, "invalid logging level: loud"),
            (r#"{"max-concurrent-downloads":-1}"#, "invalid max concurrent downloads: -1"),
            (r#"{"registry-mirrors":["m"]}"#, "invalid mirror: no scheme specified for \"m\": "),
            (r#"{"insecure-registries":["a/b"]}"#, "insecure registry a/b is not valid: invalid host \"a/b\""),
            (r#"{"default-ipc-mode":"host"}"#, "default IPC mode (host) is invalid. Use private or shareable"),
        ] {
            let error = read(&[], file).unwrap_err().to_string();
            assert!(error.starts_with(why), "{error}");
        }
    }
}
