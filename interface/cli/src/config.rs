//! `config.json`: what docker keeps there, read by us as well.

use std::path::{Path, PathBuf};

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
}
