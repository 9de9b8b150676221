//! What is said besides a command's output: errors, warnings, and with `--debug` some of what was decided.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::arguments::{Arguments, LogFormat};

/// Where it goes; set once, from the command line.
static LOG: OnceLock<Log> = OnceLock::new();

#[derive(Debug)]
struct Log {
    path: Option<PathBuf>,
    format: LogFormat,
    debug: bool,
}

/// To be called before anything is said.
pub(super) fn set_up(arguments: &Arguments) {
    let log = Log { path: arguments.log.clone(), format: arguments.log_format, debug: arguments.debug };
    LOG.get_or_init(|| log);
}

/// An error goes to standard error, and to the log that the caller reads.
pub(super) fn report(message: &str) {
    eprintln!("error: {message}");
    write("error", message);
}

/// A note that stops nothing.
pub(super) fn warn(message: &str) {
    eprintln!("warning: {message}");
    write("warning", message);
}

/// What was decided, if anybody wants to know; to standard error without a log.
pub(super) fn debug(message: impl FnOnce() -> String) {
    let Some(log) = LOG.get().filter(|log| log.debug) else { return };
    let message = message();
    if log.path.is_none() {
        eprintln!("{}", line(log.format, "debug", &message));
    }
    write("debug", &message);
}

fn write(level: &str, message: &str) {
    let Some((path, format)) = LOG.get().and_then(|log| Some((log.path.as_deref()?, log.format))) else { return };
    if let Err(error) = append(path, &line(format, level, message)) {
        eprintln!("error: write log `{}`: {error}", path.display());
    }
}

fn line(format: LogFormat, level: &str, message: &str) -> String {
    let time = jiff::Timestamp::now().to_string();
    match format {
        LogFormat::Json => serde_json::json!({"level": level, "msg": message, "time": time}).to_string(),
        LogFormat::Text => format!("time={time:?} level={level} msg={message:?}"),
    }
}

fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    writeln!(file, "{line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let json: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, "error", "a \"b\"")).unwrap();
        assert_eq!((json["level"].as_str(), json["msg"].as_str()), (Some("error"), Some("a \"b\"")));
        assert!(line(LogFormat::Text, "debug", "a \"b\"").ends_with(r#"level=debug msg="a \"b\"""#));
    }
}
