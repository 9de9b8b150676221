//! The daemon's side of a shim: starting one ([`spawn`]), keeping some ready ([`spares`]), talking to it
//! ([`connection`]).

pub(crate) mod connection;
pub(crate) mod spares;
pub(crate) mod spawn;

pub(crate) use connection::{CallError, Connection, Started};
pub(crate) use spares::Spares;
