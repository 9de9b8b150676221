//! Containers: what is asked for ([`config`], [`host_config`], [`mount`]) and what is answered ([`inspect`], [`summary`],
//! [`stats`], [`exec`]). Everything is re-exported here.

pub mod config;
pub mod exec;
pub mod host_config;
pub mod inspect;
pub mod mount;
pub mod stats;
pub mod summary;

pub use crate::network::{EndpointIpamConfig, EndpointSettings, NetworkingConfig};
pub use config::*;
pub use exec::*;
pub use host_config::*;
pub use inspect::*;
pub use mount::*;
pub use stats::*;
pub use summary::*;
