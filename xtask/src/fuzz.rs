//! `fuzz`: the targets of fuzz/, each for a while. See docs/fuzzing.md.

use std::path::Path;
use std::process::Command;

use super::{output, root};

/// How long each target runs when nothing else is said, seconds: a smoke test.
const SECONDS: u64 = 30;
/// Memory of a target, MiB: an input of a few kilobytes that needs more is a find.
const MEMORY: u64 = 1024;
/// Time for one input, seconds.
const INPUT_SECONDS: u64 = 10;

/// Runs one target or all, until one finds something.
pub fn run(arguments: &[&str]) -> Result<(), String> {
    let (target, seconds) = read(arguments)?;
    let known = output(fuzz().arg("list"))?;
    let known: Vec<&str> = known.lines().collect();
    let chosen = match target {
        Some(target) if !known.contains(&target) => {
            return Err(format!("no such target: {target}: must be one of {}", known.join(", ")));
        }
        Some(target) => vec![target],
        None => known,
    };
    for target in chosen {
        println!("== {target}: {seconds} s");
        let folder = root().join("fuzz");
        let corpus = folder.join("corpus").join(target);
        std::fs::create_dir_all(&corpus).map_err(|error| format!("{}: {error}", corpus.display()))?;
        let mut command = fuzz();
        command.args(["run", "--sanitizer", "none", target]).arg(&corpus);
        command.args(Some(folder.join("seeds").join(target)).filter(|seeds| Path::is_dir(seeds)));
        command.arg("--").args([
            format!("-max_total_time={seconds}"),
            format!("-rss_limit_mb={MEMORY}"),
            format!("-timeout={INPUT_SECONDS}"),
            "-print_final_stats=1".to_owned(),
        ]);
        let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
        if !status.success() {
            return Err(format!("{target}: found something ({status})"));
        }
    }
    Ok(())
}

/// `[TARGET] [--seconds N]`
fn read<'a>(arguments: &[&'a str]) -> Result<(Option<&'a str>, u64), String> {
    let (mut target, mut seconds) = (None, SECONDS);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "--seconds" => {
                let value = rest.next().and_then(|value| value.parse().ok());
                seconds = value.ok_or("--seconds needs a number")?;
            }
            name if target.is_none() && !name.starts_with('-') => target = Some(name),
            other => return Err(format!("unexpected argument: {other}")),
        }
    }
    Ok((target, seconds))
}

/// The nightly toolchain's cargo-fuzz.
fn fuzz() -> Command {
    let mut command = Command::new("cargo");
    // Ours is the toolchain of the workspace.
    command
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .args(["+nightly", "fuzz"])
        .current_dir(root().join("fuzz"));
    command
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn arguments() {
        assert_eq!(read(&[]), Ok((None, 30)));
        assert_eq!(read(&["archive", "--seconds", "5"]), Ok((Some("archive"), 5)));
        assert!(read(&["a", "b"]).is_err() && read(&["--seconds"]).is_err() && read(&["--fast"]).is_err());
    }
}
