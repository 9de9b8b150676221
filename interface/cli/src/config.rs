//! `config.json`: what docker keeps there, read by us as well.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::CliError;

/// The configuration file, with everything in it that we do not know kept as it is.
#[derive(Debug, Clone, Default)]
pub struct ConfigFile {
    /// Where it is, or would be.
    pub path: PathBuf,
    /// Its content.
    pub values: Map<String, Value>,
    /// There is one, but it cannot be read.
    pub unreadable: bool,
}

/// Largest configuration file that is read, in bytes: real ones have a few kilobytes.
const MAX_SIZE: u64 = 8 << 20;

impl ConfigFile {
    /// Reads `config.json` in `dir`; a missing file is an empty one.
    pub fn load(dir: &Path) -> Result<ConfigFile, CliError> {
        let path = dir.join("config.json");
        let fail = |why: String| CliError::new(format!("Error parsing config file ({}): {why}", path.display()));
        let values = match std::fs::metadata(&path) {
            Err(_) => Map::new(),
            Ok(meta) if meta.len() > MAX_SIZE => return Err(fail("file is too large".into())),
            Ok(_) => {
                let bytes = std::fs::read(&path).map_err(|e| fail(e.to_string()))?;
                match bytes.trim_ascii().is_empty() {
                    true => Map::new(),
                    false => serde_json::from_slice(&bytes).map_err(|e| fail(reason(&bytes, &e)))?,
                }
            }
        };
        Ok(ConfigFile { path, values, unreadable: false })
    }

    /// Headers for each request: those of the file, except for the client's own name.
    pub fn headers(&self) -> Vec<(String, String)> {
        let headers = self.values.get("HttpHeaders").and_then(Value::as_object);
        let headers = headers.into_iter().flatten().filter(|(name, _)| !name.eq_ignore_ascii_case("user-agent"));
        headers.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// A text setting; empty when it is not there.
    pub fn text(&self, key: &str) -> &str {
        self.values.get(key).and_then(Value::as_str).unwrap_or("")
    }

    /// Writes the file, or replaces it: through a temporary one beside it, for its owner only unless it had another mode.
    pub fn save(&self) -> Result<(), CliError> {
        if self.unreadable {
            return Err(CliError::new("the config file cannot be read, and is not replaced"));
        }
        let fail = |e: std::io::Error| CliError::new(format!("write `{}`: {e}", self.path.display()));
        let mut text = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        self.values.serialize(&mut serializer).map_err(|e| CliError::new(e.to_string()))?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory).map_err(fail)?;
        // A link stays one: what it points to is replaced.
        let target = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let beside = target.parent().unwrap_or(directory);
        let mut file = tempfile::NamedTempFile::new_in(beside).map_err(fail)?;
        file.write_all(&text).map_err(fail)?;
        if let Ok(old) = fs::metadata(&target) {
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(old.permissions().mode() & 0o777))
                .map_err(fail)?;
        }
        file.persist(&target).map_err(|e| fail(e.error))?;
        Ok(())
    }
}

/// Why a text is no JSON, as Go says it.
pub fn reason(text: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected EOF".to_owned();
    }
    let line = text.split(|b| *b == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let found = line.get(error.column().saturating_sub(1)..).and_then(|rest| rest.chars().next());
    let said = error.to_string();
    let contexts = [
        ("expected value", "looking for beginning of value"),
        ("key must be a string", "looking for beginning of object key string"),
        ("trailing comma", "looking for beginning of object key string"),
        ("expected `:`", "after object key"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
        ("trailing characters", "after top-level value"),
    ];
    match (contexts.iter().find(|(ours, _)| said.starts_with(ours)), found) {
        (Some((_, context)), Some(found)) => {
            format!("invalid character {} {context}", crate::values::quote_char(found))
        }
        _ => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_survives() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, r#"{"auths":{"r":{"auth":"eDp5"}},"plugins":{"x":{"y":"z"}},"psFormat":"table {{.ID}}"}"#)
            .unwrap();
        let mut config = ConfigFile::load(dir.path()).unwrap();
        assert_eq!(config.text("psFormat"), "table {{.ID}}");
        config.values.insert("detachKeys".into(), "ctrl-a".into());
        config.save().unwrap();
        let again = ConfigFile::load(dir.path()).unwrap();
        assert_eq!(again.values["plugins"]["x"]["y"], "z");
        assert_eq!(again.values["auths"]["r"]["auth"], "eDp5");
        assert_eq!(again.text("detachKeys"), "ctrl-a");
    }

    #[test]
    fn a_new_file_is_its_owners() {
        let dir = tempfile::tempdir().unwrap();
        let config = ConfigFile::load(&dir.path().join("sub")).unwrap();
        config.save().unwrap();
        assert_eq!(fs::metadata(&config.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&config.path).unwrap(), "{}");
    }

    #[test]
    fn nonsense_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), "nonsense").unwrap();
        let error = ConfigFile::load(dir.path()).unwrap_err().message;
        let path = dir.path().join("config.json");
        let start = format!("Error parsing config file ({}): ", path.display());
        assert!(error.starts_with(&start) && error.len() > start.len(), "{error}");
        let why = |text: &str| {
            fs::write(&path, text).unwrap();
            ConfigFile::load(dir.path()).unwrap_err().message.replace(&start, "")
        };
        assert_eq!(why("bogus"), "invalid character 'b' looking for beginning of value");
        assert_eq!(why("{\"a\":"), "unexpected EOF");
        assert_eq!(why("{\n 1}"), "invalid character '1' looking for beginning of object key string");
        assert_eq!(why("{\"a\" 1}"), "invalid character '1' after object key");
        assert_eq!(why("{\"a\": 1 2}"), "invalid character '2' after object key:value pair");
        assert_eq!(why("{} x"), "invalid character 'x' after top-level value");
    }
}
