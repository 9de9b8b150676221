//! What an engine has on the machine: every mount, link, table, cgroup and process that carries its name.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest as _, Sha256};

/// Where cgroups are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// The names of one engine.
#[derive(Debug, Clone)]
pub struct Names {
    /// Everything it stores is below these directories.
    pub directories: Vec<PathBuf>,
    /// Name of its table and cgroup, alias of its links.
    pub mark: String,
    /// Mounts that are the test's.
    pub disks: Vec<PathBuf>,
}

/// What was found, one line each.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Traces {
    /// Mount points.
    pub mounts: Vec<String>,
    /// Network interfaces other than bridges.
    pub links: Vec<String>,
    /// Bridges.
    pub bridges: Vec<String>,
    /// nf_tables tables.
    pub tables: Vec<String>,
    /// Cgroup directories, the innermost first.
    pub cgroups: Vec<String>,
    /// Processes as `pid command line`, but for the shims that are kept ready for containers to come.
    pub processes: Vec<String>,
}

impl Names {
    /// The names of the engine with a data root, all of whose files are below some directories.
    pub fn new(directories: &[&Path], data_root: &Path) -> Self {
        let hash = Sha256::digest(data_root.as_os_str().as_encoded_bytes());
        let instance: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Self {
            directories: directories.iter().map(|path| path.to_path_buf()).collect(),
            mark: format!("tare-{instance}"),
            disks: Vec::new(),
        }
    }

    /// Looks for everything.
    pub fn traces(&self) -> Traces {
        let (bridges, links) = self.links().into_iter().partition(|link| is_bridge(link));
        Traces {
            mounts: self.mounts(),
            links,
            bridges,
            tables: self.tables(),
            cgroups: self.cgroups(),
            processes: self.processes(),
        }
    }

    /// Removes everything, for tests that fail halfway: the next one finds a clean machine. What cannot be removed is
    /// left; there is a failure to report already.
    pub fn remove(&self) {
        let found = self.traces();
        // What does not end is left, too.
        let _ = self.kill_processes();
        for mount in found.mounts.iter().rev() {
            let _ = Command::new("umount").args(["-l", mount]).status();
        }
        for link in found.links.iter().chain(&found.bridges) {
            let _ = Command::new("ip").args(["link", "delete", link]).status();
        }
        for table in &found.tables {
            let _ = Command::new("nft").arg("delete table").args(table.split(' ')).status();
        }
        // A cgroup can be removed when the processes killed above are gone.
        crate::eventually("cgroups to become empty", || {
            let cgroups = self.cgroups();
            let all = cgroups.iter().all(|cgroup| fs::remove_dir(cgroup).is_ok());
            all.then_some(())
        });
    }

