//! `state`, `list`, `ps`, `events`.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde_json::{Value, json};
use tare_cgroup::{BlkioEntry, Stats};
use tare_oci_runtime::Status;

use super::arguments::{Events, List, ListFormat, Ps};
use super::store::{Container, Store};
use super::{print, print_line, warn};

/// What `state` and `list` print of a container: the specification's state and what other runtimes add.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    oci_version: String,
    id: String,
    pid: i32,
    status: Status,
    bundle: String,
    rootfs: String,
    created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    owner: String,
}

impl View {
    fn new(container: &Container) -> anyhow::Result<Self> {
        let spec = container.spec()?;
        let state = container.state(&spec, container.status()?);
        let root = spec.root.as_ref().map(|root| root.path.clone()).unwrap_or_default();
        Ok(Self {
            oci_version: state.oci_version,
            id: state.id,
            pid: state.pid,
            status: state.status,
            rootfs: state.bundle.join(root).display().to_string(),
            bundle: state.bundle.display().to_string(),
            created: container.record.created.clone(),
            annotations: state.annotations,
            owner: "root".to_owned(),
        })
    }
}

/// `state`
pub(super) fn state(store: &Store, id: &str) -> anyhow::Result<()> {
    let view = View::new(&store.get(id)?)?;
    print_line(&serde_json::to_string_pretty(&view)?)
}

/// `list`
pub(super) fn list(store: &Store, options: &List) -> anyhow::Result<()> {
    let containers = store.all()?;
    if options.quiet {
        return print(&containers.iter().map(|container| format!("{}\n", container.record.id)).collect::<String>());
    }
    let mut views = Vec::new();
    for container in &containers {
        match View::new(container) {
            Ok(view) => views.push(view),
            // It has been deleted meanwhile.
            Err(_) if !container.directory.exists() => {}
            Err(error) => warn(&format!("load container {}: {error:#}", container.record.id)),
        }
    }
    match options.format {
        ListFormat::Json => print_line(&serde_json::to_string(&views)?),
        ListFormat::Table => print(&table(&views)),
    }
}

fn table(views: &[View]) -> String {
    let heads = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let mut rows = vec![heads];
    for view in views {
        let status = format!("{:?}", view.status).to_lowercase();
        let [id, bundle, created, owner] = [&view.id, &view.bundle, &view.created, &view.owner].map(Clone::clone);
        rows.push([id, view.pid.to_string(), status, bundle, created, owner]);
    }
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let line = |row: &[String; 6]| {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// `ps`
pub(super) fn ps(store: &Store, options: &Ps) -> anyhow::Result<()> {
    let pids = store.get(&options.id)?.cgroup()?.all_procs()?;
    if matches!(options.format, ListFormat::Json) {
        return print_line(&serde_json::to_string(&pids)?);
    }
    let given = if options.options.is_empty() { vec!["-ef".to_owned()] } else { options.options.clone() };
    let output = Command::new("ps").args(given).output().context("run ps")?;
    if !output.status.success() {
        bail!("ps: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|name| name == "PID").context("ps: no column PID")?;
    let of_container = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|field| field.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    };
    print(&std::iter::once(head).chain(lines.filter(of_container)).map(|line| format!("{line}\n")).collect::<String>())
}

/// `events`
pub(super) fn events(store: &Store, options: &Events) -> anyhow::Result<()> {
    let container = store.get(&options.id)?;
    if container.status()? == Status::Stopped {
        bail!("container is not running");
    }
    let group = container.cgroup()?;
    if options.stats {
        return print_event(&options.id, "stats", Some(&group.stats()?));
    }
    let pidfd = container.pidfd()?;
    let interval =
        duration(&options.interval).with_context(|| format!("interval {:?}: not a duration", options.interval))?;
    let notifier = group.oom_notifier()?;
    let mut kills = group.oom_kills().unwrap_or_default();
    loop {
        let mut fds = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(&notifier, PollFlags::IN)];
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&interval))).context("wait for events")?;
        let [process, memory] = fds.map(|fd| !fd.revents().is_empty());
        if process {
            return Ok(());
        }
        if memory && group.ran_out_of_memory(&notifier, &mut kills) {
            print_event(&options.id, "oom", None)?;
        }
        if ready == 0 {
            match group.stats() {
                // It has been deleted just now.
                Err(_) if container.pidfd().is_err() => return Ok(()),
                stats => print_event(&options.id, "stats", Some(&stats?))?,
            }
        }
    }
}

