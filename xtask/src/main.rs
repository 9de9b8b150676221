//! What cargo itself does not do: `cargo xtask build` makes everything that is installed, `cargo xtask tidy` checks what
//! the compiler does not, `cargo xtask vm-test` tries it all on another kernel, `cargo xtask fuzz` feeds the parsers
//! with what nobody thought of, `cargo xtask bench` measures.
//!
//! Read in this order: [`build`], [`tidy`], [`vm`], [`fuzz`], [`bench`].
#![forbid(unsafe_code)]

mod bench;
mod build;
mod fuzz;
mod tidy;
mod vm;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["build"] => build::run(),
        ["tidy"] => tidy::run(),
        ["bench", rest @ ..] => bench::run(rest),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["vm-test"] => vm::run(None),
        ["vm-test", package] => vm::run(Some(package)),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "usage: cargo xtask <command>

  build   release binaries, completions and man pages, in target/dist
  tidy    layering, sizes, documentation, unsafe code, dependencies
  fuzz [TARGET] [--seconds N]  every fuzz target for half a minute, or one; needs nightly and cargo-fuzz
  vm-test [PACKAGE]  the engine on cgroup v2 and Debian's kernel (or that package's), emulated
  bench [--quick] [--docker SOCKET] [--client PROGRAM] [--podman COMMAND] [--crun COMMAND] [--runc COMMAND]
        [--bundle DIRECTORY] [--mirror URL] [NAME...]
          the promised numbers, side by side with those peers; a COMMAND may lead to the program through another";

/// The repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Cargo, as it runs us.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command and returns what it prints.
fn output(command: &mut Command) -> Result<String, String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("{command:?}: {error}"))
}

/// `cargo metadata`, without the dependencies' dependencies.
fn metadata() -> Result<serde_json::Value, String> {
    let text = output(cargo().args(["metadata", "--format-version", "1", "--no-deps", "--locked"]))?;
    serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))
}

/// Where cargo builds.
fn target_directory() -> Result<PathBuf, String> {
    let metadata = metadata()?;
    let path = metadata.get("target_directory").and_then(serde_json::Value::as_str);
    path.map(PathBuf::from).ok_or_else(|| "cargo metadata: no target_directory".to_owned())
}
