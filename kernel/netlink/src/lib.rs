//! A small synchronous netlink client: no connection task, no allocation per attribute, many requests per system call.
//!
//! In reading order:
//! - [`batch`]: requests as data, encoded into one buffer;
//! - [`socket`]: sends a batch, reads acknowledgements and dumps;
//! - [`attribute`]: reading attributes of answers;
//! - [`route`]: rtnetlink: links, addresses, routes;
//! - [`namespace`]: running something in another network namespace.
//!
//! The kernel handles a netlink request inside `sendto`, so every answer is there when the call returns and nothing
//! here ever waits.
#![forbid(unsafe_code)]

pub mod attribute;
pub mod batch;
mod error;
pub mod namespace;
pub mod route;
pub mod socket;

pub use batch::{Batch, Message};
pub use error::{Error, Result};
pub use socket::{Protocol, Socket};
