//! Limits of a container: what becomes cgroup files. An absent value leaves the kernel's.

use std::collections::BTreeMap;

objects! {
    /// `linux.resources`.
    pub struct Resources {
        /// Device access, in order; the last rule that matches decides.
        pub devices: Vec<DeviceRule>,
        /// Memory.
        pub memory: Option<Memory>,
        /// Processor time.
        pub cpu: Option<Cpu>,
        /// Number of processes.
        pub pids: Option<Pids>,
        /// Block devices.
        #[serde(rename = "blockIO")]
        pub block_io: Option<BlockIo>,
        /// Huge pages.
        pub hugepage_limits: Vec<HugepageLimit>,
        /// Network classes and priorities (v1).
        pub network: Option<Network>,
        /// RDMA by device.
        pub rdma: BTreeMap<String, Rdma>,
        /// cgroup v2 files to values, written as they are.
        pub unified: BTreeMap<String, String>,
    }

    /// Whether devices may be used.
    pub struct DeviceRule {
        /// Allow, or deny.
        pub allow: bool,
        /// `a` (all), `c`, `b`; empty is `a`.
        #[serde(rename = "type")]
        pub kind: String,
        /// Major number; `None` (or -1) is any.
        pub major: Option<i64>,
        /// Minor number; `None` (or -1) is any.
        pub minor: Option<i64>,
        /// Letters of `rwm`.
        pub access: String,
    }

    /// Memory, in bytes; -1 is no limit.
    pub struct Memory {
        /// Hard limit.
        pub limit: Option<i64>,
        /// Soft limit.
        pub reservation: Option<i64>,
        /// Memory and swap together.
        pub swap: Option<i64>,
        /// Kernel memory (obsolete).
        pub kernel: Option<i64>,
        /// Kernel TCP buffers (obsolete).
        #[serde(rename = "kernelTCP")]
        pub kernel_tcp: Option<i64>,
        /// 0 to 100 (v1).
        pub swappiness: Option<u64>,
        /// Let processes wait instead of being killed (v1).
        #[serde(rename = "disableOOMKiller")]
        pub disable_oom_killer: Option<bool>,
        /// Account hierarchically (v1).
        pub use_hierarchy: Option<bool>,
        /// Refuse an update below the present usage.
        pub check_before_update: Option<bool>,
    }

    /// Processor time.
    pub struct Cpu {
        /// Relative weight on v1's scale (1024 is one share).
        pub shares: Option<u64>,
        /// Microseconds per period; negative is no limit.
        pub quota: Option<i64>,
        /// Microseconds that may be carried over.
        pub burst: Option<u64>,
        /// Microseconds.
        pub period: Option<u64>,
        /// Microseconds of realtime per realtime period (v1).
        pub realtime_runtime: Option<i64>,
        /// Microseconds (v1).
        pub realtime_period: Option<u64>,
        /// CPU list.
        pub cpus: String,
        /// Memory node list.
        pub mems: String,
        /// 1 runs only when nothing else wants to.
        pub idle: Option<i64>,
    }

    /// Number of processes.
    pub struct Pids {
        /// Most processes; -1 is no limit.
        pub limit: Option<i64>,
    }

    /// Block devices.
    pub struct BlockIo {
        /// 10 to 1000.
        pub weight: Option<u16>,
        /// 10 to 1000 (v1).
        pub leaf_weight: Option<u16>,
        /// Weights by device.
        pub weight_device: Vec<WeightDevice>,
        /// Bytes per second.
        pub throttle_read_bps_device: Vec<ThrottleDevice>,
        /// Bytes per second.
        pub throttle_write_bps_device: Vec<ThrottleDevice>,
        /// Operations per second.
        #[serde(rename = "throttleReadIOPSDevice")]
        pub throttle_read_iops_device: Vec<ThrottleDevice>,
        /// Operations per second.
        #[serde(rename = "throttleWriteIOPSDevice")]
        pub throttle_write_iops_device: Vec<ThrottleDevice>,
    }

    /// A device's weight.
    pub struct WeightDevice {
        /// Major number.
        pub major: i64,
        /// Minor number.
        pub minor: i64,
        /// 10 to 1000.
        pub weight: Option<u16>,
        /// 10 to 1000 (v1).
        pub leaf_weight: Option<u16>,
    }

    /// A device's rate.
    pub struct ThrottleDevice {
        /// Major number.
        pub major: i64,
        /// Minor number.
        pub minor: i64,
        /// Per second.
        pub rate: u64,
    }

    /// Huge pages of one size.
    pub struct HugepageLimit {
        /// `2MB`
        pub page_size: String,
        /// Bytes.
        pub limit: u64,
    }

    /// Network classes and priorities (v1).
    pub struct Network {
        /// `net_cls.classid`
        #[serde(rename = "classID")]
        pub class_id: Option<u32>,
        /// `net_prio.ifpriomap`
        pub priorities: Vec<InterfacePriority>,
    }

    /// An interface's priority.
    pub struct InterfacePriority {
        /// The interface.
        pub name: String,
        /// Its priority.
        pub priority: u32,
    }

    /// RDMA limits of one device.
    pub struct Rdma {
        /// Handles.
        pub hca_handles: Option<u32>,
        /// Objects.
        pub hca_objects: Option<u32>,
    }
}
