//! The engine as a whole: version, info, disk usage.

use crate::container::ContainerSummary;
use crate::go::{List, Map};
use crate::image::{BuildCacheRecord, ImageSummary};
use crate::volume::Volume;

/// Rows of two columns, shown as they are.
pub type Pairs = List<Vec<String>>;

go_types! {
    /// The body of an error.
    pub struct ErrorResponse {
        message: String ["message"],
    }

    /// Answer of `GET /version`.
    pub struct Version {
        platform: PlatformInfo ["Platform"],
        version: String ["Version"],
        api_version: String ["ApiVersion"],
        min_api_version: String ["MinAPIVersion" omitempty],
        os: String ["Os"],
        arch: String ["Arch"],
        components: List<ComponentVersion> ["Components" omitempty],
        git_commit: String ["GitCommit" omitempty],
        go_version: String ["GoVersion" omitempty],
        kernel_version: String ["KernelVersion" omitempty],
        experimental: bool ["Experimental" omitempty],
        build_time: String ["BuildTime" omitempty],
    }

    /// The product's name.
    pub struct PlatformInfo {
        name: String ["Name"],
    }

    /// The version of one part.
    pub struct ComponentVersion {
        name: String ["Name"],
        version: String ["Version"],
        details: Map<String> ["Details" omitempty],
    }

    /// Answer of `GET /info`.
    pub struct Info {
        id: String ["ID"],
        containers: i64 ["Containers"],
        containers_running: i64 ["ContainersRunning"],
        containers_paused: i64 ["ContainersPaused"],
        containers_stopped: i64 ["ContainersStopped"],
        images: i64 ["Images"],
        driver: String ["Driver"],
        driver_status: Pairs ["DriverStatus"],
        plugins: PluginsInfo ["Plugins"],
        memory_limit: bool ["MemoryLimit"],
        swap_limit: bool ["SwapLimit"],
        cpu_cfs_period: bool ["CpuCfsPeriod"],
        cpu_cfs_quota: bool ["CpuCfsQuota"],
        cpu_shares: bool ["CPUShares"],
        cpu_set: bool ["CPUSet"],
        pids_limit: bool ["PidsLimit"],
        ipv4_forwarding: bool ["IPv4Forwarding"],
        debug: bool ["Debug"],
        n_fd: i64 ["NFd"],
        oom_kill_disable: bool ["OomKillDisable"],
        n_goroutines: i64 ["NGoroutines"],
        /// RFC 3339 with nanoseconds.
        system_time: String ["SystemTime"],
        logging_driver: String ["LoggingDriver"],
        cgroup_driver: String ["CgroupDriver"],
        cgroup_version: String ["CgroupVersion" omitempty],
        n_events_listener: i64 ["NEventsListener"],
        kernel_version: String ["KernelVersion"],
        operating_system: String ["OperatingSystem"],
        os_version: String ["OSVersion"],
        os_type: String ["OSType"],
        architecture: String ["Architecture"],
        index_server_address: String ["IndexServerAddress"],
        registry_config: RegistryConfig ["RegistryConfig"],
        n_cpu: i64 ["NCPU"],
        /// Bytes.
        mem_total: i64 ["MemTotal"],
        generic_resources: List<serde_json::Value> ["GenericResources"],
        docker_root_dir: String ["DockerRootDir"],
        http_proxy: String ["HttpProxy"],
        https_proxy: String ["HttpsProxy"],
        no_proxy: String ["NoProxy"],
        name: String ["Name"],
        labels: Vec<String> ["Labels"],
        experimental_build: bool ["ExperimentalBuild"],
        server_version: String ["ServerVersion"],
        runtimes: Map<Runtime> ["Runtimes"],
        default_runtime: String ["DefaultRuntime"],
        swarm: SwarmInfo ["Swarm"],
        live_restore_enabled: bool ["LiveRestoreEnabled"],
        isolation: String ["Isolation"],
        init_binary: String ["InitBinary"],
        containerd_commit: Commit ["ContainerdCommit"],
        runc_commit: Commit ["RuncCommit"],
        init_commit: Commit ["InitCommit"],
        security_options: List<String> ["SecurityOptions"],
        product_license: String ["ProductLicense" omitempty],
        default_address_pools: List<AddressPool> ["DefaultAddressPools" omitempty],
        firewall_backend: Option<FirewallInfo> ["FirewallBackend" omitempty],
        cdi_spec_dirs: List<String> ["CDISpecDirs"],
        discovered_devices: List<DeviceInfo> ["DiscoveredDevices" omitempty],
        containerd: Option<ContainerdInfo> ["Containerd" omitempty],
        warnings: List<String> ["Warnings"],
    }

    /// Drivers by kind.
    pub struct PluginsInfo {
        volume: List<String> ["Volume"],
        network: List<String> ["Network"],
        authorization: List<String> ["Authorization"],
        log: List<String> ["Log"],
    }

    /// Registries and how they are reached.
    pub struct RegistryConfig {
        insecure_registry_cidrs: List<String> ["InsecureRegistryCIDRs"],
        index_configs: Map<IndexInfo> ["IndexConfigs"],
        mirrors: List<String> ["Mirrors"],
    }

    /// One registry.
    pub struct IndexInfo {
        name: String ["Name"],
        mirrors: List<String> ["Mirrors"],
        secure: bool ["Secure"],
        official: bool ["Official"],
    }

    /// An OCI runtime.
    pub struct Runtime {
        path: String ["path" omitempty],
        args: List<String> ["runtimeArgs" omitempty],
        kind: String ["runtimeType" omitempty],
        options: Map<serde_json::Value> ["options" omitempty],
        status: Map<String> ["status" omitempty],
    }

    /// Membership in a swarm: none.
    pub struct SwarmInfo {
        node_id: String ["NodeID"],
        node_addr: String ["NodeAddr"],
        /// `inactive`.
        local_node_state: String ["LocalNodeState"],
        control_available: bool ["ControlAvailable"],
        error: String ["Error"],
        remote_managers: List<serde_json::Value> ["RemoteManagers"],
    }

    /// A version control revision.
    pub struct Commit {
        id: String ["ID"],
    }

    /// A pool that networks get their subnets from.
    pub struct AddressPool {
        base: String ["Base"],
        /// Prefix length of the subnets.
        size: i64 ["Size"],
    }

    /// How packets are filtered.
    pub struct FirewallInfo {
        driver: String ["Driver"],
        info: Pairs ["Info" omitempty],
    }

    /// A device found on the host.
    pub struct DeviceInfo {
        source: String ["Source"],
        id: String ["ID"],
    }

    /// The containerd below, where there is one.
    pub struct ContainerdInfo {
        address: String ["Address" omitempty],
        namespaces: ContainerdNamespaces ["Namespaces"],
    }

    /// Its namespaces.
    pub struct ContainerdNamespaces {
        containers: String ["Containers"],
        plugins: String ["Plugins"],
    }

    /// Answer of `GET /system/df`: the lists of API 1.51 and below, the summaries of 1.52 and above, or both.
    pub struct DiskUsage {
        layers_size: i64 ["LayersSize" omitempty],
        images: Option<Vec<ImageSummary>> ["Images" omitempty],
        containers: Option<Vec<ContainerSummary>> ["Containers" omitempty],
        volumes: Option<Vec<Volume>> ["Volumes" omitempty],
        build_cache: Option<Vec<BuildCacheRecord>> ["BuildCache" omitempty],
        image_usage: Option<ImagesDiskUsage> ["ImageUsage" omitempty],
        container_usage: Option<ContainersDiskUsage> ["ContainerUsage" omitempty],
        volume_usage: Option<VolumesDiskUsage> ["VolumeUsage" omitempty],
        build_cache_usage: Option<BuildCacheDiskUsage> ["BuildCacheUsage" omitempty],
    }

    /// Use of the disk by images.
    pub struct ImagesDiskUsage {
        active_count: i64 ["ActiveCount" omitempty],
        items: List<ImageSummary> ["Items" omitempty],
        reclaimable: i64 ["Reclaimable" omitempty],
        total_count: i64 ["TotalCount" omitempty],
        total_size: i64 ["TotalSize" omitempty],
    }

    /// Use of the disk by containers.
    pub struct ContainersDiskUsage {
        active_count: i64 ["ActiveCount" omitempty],
        items: List<ContainerSummary> ["Items" omitempty],
        reclaimable: i64 ["Reclaimable" omitempty],
        total_count: i64 ["TotalCount" omitempty],
        total_size: i64 ["TotalSize" omitempty],
    }

    /// Use of the disk by volumes.
    pub struct VolumesDiskUsage {
        active_count: i64 ["ActiveCount" omitempty],
        items: List<Volume> ["Items" omitempty],
        reclaimable: i64 ["Reclaimable" omitempty],
        total_count: i64 ["TotalCount" omitempty],
        total_size: i64 ["TotalSize" omitempty],
    }

    /// Use of the disk by the build cache.
    pub struct BuildCacheDiskUsage {
        active_count: i64 ["ActiveCount" omitempty],
        items: List<BuildCacheRecord> ["Items" omitempty],
        reclaimable: i64 ["Reclaimable" omitempty],
        total_count: i64 ["TotalCount" omitempty],
        total_size: i64 ["TotalSize" omitempty],
    }
}

/// What `HEAD /_ping` says in its headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ping {
    /// `Api-Version`.
    pub api_version: String,
    /// `Ostype`.
    pub os_type: String,
    /// `Docker-Experimental`.
    pub experimental: bool,
    /// `Builder-Version`: `1` or `2`.
    pub builder_version: String,
    /// `Swarm`.
    pub swarm: String,
}
