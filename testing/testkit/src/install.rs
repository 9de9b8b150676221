//! Where programs and images come from.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::Output;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(Path::parent).expect("two folders deep")
}

/// What `cargo xtask build` made, or the directory that `TARE_DIST` names.
///
/// # Panics
/// When nothing is built.
pub fn dist() -> PathBuf {
    if let Some(path) = std::env::var_os("TARE_DIST") {
        return path.into();
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let dist = target.join("dist");
    assert!(dist.join("tare").is_file(), "{} is missing: run `cargo xtask build`", dist.join("tare").display());
    dist
}

/// The unmodified docker client: the program that `DOCKER` names, `docker` otherwise.
pub fn docker() -> PathBuf {
    std::env::var_os("DOCKER").map_or_else(|| "docker".into(), PathBuf::from)
}

/// Compose's program, of version 2: `COMPOSE`, or what is found on the path; `./check` gets it where it is missing.
pub fn compose() -> PathBuf {
    std::env::var_os("COMPOSE").map_or_else(|| "docker-compose".into(), PathBuf::from)
}

/// The client's plugin for BuildKit: `BUILDX`, or where Debian and Docker put it; `./check` gets it where it is missing.
///
/// # Panics
/// When there is none.
pub fn buildx() -> PathBuf {
    let known = ["/usr/libexec/docker/cli-plugins/docker-buildx", "/usr/lib/docker/cli-plugins/docker-buildx"];
    let named = std::env::var_os("BUILDX").map(PathBuf::from);
    let found = named.or_else(|| known.iter().map(PathBuf::from).find(|path| path.exists()));
    found.expect("buildx: set BUILDX, or run ./check")
}

/// The URL of a registry with the story's images: `TARE_MIRROR`'s, or one on loopback that is started now and shared
/// by all tests; `images/registry stop` ends it.
///
/// # Panics
/// When it cannot be started; the script says why.
pub fn mirror() -> &'static str {
    static MIRROR: OnceLock<String> = OnceLock::new();
    MIRROR.get_or_init(|| {
        if let Ok(url) = std::env::var("TARE_MIRROR") {
            return url;
        }
        let output = Output::of("images/registry start", Command::new(root().join("images/registry")).arg("start"));
        assert_eq!(output.status, 0, "{output}");
        output.stdout.trim().to_owned()
    })
}
