//! A container's use of resources, sampled.

use std::sync::Arc;
use std::time::Duration;

use tare_cgroup::{BlkioEntry, Stats};
use tare_docker_api::container::{
    BlkioStatEntry, BlkioStats, CpuStats, CpuUsage, MemoryStats, NetworkStats, PidsStats, StatsResponse, ThrottlingData,
};
use tare_docker_api::go::{List, Map};
use tare_docker_api::time::Time;
use tokio::sync::mpsc;

use super::Container;
use crate::Engine;
use crate::error::{Error, Result};

/// Time between samples.
const INTERVAL: Duration = Duration::from_secs(1);
/// Clock ticks per second in `/proc/stat` (USER_HZ, the same on every architecture Linux runs containers on).
const TICKS_PER_SECOND: u64 = 100;

impl Engine {
    /// Samples a container once a second. Without `stream` there is one sample, compared to another a second before it
    /// unless `one_shot`.
    pub async fn stats(
        self: &Arc<Self>,
        name: &str,
        stream: bool,
        one_shot: bool,
    ) -> Result<mpsc::Receiver<StatsResponse>> {
        let container = self.find(name)?;
        let (sender, receiver) = mpsc::channel(1);
        let engine = Arc::clone(self);
        tokio::spawn(async move { engine.send_stats(container, stream, one_shot, sender).await });
        Ok(receiver)
    }

    async fn send_stats(
        self: Arc<Self>,
        container: Arc<Container>,
        stream: bool,
        one_shot: bool,
        sender: mpsc::Sender<StatsResponse>,
    ) {
        let mut progress = container.watch();
        let mut before: Option<StatsResponse> = None;
        if !stream && !one_shot && container.read().state.is_alive() {
            before = self.sample(&container).await.ok();
            tokio::time::sleep(INTERVAL).await;
        }
        loop {
            let mut sample = match self.sample(&container).await {
                Ok(sample) => sample,
                // Nothing to measure: name and ID alone, as Docker answers for a stopped container.
                Err(_) => self.blank(&container),
            };
            if let Some(before) = &before {
                sample.preread = before.read;
                sample.precpu_stats = before.cpu_stats.clone();
            }
            before = Some(sample.clone());
            if sender.send(sample).await.is_err() || !stream {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = sender.closed() => return,
                removed = progress.wait_for(|progress| progress.removed) => {
                    drop(removed);
                    return;
                }
            }
        }
    }

    fn blank(&self, container: &Container) -> StatsResponse {
        StatsResponse {
            id: container.id.clone(),
            name: format!("/{}", container.name()),
            os_type: "linux".to_owned(),
            ..StatsResponse::default()
        }
    }

    async fn sample(&self, container: &Arc<Container>) -> Result<StatsResponse> {
        let pid = {
            let inner = container.read();
            if !inner.state.is_alive() {
                return Err(Error::not_running(&container.id));
            }
            inner.state.pid
        };
        let cgroup = self.cgroup(container);
        let (stats, networks) = crate::blocking(move || {
            let stats = cgroup.stats().map_err(|error| Error::internal(error.to_string()))?;
            Ok((stats, networks(pid)))
        })
        .await?;
        Ok(StatsResponse {
            read: Time::now(),
            cpu_stats: cpu(&stats, self.facts.cpus),
            memory_stats: memory(&stats),
            pids_stats: stats.pids.map_or_else(PidsStats::default, |pids| PidsStats {
                current: pids.current,
                // Without a limit Docker says nothing on v1.
                limit: pids.limit.unwrap_or(if self.facts.unified_cgroups { u64::MAX } else { 0 }),
            }),
            blkio_stats: blkio(&stats, self.facts.unified_cgroups),
            networks,
            ..self.blank(container)
        })
    }
}

fn cpu(stats: &Stats, cpus: usize) -> CpuStats {
    let cpu = &stats.cpu;
    CpuStats {
        cpu_usage: CpuUsage {
            total_usage: cpu.total,
            percpu_usage: if cpu.per_cpu.is_empty() { List::default() } else { cpu.per_cpu.clone().into() },
            usage_in_kernelmode: cpu.system,
            usage_in_usermode: cpu.user,
        },
        system_cpu_usage: system_cpu_ns(),
        online_cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
        throttling_data: ThrottlingData {
            periods: cpu.periods,
            throttled_periods: cpu.throttled_periods,
            throttled_time: cpu.throttled_time,
        },
    }
}

/// Time all processors of the machine have spent, idle included, in nanoseconds since boot.
fn system_cpu_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    // user nice system idle iowait irq softirq steal; guest times are part of user's (proc_stat(5)).
    let ticks: u64 = line.split_whitespace().skip(1).take(8).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks.saturating_mul(1_000_000_000 / TICKS_PER_SECOND)
}

fn memory(stats: &Stats) -> MemoryStats {
    let Some(memory) = &stats.memory else { return MemoryStats::default() };
    MemoryStats {
        usage: memory.usage,
        max_usage: memory.max_usage.unwrap_or(0),
        stats: memory.stat.iter().cloned().collect::<Map<u64>>(),
        failcnt: memory.fail_count,
        limit: memory.limit.unwrap_or_else(total_memory),
        ..MemoryStats::default()
    }
}

/// The machine's memory in bytes: the limit of a container without one.
pub(crate) fn total_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0).saturating_mul(1024)
}

/// On v1 a list without entries is one, too; on v2 Docker has none.
fn blkio(stats: &Stats, unified: bool) -> BlkioStats {
    let list = |entries: &[BlkioEntry]| -> List<BlkioStatEntry> {
        if entries.is_empty() && unified {
            return List::default();
        }
        let entry = |entry: &BlkioEntry| BlkioStatEntry {
            major: entry.major,
            minor: entry.minor,
            op: entry.op.clone(),
            value: entry.value,
        };
        entries.iter().map(entry).collect()
    };
    let io = &stats.blkio;
    BlkioStats {
        io_service_bytes_recursive: list(&io.service_bytes),
        io_serviced_recursive: list(&io.serviced),
        io_queue_recursive: list(&io.queued),
        io_service_time_recursive: list(&io.service_time),
        io_wait_time_recursive: list(&io.wait_time),
        io_merged_recursive: list(&io.merged),
        io_time_recursive: list(&io.time),
        sectors_recursive: list(&io.sectors),
    }
}

/// Counters of a process's network namespace (proc_net_dev(5)), the loopback interface left out.
fn networks(pid: i32) -> Map<NetworkStats> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    text.lines()
        .skip(2)
        .filter_map(|line| {
            let (name, counters) = line.split_once(':')?;
            let counters: Vec<u64> = counters.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
            let at = |index: usize| counters.get(index).copied().unwrap_or(0);
            let stats = NetworkStats {
                rx_bytes: at(0),
                rx_packets: at(1),
                rx_errors: at(2),
                rx_dropped: at(3),
                tx_bytes: at(8),
                tx_packets: at(9),
                tx_errors: at(10),
                tx_dropped: at(11),
                ..NetworkStats::default()
            };
            Some((name.trim().to_owned(), stats))
        })
        .filter(|(name, _)| name != "lo")
        .collect()
}
