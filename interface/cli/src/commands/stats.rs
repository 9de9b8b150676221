//! `stats`: use of CPU, memory, network and disks by containers, once or again and again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tare_docker_api::container::{ContainerSummary, StatsResponse};
use tare_docker_api::events::Message;
use tare_docker_api::filters::Filters;
use tare_docker_client::{Client, Error, JsonStream, Query, Request};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cli::Cli;
use crate::command::{Arity, Command};
use crate::error::CliError;
use crate::flags::{Flag, Matches};
use crate::output::rows::{FORMAT_HELP, Format, Row, choose};
use crate::output::text::{binary_size, id, size3};

/// `stats`
pub static COMMAND: Command = Command {
    names: &["container stats", "stats"],
    usage: "[OPTIONS] [CONTAINER...]",
    about: "Display a live stream of container(s) resource usage statistics",
    common: 0,
    arity: Arity::Any,
    interspersed: true,
    flags: &[
        Flag::bool("all", "Show all containers (default shows just running)").short('a'),
        Flag::text("format", FORMAT_HELP),
        Flag::bool("no-stream", "Disable streaming stats and only pull the first result"),
        Flag::bool("no-trunc", "Do not truncate output"),
    ],
    run: |cli, m| Box::pin(run(cli, m)),
};

const TABLE: &str =
    "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
const HEADER: &[(&str, &str)] = &[
    ("Container", "CONTAINER"),
    ("Name", "NAME"),
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];
/// Time between two pictures.
const FRAME: Duration = Duration::from_millis(500);
/// After so long without news a container's figures are blanked; the daemon sends some every second.
const STALE: Duration = Duration::from_secs(2);

async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError> {
    let format = choose(cli, m.text("format"), "statsFormat", false)?;
    let format = Format::parse(if format == "table" { TABLE } else { &format })?;
    let client = cli.client()?.clone();
    let short = !m.bool("no-trunc");
    let stream = !m.bool("no-stream");
    let board = Board::default();
    let mut changes = None;
    if m.args.is_empty() {
        let all = m.bool("all");
        if stream {
            // Listen before looking, so that no start is missed.
            changes = Some(events(&client).await?);
        }
        let containers: Vec<ContainerSummary> =
            client.get_json("/containers/json", Query::new().flag("all", all)).await?;
        containers.iter().for_each(|c| board.add(&client, &c.id, stream));
    } else {
        m.args.iter().for_each(|name| board.add(&client, name, stream));
    }
    board.settled().await;
    if !m.args.is_empty() {
        board.failures()?;
    }
    if !stream {
        let rows = board.rows(short);
        if !rows.is_empty() {
            cli.out.print(format.render(HEADER, rows)?)?;
        }
        return Ok(0);
    }
    watch_board(cli, &format, &board, &client, changes, m.bool("all"), short).await
}

async fn events(client: &Client) -> Result<JsonStream<Message>, Error> {
    let mut filters = Filters::default();
    filters.add("type", "container");
    let request = Request::get("/events").query(Query::new().add("filters", filters.to_json()));
    Ok(client.send(request).await?.json_stream())
}

