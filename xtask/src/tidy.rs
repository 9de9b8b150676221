//! `cargo xtask tidy`: the rules of docs/architecture.md that no compiler checks.
//!
//! Read in this order: [`layers`] (who may depend on whom), [`sources`] (sizes, documentation, unsafe code),
//! [`dependencies`] (how many, and that each is explained), [`rust`] (as much of the language as that takes).

mod dependencies;
mod layers;
mod rust;
mod sources;

use std::fmt;
use std::fs;
use std::process::Command;

use crate::{metadata, output, root};

/// A rule that is broken somewhere.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    path: String,
    /// Zero: the file as a whole.
    line: usize,
    message: String,
}

impl Violation {
    fn new(path: impl Into<String>, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Checks everything and prints what is wrong.
pub fn run() -> Result<(), String> {
    let packages = layers::packages(&metadata()?)?;
    let mut violations = layers::check(&packages);
    let mut files = 0;
    for path in tracked()? {
        // Deleted but not committed, or not text: neither is looked at.
        let Ok(text) = fs::read_to_string(root().join(&path)) else { continue };
        files += 1;
        violations.extend(sources::check(&path, &text));
    }
    let read = |path: &str| fs::read_to_string(root().join(path)).ok();
    violations.extend(dependencies::check(&packages, read));
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => {
            println!("{files} files and {} packages are tidy", packages.len());
            Ok(())
        }
        count => Err(format!("{count} rules broken")),
    }
}

/// Every file under version control, and those that are about to be.
fn tracked() -> Result<Vec<String>, String> {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    Ok(output(&mut git)?.split_terminator('\0').map(str::to_owned).collect())
}
