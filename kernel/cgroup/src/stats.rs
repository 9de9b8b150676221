//! What a group uses: everything the engine's statistics are made of, on both versions.
//!
//! A controller that is not there leaves its part empty; a group that is not there is an error.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::group::Cgroup;
use crate::hierarchy::{Hierarchy, Version};
use crate::{Error, files};

/// Usage at one moment. Counters begin with the group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time.
    pub cpu: CpuStats,
    /// `None` without the memory controller.
    pub memory: Option<MemoryStats>,
    /// `None` without the pids controller.
    pub pids: Option<PidsStats>,
    /// Block devices.
    pub blkio: BlkioStats,
}

/// Times in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CpuStats {
    /// User and system time of all processors.
    pub total: u64,
    /// In user mode.
    pub user: u64,
    /// In the kernel.
    pub system: u64,
    /// Per processor; v1 only, empty on v2.
    pub per_cpu: Vec<u64>,
    /// Enforcement periods that have passed (with a quota).
    pub periods: u64,
    /// Of these, the ones in which the group was throttled.
    pub throttled_periods: u64,
    /// Time it was throttled.
    pub throttled_time: u64,
}

/// Sizes in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// In use, page cache included.
    pub usage: u64,
    /// The highest usage so far; `None` on v2 before Linux 5.19.
    pub max_usage: Option<u64>,
    /// `None` when unlimited.
    pub limit: Option<u64>,
    /// v1: times the limit was hit. v2: the `max` count of `memory.events`.
    pub fail_count: u64,
    /// The lines of `memory.stat`, in the kernel's order.
    pub stat: Vec<(String, u64)>,
}

impl MemoryStats {
    /// One line of `memory.stat`.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.stat.iter().find(|(own, _)| own == name).map(|(_, value)| *value)
    }
}

/// Numbers of tasks (threads count).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PidsStats {
    /// Now.
    pub current: u64,
    /// `None` when unlimited.
    pub limit: Option<u64>,
}

/// Lists of one value per device and operation, named after v1's files. v2 fills the first two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlkioStats {
    /// Bytes transferred.
    pub service_bytes: Vec<BlkioEntry>,
    /// Operations.
    pub serviced: Vec<BlkioEntry>,
    /// Operations queued.
    pub queued: Vec<BlkioEntry>,
    /// Nanoseconds between dispatch and completion.
    pub service_time: Vec<BlkioEntry>,
    /// Nanoseconds in the queues.
    pub wait_time: Vec<BlkioEntry>,
    /// Requests merged.
    pub merged: Vec<BlkioEntry>,
    /// Milliseconds of device time; the operation is empty.
    pub time: Vec<BlkioEntry>,
    /// Sectors; the operation is empty.
    pub sectors: Vec<BlkioEntry>,
}

/// One value of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlkioEntry {
    /// Of the device number.
    pub major: u64,
    /// Of the device number.
    pub minor: u64,
    /// v1: `Read`, `Write`, `Sync`, `Async`, `Discard`, `Total`. v2: `read`, `write`.
    pub op: String,
    /// See the list.
    pub value: u64,
}

impl Cgroup {
    /// Reads all statistics.
    pub fn stats(&self) -> Result<Stats, Error> {
        match self.version() {
            Version::V1 => self.stats_v1(),
            Version::V2 => self.stats_v2(),
        }
    }