async fn watch_board(
    cli: &Cli,
    format: &Format,
    board: &Board,
    client: &Client,
    mut changes: Option<JsonStream<Message>>,
    all: bool,
    short: bool,
) -> Result<i32, CliError> {
    let named = changes.is_none();
    let mut ticks = tokio::time::interval(FRAME);
    loop {
        let change = async {
            match &mut changes {
                Some(stream) => stream.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = ticks.tick() => {
                let rows = board.rows(short);
                if rows.is_empty() && named {
                    cli.out.print("\x1b[H\x1b[J")?;
                    return Ok(0);
                }
                cli.out.print(frame(&format.render(HEADER, rows)?))?;
            }
            change = change => match change {
                Ok(Some(event)) => board.follow(client, &event, all),
                // The daemon goes, and so do we.
                Ok(None) | Err(Error::Exchange(_)) => return Ok(0),
                Err(error) => return Err(error.into()),
            },
        }
    }
}

/// A picture over the one before: each line erases what is left of the old one.
fn frame(text: &str) -> String {
    let lines: String = text.split('\n').map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[H{lines}\x1b[J")
}

/// The containers that are watched.
#[derive(Default)]
struct Board {
    watched: Mutex<Vec<Watched>>,
}

struct Watched {
    /// As it was asked for.
    name: String,
    latest: Arc<Mutex<Latest>>,
    settled: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The last that was heard of a container.
#[derive(Default)]
struct Latest {
    figures: Figures,
    valid: bool,
    error: Option<Error>,
}

impl Board {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, client: &Client, name: &str, stream: bool) {
        let mut watched = self.lock();
        if watched.iter().any(|w| w.name == name) {
            return;
        }
        let latest = Arc::new(Mutex::new(Latest::default()));
        let (settle, settled) = watch::channel(false);
        let task = tokio::spawn(collect(client.clone(), name.to_owned(), stream, Arc::clone(&latest), settle));
        watched.push(Watched { name: name.to_owned(), latest, settled, task });
    }

    /// Takes an event into account: containers come with their start and go with their end.
    fn follow(&self, client: &Client, event: &Message, all: bool) {
        match event.action.as_str() {
            "start" => self.add(client, &event.actor.id, true),
            "create" if all => self.add(client, &event.actor.id, true),
            "destroy" => self.lock().retain(|w| w.name != event.actor.id),
            "die" if !all => self.lock().retain(|w| w.name != event.actor.id),
            _ => {}
        }
    }

    /// Waits until something is known about each container.
    async fn settled(&self) {
        let waiting: Vec<_> = self.lock().iter().map(|w| w.settled.clone()).collect();
        for mut settled in waiting {
            // A collector that is gone has settled as well.
            let _ = settled.wait_for(|done| *done).await;
        }
    }

    fn failures(&self) -> Result<(), CliError> {
        let error = |w: &Watched| w.latest.lock().unwrap_or_else(PoisonError::into_inner).error.clone();
        let errors = self.lock().iter().filter_map(error).map(CliError::from).collect();
        CliError::join(errors).map_or(Ok(()), Err)
    }

    fn rows(&self, short: bool) -> Vec<Row> {
        let row = |w: &Watched| {
            let latest = w.latest.lock().unwrap_or_else(PoisonError::into_inner);
            row(&w.name, &latest.figures, latest.valid, short)
        };
        self.lock().iter().map(row).collect()
    }
}

/// Keeps `latest` up to date until the container or the daemon is gone.
async fn collect(client: Client, name: String, stream: bool, latest: Arc<Mutex<Latest>>, settle: watch::Sender<bool>) {
    let set = |change: &dyn Fn(&mut Latest)| {
        change(&mut latest.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = settle.send(true);
    };
    let query = Query::new().add("stream", if stream { "1" } else { "0" });
    let answer = client.send(Request::get(format!("/containers/{name}/stats")).query(query)).await;
    let mut samples = match answer {
        Ok(answer) => answer.json_stream::<StatsResponse>(),
        Err(error) => return set(&|l| (l.valid, l.error) = (false, Some(error.clone()))),
    };
    loop {
        match tokio::time::timeout(STALE, samples.next()).await {
            Err(_) if stream => set(&|l| *l = Latest { figures: l.figures.blank(), valid: false, error: None }),
            // A single answer needs two samples a second apart.
            Err(_) => {}
            Ok(Ok(Some(sample))) => {
                set(&|l| *l = Latest { figures: Figures::of(&sample), valid: true, error: None });
                if !stream {
                    return;
                }
            }
            Ok(Ok(None)) => return set(&|l| l.valid = false),
            Ok(Err(error)) => return set(&|l| (l.valid, l.error) = (false, Some(error.clone()))),
        }
    }
}

/// What is shown of a sample.
#[derive(Debug, Clone, Default, PartialEq)]
struct Figures {
    id: String,
    name: String,
    cpu_percent: f64,
    memory: f64,
    memory_limit: f64,
    network: (u64, u64),
    block: (u64, u64),
    pids: u64,
}

#[expect(clippy::cast_precision_loss, reason = "a handful of digits is shown")]
impl Figures {
    fn of(sample: &StatsResponse) -> Figures {
        let memory = &sample.memory_stats;
        // What the kernel would give back without ado is not counted; the name differs between versions of cgroups.
        let inactive = ["total_inactive_file", "inactive_file"]
            .iter()
            .filter_map(|key| memory.stats.get(*key))
            .find(|inactive| **inactive < memory.usage);
        let (mut rx, mut tx) = (0_u64, 0_u64);
        for network in sample.networks.values() {
            rx = rx.saturating_add(network.rx_bytes);
            tx = tx.saturating_add(network.tx_bytes);
        }
        let (mut read, mut written) = (0_u64, 0_u64);
        for entry in sample.blkio_stats.io_service_bytes_recursive.iter() {
            match entry.op.as_bytes().first() {
                Some(b'r' | b'R') => read = read.saturating_add(entry.value),
                Some(b'w' | b'W') => written = written.saturating_add(entry.value),
                _ => {}
            }
        }
        Figures {
            id: sample.id.clone(),
            name: sample.name.trim_start_matches('/').to_owned(),
            cpu_percent: cpu_percent(sample),
            memory: memory.usage.saturating_sub(inactive.copied().unwrap_or(0)) as f64,
            memory_limit: memory.limit as f64,
            network: (rx, tx),
            block: (read, written),
            pids: sample.pids_stats.current,
        }
    }

    /// Only the names.
    fn blank(&self) -> Figures {
        Figures { id: self.id.clone(), name: self.name.clone(), ..Figures::default() }
    }
}

#[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
fn cpu_percent(sample: &StatsResponse) -> f64 {
    let (now, before) = (&sample.cpu_stats, &sample.precpu_stats);
    let used = now.cpu_usage.total_usage as f64 - before.cpu_usage.total_usage as f64;
    let passed = now.system_cpu_usage as f64 - before.system_cpu_usage as f64;
    let cpus = match now.online_cpus {
        0 => now.cpu_usage.percpu_usage.len() as f64,
        n => f64::from(n),
    };
    if used > 0.0 && passed > 0.0 { used / passed * cpus * 100.0 } else { 0.0 }
}

fn row(name: &str, f: &Figures, valid: bool, short: bool) -> Row {
    let known = |text: String| if valid { text } else { "--".to_owned() };
    let size = |bytes: u64| size3(i64::try_from(bytes).unwrap_or(i64::MAX));
    let share = if f.memory_limit > 0.0 { f.memory / f.memory_limit * 100.0 } else { 0.0 };
    let memory = match valid {
        true => format!("{} / {}", binary_size(f.memory), binary_size(f.memory_limit)),
        false => "-- / --".to_owned(),
    };
    Row::new("*container.statsContext")
        .with("Container", name)
        .with("Name", if f.name.is_empty() { "--" } else { &f.name })
        .with("ID", id(&f.id, short))
        .with("CPUPerc", known(format!("{:.2}%", f.cpu_percent)))
        .with("MemUsage", memory)
        .with("MemPerc", known(format!("{share:.2}%")))
        .with("NetIO", known(format!("{} / {}", size(f.network.0), size(f.network.1))))
        .with("BlockIO", known(format!("{} / {}", size(f.block.0), size(f.block.1))))
        .with("PIDs", known(f.pids.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        let sample: StatsResponse = serde_json::from_str(
            r#"{"id":"0123456789abcdef","name":"/web","cpu_stats":{"cpu_usage":{"total_usage":300},"system_cpu_usage":2000,"online_cpus":2},
            "precpu_stats":{"cpu_usage":{"total_usage":100},"system_cpu_usage":1000},
            "memory_stats":{"usage":10485760,"limit":2147483648,"stats":{"total_inactive_file":4194304}},
            "networks":{"eth0":{"rx_bytes":1500,"tx_bytes":10},"eth1":{"rx_bytes":500,"tx_bytes":0}},
            "blkio_stats":{"io_service_bytes_recursive":[{"op":"Read","value":4096},{"op":"write","value":1},{"op":"Total","value":9}]},
            "pids_stats":{"current":3}}"#,
        )
        .unwrap();
        let rows = || vec![row("web", &Figures::of(&sample), true, true), row("x", &Figures::default(), false, true)];
        insta::assert_snapshot!(Format::parse(TABLE).unwrap().render(HEADER, rows()).unwrap(), @r"
        CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O     BLOCK I/O    PIDS
        0123456789ab   web       40.00%    6MiB / 2GiB         0.29%     2kB / 10B   4.1kB / 1B   3
                       --        --        -- / --             --        --          --           --
        ");
    }
}
