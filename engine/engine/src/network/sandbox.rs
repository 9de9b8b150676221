//! What a running container has of networks: its endpoints and published ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use tare_network::Cidr;
use tare_network::PortMapping;

/// All of it. Kept in the bundle directory while the container runs, for a daemon that comes back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sandbox {
    /// Name for clients; random per run.
    pub(crate) id: String,
    /// Endpoints; the first gives the default route.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Published ports.
    pub(crate) mappings: Vec<PortMapping>,
}

/// A container's interface on a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) network_id: String,
    pub(crate) network_name: String,
    pub(crate) endpoint_id: String,
    pub(crate) ifname: String,
    pub(crate) mac: String,
    pub(crate) ipv4: Option<Cidr>,
    pub(crate) ipv6: Option<Cidr>,
    pub(crate) gateway_v4: Option<Ipv4Addr>,
    pub(crate) gateway_v6: Option<Ipv6Addr>,
}

impl Endpoint {
    /// Its addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ipv4.iter().chain(&self.ipv6).map(|cidr| cidr.address())
    }
}

impl Sandbox {
    /// The endpoint on a network.
    pub(crate) fn on(&self, network_id: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.network_id == network_id)
    }
}
