//! BuildKit's protocol, for clients with the buildx plugin: gRPC over connections that were taken over from HTTP.
//!
//! A client opens two connections. On one (`POST /grpc`) it calls [`control`] and, for the build itself, [`gateway`]; on the
//! other (`POST /session`) it is the one who is called: for files, credentials and more ([`session`], [`caller`]).
//!
//! In reading order:
//! * [`front`]: what all connections share; `connection`: gRPC on a byte stream, in both directions
//! * `session`, `nested`: clients that can be called (`arrivals`: by names that may come late); `caller`: what the builder asks of them, `agent` among it
//! * `files`: the transfer of files; `receive`: writing what comes, which anybody may have made up; `send`: the other way
//! * `control`, `gateway`: the services; `builds`: builds in progress; `attributes`: what a client says about one, `caches`
//!   among it; `exports`: what it wants of the result; `results`: those that it builds on; `requests`: what it asks about a Dockerfile
//! * `history`: what was built before
//! * `posted`: builds asked for by clients that do not speak gRPC
//! * `status`: what happens in a build, as the client is told
#![forbid(unsafe_code)]

mod agent;
mod arrivals;
mod attributes;
mod builds;
mod caches;
mod caller;
mod connection;
mod control;
mod exports;
mod files;
mod front;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gateway;
mod history;
mod nested;
mod posted;
mod receive;
mod requests;
mod results;
mod send;
mod session;
mod status;

pub use front::Front;
pub use posted::{Posted, Wanted};
pub use session::Greeting;
