//! What is bought: few enough, and each with its reason; and the documentation knows every part of the house.

use std::collections::BTreeSet;

use super::Violation;
use super::layers::Package;

/// Packages in the lock file, ours included. Each is code somebody has to trust, fetch and compile; whoever needs more
/// says why, here: BuildKit's protocol needs gRPC, and its crate asks for all of tonic (docs/adr/0012).
const LIMIT: usize = 300;

const REASONS: &str = "docs/dependencies.md";
const MAP: &str = "docs/architecture.md";
const LOCK: &str = "Cargo.lock";

/// `read` returns a file of the repository.
pub fn check(packages: &[Package], read: impl Fn(&str) -> Option<String>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let count = read(LOCK).unwrap_or_default().lines().filter(|line| *line == "[[package]]").count();
    if count > LIMIT {
        violations.push(Violation::new(LOCK, 0, format!("{count} packages, more than {LIMIT}")));
    }
    let foreign: BTreeSet<&str> = packages.iter().flat_map(|package| &package.foreign).map(String::as_str).collect();
    let folders: BTreeSet<&str> = packages.iter().map(|package| package.folder.as_str()).collect();
    for (document, names) in [(REASONS, foreign), (MAP, folders)] {
        let Some(text) = read(document) else {
            violations.push(Violation::new(document, 0, "is missing"));
            continue;
        };
        let missing = names.into_iter().filter(|name| !mentions(&text, name));
        violations.extend(missing.map(|name| Violation::new(document, 0, format!("does not mention {name}"))));
    }
    violations
}

/// Whether a name stands in a text on its own, not as a part of a longer one.
fn mentions(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    text.match_indices(name).any(|(start, _)| {
        let (before, rest) = text.split_at(start);
        let after = rest.get(name.len()..).unwrap_or_default();
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_as_a_whole() {
        assert!(mentions("we use `http` for", "http"));
        assert!(!mentions("we use http-body for", "http"));
        assert!(!mentions("tower_http", "http"));
        assert!(mentions("http-body and http.", "http"));
    }

    #[test]
    fn documents_and_the_lock_file() {
        let metadata = serde_json::json!({"packages": [{
            "manifest_path": format!("{}/kernel/x/Cargo.toml", crate::root().display()),
            "dependencies": [{"name": "libc"}, {"name": "rustix"}],
        }]});
        let packages = super::super::layers::packages(&metadata).unwrap();
        let read = |path: &str| match path {
            REASONS => Some("libc: everything".to_owned()),
            LOCK => Some("[[package]]\n".repeat(LIMIT + 1)),
            _ => None,
        };
        let violations: Vec<String> = check(&packages, read).iter().map(ToString::to_string).collect();
        assert_eq!(
            violations,
            [
                format!("Cargo.lock: {} packages, more than {LIMIT}", LIMIT + 1),
                "docs/dependencies.md: does not mention rustix".to_owned(),
                "docs/architecture.md: is missing".to_owned(),
            ]
        );
    }
}