    /// How often the kernel has killed a process of the group (v2: or of one below) for lack of memory.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        let file = match self.version() {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        let Some(mut reader) = self.reader("memory")? else {
            return Err(Error::NoController { controller: "memory".to_owned(), file: file.to_owned() });
        };
        Ok(reader.text(file)?.and_then(|text| value_of(text, "oom_kill")).unwrap_or(0))
    }

    /// The highest memory usage so far, in bytes; `None` on v2 before Linux 5.19.
    pub fn memory_peak(&self) -> Result<Option<u64>, Error> {
        let file = match self.version() {
            Version::V1 => "memory.max_usage_in_bytes",
            Version::V2 => "memory.peak",
        };
        self.reader("memory")?.map_or(Ok(None), |reader| reader.number(file))
    }

    fn stats_v1(&self) -> Result<Stats, Error> {
        let mut stats = Stats::default();
        if let Some(mut cpu) = self.reader("cpuacct")? {
            stats.cpu.total = cpu.number("cpuacct.usage")?.unwrap_or(0);
            stats.cpu.user = cpu.number("cpuacct.usage_user")?.unwrap_or(0);
            stats.cpu.system = cpu.number("cpuacct.usage_sys")?.unwrap_or(0);
            let per_cpu = cpu.text("cpuacct.usage_percpu")?.unwrap_or_default();
            stats.cpu.per_cpu = per_cpu.split_ascii_whitespace().filter_map(|value| value.parse().ok()).collect();
        }
        if let Some(mut cpu) = self.reader("cpu")? {
            let text = cpu.text("cpu.stat")?.unwrap_or_default();
            stats.cpu.periods = value_of(text, "nr_periods").unwrap_or(0);
            stats.cpu.throttled_periods = value_of(text, "nr_throttled").unwrap_or(0);
            stats.cpu.throttled_time = value_of(text, "throttled_time").unwrap_or(0);
        }
        if let Some(mut memory) = self.reader("memory")? {
            stats.memory = Some(MemoryStats {
                usage: memory.number("memory.usage_in_bytes")?.unwrap_or(0),
                max_usage: memory.number("memory.max_usage_in_bytes")?,
                limit: memory.number("memory.limit_in_bytes")?.filter(|limit| *limit < UNLIMITED_V1),
                fail_count: memory.number("memory.failcnt")?.unwrap_or(0),
                stat: memory.text("memory.stat")?.map(pairs).unwrap_or_default(),
            });
        }
        stats.pids = self.pids()?;
        if let Some(mut blkio) = self.reader("blkio")? {
            stats.blkio = blkio_v1(&mut blkio)?;
        }
        Ok(stats)
    }

    fn stats_v2(&self) -> Result<Stats, Error> {
        let Some(mut group) = self.reader("cpu")? else { return Err(Error::NotMounted) };
        let mut stats = Stats::default();
        if let Some(text) = group.text("cpu.stat")? {
            let nanoseconds = |name| value_of(text, name).unwrap_or(0).saturating_mul(1000);
            stats.cpu.total = nanoseconds("usage_usec");
            stats.cpu.user = nanoseconds("user_usec");
            stats.cpu.system = nanoseconds("system_usec");
            stats.cpu.periods = value_of(text, "nr_periods").unwrap_or(0);
            stats.cpu.throttled_periods = value_of(text, "nr_throttled").unwrap_or(0);
            stats.cpu.throttled_time = nanoseconds("throttled_usec");
        }
        if let Some(usage) = group.number("memory.current")? {
            stats.memory = Some(MemoryStats {
                usage,
                max_usage: group.number("memory.peak")?,
                limit: group.number("memory.max")?,
                fail_count: group.text("memory.events")?.and_then(|text| value_of(text, "max")).unwrap_or(0),
                stat: group.text("memory.stat")?.map(pairs).unwrap_or_default(),
            });
        }
        stats.pids = self.pids()?;
        if let Some(text) = group.text("io.stat")? {
            stats.blkio = blkio_v2(text);
        }
        Ok(stats)
    }

    fn pids(&self) -> Result<Option<PidsStats>, Error> {
        let Some(reader) = self.reader("pids")? else { return Ok(None) };
        let Some(current) = reader.number("pids.current")? else { return Ok(None) };
        Ok(Some(PidsStats { current, limit: reader.number("pids.max")? }))
    }

    /// Opens the group where a controller's files are; `None` when the controller is not mounted.
    fn reader(&self, controller: &str) -> Result<Option<Reader<'_>>, Error> {
        let Some(hierarchy) = self.hierarchies.controller(controller) else { return Ok(None) };
        let directory = files::directory(&hierarchy.root, self.relative())
            .map_err(|errno| Error::os("open", self.display(hierarchy, ""), errno))?;
        Ok(Some(Reader { group: self, hierarchy, directory, buffer: Vec::new() }))
    }
}

