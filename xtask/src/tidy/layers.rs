//! Arrows point down: bin, interface, engine, mechanism, kernel. Everybody may use format. In mechanism and kernel
//! nothing points sideways either, except to kernel/sys: whoever needs two of them composes them from above.

use serde_json::Value;

use super::Violation;
use crate::root;

/// Folders from top to bottom.
const LAYERS: [&str; 5] = ["bin", "interface", "engine", "mechanism", "kernel"];
/// The folder everybody may use.
const FORMAT: &str = "format";
/// May use everything, and tests may use it.
const TESTING: &str = "testing";
/// These do not know each other.
const NO_SIDEWAYS: [&str; 2] = ["mechanism", "kernel"];
/// Except that all of the kernel layer stands on this.
const SYS: &str = "kernel/sys";

/// A package of the workspace.
#[derive(Debug)]
pub struct Package {
    /// `kernel/cgroup`
    pub folder: String,
    /// Those of the workspace, as folders.
    own: Vec<Dependency>,
    /// The names of the others.
    pub foreign: Vec<String>,
}

#[derive(Debug)]
struct Dependency {
    folder: String,
    is_for_tests: bool,
}

/// Reads `cargo metadata`.
pub fn packages(metadata: &Value) -> Result<Vec<Package>, String> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut packages = Vec::new();
    for package in list(metadata, "packages") {
        let manifest = text(&package, "manifest_path").ok_or("cargo metadata: a package without manifest_path")?;
        let folder = folder(manifest.trim_end_matches("/Cargo.toml"));
        let (mut own, mut foreign) = (Vec::new(), Vec::new());
        for dependency in list(&package, "dependencies") {
            let name = text(&dependency, "name").ok_or("cargo metadata: a dependency without name")?;
            match text(&dependency, "path") {
                Some(path) => {
                    let is_for_tests = text(&dependency, "kind").as_deref() == Some("dev");
                    own.push(Dependency { folder: self::folder(&path), is_for_tests });
                }
                None => foreign.push(name),
            }
        }
        packages.push(Package { folder, own, foreign });
    }
    Ok(packages)
}

fn folder(path: &str) -> String {
    let root = root().to_string_lossy();
    path.strip_prefix(root.as_ref()).unwrap_or(path).trim_start_matches('/').to_owned()
}

/// Looks at every arrow.
pub fn check(packages: &[Package]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in packages {
        for dependency in &package.own {
            if !is_allowed(&package.folder, dependency) {
                let message = format!("must not depend on {}", dependency.folder);
                violations.push(Violation::new(format!("{}/Cargo.toml", package.folder), 0, message));
            }
        }
    }
    violations
}

fn is_allowed(from: &str, Dependency { folder: to, is_for_tests }: &Dependency) -> bool {
    let top = |folder: &str| folder.split('/').next().unwrap_or_default().to_owned();
    let (from_top, to_top) = (top(from), top(to));
    if to_top == FORMAT || from_top == TESTING || (to_top == TESTING && *is_for_tests) {
        return true;
    }
    let rank = |folder: &str| LAYERS.iter().position(|layer| *layer == folder);
    let (Some(from_rank), Some(to_rank)) = (rank(&from_top), rank(&to_top)) else { return false };
    if from_rank != to_rank {
        return from_rank < to_rank;
    }
    (to == SYS && from != SYS) || !NO_SIDEWAYS.contains(&from_top.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(from: &str, to: &str) -> bool {
        is_allowed(from, &Dependency { folder: to.to_owned(), is_for_tests: false })
    }

    #[test]
    fn arrows_point_down() {
        assert!(allowed("bin/tare", "interface/cli"));
        assert!(allowed("bin/tare-shim", "kernel/sys"));
        assert!(allowed("engine/engine", "mechanism/images"));
        assert!(!allowed("mechanism/images", "engine/engine"));
        assert!(!allowed("kernel/sys", "mechanism/runtime"));
    }

    #[test]
    fn nothing_points_sideways_below_the_engine() {
        assert!(allowed("engine/engine", "engine/logs"));
        assert!(!allowed("mechanism/runtime", "mechanism/images"));
        assert!(!allowed("kernel/cgroup", "kernel/seccomp"));
        assert!(allowed("kernel/cgroup", "kernel/sys"));
    }

    #[test]
    fn everybody_may_use_format_which_uses_only_itself() {
        assert!(allowed("kernel/cgroup", "format/oci-runtime"));
        assert!(allowed("format/docker-api", "format/reference"));
        assert!(!allowed("format/archive", "kernel/sys"));
    }

    #[test]
    fn testing_is_for_tests() {
        assert!(allowed("testing/e2e", "bin/tare"));
        assert!(!allowed("engine/engine", "testing/testkit"));
        let dependency = Dependency { folder: "testing/testkit".to_owned(), is_for_tests: true };
        assert!(is_allowed("engine/engine", &dependency));
    }

    #[test]
    fn metadata_is_read() {
        let root = root().display();
        let text = format!(
            r#"{{"packages":[{{"manifest_path":"{root}/mechanism/a/Cargo.toml","dependencies":[
                {{"name":"tare-b","path":"{root}/mechanism/b","kind":null}},
                {{"name":"libc","kind":null}},
                {{"name":"tare-t","path":"{root}/testing/t","kind":"dev"}}]}}]}}"#
        );
        let packages = packages(&serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(packages[0].foreign, ["libc"]);
        let violations: Vec<String> = check(&packages).iter().map(ToString::to_string).collect();
        assert_eq!(violations, ["mechanism/a/Cargo.toml: must not depend on mechanism/b"]);
    }
}
