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
}

/// Largest configuration file that is read, in bytes: real ones have a few kilobytes.
const MAX_SIZE: u64 = 8 << 20;

impl ConfigFile {
    /// Reads `config.json` in `dir`; a missing file is an empty one.
    pub fn load(dir: &Path) -> Result<ConfigFile, CliError> {
        let path = dir.join("config.json");
        let fail = |why: String| CliError::new(format!("loading config file: {}: {why}", path.display()));
        let values = match std::fs::metadata(&path) {
            Err(_) => Map::new(),
            Ok(meta) if meta.len() > MAX_SIZE => return Err(fail("file is too large".into())),
            Ok(_) => {
                let bytes = std::fs::read(&path).map_err(|e| fail(e.to_string()))?;
                match bytes.trim_ascii().is_empty() {
                    true => Map::new(),
                    false => serde_json::from_slice(&bytes).map_err(|e| fail(e.to_string()))?,
                }
            }
        };
        Ok(ConfigFile { path, values })
    }

    /// A text setting; empty when it is not there.
    pub fn text(&self, key: &str) -> &str {
        self.values.get(key).and_then(Value::as_str).unwrap_or("")
    }

    /// Writes the file, or replaces it: through a temporary one beside it, for its owner only unless it had another mode.
    pub fn save(&self) -> Result<(), CliError> {
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
        assert!(error.starts_with("loading config file: ") && error.contains("config.json: expected"), "{error}");
    }
}