    /// Kills every process; says whether all have ended.
    #[must_use]
    pub fn kill_processes(&self) -> bool {
        crate::within_patience(|| {
            let processes = self.processes();
            for cgroup in self.cgroups() {
                // A paused process does not die; most groups have no such file.
                for (file, value) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
                    let _ = File::options()
                        .write(true)
                        .open(format!("{cgroup}/{file}"))
                        .and_then(|mut file| std::io::Write::write_all(&mut file, value.as_bytes()));
                }
            }
            for process in &processes {
                if let Some(pid) = process.split(' ').next().and_then(|pid| pid.parse().ok())
                    && let Some(pid) = rustix::process::Pid::from_raw(pid)
                {
                    // It may have ended meanwhile.
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            processes.is_empty()
        })
    }

    fn mounts(&self) -> Vec<String> {
        let points = lines("/proc/self/mountinfo").into_iter();
        let points = points.filter_map(|line| line.split(' ').nth(4).map(str::to_owned));
        points
            .filter(|point| self.directories.iter().any(|directory| Path::new(point).starts_with(directory)))
            .filter(|point| !self.disks.iter().any(|disk| Path::new(point) == disk))
            .collect()
    }

    fn links(&self) -> Vec<String> {
        let links = names(Path::new("/sys/class/net")).into_iter();
        let alias = |link: &str| fs::read_to_string(format!("/sys/class/net/{link}/ifalias")).unwrap_or_default();
        links.filter(|link| alias(link).trim() == self.mark || *link == self.mark).collect()
    }

    fn tables(&self) -> Vec<String> {
        let output = Command::new("nft").args(["list", "tables"]).output().expect("nft");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let tables = text.lines().filter_map(|line| line.strip_prefix("table "));
        tables.filter(|table| table.ends_with(&self.mark)).map(str::to_owned).collect()
    }

    fn cgroups(&self) -> Vec<String> {
        let root = Path::new(CGROUPS);
        let hierarchies = names(root).into_iter().map(|name| root.join(name)).chain([root.to_owned()]);
        let own = hierarchies.map(|hierarchy| hierarchy.join(&self.mark)).filter(|path| path.is_dir());
        let mut found = Vec::new();
        own.for_each(|path| innermost_first(&path, &mut found));
        found
    }

    fn processes(&self) -> Vec<String> {
        let directories: Vec<String> = self.directories.iter().map(|path| path.display().to_string()).collect();
        let names_us = |text: &str| text.contains(&self.mark) || directories.iter().any(|path| text.contains(path));
        let pids = names(Path::new("/proc")).into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        pids.filter(|pid| *pid != std::process::id().to_string())
            .filter_map(|pid| {
                let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
                let command = String::from_utf8_lossy(&command).replace('\0', " ").trim().to_owned();
                let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
                let own = names_us(&command) || cgroup.contains(&self.mark);
                (own && !self.is_spare(&pid, &command)).then(|| format!("{pid} {command}"))
            })
            .collect()
    }

    /// Whether a process is a shim that has no container: it has none of a container's files open.
    fn is_spare(&self, pid: &str, command: &str) -> bool {
        let directory = format!("/proc/{pid}/fd");
        let is_file_of_ours = |name: &String| {
            let file = fs::read_link(format!("{directory}/{name}")).unwrap_or_default();
            self.directories.iter().any(|own| file.starts_with(own))
        };
        command.contains("tare-shim --spare") && !names(Path::new(&directory)).iter().any(is_file_of_ours)
    }
}

/// What belongs to nothing while some containers are there: neither to one of them nor to the engine itself. The
/// containers are given by their full IDs.
pub fn strays(engine: &crate::Engine, containers: &[String]) -> Vec<String> {
    let names = engine.names();
    let found = names.traces();
    let belongs = |text: &str| containers.iter().any(|id| text.contains(id));
    let daemon = format!("{} ", engine.pid());
    let own_cgroup = |cgroup: &str| {
        cgroup.ends_with(&names.mark) || cgroup.contains(&format!("/spare-{}-", engine.pid())) || belongs(cgroup)
    };
    let own_process = |process: &str| {
        let pid = process.split(' ').next().unwrap_or_default();
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        // A shim has its container's log open.
        let descriptors = PathBuf::from(format!("/proc/{pid}/fd"));
        let mut files = self::names(&descriptors).into_iter().filter_map(|fd| fs::read_link(descriptors.join(fd)).ok());
        process.starts_with(&daemon)
            || cgroup.lines().any(own_cgroup)
            || files.any(|file| belongs(&file.to_string_lossy()))
    };
    let alive = |id: &&String| found.cgroups.iter().any(|cgroup| cgroup.contains(*id));
    let running = containers.iter().filter(alive).count();
    let mut strays: Vec<String> = found.mounts.iter().filter(|mount| !belongs(mount)).cloned().collect();
    // A network the engine has itself is a bridge; a container has one link for each of its networks.
    if found.links.len() > running {
        strays.extend(found.links.iter().cloned());
    }
    strays.extend(found.cgroups.iter().filter(|cgroup| !own_cgroup(cgroup)).cloned());
    strays.extend(found.processes.iter().filter(|process| !own_process(process)).cloned());
    let directories =
        ["containers", "images/snapshots", "images/trash"].map(|directory| engine.data_root().join(directory));
    for directory in directories.into_iter().chain([engine.exec_root().join("containers")]) {
        let entries = self::names(&directory).into_iter().filter(|name| !belongs(name));
        strays.extend(entries.map(|name| directory.join(name).display().to_string()));
    }
    strays
}

/// The rules of an engine's tables as text, without counters.
pub fn rules(names: &Names) -> String {
    let text = |table: String| {
        let output = Command::new("nft").args(["--stateless", "list", "table"]).args(table.split(' ')).output();
        let mut text = String::from_utf8_lossy(&output.expect("nft").stdout).into_owned();
        // Elements are in no order.
        text = text.replace(", ", "\n");
        let mut lines: Vec<&str> = text.lines().map(|line| line.trim().trim_end_matches(',')).collect();
        lines.sort_unstable();
        lines.join("\n")
    };
    names.tables().into_iter().map(text).collect()
}

fn innermost_first(path: &Path, found: &mut Vec<String>) {
    for name in names(path) {
        let child = path.join(name);
        if child.is_dir() {
            innermost_first(&child, found);
        }
    }
    found.push(path.display().to_string());
}

fn is_bridge(link: &str) -> bool {
    Path::new("/sys/class/net").join(link).join("bridge").exists()
}

fn lines(path: &str) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Names in a directory, sorted; none when it is gone.
fn names(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