/// v1 says "unlimited" with the largest multiple of a page below 2^63; pages have up to 64 KiB.
const UNLIMITED_V1: u64 = (1 << 63) - (1 << 16);

/// The files of one controller.
struct Reader<'c> {
    group: &'c Cgroup,
    hierarchy: &'c Hierarchy,
    directory: OwnedFd,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    /// `None` when the file does not exist, or cannot be read because the controller is off.
    fn text(&mut self, file: &str) -> Result<Option<&str>, Error> {
        match files::read_all(&self.directory, file, &mut self.buffer) {
            Ok(text) => Ok(Some(text)),
            Err(Errno::NOENT | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(Error::os("read", self.group.display(self.hierarchy, file), errno)),
        }
    }

    /// `None` when the file does not exist or says `max`.
    fn number(&self, file: &str) -> Result<Option<u64>, Error> {
        match files::number(&self.directory, file) {
            Ok(number) => Ok(number),
            Err(Errno::NOENT | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(Error::os("read", self.group.display(self.hierarchy, file), errno)),
        }
    }
}

/// The value in a file of `name value` lines.
fn value_of(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

fn pairs(text: &str) -> Vec<(String, u64)> {
    let pair = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

/// An I/O scheduler that accounts per group (BFQ, formerly CFQ) has the better numbers; without one the throttling
/// layer counts.
fn blkio_v1(reader: &mut Reader<'_>) -> Result<BlkioStats, Error> {
    let mut list = |names: [&str; 2]| {
        for name in names {
            let entries = reader.text(name)?.map(blkio_entries).unwrap_or_default();
            if !entries.is_empty() {
                return Ok(entries);
            }
        }
        Ok::<_, Error>(Vec::new())
    };
    let mut stats = BlkioStats {
        service_bytes: list(["blkio.bfq.io_service_bytes_recursive", "blkio.io_service_bytes_recursive"])?,
        serviced: list(["blkio.bfq.io_serviced_recursive", "blkio.io_serviced_recursive"])?,
        queued: list(["blkio.bfq.io_queued_recursive", "blkio.io_queued_recursive"])?,
        service_time: list(["blkio.bfq.io_service_time_recursive", "blkio.io_service_time_recursive"])?,
        wait_time: list(["blkio.bfq.io_wait_time_recursive", "blkio.io_wait_time_recursive"])?,
        merged: list(["blkio.bfq.io_merged_recursive", "blkio.io_merged_recursive"])?,
        time: list(["blkio.bfq.time_recursive", "blkio.time_recursive"])?,
        sectors: list(["blkio.bfq.sectors_recursive", "blkio.sectors_recursive"])?,
    };
    if stats.service_bytes.is_empty() && stats.serviced.is_empty() {
        stats.service_bytes = list(["blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_service_bytes"])?;
        stats.serviced = list(["blkio.throttle.io_serviced_recursive", "blkio.throttle.io_serviced"])?;
    }
    Ok(stats)
}

/// Lines of `8:0 Read 4096` or `8:0 17`; the sum at the end (`Total 4096`) is left out.
fn blkio_entries(text: &str) -> Vec<BlkioEntry> {
    let entry = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (major, minor) = device(words.next()?)?;
        let (op, value) = match (words.next()?, words.next()) {
            (op, Some(value)) => (op.to_owned(), value),
            (value, None) => (String::new(), value),
        };
        Some(BlkioEntry { major, minor, op, value: value.parse().ok()? })
    };
    text.lines().filter_map(entry).collect()
}

/// Lines of `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`.
fn blkio_v2(text: &str) -> BlkioStats {
    let mut stats = BlkioStats::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some((major, minor)) = words.next().and_then(device) else { continue };
        for word in words {
            let Some((key, value)) = word.split_once('=') else { continue };
            let Ok(value) = value.parse() else { continue };
            let (list, op) = match key {
                "rbytes" => (&mut stats.service_bytes, "read"),
                "wbytes" => (&mut stats.service_bytes, "write"),
                "rios" => (&mut stats.serviced, "read"),
                "wios" => (&mut stats.serviced, "write"),
                _ => continue,
            };
            list.push(BlkioEntry { major, minor, op: op.to_owned(), value });
        }
    }
    stats
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(entries: &[BlkioEntry]) -> String {
        entries.iter().map(|e| format!("{}:{} {:?} {}\n", e.major, e.minor, e.op, e.value)).collect()
    }

    #[test]
    fn blkio_of_both_versions() {
        insta::assert_snapshot!(show(&blkio_entries("8:0 Read 4096\n8:0 Total 4096\n8:16 7\nnonsense\nTotal 4096")), @r#"
        8:0 "Read" 4096
        8:0 "Total" 4096
        8:16 "" 7
        "#);
        let stats = blkio_v2("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n259:1 \n253:0 rbytes=x wios=9");
        insta::assert_snapshot!(show(&stats.service_bytes), @r#"
        8:0 "read" 1
        8:0 "write" 2
        "#);
        insta::assert_snapshot!(show(&stats.serviced), @r#"
        8:0 "read" 3
        8:0 "write" 4
        253:0 "write" 9
        "#);
    }

    #[test]
    fn everything_v2_has() {
        let root = tempfile::tempdir().unwrap();
        let files = [
            (
                "cpu.stat",
                "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nnr_throttled 3\nthrottled_usec 2\n",
            ),
            ("memory.current", "4096\n"),
            ("memory.peak", "8192\n"),
            ("memory.max", "max\n"),
            ("memory.events", "low 0\nhigh 0\nmax 5\noom 2\noom_kill 1\n"),
            ("memory.stat", "anon 1\nfile 2\n"),
            ("pids.current", "6\n"),
            ("pids.max", "100\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n"),
        ];
        let hierarchies = crate::Hierarchies::fake_v2(root.path(), "cpu io memory pids", &files);
        let group = Cgroup::open(&hierarchies, "/g");
        let Stats { cpu, memory, pids, blkio } = group.stats().unwrap();
        let memory = memory.unwrap();
        insta::assert_snapshot!(format!("{cpu:?}\n{memory:?}\n{pids:?}\n{}", show(&blkio.service_bytes)), @r#"
        CpuStats { total: 30000, user: 20000, system: 10000, per_cpu: [], periods: 4, throttled_periods: 3, throttled_time: 2000 }
        MemoryStats { usage: 4096, max_usage: Some(8192), limit: None, fail_count: 5, stat: [("anon", 1), ("file", 2)] }
        Some(PidsStats { current: 6, limit: Some(100) })
        8:0 "read" 1
        8:0 "write" 2
        "#);
        assert_eq!(group.oom_kills().unwrap(), 1);
        assert_eq!(group.memory_peak().unwrap(), Some(8192));
    }

    #[test]
    fn v2_without_controllers() {
        let root = tempfile::tempdir().unwrap();
        let hierarchies = crate::Hierarchies::fake_v2(root.path(), "", &[("cpu.stat", "usage_usec 1\n")]);
        let stats = Cgroup::open(&hierarchies, "/g").stats().unwrap();
        assert_eq!(stats.cpu.total, 1000);
        assert_eq!((stats.memory, stats.pids, stats.blkio), (None, None, BlkioStats::default()));
        assert!(Cgroup::open(&hierarchies, "/absent").stats().is_err());
    }

    #[test]
    fn flat_keyed_files() {
        let text = "low 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 9";
        assert_eq!(value_of(text, "oom_kill"), Some(2));
        assert_eq!(value_of(text, "max"), Some(3));
        assert_eq!(value_of(text, "oom_k"), None);
        assert_eq!(pairs("a 1\nb x\nc\nd 4"), [("a".to_owned(), 1), ("d".to_owned(), 4)]);
    }
}
