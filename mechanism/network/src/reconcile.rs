//! What exists and should not.

use std::collections::HashSet;

use tare_netlink::Batch;
use tare_netlink::link;

use crate::endpoint::host_ifname;
use crate::error::Result;
use crate::firewall::items;
use crate::network::Network;
use crate::ports::PortMapping;

/// What should exist on the host, after a restart.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// Names of bridges; [`Network::ensure_bridge`] must have seen each.
    pub bridges: Vec<String>,
    /// IDs of the endpoints of running containers.
    pub endpoint_ids: Vec<String>,
    /// Published ports of running containers.
    pub mappings: Vec<PortMapping>,
}

/// What [`Network::reconcile`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Links that were removed.
    pub removed_links: Vec<String>,
    /// Elements that were deleted from the firewall's sets.
    pub removed_elements: usize,
    /// Elements that were missing there.
    pub added_elements: usize,
}

impl Network {
    /// Removes the links and firewall elements of this engine that belong to nothing, and adds elements that are
    /// missing.
    pub fn reconcile(&self, expected: &Expected) -> Result<Reconciled> {
        let bridges: HashSet<&str> = expected.bridges.iter().map(String::as_str).collect();
        let endpoints: HashSet<String> = expected.endpoint_ids.iter().map(|id| host_ifname(id)).collect();
        {
            let mut state = self.state();
            state.bridges.retain(|name, _| bridges.contains(name.as_str()));
            let items = expected.mappings.iter().filter_map(items::of_port);
            state.ports = items.map(|item| ((item.set, item.element.key.clone()), item)).collect();
        }
        let removed_links = {
            let mut socket = self.teardown();
            let ours = link::list(&mut socket)?.into_iter().filter(|link| link.alias == self.mark);
            let wanted = |name: &str| bridges.contains(name) || endpoints.contains(name);
            let doomed: Vec<_> = ours.map(|link| link.name).filter(|name| !wanted(name)).collect();
            let mut batch = Batch::new();
            for name in &doomed {
                link::delete(&mut batch, name);
            }
            socket.execute(batch)?;
            doomed
        };
        let (removed_elements, added_elements) = self.sync(&self.desired())?;
        self.renew_passages()?;
        Ok(Reconciled { removed_links, removed_elements, added_elements })
    }
}