/// `5s`, `500ms`, `1m30s`, `1.5h`: more than nothing.
fn duration(text: &str) -> Option<Timespec> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, next) = after.split_at(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()));
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        seconds += number.parse::<f64>().ok()? * factor;
        rest = next;
    }
    let all = Duration::try_from_secs_f64(seconds).ok().filter(|all| !all.is_zero())?;
    Timespec::try_from(all).ok()
}

/// A line of `events`; readers expect its members in this order.
#[derive(Debug, Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

fn print_event(id: &str, kind: &str, stats: Option<&Stats>) -> anyhow::Result<()> {
    print_line(&serde_json::to_string(&Event { kind, id, data: stats.map(data) })?)
}

fn data(stats: &Stats) -> Value {
    let cpu = &stats.cpu;
    let memory = stats.memory.as_ref().map(|memory| {
        let all: BTreeMap<&str, u64> = memory.stat.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        json!({
            "cache": memory.get("cache").or_else(|| memory.get("file")).unwrap_or_default(),
            "usage": {
                "usage": memory.usage,
                "max": memory.max_usage.unwrap_or_default(),
                "limit": memory.limit.unwrap_or(u64::MAX),
                "failcnt": memory.fail_count,
            },
            "raw": all,
        })
    });
    let pids = stats.pids.map(|pids| json!({"current": pids.current, "limit": pids.limit.unwrap_or_default()}));
    let entries = |all: &[BlkioEntry]| -> Vec<Value> {
        let entry = |entry: &BlkioEntry| {
            let BlkioEntry { major, minor, op, value } = entry;
            json!({"major": major, "minor": minor, "op": op, "value": value})
        };
        all.iter().map(entry).collect()
    };
    json!({
        "cpu": {
            "usage": {"total": cpu.total, "percpu": cpu.per_cpu, "kernel": cpu.system, "user": cpu.user},
            "throttling": {
                "periods": cpu.periods,
                "throttledPeriods": cpu.throttled_periods,
                "throttledTime": cpu.throttled_time,
            },
        },
        "memory": memory,
        "pids": pids,
        "blkio": {
            "ioServiceBytesRecursive": entries(&stats.blkio.service_bytes),
            "ioServicedRecursive": entries(&stats.blkio.serviced),
            "ioQueueRecursive": entries(&stats.blkio.queued),
            "ioServiceTimeRecursive": entries(&stats.blkio.service_time),
            "ioWaitTimeRecursive": entries(&stats.blkio.wait_time),
            "ioMergedRecursive": entries(&stats.blkio.merged),
            "ioTimeRecursive": entries(&stats.blkio.time),
            "sectorsRecursive": entries(&stats.blkio.sectors),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let seconds = |text| duration(text).map(|time| (time.tv_sec, time.tv_nsec));
        assert_eq!(seconds("5s"), Some((5, 0)));
        assert_eq!(seconds("1500ms"), Some((1, 500_000_000)));
        assert_eq!(seconds("2m"), Some((120, 0)));
        assert_eq!(
            (seconds("1m30s"), seconds("1.5h"), seconds("1us")),
            (Some((90, 0)), Some((5400, 0)), Some((0, 1000)))
        );
        for bad in ["", "0s", "5", "xs", "-1s", "1d", "1s2"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn lines_of_events() {
        let line = serde_json::to_string(&Event { kind: "oom", id: "box", data: None }).unwrap();
        assert_eq!(line, r#"{"type":"oom","id":"box"}"#);
        let line = serde_json::to_string(&Event { kind: "stats", id: "box", data: Some(json!({"pids": 1})) }).unwrap();
        assert_eq!(line, r#"{"type":"stats","id":"box","data":{"pids":1}}"#);
    }

    #[test]
    fn a_table() {
        let view = View {
            oci_version: "1.2.1".to_owned(),
            id: "box".to_owned(),
            pid: 12,
            status: Status::Running,
            bundle: "/b".to_owned(),
            rootfs: "/b/rootfs".to_owned(),
            created: "2026-01-01T00:00:00Z".to_owned(),
            annotations: BTreeMap::new(),
            owner: "root".to_owned(),
        };
        assert_eq!(
            table(&[view]),
            "ID    PID   STATUS    BUNDLE   CREATED                OWNER\n\
             box   12    running   /b       2026-01-01T00:00:00Z   root\n"
        );
    }
}
