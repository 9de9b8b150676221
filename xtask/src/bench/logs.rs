//! Output: what writing it costs, and how long its end takes to find.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::engine::{Target, create, remove, start, wait};
use super::run::busybox;
use super::sample::{Contender, seconds, turns};
use super::table::{Budget, Row};
use super::{Bench, IMAGE};

/// Lines of 100 bytes with their newline.
const LINES: u32 = 1_000_000;
/// Runs that count.
const ROUNDS: usize = 10;
/// Lines of a log that has 1 GB as `json-file`.
const LONG_LINES: u32 = 6_000_000;
/// Requests for its end.
const TAIL_ROUNDS: usize = 30;

/// How a container writes: (name, script).
fn writers() -> [(&'static str, String); 3] {
    let line = "x".repeat(99);
    let awk = |flush| format!("awk 'BEGIN {{ for (i = 0; i < {LINES}; i++) {{ print \"{line}\"{flush} }} }}'");
    [
        ("in blocks, two processes", format!("yes {line} | head -n {LINES}")),
        ("in blocks, one process", awk("")),
        ("line by line", awk("; fflush()")),
    ]
}

/// `cargo xtask bench logs`.
pub fn logs(bench: &Bench) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for (name, script) in writers() {
        let mut contenders = vec![to_file(bench, &script)?];
        contenders.extend(bench.targets().into_iter().map(|target| in_container(target, &script)));
        let samples = turns(bench.options.rounds(ROUNDS), &mut contenders)?;
        let [bare, ours, others @ ..] = samples.as_slice() else { return Err("nothing measured".to_owned()) };
        let row = || Row::time(format!("{LINES} lines of 100 bytes, {name}"), ours.clone());
        rows.push(row().beside("to a file", Some(bare.clone())).promised(Budget::Ratio(1.3)));
        rows.extend(others.iter().map(|docker| row().beside("docker", Some(docker.clone()))));
    }
    Ok(rows)
}

/// The program without an engine, but in a cgroup of its own: on a busy machine, that is what it has to share.
fn to_file<'a>(bench: &Bench, script: &'a str) -> Result<Contender<'a>, String> {
    let (busybox, path, group) = (busybox()?, bench.engine.directory().join("lines"), Group::new()?);
    Ok(Box::new(move || {
        let failed = |error: std::io::Error| format!("`{}`: {error}", path.display());
        let mut command = Command::new(&busybox);
        let wait = "echo $$ >\"$1\" && echo ready >&2 && read go && exec \"$0\" sh -c \"$2\"";
        command.args(["sh", "-c", wait]).arg(&busybox).arg(group.0.join("cgroup.procs")).arg(script);
        command.stdin(Stdio::piped()).stdout(File::create(&path).map_err(failed)?).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{command:?}: {error}"))?;
        let mut word = [0; 6];
        let ready = child.stderr.take().ok_or("no standard error").map(|mut said| said.read_exact(&mut word))?;
        ready.map_err(|error| format!("{command:?}: {error}"))?;
        let taken = seconds(|| {
            let go = child.stdin.take().ok_or("no standard input").map(|mut input| input.write_all(b"\n"))?;
            go.and_then(|()| child.wait()).map_err(|error| format!("{command:?}: {error}"))
        })?;
        fs::remove_file(&path).map_err(failed)?;
        Ok(taken)
    }))
}

/// A cgroup that shares the processors with others.
struct Group(PathBuf);

impl Group {
    fn new() -> Result<Self, String> {
        let places = ["/sys/fs/cgroup/cpu", "/sys/fs/cgroup"].map(Path::new);
        let place = places.into_iter().find(|place| place.join("cgroup.procs").exists()).ok_or("no cgroups")?;
        let path = place.join(format!("tare-bench-{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| format!("`{}`: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            eprintln!("`{}` stays: {error}", self.0.display());
        }
    }
}

/// The program in a container: from its start to the answer that it has ended, with all of its output in the log.
fn in_container(target: Target, script: &str) -> Contender<'_> {
    Box::new(move || {
        let mut client = target.client()?;
        let id = create(&mut client, IMAGE, &["sh", "-c", script], &json!({"LogConfig": {"Type": "json-file"}}))?;
        let taken = seconds(|| {
            start(&mut client, &id)?;
            wait(&mut client, &id)
        })?;
        remove(&mut client, &id)?;
        Ok(taken)
    })
}

/// `cargo xtask bench tail`.
pub fn tail(bench: &Bench) -> Result<Vec<Row>, String> {
    let script = format!("yes {} | head -n {LONG_LINES}", "x".repeat(99));
    let targets = bench.targets();
    let mut logs = Vec::new();
    for target in &targets {
        let mut client = target.client()?;
        let host = json!({"LogConfig": {"Type": "json-file", "Config": {"max-size": "4g"}}});
        let id = create(&mut client, IMAGE, &["sh", "-c", &script], &host)?;
        start(&mut client, &id)?;
        wait(&mut client, &id)?;
        logs.push(id);
    }
    let contender = |(target, id): (&Target, &String)| -> Result<Contender<'_>, String> {
        let (mut client, path) = (target.client()?, format!("/containers/{id}/logs?stdout=true&tail=10"));
        Ok(Box::new(move || {
            seconds(|| match client.call("GET", &path, &Value::Null)?.len() {
                // Eight bytes before each line say what stream it is of.
                1_080 => Ok(()),
                other => Err(format!("GET {path}: {other} bytes")),
            })
        }))
    };
    let mut contenders = targets.iter().zip(&logs).map(contender).collect::<Result<Vec<_>, _>>()?;
    let samples = turns(bench.options.rounds(TAIL_ROUNDS), &mut contenders);
    drop(contenders);
    for (target, id) in targets.iter().zip(&logs) {
        remove(&mut target.client()?, id)?;
    }
    let samples = samples?;
    let row = Row::time("`logs --tail 10` of a log of 1 GB", samples.first().cloned().unwrap_or_default());
    Ok(vec![row.beside("docker", samples.get(1).cloned()).promised(Budget::AtMost(0.01))])
}
