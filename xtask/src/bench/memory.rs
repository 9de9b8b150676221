//! Memory: what an idle container costs, and what the daemon has.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use super::api::remove_many;
use super::engine::{Engine, Target, create, pid, pull, start};
use super::sample::Sample;
use super::table::{Budget, Row};
use super::{Bench, IMAGE};

/// Containers that are idle together: pages that they share count once.
const CONTAINERS: usize = 20;
/// Until something at rest has given back what it does not need.
const REST: Duration = Duration::from_secs(5);
/// Images that are pulled, of about 600 MB.
const IMAGES: [&str; 4] = [IMAGE, "nginx:latest", "mysql:5.7", "wordpress:5.0.0-php7.2-apache"];
/// Promised of the daemon at rest, in bytes.
const DAEMON: f64 = 25e6;
/// Starts of the daemon.
const STARTS: usize = 10;

/// `cargo xtask bench memory`.
pub fn memory(bench: &Bench) -> Result<Vec<Row>, String> {
    let plain = per_container(bench, false)?;
    let row = |name: &str, samples: &[Sample]| {
        Row::memory(name, samples.first().cloned().unwrap_or_default()).beside("docker", samples.get(1).cloned())
    };
    let daemon = pss(u64::from(bench.engine.pid()))?;
    let with_init = per_container(bench, true)?;
    Ok(vec![
        row("an idle container: its shim (Pss)", &plain).promised(Budget::AtMost(0.4e6)),
        row("the same with `--init`: shim and init (Pss)", &with_init).promised(Budget::AtMost(0.4e6)),
        Row::memory(format!("the daemon, after {CONTAINERS} containers (Pss)"), [daemon].into_iter().collect()),
    ])
}

/// Everything of the engine's that an idle container has, by engine.
fn per_container(bench: &Bench, init: bool) -> Result<Vec<Sample>, String> {
    bench.targets().iter().map(|target| idle(target, init)).collect()
}

fn idle(target: &Target, init: bool) -> Result<Sample, String> {
    let mut client = target.client()?;
    let mut ids = Vec::new();
    for _ in 0..CONTAINERS {
        let id = create(&mut client, IMAGE, &["sleep", "54321"], &json!({"Init": init}))?;
        start(&mut client, &id)?;
        ids.push(id);
    }
    sleep(REST);
    let measured = ids.iter().map(|id| {
        let first = pid(&mut client, id)?;
        let shim = pss(parent(first)?)?;
        Ok(if init { shim + pss(first)? } else { shim })
    });
    let measured: Result<Sample, String> = measured.collect();
    remove_many(target, &ids)?;
    measured
}

/// `cargo xtask bench daemon`.
pub fn daemon(bench: &Bench) -> Result<Vec<Row>, String> {
    let mut starts = Sample::default();
    for _ in 0..bench.options.rounds(STARTS) {
        starts.add(bench.new_engine()?.start_seconds);
    }
    let engine = bench.new_engine()?;
    sleep(REST);
    let fresh = resident(&engine)?;
    let mut client = Target { name: "tare", socket: engine.socket() }.client()?;
    IMAGES.iter().try_for_each(|image| pull(&mut client, image))?;
    sleep(REST);
    let after = resident(&engine)?;
    Ok(vec![
        Row::time("daemon start to the first answered ping", starts).promised(Budget::AtMost(0.05)),
        Row::memory("daemon at rest, started a moment ago (RSS)", fresh).promised(Budget::AtMost(DAEMON)),
        Row::memory(format!("daemon at rest, after {} pulls (RSS)", IMAGES.len()), after)
            .promised(Budget::AtMost(DAEMON)),
    ])
}

fn resident(engine: &Engine) -> Result<Sample, String> {
    kilobytes(&format!("/proc/{}/status", engine.pid()), "VmRSS:").map(|bytes| [bytes].into_iter().collect())
}

/// A process's proportional share of the memory that it has with others, in bytes.
fn pss(pid: u64) -> Result<f64, String> {
    kilobytes(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

fn kilobytes(path: &str, field: &str) -> Result<f64, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("`{path}`: {error}"))?;
    field_of(&text, field).map(|kilobytes| kilobytes * 1024.0).ok_or_else(|| format!("`{path}`: no {field}"))
}

fn field_of(text: &str, field: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(field))?.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn parent(pid: u64) -> Result<u64, String> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).map_err(|error| format!("`{path}`: {error}"))?;
    parent_in(&text).ok_or_else(|| format!("`{path}`: no parent"))
}

/// The name, in parentheses, may have anything in it.
fn parent_in(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let text = "00400000-7ffd [rollup]\nRss:   500 kB\nPss:                 296 kB\nPss_Anon: 40 kB\n";
        assert_eq!((field_of(text, "Pss:"), field_of(text, "Swap:")), (Some(296.0), None));
        assert_eq!(parent_in("12 (a) b) S 7 12 12 0"), Some(7));
        assert_eq!(parent_in("12"), None);
    }
}
