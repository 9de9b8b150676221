//! One entry of `GET /containers/json`.

use crate::container::{EndpointSettings, MountPoint};
use crate::go::Map;
use crate::oci::Descriptor;

go_types! {
    /// A container in a list.
    pub struct ContainerSummary {
        id: String ["Id"],
        /// With leading slashes.
        names: Vec<String> ["Names"],
        image: String ["Image"],
        image_id: String ["ImageID"],
        image_manifest_descriptor: Option<Descriptor> ["ImageManifestDescriptor" omitempty],
        command: String ["Command"],
        /// Unix seconds.
        created: i64 ["Created"],
        ports: Vec<Port> ["Ports"],
        /// Bytes.
        size_rw: i64 ["SizeRw" omitempty],
        /// Bytes.
        size_root_fs: i64 ["SizeRootFs" omitempty],
        labels: Map<String> ["Labels"],
        /// As in [`State::status`](crate::container::State::status).
        state: String ["State"],
        /// For people: `Up 5 seconds`.
        status: String ["Status"],
        host_config: SummaryHostConfig ["HostConfig"],
        health: Option<HealthSummary> ["Health" omitempty],
        network_settings: SummaryNetworkSettings ["NetworkSettings"],
        mounts: Vec<MountPoint> ["Mounts"],
    }

    /// A port of a container.
    pub struct Port {
        ip: String ["IP" omitempty],
        private_port: u16 ["PrivatePort"],
        public_port: u16 ["PublicPort" omitempty],
        kind: String ["Type"],
    }

    /// The host configuration a list shows.
    pub struct SummaryHostConfig {
        network_mode: String ["NetworkMode" omitempty],
        annotations: Map<String> ["Annotations" omitempty],
    }

    /// Health without the results.
    pub struct HealthSummary {
        status: String ["Status"],
        failing_streak: i64 ["FailingStreak"],
    }

    /// The networks a list shows.
    pub struct SummaryNetworkSettings {
        networks: Map<EndpointSettings> ["Networks"],
    }
}
