//! A client of OCI registries: images are found, fetched and stored over the distribution protocol.
//!
//! In reading order:
//! * [`repository`]: [`Registry`], and [`Repository`], one of its repositories with someone's credentials
//! * [`blob`]: layers as streams that survive interruptions and use several connections; [`push`]
//! * [`hub`]: search, login; [`download`]: files that are no registry's
//! * [`patience`], [`auth`], [`http`], [`config`]; [`settings`]: what people write
//!
//! Sources: OCI distribution-spec 1.1, distribution's token specification, Docker's texts for what goes wrong.
#![forbid(unsafe_code)]

mod auth;
pub mod blob;
pub mod config;
pub mod download;
pub mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod http;
pub mod hub;
pub mod patience;
pub mod push;
pub mod repository;
pub mod settings;

pub use blob::Blob;
pub use config::{Config, Credentials, Proxies};
pub use download::Download;
pub use error::{Error, Result};
pub use hub::SearchResult;
pub use patience::Attempts;
pub use push::Upload;
pub use repository::{Access, Document, Registry, Repository, Resolved};
