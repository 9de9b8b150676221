//! Commands that docker has and an engine for a single machine has not: known by name, so that it is said why.

use crate::PROGRAM;
use crate::error::CliError;

const SWARM: &str = "Tare runs containers on a single machine and has no Swarm";
const CHECKPOINT: &str = "Tare does not save the state of running processes";
const PLUGIN: &str = "Tare's drivers for volumes, networks and logs are built in, the engine takes no others";
const TRUST: &str = "Tare does not sign images and does not verify their signatures";

/// Commands and groups of commands, and why they are not there.
const FOREIGN: &[(&str, &str)] = &[
    ("checkpoint", CHECKPOINT),
    ("config", SWARM),
    ("node", SWARM),
    ("plugin", PLUGIN),
    ("secret", SWARM),
    ("service", SWARM),
    ("stack", SWARM),
    ("swarm", SWARM),
    ("trust", TRUST),
    ("volume update", "it changes cluster volumes, and Tare has no Swarm"),
];

/// What is said to one who types such a command.
pub fn refusal(path: &str) -> Option<CliError> {
    let (_, why) = FOREIGN.iter().find(|(name, _)| *name == path)?;
    Some(CliError::new(format!("{PROGRAM}: '{PROGRAM} {path}' is not supported: {why}")))
}
