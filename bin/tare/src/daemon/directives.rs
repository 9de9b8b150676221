//! The keys of the configuration file: those that mean nothing, and those that a flag has set already, are refused in
//! dockerd's words.

use anyhow::{Result, bail};
use clap::ArgMatches;
use clap::parser::ValueSource;
use serde_json::{Map, Value};
use tare_engine::without_password;

/// The key whose members are flags of their own.
const PROXIES: &str = "proxies";

/// Refuses keys that are not `known`.
pub(super) fn check_known(file: &Map<String, Value>, known: impl Fn(&str) -> bool) -> Result<()> {
    let unknown: Vec<&str> = file.keys().map(String::as_str).filter(|key| !known(key)).collect();
    if !unknown.is_empty() {
        bail!("the following directives don't match any configuration option: {}", unknown.join(", "));
    }
    Ok(())
}

/// Refuses what stands both on the command line and in the file. A flag's identifier is its key, but for the dashes.
pub(super) fn check_conflicts(flags: &ArgMatches, file: &Map<String, Value>) -> Result<()> {
    let given = flags.ids().filter(|id| flags.value_source(id.as_str()) == Some(ValueSource::CommandLine));
    let mut conflicts: Vec<String> = given
        .filter_map(|id| {
            let key = id.as_str().replace('_', "-");
            let in_file = file.get(&key).or_else(|| file.get(PROXIES)?.get(&key))?;
            let raw = flags.get_raw(id.as_str()).into_iter().flatten();
            let raw: Vec<String> = raw.map(|value| without_password(&value.to_string_lossy())).collect();
            let from_flag = match in_file {
                Value::Array(_) | Value::Object(_) => format!("[{}]", raw.join(" ")),
                _ => raw.join(" "),
            };
            Some(format!("{key}: (from flag: {from_flag}, from file: {})", shown(in_file)))
        })
        .collect();
    conflicts.sort_unstable();
    if !conflicts.is_empty() {
        bail!(
            "the following directives are specified both as a flag and in the configuration file: {}",
            conflicts.join(", ")
        );
    }
    Ok(())
}

/// A value as Go's `%v` shows it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => without_password(text),
        Value::Array(values) => format!("[{}]", values.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(values) => {
            let pairs: Vec<String> = values.iter().map(|(key, value)| format!("{key}:{}", shown(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}
