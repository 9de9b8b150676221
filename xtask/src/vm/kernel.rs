//! A kernel from a Debian package: fetched and unpacked, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::initramfs::Stage;
use crate::output;

/// Directories of modules the machine gets, besides single ones: it loads from them what is asked for, by itself.
const MODULE_DIRECTORIES: [&str; 4] = ["net", "fs/overlayfs", "lib", "crypto"];
/// Single modules.
const MODULES: [&str; 3] = ["drivers/net/veth.ko", "drivers/net/dummy.ko", "drivers/block/brd.ko"];

/// An unpacked kernel.
pub struct Kernel {
    /// As uname(1) says it.
    pub version: String,
    /// What is booted.
    pub image: PathBuf,
    /// Its modules: `…/lib/modules/<version>`.
    modules: PathBuf,
}

impl Kernel {
    /// Fetches a package, or the one it stands for, into a directory below `directory`, unless it is there.
    pub fn fetch(package: &str, directory: &Path) -> Result<Self, String> {
        let package = real_package(package)?;
        let unpacked = directory.join(&package);
        if !unpacked.join("boot").exists() {
            download(&package, directory, &unpacked)?;
        }
        let version = package.trim_start_matches("linux-image-").to_owned();
        let image = unpacked.join("boot").join(format!("vmlinuz-{version}"));
        let modules = ["lib/modules", "usr/lib/modules"].map(|place| unpacked.join(place).join(&version));
        let modules = modules.into_iter().find(|place| place.exists());
        match modules.filter(|_| image.exists()) {
            Some(modules) => Ok(Self { version, image, modules }),
            None => Err(format!("`{}` has no kernel {version}", unpacked.display())),
        }
    }

    /// Puts the modules into a file tree, with the index that modprobe needs.
    pub fn modules(&self, stage: &Stage, busybox: &Path) -> Result<(), String> {
        let place = format!("lib/modules/{}", self.version);
        for directory in MODULE_DIRECTORIES {
            stage.tree(&self.modules.join("kernel").join(directory), &format!("{place}/kernel/{directory}"))?;
        }
        for module in MODULES {
            // Newer releases compress them.
            for suffix in ["", ".xz"] {
                let module = format!("{module}{suffix}");
                stage.copy_if_there(&self.modules.join("kernel").join(&module), &format!("{place}/kernel/{module}"))?;
            }
        }
        for index in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
            stage.copy(&self.modules.join(index), &format!("{place}/{index}"))?;
        }
        output(Command::new(busybox).arg("depmod").arg("-b").arg(stage.root()).arg(&self.version)).map(drop)
    }
}

/// `linux-image-cloud-amd64` has nothing but a dependency: the kernel of the day.
fn real_package(package: &str) -> Result<String, String> {
    let text = output(Command::new("apt-cache").args(["depends", "--important", package]))?;
    let kernel = text.lines().find_map(|line| line.trim().strip_prefix("Depends: ")?.strip_prefix("linux-image-"));
    Ok(kernel.map_or_else(|| package.to_owned(), |kernel| format!("linux-image-{kernel}")))
}

fn download(package: &str, directory: &Path, unpacked: &Path) -> Result<(), String> {
    println!("Fetching {package}");
    let part = directory.join("part");
    remove(&part)?;
    let io = |error: std::io::Error| format!("`{}`: {error}", part.display());
    fs::create_dir_all(&part).map_err(io)?;
    let fetch = |verb: &[&str]| output(Command::new("apt-get").arg("-qq").args(verb).current_dir(&part));
    let verb = ["download", package];
    fetch(&verb).or_else(|_| fetch(&["update"]).and_then(|_| fetch(&verb)))?;
    let files = fs::read_dir(&part).map_err(io)?.filter_map(Result::ok).map(|entry| entry.path());
    let deb = files.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    let deb = deb.ok_or_else(|| format!("apt-get download {package}: no file"))?;
    let new = part.join("unpacked");
    output(Command::new("dpkg").arg("-x").arg(&deb).arg(&new))?;
    remove(unpacked)?;
    fs::rename(&new, unpacked).map_err(io)?;
    remove(&part)
}

fn remove(path: &Path) -> Result<(), String> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("`{}`: {error}", path.display())),
        _ => Ok(()),
    }
}
