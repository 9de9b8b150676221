//! Docker's Engine API over HTTP.
//!
//! Speaks HTTP and nothing else: routes, versions, bodies, streams, connections taken over, and the mapping of the engine's
//! errors to statuses. What the requests mean is the engine's business.
//!
//! In reading order: [`router`] (one table of routes), [`server`], [`connection`](self) with `linger`, [`request`], [`reply`], [`body`],
//! [`socket`], [`tls`], [`error`]; then [`versions`] (what differs for old clients) and [`handlers`], with the table of all routes.
#![forbid(unsafe_code)]

pub mod body;
mod connection;
pub mod error;
pub mod handlers;
mod json;
mod linger;
mod mismatch;
pub mod reply;
pub mod request;
pub mod router;
pub mod server;
pub mod socket;
pub mod tls;
mod upload;
pub mod versions;

pub use error::Failure;
pub use server::{Config, Server};
pub use socket::{Listener, Socket};
