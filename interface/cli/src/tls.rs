//! Which certificates go with `--tls` and `--tlsverify`, by docker's rules.

use std::path::{Path, PathBuf};

use tare_docker_client::tls::Material;

use crate::error::CliError;
use crate::flags::Values;
use crate::opts::surroundings::path_error;

/// TLS as it is asked for by flags or variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Whether the daemon has to prove who it is.
    pub verify: bool,
    /// Authority of the daemon's certificate.
    pub authority: PathBuf,
    /// Our certificate; empty: none.
    pub certificate: PathBuf,
    /// Its key; empty: none.
    pub key: PathBuf,
}

impl TlsFiles {
    /// What the flags before the command say, and `variable`s where they are silent; `None`: nothing about TLS.
    pub fn asked_for(values: &Values, config: &Path, variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        // Docker's rule: any value of these variables is a yes, and so is any of --tlsverify for TLS as such.
        let switch =
            |flag: &str, name: &str| if values.given(flag) { values.bool(flag) } else { variable(name).is_some() };
        let verify = switch("tlsverify", "DOCKER_TLS_VERIFY");
        if !verify && !values.given("tlsverify") && !switch("tls", "DOCKER_TLS") {
            return None;
        }
        let directory = variable("DOCKER_CERT_PATH").map_or_else(|| config.to_owned(), PathBuf::from);
        let named = |flag: &str, default: &str| match values.given(flag) {
            true => PathBuf::from(values.text(flag)),
            false => directory.join(default),
        };
        let if_there = |flag: &str, default: &str| {
            let path = named(flag, default);
            if values.given(flag) || path.exists() { path } else { PathBuf::new() }
        };
        Some(Self {
            verify,
            authority: named("tlscacert", "ca.pem"),
            certificate: if_there("tlscert", "cert.pem"),
            key: if_there("tlskey", "key.pem"),
        })
    }

    /// Reads the files.
    pub fn read(&self) -> Result<Material, CliError> {
        let read = |path: &Path| match path.as_os_str().is_empty() {
            true => Ok(None),
            false => read(path).map(Some),
        };
        let authority = read(&self.authority)?;
        let identity = read(&self.certificate)?.zip(read(&self.key)?);
        Ok(Material { authority, identity, skip_verify: !self.verify })
    }
}

/// A file of PEM, for the daemon that the options name.
fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    read_named(path).map_err(|error| CliError::new(format!("unable to resolve docker endpoint: {}", error.message)))
}

/// A file of PEM, or docker's sentence about it.
pub fn read_named(path: &Path) -> Result<Vec<u8>, CliError> {
    std::fs::read(path).map_err(|error| CliError::new(path_error("open", path, &error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::GLOBAL_FLAGS;
    use crate::flags;

    fn asked(line: &str, variables: &[(&str, &str)]) -> Option<TlsFiles> {
        let args = line.split_whitespace().map(str::to_owned).collect();
        let Ok(parsed) = flags::parse(GLOBAL_FLAGS, args, false) else { panic!("{line}") };
        let variable = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        TlsFiles::asked_for(&parsed.values, Path::new("/nowhere"), variable)
    }

    #[test]
    fn flags_and_variables() {
        assert_eq!(asked("", &[]), None);
        assert_eq!(asked("--tls=false", &[("DOCKER_TLS", "1")]), None);
        assert!(!asked("--tls", &[]).unwrap().verify);
        assert!(asked("--tlsverify", &[]).unwrap().verify);
        // It turns TLS on, whatever its value.
        assert!(!asked("--tlsverify=false", &[("DOCKER_TLS_VERIFY", "1")]).unwrap().verify);
        assert!(asked("", &[("DOCKER_TLS_VERIFY", "0")]).unwrap().verify);
        assert!(!asked("", &[("DOCKER_TLS", "1")]).unwrap().verify);
    }

    #[test]
    fn files_that_nobody_named_may_be_missing_but_for_the_authority() {
        let files = asked("--tls --tlscert /x", &[("DOCKER_CERT_PATH", "/certs")]).unwrap();
        assert_eq!(files.authority, Path::new("/certs/ca.pem"));
        assert_eq!((files.certificate.as_path(), files.key.as_path()), (Path::new("/x"), Path::new("")));
        assert_eq!(
            files.read().unwrap_err().message,
            "unable to resolve docker endpoint: open /certs/ca.pem: no such file or directory"
        );
    }
}
