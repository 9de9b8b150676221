//! What is known of an exec beyond the daemon's life: its description beside the container's in the bundle directory, on
//! a tmpfs, and the exit code that the shim leaves there.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tare_docker_api::container::ExecConfig;
use tare_shim_protocol::{ExecRecord, Op};

use super::exec::Exec;
use super::{Container, signal};
use crate::Engine;
use crate::error::Result;
use crate::shim::Connection;

/// Ends of the two files' names; their beginnings are alike.
const DESCRIPTION: &str = ".exec";
const EXIT: &str = ".exit";

/// An exec as it is written down.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    id: String,
    config: ExecConfig,
    #[serde(default)]
    started: bool,
    #[serde(default)]
    pid: i32,
}

/// Where an exec is described.
#[derive(Debug)]
pub(super) struct Place {
    bundle: PathBuf,
    name: String,
}

impl Place {
    pub(super) fn new(bundle: PathBuf, id: &str) -> Self {
        Self { bundle, name: format!("exec-{id}") }
    }

    /// Name of the file that the shim writes.
    pub(super) fn exit_file(&self) -> String {
        format!("{}{EXIT}", self.name)
    }

    fn description(&self) -> PathBuf {
        self.bundle.join(format!("{}{DESCRIPTION}", self.name))
    }

    fn code(&self) -> Option<i32> {
        let bytes = std::fs::read(self.bundle.join(self.exit_file())).ok()?;
        serde_json::from_slice::<ExecRecord>(&bytes).ok().map(|record| record.code)
    }

    /// Forgets it.
    pub(super) fn remove(&self) {
        // The whole directory may have gone with the container.
        let _ = std::fs::remove_file(self.description());
        let _ = std::fs::remove_file(self.bundle.join(self.exit_file()));
    }
}

impl Exec {
    /// Writes down what a daemon to come has to know.
    pub(super) fn save(&self) -> Result<()> {
        let Some(place) = &self.record else { return Ok(()) };
        let progress = *self.progress();
        let (started, pid) = (progress.started, progress.pid);
        let description = Description { id: self.id.clone(), config: self.config.clone(), started, pid };
        super::prepare::write_json(&place.description(), &description)
    }
}

impl Engine {
    /// Brings a container's execs back: those that run go on, of the others the exit codes are known. Without a shim
    /// they have all ended with their container.
    pub(crate) async fn restore_execs(&self, container: &Arc<Container>, bundle: &Path, shim: Option<&Connection>) {
        for file in crate::recover::names_in(bundle).into_iter().filter(|name| name.ends_with(DESCRIPTION)) {
            let read = std::fs::read(bundle.join(&file)).ok();
            // One that was being written was not answered for.
            let Some(found) = read.and_then(|bytes| serde_json::from_slice::<Description>(&bytes).ok()) else {
                continue;
            };
            let place = Place::new(bundle.to_owned(), &found.id);
            let code = place.code();
            let Ok(exec) = Exec::new(found.id, Arc::clone(container), found.config, Some(place)) else { continue };
            let running = match shim {
                Some(shim) if code.is_none() => {
                    let probe = Op::Signal { exec: Some(exec.id.clone()), signal: 0, all: false };
                    shim.call(probe, Vec::new()).await.is_ok()
                }
                _ => false,
            };
            let started = found.started || running || code.is_some();
            if !started && shim.is_none() {
                // It is not for a later run.
                continue;
            }
            {
                let mut progress = exec.progress();
                progress.started = started;
                progress.running = running;
                progress.pid = if running { found.pid } else { 0 };
            }
            if started {
                exec.set_launched();
            }
            if let Some(code) = code {
                exec.finish(code);
            } else if shim.is_none() && found.started {
                exec.finish(128 + signal::KILL);
            }
            self.execs.insert(Arc::new(exec));
        }
    }
}
