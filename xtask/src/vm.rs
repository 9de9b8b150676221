//! `cargo xtask vm-test`: the engine on Debian's own kernel with cgroup v2 alone, in a virtual machine.
//!
//! This machine's kernel and hierarchy are whatever they are; what most users have is the distribution's. The machine is
//! emulated in software, so that it runs everywhere: no /dev/kvm. It has no disk and no network; everything is in its
//! initramfs, made here from the packages' files, busybox, `target/dist` and `testing/vm`. What is checked is in
//! `testing/vm/checks`.
//!
//! Read in this order: [`kernel`] (where it comes from), [`initramfs`] (the archive).

mod initramfs;
mod kernel;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::{build, output, root, target_directory};
use initramfs::Stage;
use kernel::Kernel;

/// Debian's packages for this: the emulator, and a busybox that needs no libraries.
const PACKAGES: [&str; 2] = ["qemu-system-x86", "busybox-static"];

/// The kernel unless told otherwise: the newest of the running release, for virtual machines.
const KERNEL: &str = "linux-image-cloud-amd64";

/// What is under test, in `target/dist`.
const PROGRAMS: [&str; 3] = ["tare", "tare-shim", "tare-init"];

/// Until the machine counts as hanging. It takes a minute or two when nothing else runs; others may be building.
const PATIENCE: Duration = Duration::from_secs(900);

/// Memory of the machine in MiB: a fifth for the initramfs, as much again for its copy on a tmpfs, the rest to work in.
const MEMORY_MIB: &str = "1024";

/// `cargo xtask vm-test [PACKAGE]`. Where the emulator or the kernel cannot be had, that is said, and is no failure; a
/// kernel that was asked for must be there.
pub fn run(package: Option<&str>) -> Result<(), String> {
    let target = target_directory()?;
    let directory = target.join("vm");
    let kernel = match (install().and_then(|()| Kernel::fetch(package.unwrap_or(KERNEL), &directory)), package) {
        (Ok(kernel), _) => kernel,
        (Err(error), Some(_)) => return Err(error),
        (Err(error), None) => {
            eprintln!("SKIPPED: NOTHING WAS TESTED on cgroup v2 and Debian's kernel: {error}");
            return Ok(());
        }
    };
    let dist = target.join("dist");
    if PROGRAMS.iter().any(|name| !dist.join(name).exists()) {
        build::run()?;
    }
    let archive = directory.join("initramfs");
    pack(&kernel, &dist, &archive)?;
    println!("booting {}", kernel.version);
    let verdict = watch(Command::new("qemu-system-x86_64").args(arguments(&kernel.image, &archive)))?;
    println!("{verdict}");
    match verdict.ends_with(" 0 failed") {
        true => Ok(()),
        false => Err(format!("not everything works on {}", kernel.version)),
    }
}

/// Installs what is not there.
fn install() -> Result<(), String> {
    let there = |name: &str| {
        let mut query = Command::new("dpkg-query");
        query.args(["--show", "--showformat", "${db:Status-Status}", name]).stderr(Stdio::null());
        query.output().is_ok_and(|output| output.stdout == b"installed")
    };
    let missing: Vec<&str> = PACKAGES.into_iter().filter(|name| !there(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Installing {}", missing.join(" "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.arg("-qq").args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        output(&mut command)
    };
    let install = [&["install", "--no-install-recommends"], missing.as_slice()].concat();
    apt(&install).or_else(|_| apt(&["update"]).and_then(|_| apt(&install))).map(drop)
}

/// The machine: two processors, no disk, no network, the console on standard output. It ends when it panics.
fn arguments(kernel: &Path, archive: &Path) -> Vec<String> {
    let fixed = format!(
        "-accel tcg,thread=multi -smp 2 -m {MEMORY_MIB} -nodefaults -no-user-config -no-reboot -display none -serial stdio"
    );
    let mut arguments: Vec<String> = fixed.split(' ').map(str::to_owned).collect();
    let line = "console=ttyS0 quiet panic=-1 rdinit=/init";
    for (option, value) in [("-kernel", kernel.display()), ("-initrd", archive.display())] {
        arguments.extend([option.to_owned(), value.to_string()]);
    }
    arguments.extend(["-append".to_owned(), line.to_owned()]);
    arguments
}

/// Everything the machine has, as its initramfs.
fn pack(kernel: &Kernel, dist: &Path, archive: &Path) -> Result<(), String> {
    let stage = Stage::new(&archive.with_extension("root"))?;
    let testing = root().join("testing/vm");
    stage.copy(&testing.join("init"), "init")?;
    stage.tree(&testing.join("checks"), "checks")?;
    let busybox = ["/usr/bin/busybox", "/bin/busybox"].into_iter().map(Path::new).find(|path| path.exists());
    let busybox = busybox.ok_or("busybox-static has no busybox")?;
    stage.copy(busybox, "bin/busybox")?;
    for applet in output(Command::new(busybox).arg("--list"))?.lines().filter(|applet| *applet != "busybox") {
        stage.link("busybox", &format!("bin/{applet}"))?;
    }
    // Where the kernel looks for the program that loads modules.
    stage.link("../bin/busybox", "sbin/modprobe")?;
    for name in PROGRAMS {
        stage.copy(&dist.join(name), &format!("bin/{name}"))?;
    }
    for library in libraries(&dist.join("tare"))? {
        let place = library.to_string_lossy().trim_start_matches('/').to_owned();
        stage.copy(&library, &place)?;
    }
    stage.copy_if_there(Path::new("/etc/protocols"), "etc/protocols")?;
    kernel.modules(&stage, busybox)?;
    stage.pack(archive)
}

/// The shared libraries of a program, and what loads them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>, String> {
    let text = output(Command::new("ldd").arg(program))?;
    let paths = text.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(paths.map(PathBuf::from).collect())
}

/// Runs the machine, shows what it says, and returns the line that counts. It is ended when its time is over.
fn watch(machine: &mut Command) -> Result<String, String> {
    let start = Instant::now();
    let spawned = machine.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| format!("qemu-system-x86_64: {error}"))?;
    let console = child.stdout.take().ok_or("the machine has no console")?;
    let (send, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut console = BufReader::new(console);
        let mut line = Vec::new();
        while console.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if send.send(text).is_err() {
                break;
            }
        }
    });
    let mut verdict = None;
    let ended = loop {
        match lines.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) {
            Ok(line) if line.contains(" tests run: ") => verdict = Some(line),
            Ok(line) => println!("{line}"),
            Err(RecvTimeoutError::Disconnected) => break true,
            Err(RecvTimeoutError::Timeout) => break false,
        }
    };
    if !ended {
        child.kill().map_err(|error| format!("end the machine: {error}"))?;
    }
    child.wait().map_err(|error| format!("wait for the machine: {error}"))?;
    // It has ended with the machine's console.
    reader.join().map_err(|_| "the reader of the console has panicked")?;
    match (verdict, ended) {
        (_, false) => Err(format!("the machine did not end within {} s", PATIENCE.as_secs())),
        (None, true) => Err("the machine ended before its checks did".to_owned()),
        (Some(verdict), true) => Ok(verdict),
    }
}
