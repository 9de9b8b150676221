//! Networks and a container's endpoints on them.

use crate::go::{List, Map};
use crate::time::Time;

go_types! {
    /// The networks a new container joins, by name or ID.
    pub struct NetworkingConfig {
        endpoints_config: Map<EndpointSettings> ["EndpointsConfig"],
    }

    /// A container's endpoint on a network: what is asked for, then what is.
    pub struct EndpointSettings {
        ipam_config: Option<EndpointIpamConfig> ["IPAMConfig"],
        links: List<String> ["Links"],
        aliases: List<String> ["Aliases"],
        driver_opts: Map<String> ["DriverOpts"],
        /// The endpoint with the highest priority gives the default gateway.
        gw_priority: i64 ["GwPriority"],
        network_id: String ["NetworkID"],
        endpoint_id: String ["EndpointID"],
        gateway: String ["Gateway"],
        ip_address: String ["IPAddress"],
        mac_address: String ["MacAddress"],
        ip_prefix_len: i64 ["IPPrefixLen"],
        ipv6_gateway: String ["IPv6Gateway"],
        global_ipv6_address: String ["GlobalIPv6Address"],
        global_ipv6_prefix_len: i64 ["GlobalIPv6PrefixLen"],
        dns_names: List<String> ["DNSNames"],
    }

    /// Addresses asked for.
    pub struct EndpointIpamConfig {
        ipv4_address: String ["IPv4Address" omitempty],
        ipv6_address: String ["IPv6Address" omitempty],
        link_local_ips: List<String> ["LinkLocalIPs" omitempty],
    }

    /// A network in a list (`GET /networks`) and the common part of [`NetworkInspect`].
    pub struct Network {
        name: String ["Name"],
        id: String ["Id"],
        created: Time ["Created"],
        /// `local`.
        scope: String ["Scope"],
        driver: String ["Driver"],
        enable_ipv4: bool ["EnableIPv4"],
        enable_ipv6: bool ["EnableIPv6"],
        ipam: Ipam ["IPAM"],
        internal: bool ["Internal"],
        attachable: bool ["Attachable"],
        ingress: bool ["Ingress"],
        config_from: ConfigReference ["ConfigFrom"],
        config_only: bool ["ConfigOnly"],
        options: Map<String> ["Options"],
        labels: Map<String> ["Labels"],
    }

    /// Answer of `GET /networks/{id}`.
    pub struct NetworkInspect {
        network: Network [embed],
        /// By container ID; never `null`.
        containers: std::collections::BTreeMap<String, EndpointResource> ["Containers"],
        status: Option<NetworkStatus> ["Status" omitempty],
    }

    /// Use of a network's addresses (since API 1.52).
    pub struct NetworkStatus {
        ipam: IpamStatus ["IPAM"],
    }

    /// Use of addresses by subnet.
    pub struct IpamStatus {
        subnets: Map<SubnetStatus> ["Subnets" omitempty],
    }

    /// Use of one subnet.
    pub struct SubnetStatus {
        ips_in_use: u64 ["IPsInUse"],
        dynamic_ips_available: u64 ["DynamicIPsAvailable"],
    }

    /// A container on a network.
    pub struct EndpointResource {
        name: String ["Name"],
        endpoint_id: String ["EndpointID"],
        mac_address: String ["MacAddress"],
        /// With the prefix length.
        ipv4_address: String ["IPv4Address"],
        /// With the prefix length.
        ipv6_address: String ["IPv6Address"],
    }

    /// Address management of a network.
    pub struct Ipam {
        driver: String ["Driver"],
        options: Map<String> ["Options"],
        config: List<IpamConfig> ["Config"],
    }

    /// An address pool.
    pub struct IpamConfig {
        subnet: String ["Subnet" omitempty],
        ip_range: String ["IPRange" omitempty],
        gateway: String ["Gateway" omitempty],
        aux_address: Map<String> ["AuxiliaryAddresses" omitempty],
    }

    /// The network a configuration is taken from.
    pub struct ConfigReference {
        network: String ["Network"],
    }

    /// Body of `POST /networks/create`.
    pub struct NetworkCreateRequest {
        name: String ["Name"],
        driver: String ["Driver"],
        scope: String ["Scope"],
        enable_ipv4: Option<bool> ["EnableIPv4" omitempty],
        enable_ipv6: Option<bool> ["EnableIPv6" omitempty],
        ipam: Option<Ipam> ["IPAM"],
        internal: bool ["Internal"],
        attachable: bool ["Attachable"],
        ingress: bool ["Ingress"],
        config_only: bool ["ConfigOnly"],
        config_from: Option<ConfigReference> ["ConfigFrom"],
        options: Map<String> ["Options"],
        labels: Map<String> ["Labels"],
    }

    /// Answer of `POST /networks/create`.
    pub struct NetworkCreateResponse {
        id: String ["Id"],
        warning: String ["Warning"],
    }

    /// Body of `POST /networks/{id}/connect`.
    pub struct NetworkConnectRequest {
        container: String ["Container"],
        endpoint_config: Option<EndpointSettings> ["EndpointConfig" omitempty],
    }

    /// Body of `POST /networks/{id}/disconnect`.
    pub struct NetworkDisconnectRequest {
        container: String ["Container"],
        force: bool ["Force"],
    }

    /// Answer of `POST /networks/prune`.
    pub struct NetworkPruneReport {
        networks_deleted: List<String> ["NetworksDeleted"],
    }
}
