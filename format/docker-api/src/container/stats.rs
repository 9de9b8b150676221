//! Resource use: the answer of `GET /containers/{id}/stats`.

use crate::go::{List, Map};
use crate::time::Time;

go_types! {
    /// One sample.
    pub struct StatsResponse {
        id: String ["id" omitempty],
        name: String ["name" omitempty],
        os_type: String ["os_type" omitempty],
        read: Time ["read"],
        cpu_stats: CpuStats ["cpu_stats"],
        memory_stats: MemoryStats ["memory_stats"],
        /// By interface.
        networks: Map<NetworkStats> ["networks" omitempty],
        pids_stats: PidsStats ["pids_stats"],
        blkio_stats: BlkioStats ["blkio_stats"],
        num_procs: u32 ["num_procs"],
        storage_stats: StorageStats ["storage_stats"],
        /// When the sample before was taken; the zero time without one.
        preread: Time ["preread"],
        precpu_stats: CpuStats ["precpu_stats"],
    }

    /// CPU time.
    pub struct CpuStats {
        cpu_usage: CpuUsage ["cpu_usage"],
        /// Nanoseconds of all CPUs of the host since boot.
        system_cpu_usage: u64 ["system_cpu_usage" omitempty],
        online_cpus: u32 ["online_cpus" omitempty],
        throttling_data: ThrottlingData ["throttling_data"],
    }

    /// CPU time in nanoseconds.
    pub struct CpuUsage {
        total_usage: u64 ["total_usage"],
        /// cgroup v1 only.
        percpu_usage: List<u64> ["percpu_usage" omitempty],
        usage_in_kernelmode: u64 ["usage_in_kernelmode"],
        usage_in_usermode: u64 ["usage_in_usermode"],
    }

    /// Throttling by a CPU quota.
    pub struct ThrottlingData {
        periods: u64 ["periods"],
        throttled_periods: u64 ["throttled_periods"],
        /// Nanoseconds.
        throttled_time: u64 ["throttled_time"],
    }

    /// Memory in bytes.
    pub struct MemoryStats {
        usage: u64 ["usage" omitempty],
        /// cgroup v1 only.
        max_usage: u64 ["max_usage" omitempty],
        /// The fields of memory.stat.
        stats: Map<u64> ["stats" omitempty],
        failcnt: u64 ["failcnt" omitempty],
        limit: u64 ["limit" omitempty],
        commitbytes: u64 ["commitbytes" omitempty],
        commitpeakbytes: u64 ["commitpeakbytes" omitempty],
        privateworkingset: u64 ["privateworkingset" omitempty],
    }

    /// Processes and threads.
    pub struct PidsStats {
        current: u64 ["current" omitempty],
        limit: u64 ["limit" omitempty],
    }

    /// Block I/O.
    pub struct BlkioStats {
        io_service_bytes_recursive: List<BlkioStatEntry> ["io_service_bytes_recursive"],
        io_serviced_recursive: List<BlkioStatEntry> ["io_serviced_recursive"],
        io_queue_recursive: List<BlkioStatEntry> ["io_queue_recursive"],
        io_service_time_recursive: List<BlkioStatEntry> ["io_service_time_recursive"],
        io_wait_time_recursive: List<BlkioStatEntry> ["io_wait_time_recursive"],
        io_merged_recursive: List<BlkioStatEntry> ["io_merged_recursive"],
        io_time_recursive: List<BlkioStatEntry> ["io_time_recursive"],
        sectors_recursive: List<BlkioStatEntry> ["sectors_recursive"],
    }

    /// One counter of a block device.
    pub struct BlkioStatEntry {
        major: u64 ["major"],
        minor: u64 ["minor"],
        op: String ["op"],
        value: u64 ["value"],
    }

    /// Windows only; always zero.
    pub struct StorageStats {
        read_count_normalized: u64 ["read_count_normalized" omitempty],
        read_size_bytes: u64 ["read_size_bytes" omitempty],
        write_count_normalized: u64 ["write_count_normalized" omitempty],
        write_size_bytes: u64 ["write_size_bytes" omitempty],
    }

    /// Counters of a network interface.
    pub struct NetworkStats {
        rx_bytes: u64 ["rx_bytes"],
        rx_packets: u64 ["rx_packets"],
        rx_errors: u64 ["rx_errors"],
        rx_dropped: u64 ["rx_dropped"],
        tx_bytes: u64 ["tx_bytes"],
        tx_packets: u64 ["tx_packets"],
        tx_errors: u64 ["tx_errors"],
        tx_dropped: u64 ["tx_dropped"],
        endpoint_id: String ["endpoint_id" omitempty],
        instance_id: String ["instance_id" omitempty],
    }
}
