//! Container networks as a mechanism: bridges, endpoints, published ports, address pools, name files, embedded DNS.
//! Nothing here knows Docker's API; everything is synchronous, works in the network namespace of the calling thread
//! (a test calls `unshare(CLONE_NEWNET)` on its own thread and has a machine for itself) and may be called from several
//! threads at once.
//!
//! Everything made on the host carries the instance: the nf_tables table is `tare-<instance>`, links have that as their
//! alias; [`Network::reconcile`] and removal touch nothing else.
//!
//! In reading order:
//! - [`network`]: what is shared, the firewall's contents, subnets, conflicts with other firewalls;
//! - [`bridge`], [`netns`], [`endpoint`]: one bridge per network, one namespace per container, one veth pair per both;
//! - [`macvlan`]: interfaces straight on one of the host's;
//! - [`ports`]: published ports;
//! - [`reconcile`]: what exists and should not;
//! - [`firewall`]: the nf_tables table as data;
//! - [`cidr`], [`ipam`], [`pools`]: addresses and subnets, pure;
//! - [`hosts`], [`resolv`]: the files that give a container its names; [`in_place`]: changing them while it runs;
//! - [`dns`]: the embedded name server of user networks.
#![forbid(unsafe_code)]

pub mod bridge;
pub mod cidr;
pub mod dns;
pub mod endpoint;
mod error;
pub mod firewall;
pub mod hosts;
pub mod in_place;
pub mod ipam;
pub mod macvlan;
pub mod netns;
pub mod network;
pub mod pools;
pub mod ports;
pub mod reconcile;
pub mod resolv;
mod sysctl;

pub use bridge::{BridgeInfo, BridgeSpec, BridgeSubnet, bridge_name};
pub use cidr::Cidr;
pub use endpoint::{EndpointInfo, EndpointSpec, Interface, host_ifname};
pub use error::{Error, Result};
pub use ipam::{Ipam, IpamError};
pub use macvlan::{MacvlanMode, MacvlanSpec};
pub use netns::Netns;
pub use network::{Config, Network};
pub use pools::{HostLock, Pools};
pub use ports::{BoundPort, HostPort, PortError, PortMapping, PortRequest, Ports, Protocol, Target};
pub use reconcile::{Expected, Reconciled};
