//! Facts of the machine the engine runs on.

pub(crate) mod clock;
mod lock;
pub(crate) mod random;
pub(crate) mod stream;

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tare_state::{Kind, Store};

use crate::config::EngineConfig;
use crate::error::{Error, Result};
use crate::spec::security::Facts;

pub(crate) use lock::lock;

/// Name of the file in the data root that holds the engine's ID, and of the setting that did before.
const ID_FILE: &str = "engine-id";

/// Eight hexadecimal digits that tell the engines of one machine apart: a hash of the data root's path.
pub(crate) fn instance(data_root: &Path) -> String {
    let hash = Sha256::digest(data_root.as_os_str().as_encoded_bytes());
    hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The engine's own ID, made once per data root, in the form Docker gives its own (a UUID). As dockerd's it is in a file,
/// for those who give their machines' engines IDs of their own choice.
pub(crate) fn engine_id(data_root: &Path, store: &Store) -> Result<String> {
    let path = data_root.join(ID_FILE);
    match std::fs::read_to_string(&path) {
        Ok(id) if !id.is_empty() => return Ok(id),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io("read", path.display(), error)),
        _ => {}
    }
    let stored = store.load(Kind::Setting)?.into_iter().find(|(name, _)| name == ID_FILE);
    let id = stored.map_or_else(random_id, |(_, id)| id);
    match write_id(&path, &id) {
        // Containers need their daemon all the more then.
        Err(error) if error.kind() == ErrorKind::StorageFull => tracing::error!("{}: {error}", path.display()),
        written => written.map_err(|error| Error::io("write", path.display(), error))?,
    }
    Ok(id)
}

fn random_id() -> String {
    let hex = random::id();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!("{}-{}-4{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

/// Writes the file whole or not at all.
fn write_id(path: &Path, id: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(id.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)
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
    Ok(tare_oci_runtime::CAPABILITIES
        .iter()
        .enumerate()
        .filter(|(bit, _)| mask >> bit & 1 == 1)
        .map(|(_, name)| *name)
        .collect())
}

fn read_number(path: &str) -> Option<i32> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A variable of proxies: as dockerd, the large letters first.
pub(crate) fn proxy(name: &str) -> String {
    let value = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    value(&name.to_uppercase()).or_else(|| value(name)).unwrap_or_default()
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
