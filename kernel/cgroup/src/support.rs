//! Which limits this machine can set: what the engine reports about itself and warns of.

use rustix::fs::{Access, AtFlags, accessat};

use crate::files;
use crate::hierarchy::{Hierarchies, Version};

/// Whether there is something to write a limit to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one answer per limit, each reported under its own name")]
pub struct Support {
    /// Memory.
    pub memory_limit: bool,
    /// Memory and swap together (v2: swap).
    pub swap_limit: bool,
    /// Soft limit.
    pub memory_reservation: bool,
    /// Kernel TCP buffers (v1 only).
    pub kernel_memory_tcp: bool,
    /// Waiting instead of being killed (v1 only).
    pub oom_kill_disable: bool,
    /// Swappiness (v1 only).
    pub memory_swappiness: bool,
    /// Shares (v2: weight).
    pub cpu_shares: bool,
    /// Period and quota.
    pub cpu_quota: bool,
    /// Realtime (v1 only).
    pub cpu_realtime: bool,
    /// Processors and memory nodes.
    pub cpuset: bool,
    /// Number of processes.
    pub pids_limit: bool,
    /// Weight of block I/O.
    pub blkio_weight: bool,
    /// Rates of block I/O.
    pub blkio_throttle: bool,
    /// Huge pages.
    pub hugetlb: bool,
}

impl Hierarchies {
    /// Looks at the files and controllers there are.
    pub fn support(&self) -> Support {
        match self.version() {
            Version::V1 => self.support_v1(),
            Version::V2 => self.support_v2(),
        }
    }

    fn support_v1(&self) -> Support {
        let has = |controller: &str, file: &str| {
            self.controller(controller)
                .is_some_and(|own| accessat(&own.root, file, Access::EXISTS, AtFlags::empty()).is_ok())
        };
        Support {
            memory_limit: has("memory", "memory.limit_in_bytes"),
            swap_limit: has("memory", "memory.memsw.limit_in_bytes"),
            memory_reservation: has("memory", "memory.soft_limit_in_bytes"),
            kernel_memory_tcp: has("memory", "memory.kmem.tcp.limit_in_bytes"),
            oom_kill_disable: has("memory", "memory.oom_control"),
            memory_swappiness: has("memory", "memory.swappiness"),
            cpu_shares: has("cpu", "cpu.shares"),
            cpu_quota: has("cpu", "cpu.cfs_quota_us"),
            cpu_realtime: has("cpu", "cpu.rt_runtime_us"),
            cpuset: self.controller("cpuset").is_some(),
            pids_limit: self.controller("pids").is_some(),
            blkio_weight: has("blkio", "blkio.weight") || has("blkio", "blkio.bfq.weight"),
            blkio_throttle: has("blkio", "blkio.throttle.read_bps_device"),
            hugetlb: self.controller("hugetlb").is_some(),
        }
    }

    /// The root of v2 has no limits, so the files of some group below it are looked at: the caller's own.
    fn support_v2(&self) -> Support {
        let Some(unified) = self.all().first() else { return Support::default() };
        let mut buffer = [0; files::VALUE_MAX];
        let controllers = files::read(&unified.root, "cgroup.controllers", &mut buffer).unwrap_or_default();
        let has = |controller: &str| controllers.split(' ').any(|own| own == controller);
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let in_own = |file: &str| {
            let path = if own.is_empty() { file.to_owned() } else { format!("{own}/{file}") };
            accessat(&unified.root, path, Access::EXISTS, AtFlags::empty()).is_ok()
        };
        Support {
            memory_limit: has("memory"),
            swap_limit: has("memory") && in_own("memory.swap.max"),
            memory_reservation: has("memory"),
            kernel_memory_tcp: false,
            oom_kill_disable: false,
            memory_swappiness: false,
            cpu_shares: has("cpu"),
            cpu_quota: has("cpu"),
            cpu_realtime: false,
            cpuset: has("cpuset"),
            pids_limit: has("pids"),
            blkio_weight: in_own("io.weight") || in_own("io.bfq.weight"),
            blkio_throttle: has("io"),
            hugetlb: has("hugetlb"),
        }
    }
}
