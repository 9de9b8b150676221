//! The answer of `GET /containers/{id}/json` and the small answers about one container.

use crate::container::{Config, EndpointSettings, HostConfig, PortMap};
use crate::go::{List, Map};
use crate::oci::Descriptor;
use crate::time::Time;

go_types! {
    /// Everything about a container.
    pub struct ContainerJson {
        id: String ["Id"],
        /// RFC 3339 with nanoseconds.
        created: Time ["Created"],
        path: String ["Path"],
        args: Vec<String> ["Args"],
        state: State ["State"],
        /// Image ID.
        image: String ["Image"],
        resolv_conf_path: String ["ResolvConfPath"],
        hostname_path: String ["HostnamePath"],
        hosts_path: String ["HostsPath"],
        log_path: String ["LogPath"],
        /// With a leading slash.
        name: String ["Name"],
        restart_count: i64 ["RestartCount"],
        driver: String ["Driver"],
        platform: String ["Platform"],
        mount_label: String ["MountLabel"],
        process_label: String ["ProcessLabel"],
        app_armor_profile: String ["AppArmorProfile"],
        /// `null` without any.
        exec_ids: List<String> ["ExecIDs"],
        host_config: HostConfig ["HostConfig"],
        graph_driver: Option<DriverData> ["GraphDriver" omitempty],
        storage: Option<Storage> ["Storage" omitempty],
        /// Bytes; only when asked for.
        size_rw: Option<i64> ["SizeRw" omitempty],
        /// Bytes; only when asked for.
        size_root_fs: Option<i64> ["SizeRootFs" omitempty],
        mounts: Vec<MountPoint> ["Mounts"],
        config: Config ["Config"],
        network_settings: NetworkSettings ["NetworkSettings"],
        image_manifest_descriptor: Option<Descriptor> ["ImageManifestDescriptor" omitempty],
    }

    /// A container's state.
    pub struct State {
        /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
        status: String ["Status"],
        running: bool ["Running"],
        paused: bool ["Paused"],
        restarting: bool ["Restarting"],
        oom_killed: bool ["OOMKilled"],
        dead: bool ["Dead"],
        pid: i64 ["Pid"],
        exit_code: i64 ["ExitCode"],
        error: String ["Error"],
        started_at: Time ["StartedAt"],
        finished_at: Time ["FinishedAt"],
        health: Option<Health> ["Health" omitempty],
    }

    /// Health and the last results.
    pub struct Health {
        /// `none`, `starting`, `healthy` or `unhealthy`.
        status: String ["Status"],
        failing_streak: i64 ["FailingStreak"],
        /// Oldest first.
        log: List<HealthLog> ["Log"],
    }

    /// One result of a health check.
    pub struct HealthLog {
        start: Time ["Start"],
        end: Time ["End"],
        /// 0 healthy, 1 unhealthy, else the check failed.
        exit_code: i64 ["ExitCode"],
        output: String ["Output"],
    }

    /// A mount of a container.
    pub struct MountPoint {
        /// `bind`, `volume`, `tmpfs` or `image`.
        kind: String ["Type" omitempty],
        name: String ["Name" omitempty],
        source: String ["Source"],
        destination: String ["Destination"],
        driver: String ["Driver" omitempty],
        mode: String ["Mode"],
        rw: bool ["RW"],
        propagation: String ["Propagation"],
    }

    /// Networks of a container.
    pub struct NetworkSettings {
        sandbox_id: String ["SandboxID"],
        sandbox_key: String ["SandboxKey"],
        ports: PortMap ["Ports"],
        networks: Map<EndpointSettings> ["Networks"],
        legacy: Option<LegacyNetworkSettings> [embed],
    }

    /// The default bridge's endpoint once more, below API 1.52.
    pub struct LegacyNetworkSettings {
        bridge: String ["Bridge"],
        hairpin_mode: bool ["HairpinMode"],
        link_local_ipv6_address: String ["LinkLocalIPv6Address"],
        link_local_ipv6_prefix_len: i64 ["LinkLocalIPv6PrefixLen"],
        secondary_ip_addresses: List<String> ["SecondaryIPAddresses"],
        secondary_ipv6_addresses: List<String> ["SecondaryIPv6Addresses"],
        endpoint_id: String ["EndpointID"],
        gateway: String ["Gateway"],
        global_ipv6_address: String ["GlobalIPv6Address"],
        global_ipv6_prefix_len: i64 ["GlobalIPv6PrefixLen"],
        ip_address: String ["IPAddress"],
        ip_prefix_len: i64 ["IPPrefixLen"],
        ipv6_gateway: String ["IPv6Gateway"],
        mac_address: String ["MacAddress"],
    }

    /// Storage of a container below a snapshotter.
    pub struct Storage {
        root_fs: Option<RootFsStorage> ["RootFS" omitempty],
    }

    /// The root filesystem's storage.
    pub struct RootFsStorage {
        snapshot: Option<Snapshot> ["Snapshot" omitempty],
    }

    /// A snapshot.
    pub struct Snapshot {
        /// The snapshotter's name.
        name: String ["Name" omitempty],
    }

    /// Storage of a container below a graph driver.
    pub struct DriverData {
        data: Map<String> ["Data"],
        name: String ["Name"],
    }

    /// Answer of `POST /containers/{id}/wait`.
    pub struct WaitResponse {
        error: Option<WaitExitError> ["Error" omitempty],
        status_code: i64 ["StatusCode"],
    }

    /// Why waiting failed.
    pub struct WaitExitError {
        message: String ["Message" omitempty],
    }

    /// Answer of `GET /containers/{id}/top`.
    pub struct TopResponse {
        processes: Vec<Vec<String>> ["Processes"],
        titles: Vec<String> ["Titles"],
    }

    /// A changed path; `kind` is 0 modified, 1 added, 2 deleted.
    pub struct Change {
        kind: u16 ["Kind"],
        path: String ["Path"],
    }

    /// The header `X-Docker-Container-Path-Stat`, before base64.
    pub struct PathStat {
        name: String ["name"],
        /// Bytes.
        size: i64 ["size"],
        /// Go's `os.FileMode`, not `st_mode`; see [`crate::file_mode`].
        mode: u32 ["mode"],
        mtime: Time ["mtime"],
        link_target: String ["linkTarget"],
    }

    /// Answer of `POST /containers/prune`.
    pub struct PruneReport {
        containers_deleted: List<String> ["ContainersDeleted"],
        /// Bytes.
        space_reclaimed: u64 ["SpaceReclaimed"],
    }
}
