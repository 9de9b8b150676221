//! What a running container has of networks: its endpoints and published ports.

use std::cmp::Reverse;
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
    /// Endpoints, in the order in which they were connected.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Published ports.
    pub(crate) mappings: Vec<PortMapping>,
    /// The embedded name server is there. It stays when the last network that needs it is left, as in Docker.
    pub(crate) names: bool,
    /// Fingerprint of the resolv.conf this engine has written; a file with another one is the container's own.
    pub(crate) resolv_conf: u64,
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
    /// As the user ranks this network among the container's, for the default route.
    #[serde(default)]
    pub(crate) priority: i64,
}

/// What decides whether a network gives a container its default route.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way<'a> {
    pub(crate) priority: i64,
    /// There is a way out, by family.
    pub(crate) v4: bool,
    pub(crate) v6: bool,
    pub(crate) network: &'a str,
}

/// Which of the ways gives the default routes, by family: of those the user ranks highest one with both families, of those
/// the first by name. Docker's rule.
pub(crate) fn default_routes(ways: &[Way<'_>]) -> (Option<usize>, Option<usize>) {
    let rank = |way: &Way<'_>| (Reverse(way.priority), Reverse(u8::from(way.v4) + u8::from(way.v6)));
    let mut ranked: Vec<_> = ways.iter().enumerate().collect();
    ranked.sort_by(|(_, a), (_, b)| rank(a).cmp(&rank(b)).then_with(|| a.network.cmp(b.network)));
    let first = |has: fn(&Way<'_>) -> bool| ranked.iter().find(|(_, way)| has(way)).map(|(index, _)| *index);
    (first(|way| way.v4), first(|way| way.v6))
}

impl Endpoint {
    fn way(&self) -> Way<'_> {
        let (v4, v6) = (self.gateway_v4.is_some(), self.gateway_v6.is_some());
        Way { priority: self.priority, v4, v6, network: &self.network_name }
    }

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

    /// It is on a network whose containers know each other's names.
    pub(crate) fn needs_names(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.network_name != "bridge")
    }

    /// The endpoints that give the default routes, by family.
    pub(crate) fn default_routes(&self) -> (Option<&Endpoint>, Option<&Endpoint>) {
        let ways: Vec<_> = self.endpoints.iter().map(Endpoint::way).collect();
        let (v4, v6) = default_routes(&ways);
        let endpoint = |index: Option<usize>| index.and_then(|index| self.endpoints.get(index));
        (endpoint(v4), endpoint(v6))
    }
}

#[cfg(test)]
mod tests {
    use super::{Way, default_routes};

    #[test]
    fn default_routes_as_in_docker() {
        let way = |priority, v4, v6, network| Way { priority, v4, v6, network };
        assert_eq!(default_routes(&[]), (None, None));
        let by_name = [way(0, true, false, "zoo"), way(0, true, false, "ark")];
        assert_eq!(default_routes(&by_name), (Some(1), None));
        let by_rank = [way(1, true, false, "zoo"), way(0, true, true, "ark")];
        assert_eq!(default_routes(&by_rank), (Some(0), Some(1)));
        let by_families = [way(0, true, true, "zoo"), way(0, true, false, "ark"), way(9, false, false, "inside")];
        assert_eq!(default_routes(&by_families), (Some(0), Some(0)));
    }
}
