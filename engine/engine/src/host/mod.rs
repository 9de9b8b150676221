//! Facts of the machine the engine runs on.

pub(crate) mod clock;
mod lock;
pub(crate) mod random;
pub(crate) mod stream;

use std::path::Path;

use sha2::{Digest as _, Sha256};
use tare_state::{Change, Kind, Store};

use crate::config::EngineConfig;
use crate::error::{Error, Result};
use crate::spec::capabilities;
use crate::spec::security::Facts;

pub(crate) use lock::lock;

/// Name of the setting that holds the engine's ID.
const ID_SETTING: &str = "engine-id";

/// Eight hexadecimal digits that tell the engines of one machine apart: a hash of the data root's path.
pub(crate) fn instance(data_root: &Path) -> String {
    let hash = Sha256::digest(data_root.as_os_str().as_encoded_bytes());
    hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The engine's own ID, made once per data root, in the form Docker gives its own (a UUID).
pub(crate) fn engine_id(store: &Store) -> Result<String> {
    if let Some((_, id)) = store.load(Kind::Setting)?.into_iter().find(|(name, _)| name == ID_SETTING) {
        return Ok(id);
    }
    let hex = random::id();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    let id = format!("{}-{}-4{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32));
    store.write_sync(vec![Change::Put(Kind::Setting, ID_SETTING.to_owned(), id.clone())])?;
    Ok(id)
}

/// Gathers what containers' specifications depend on.
pub(crate) fn facts(config: &EngineConfig, unified_cgroups: bool) -> Result<Facts> {
    Ok(Facts {
        capabilities: bounding_set()?,
        oom_score_adj: read_number("/proc/self/oom_score_adj").unwrap_or(0),
        ulimits: config.default_ulimits.clone(),
        no_new_privileges: config.no_new_privileges,
        seccomp: config.seccomp.clone(),
        apparmor: std::fs::read_to_string("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|text| text.starts_with('Y')),
        arch: tare_seccomp::Arch::native()
            .ok_or_else(|| Error::internal("this processor's architecture is not supported"))?,
        kernel: kernel_release().parse().map_err(|error| Error::internal(format!("kernel release: {error}")))?,
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        unified_cgroups,
        filters: std::sync::Arc::default(),
    })
}

fn bounding_set() -> Result<Vec<&'static str>> {
    let path = "/proc/self/status";
    let status = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).map(str::trim);
    let mask = mask.and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
    Ok(capabilities::ALL.iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, name)| *name).collect())
}

fn read_number(path: &str) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The running kernel's release (`uname -r`).
pub(crate) fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The machine's hostname.
pub(crate) fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The machine's architecture as the kernel names it (`x86_64`).
pub(crate) fn machine() -> String {
    rustix::system::uname().machine().to_string_lossy().into_owned()
}

/// Go's name of the architecture (`amd64`), which images and clients use.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}
