//! `cargo xtask bench`: the numbers of SPECIFICATION.md, measured side by side with whatever else is there.
//!
//! Nothing is built: what is in `target/dist` is measured, on an engine of its own with directories of its own. Peers
//! that are not named are left out, and that is said. Everybody is measured turn by turn, so that a busy machine is busy
//! for all; the table has medians, and the best in parentheses.
//!
//! Read in this order: [`options`], [`sample`] (figures), [`table`] (the result), [`http`] and [`engine`] (whom to
//! measure), then what is measured: [`run`], [`api`], [`memory`], [`logs`].

mod api;
mod engine;
mod http;
mod logs;
mod memory;
mod options;
mod run;
mod sample;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{output, root, target_directory};
use engine::{Engine, Target};
use options::Options;
use table::Row;

/// The image that is run.
const IMAGE: &str = "busybox:1.29";

type Measure = fn(&Bench) -> Result<Vec<Row>, String>;

/// What can be asked for by name, in the order of the table.
const ITEMS: [(&str, Measure); 10] = [
    ("cli", run::cli),
    ("run", run::run),
    ("oci", run::oci),
    ("api", api::api),
    ("remove", api::forced_removal),
    ("fifty", api::fifty),
    ("memory", memory::memory),
    ("daemon", memory::daemon),
    ("logs", logs::logs),
    ("tail", logs::tail),
];

/// Who is measured, and how.
struct Bench {
    options: Options,
    /// Our programs.
    dist: PathBuf,
    mirror: String,
    engine: Engine,
    docker: Option<Target>,
    /// The docker client.
    client: Option<PathBuf>,
}

impl Bench {
    /// Our engine.
    fn ours(&self) -> Target {
        Target { name: "tare", socket: self.engine.socket() }
    }

    /// Our engine and, if it is there, Docker's.
    fn targets(&self) -> Vec<Target> {
        [self.ours()].into_iter().chain(self.docker.clone()).collect()
    }

    /// One more engine of ours, with empty directories.
    fn new_engine(&self) -> Result<Engine, String> {
        Engine::start(&self.dist, &self.mirror)
    }
}

/// `cargo xtask bench [OPTIONS] [NAME…]`.
pub fn run(arguments: &[&str]) -> Result<(), String> {
    let options = Options::parse(arguments)?;
    let items = chosen(&options.names)?;
    let dist = target_directory()?.join("dist");
    if !dist.join("tare").exists() {
        return Err(format!("`{}` has no tare: cargo xtask build", dist.display()));
    }
    let registry = Registry::find(options.mirror.as_deref())?;
    let bench = prepare(options, dist, &registry.url)?;
    let mut rows = Vec::new();
    let mut failures = Vec::new();
    for (name, measure) in items {
        eprintln!("measuring {name}");
        match measure(&bench) {
            Ok(more) => rows.extend(more),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    println!("{}\n\n{}", conditions(&bench), table::markdown(&rows));
    let missed = rows.iter().filter(|row| row.is_met() == Some(false)).count();
    println!("{missed} missed");
    match failures.is_empty() {
        true => Ok(()),
        false => Err(failures.join("\n")),
    }
}

/// The items with those names; all when there are none.
fn chosen(names: &[String]) -> Result<Vec<(&'static str, Measure)>, String> {
    if let Some(unknown) = names.iter().find(|name| !ITEMS.iter().any(|(item, _)| item == name)) {
        return Err(format!("bench {unknown}: there are {}", ITEMS.map(|(name, _)| name).join(", ")));
    }
    let wanted = |(item, _): &&(&str, Measure)| names.is_empty() || names.iter().any(|name| name == item);
    Ok(ITEMS.iter().filter(wanted).copied().collect())
}

fn prepare(options: Options, dist: PathBuf, mirror: &str) -> Result<Bench, String> {
    let docker = options.docker.clone().map(|socket| Target { name: "docker", socket });
    if let Some(docker) = &docker {
        docker.client()?.call("GET", &format!("/images/{IMAGE}/json"), &serde_json::Value::Null)?;
    }
    let client = options.client.clone().or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|directory| directory.join("docker")).find(|path| path.exists())
    });
    let absent = [
        ("--docker SOCKET", docker.is_none()),
        ("--client PROGRAM", client.is_none()),
        ("--podman COMMAND", options.podman.is_none()),
        ("--crun COMMAND", options.crun.is_none()),
        ("--runc COMMAND", options.runc.is_none()),
    ];
    for (option, _) in absent.iter().filter(|(_, absent)| *absent) {
        eprintln!("left out: no {option}");
    }
    let engine = Engine::start(&dist, mirror)?;
    let bench = Bench { options, dist, mirror: mirror.to_owned(), engine, docker, client };
    engine::pull(&mut bench.ours().client()?, IMAGE)?;
    Ok(bench)
}

/// What the figures depend on.
fn conditions(bench: &Bench) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let word = |text: &str, place: usize| text.split_whitespace().nth(place).unwrap_or("?").to_owned();
    let processors = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let cgroups = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "v2" } else { "v1" };
    let quick = if bench.options.quick { "; few rounds" } else { "" };
    format!(
        "Linux {}, {processors} processors, load {}, cgroup {cgroups}{quick}",
        read("/proc/sys/kernel/osrelease").trim(),
        word(&read("/proc/loadavg"), 0),
    )
}

/// Where images come from.
struct Registry {
    url: String,
    /// It runs because of us.
    started: bool,
}

impl Registry {
    fn find(url: Option<&str>) -> Result<Self, String> {
        if let Some(url) = url {
            return Ok(Self { url: url.to_owned(), started: false });
        }
        let script = || Command::new(root().join("images/registry"));
        let running = script().arg("running").status().is_ok_and(|status| status.success());
        let url = output(script().arg("start"))?.lines().last().unwrap_or_default().trim().to_owned();
        Ok(Self { url, started: !running })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if self.started
            && let Err(error) = output(Command::new(root().join("images/registry")).arg("stop"))
        {
            eprintln!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_by_name() {
        let names = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            chosen(&names).map(|items| items.iter().map(|(name, _)| *name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["oci", "cli"]), Ok(vec!["cli", "oci"]));
        assert_eq!(names(&[]).map(|all| all.len()), Ok(ITEMS.len()));
        assert!(names(&["speed"]).is_err_and(|error| error.starts_with("bench speed: there are cli, ")));
    }
}
