//! A small synchronous netlink client (`netlink(7)`): no connection task, no allocation per attribute, many requests per
//! system call. What rtnetlink and nf_tables have in common.
//!
//! - [`batch`]: requests as data, encoded into one buffer;
//! - [`socket`]: sends a batch, reads acknowledgements and dumps;
//! - [`attribute`]: reading attributes of answers.
//!
//! The kernel handles a netlink request inside `sendto`, so every answer is there when the call returns and nothing
//! here ever waits.

pub mod attribute;
pub mod batch;
mod error;
pub mod socket;

pub use batch::{Batch, Message};
pub use error::{Error, Result};
pub use socket::{Protocol, Socket};
