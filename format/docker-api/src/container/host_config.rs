//! The half of a container's configuration that depends on the host: mounts, ports, limits, privileges.

use crate::container::Mount;
use crate::go::{List, Map};

/// Host addresses by container port (`80/tcp`). A port with `null` or `[]` is published on a free host port.
pub type PortMap = Map<List<PortBinding>>;

go_types! {
    /// Host-dependent configuration.
    pub struct HostConfig {
        /// `source:destination[:options]`.
        binds: List<String> ["Binds"],
        container_id_file: String ["ContainerIDFile"],
        log_config: LogConfig ["LogConfig"],
        /// `""`, `default`, `bridge`, `host`, `none`, `container:ID` or a network's name.
        network_mode: String ["NetworkMode"],
        port_bindings: PortMap ["PortBindings"],
        restart_policy: RestartPolicy ["RestartPolicy"],
        auto_remove: bool ["AutoRemove"],
        volume_driver: String ["VolumeDriver"],
        /// `container[:ro|rw]`.
        volumes_from: List<String> ["VolumesFrom"],
        /// Height, width.
        console_size: [u64; 2] ["ConsoleSize"],
        annotations: Map<String> ["Annotations" omitempty],
        cap_add: List<String> ["CapAdd"],
        cap_drop: List<String> ["CapDrop"],
        /// `""`, `private` or `host`.
        cgroupns_mode: String ["CgroupnsMode"],
        dns: List<String> ["Dns"],
        dns_options: List<String> ["DnsOptions"],
        dns_search: List<String> ["DnsSearch"],
        /// `name:address`.
        extra_hosts: List<String> ["ExtraHosts"],
        group_add: List<String> ["GroupAdd"],
        /// `""`, `none`, `private`, `shareable`, `host` or `container:ID`.
        ipc_mode: String ["IpcMode"],
        cgroup: String ["Cgroup"],
        links: List<String> ["Links"],
        oom_score_adj: i64 ["OomScoreAdj"],
        /// `""`, `host` or `container:ID`.
        pid_mode: String ["PidMode"],
        privileged: bool ["Privileged"],
        publish_all_ports: bool ["PublishAllPorts"],
        readonly_rootfs: bool ["ReadonlyRootfs"],
        security_opt: List<String> ["SecurityOpt"],
        storage_opt: Map<String> ["StorageOpt" omitempty],
        /// Options by path.
        tmpfs: Map<String> ["Tmpfs" omitempty],
        /// `""` or `host`.
        uts_mode: String ["UTSMode"],
        userns_mode: String ["UsernsMode"],
        /// Bytes; 0 for the default of 64 MiB.
        shm_size: i64 ["ShmSize"],
        sysctls: Map<String> ["Sysctls" omitempty],
        runtime: String ["Runtime" omitempty],
        isolation: String ["Isolation"],
        resources: Resources [embed],
        mounts: List<Mount> ["Mounts" omitempty],
        /// `null` for the default list.
        masked_paths: List<String> ["MaskedPaths"],
        /// `null` for the default list.
        readonly_paths: List<String> ["ReadonlyPaths"],
        init: Option<bool> ["Init" omitempty],
    }

    /// Limits: part of [`HostConfig`], and what `POST /containers/{id}/update` changes.
    pub struct Resources {
        cpu_shares: i64 ["CpuShares"],
        /// Bytes.
        memory: i64 ["Memory"],
        /// Billionths of a CPU.
        nano_cpus: i64 ["NanoCpus"],
        cgroup_parent: String ["CgroupParent"],
        blkio_weight: u16 ["BlkioWeight"],
        blkio_weight_device: List<WeightDevice> ["BlkioWeightDevice"],
        blkio_device_read_bps: List<ThrottleDevice> ["BlkioDeviceReadBps"],
        blkio_device_write_bps: List<ThrottleDevice> ["BlkioDeviceWriteBps"],
        blkio_device_read_iops: List<ThrottleDevice> ["BlkioDeviceReadIOps"],
        blkio_device_write_iops: List<ThrottleDevice> ["BlkioDeviceWriteIOps"],
        /// Microseconds.
        cpu_period: i64 ["CpuPeriod"],
        /// Microseconds.
        cpu_quota: i64 ["CpuQuota"],
        cpu_realtime_period: i64 ["CpuRealtimePeriod"],
        cpu_realtime_runtime: i64 ["CpuRealtimeRuntime"],
        /// `0-2,4`.
        cpuset_cpus: String ["CpusetCpus"],
        cpuset_mems: String ["CpusetMems"],
        devices: List<DeviceMapping> ["Devices"],
        device_cgroup_rules: List<String> ["DeviceCgroupRules"],
        device_requests: List<DeviceRequest> ["DeviceRequests"],
        /// Without effect; of API 1.41 and below.
        kernel_memory: i64 ["KernelMemory" omitempty],
        /// Bytes of the kernel's buffers for TCP, on control groups v1.
        kernel_memory_tcp: i64 ["KernelMemoryTCP" omitempty],
        /// Bytes.
        memory_reservation: i64 ["MemoryReservation"],
        /// Memory and swap together, bytes; -1 for unlimited swap.
        memory_swap: i64 ["MemorySwap"],
        /// 0 to 100.
        memory_swappiness: Option<i64> ["MemorySwappiness"],
        oom_kill_disable: Option<bool> ["OomKillDisable"],
        /// 0 or -1 for unlimited.
        pids_limit: Option<i64> ["PidsLimit"],
        ulimits: List<Ulimit> ["Ulimits"],
        cpu_count: i64 ["CpuCount"],
        cpu_percent: i64 ["CpuPercent"],
        io_maximum_iops: u64 ["IOMaximumIOps"],
        io_maximum_bandwidth: u64 ["IOMaximumBandwidth"],
    }

    /// Where the output goes.
    pub struct LogConfig {
        kind: String ["Type"],
        config: Map<String> ["Config"],
    }

    /// When a container is started again.
    pub struct RestartPolicy {
        /// `""`, `no`, `always`, `unless-stopped` or `on-failure`; of Tare also `on-unhealthy`.
        name: String ["Name"],
        /// For `on-failure`; 0 is unlimited.
        maximum_retry_count: i64 ["MaximumRetryCount"],
    }

    /// A host address of a published port.
    pub struct PortBinding {
        host_ip: String ["HostIp"],
        /// A port, a range `8000-8010`, or empty for a free port.
        host_port: String ["HostPort"],
    }

    /// A device of the host.
    pub struct DeviceMapping {
        path_on_host: String ["PathOnHost"],
        path_in_container: String ["PathInContainer"],
        /// `rwm`.
        cgroup_permissions: String ["CgroupPermissions"],
    }

    /// A request to a device driver (`--gpus`, CDI).
    pub struct DeviceRequest {
        driver: String ["Driver"],
        /// -1 for all.
        count: i64 ["Count"],
        device_ids: List<String> ["DeviceIDs"],
        /// An OR of ANDs.
        capabilities: List<List<String>> ["Capabilities"],
        options: Map<String> ["Options"],
    }

    /// A resource limit (setrlimit(2)); -1 is unlimited.
    pub struct Ulimit {
        name: String ["Name"],
        hard: i64 ["Hard"],
        soft: i64 ["Soft"],
    }

    /// A block device's weight, 10 to 1000.
    pub struct WeightDevice {
        path: String ["Path"],
        weight: u16 ["Weight"],
    }

    /// A block device's limit in bytes or operations per second.
    pub struct ThrottleDevice {
        path: String ["Path"],
        rate: u64 ["Rate"],
    }

    /// Body of `POST /containers/{id}/update`.
    pub struct UpdateRequest {
        resources: Resources [embed],
        restart_policy: RestartPolicy ["RestartPolicy"],
    }

    /// Answer of `POST /containers/{id}/update`.
    pub struct UpdateResponse {
        warnings: List<String> ["Warnings"],
    }
}
