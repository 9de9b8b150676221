//! The documents of Docker's Engine API, as its server encodes and decodes them.
//!
//! Pure data: bytes in, values out. The same types serve the engine, the HTTP server, the client and the CLI.
//! Field order and the treatment of empty values follow the encoding of the Go structures, because clients compare
//! documents byte by byte: `null`, `""`, `0` and `false` are written unless the field says `omitempty`.
//!
//! In reading order: [`go`] (how Go encodes values, and the macro that declares the types), [`container`], [`image`],
//! [`network`], [`volume`], [`system`], [`events`], [`auth`], [`stream`]; then [`filters`], [`time`], [`file_mode`], [`port`] and [`versions`].
#![forbid(unsafe_code)]

#[macro_use]
pub mod go;

pub mod alert;
pub mod auth;
pub mod container;
pub mod events;
pub mod file_mode;
pub mod filters;
pub mod image;
pub mod network;
pub mod oci;
pub mod port;
pub mod stream;
pub mod system;
pub mod time;
pub mod versions;
pub mod volume;

pub use go::{Empty, List, Map};
