//! Everything that is installed, in `target/dist`: `tare`, `tare-shim`, `tare-init`, shell completions, man pages and
//! units for systemd.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{cargo, output, root, target_directory};

/// The programs beside `tare`.
const SMALL: [&str; 2] = ["tare-shim", "tare-init"];

/// The shim is static and at a fixed address, so that what each of many instances has for itself stays small: no dynamic
/// linker, no relocations. The init has to be static, because it runs among the files of any image.
const SMALL_FLAGS: &str = "-C target-feature=+crt-static -C relocation-model=static";

/// They wait; what counts is their size.
const SMALL_OPTIMISATION: &str = "s";

/// Shells `tare completion` knows, and the file names under which they look for completions.
const COMPLETIONS: [(&str, &str); 3] = [("bash", "tare.bash"), ("zsh", "_tare"), ("fish", "tare.fish")];

/// `cargo xtask build`.
pub fn run() -> Result<(), String> {
    let target = target_directory()?;
    let dist = target.join("dist");
    fs::create_dir_all(&dist).map_err(|error| format!("create `{}`: {error}", dist.display()))?;
    // All are built before anything is copied: target/dist never holds some that do not belong together.
    status(cargo().args(["build", "--release", "--locked", "--package", "tare"]))?;
    let host = host()?;
    status(
        cargo()
            // A static C library must not reach procedural macros, which are loaded by the compiler: with `--target`
            // the flags apply to these alone.
            .args(["build", "--release", "--locked", "--package", SMALL[0], "--package", SMALL[1], "--target", &host])
            .env("RUSTFLAGS", SMALL_FLAGS)
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", SMALL_OPTIMISATION),
    )?;
    install(&target.join("release/tare"), &dist.join("tare"))?;
    for name in SMALL {
        install(&target.join(&host).join("release").join(name), &dist.join(name))?;
    }
    completions(&dist)?;
    man_pages(&dist)?;
    units(&dist)?;
    for name in ["tare"].into_iter().chain(SMALL) {
        let path = dist.join(name);
        let size = fs::metadata(&path).map_err(|error| format!("`{}`: {error}", path.display()))?.len();
        println!("{} {} KiB", path.display(), size / 1024);
    }
    Ok(())
}

/// The triple this compiler builds for unless told otherwise.
fn host() -> Result<String, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = output(Command::new(rustc).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".to_owned())
}

fn status(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}

/// Replaces a file as a whole: the old one may be running.
fn install(from: &Path, to: &Path) -> Result<(), String> {
    let new = to.with_extension("new");
    fs::copy(from, &new).map_err(|error| format!("copy `{}`: {error}", from.display()))?;
    fs::rename(&new, to).map_err(|error| format!("rename `{}`: {error}", new.display()))
}

fn completions(dist: &Path) -> Result<(), String> {
    let directory = dist.join("completions");
    fs::create_dir_all(&directory).map_err(|error| format!("create `{}`: {error}", directory.display()))?;
    for (shell, name) in COMPLETIONS {
        let script = output(Command::new(dist.join("tare")).args(["completion", shell]))?;
        if script.is_empty() {
            return Err(format!("tare completion {shell}: printed nothing"));
        }
        let path = directory.join(name);
        fs::write(&path, script).map_err(|error| format!("write `{}`: {error}", path.display()))?;
    }
    Ok(())
}

/// One page for each command, in `man/man1`.
fn man_pages(dist: &Path) -> Result<(), String> {
    let directory = dist.join("man");
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("remove `{}`: {error}", directory.display()))
        }
        _ => status(Command::new(dist.join("tare")).arg("man").arg(&directory)),
    }
}

/// The files of `packaging/systemd`, in `systemd`.
fn units(dist: &Path) -> Result<(), String> {
    let (from, to) = (root().join("packaging/systemd"), dist.join("systemd"));
    fs::create_dir_all(&to).map_err(|error| format!("create `{}`: {error}", to.display()))?;
    let entries = fs::read_dir(&from).map_err(|error| format!("read `{}`: {error}", from.display()))?;
    for entry in entries.flatten() {
        install(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}
