//! Images on this machine: content, names, unpacked layers, containers' writable layers, overlay mounts, archives.
//!
//! In reading order:
//! * [`oci`], [`platform`]: images as data
//! * [`store`]: [`ImageStore`], names and what they point at; [`image`]: [`Image`], one of them
//! * [`steps`]: images between two instructions of a build
//! * [`blobs`]: content by digest; [`layers`]: each unpacked once, by diffID; [`gc`]: what nothing needs any more
//! * [`unpack`]: extraction of hostile archives below [`rootdir`]; [`mode`], [`compression`]
//! * [`settle`]: layers of our own between an image's and a container's
//! * [`overlay`], [`snapshots`]: layers put together, and the containers' own on top
//! * [`changes`], [`export`], [`copy`]: `diff`, `export` and `commit`, `cp`; [`view`]: the files `export` and `cp` see
//!
//! Blocking throughout: callers give it threads. One process at a time (the daemon, under its lock) may write.
//!
//! # On disk
//! ```text
//! oci-layout, index.json     an OCI image layout; index.json holds the names
//! steps.json                 what builds made on their way
//! blobs/sha256/<hex>         content
//! ingest/<hex>               content on its way in; survives for resumption
//! layers/<short>/diff        a layer in overlay form (whiteouts 0:0, trusted.overlay.opaque); layer.json marks it whole
//! snapshots/<id>/upper,work  a container's own layer
//! trash/                     what is being removed
//! unsynced.json              what may be torn should the machine lose power now
//! ```

#![forbid(unsafe_code)]

pub mod blobs;
pub mod changes;
pub mod compression;
pub mod copy;
pub mod copy_up;
mod error;
pub mod export;
mod files;
pub mod gc;
pub mod image;
pub mod layers;
pub mod mode;
pub mod names;
pub mod oci;
pub mod overlay;
mod pipeline;
pub mod platform;
pub mod rootdir;
pub mod settle;
pub mod snapshots;
pub mod steps;
pub mod store;
pub mod unpack;
pub mod view;
mod walk;
mod working_directory;

pub use blobs::BlobWriter;
pub use changes::{Change, ChangeKind};
pub use error::{Error, Result};
pub use image::{HistoryEntry, Image, ImageContent, PlatformManifest};
pub use layers::Layer;
pub use names::ImageRecord;
pub use platform::BadPlatform;
pub use snapshots::RwLayer;
pub use steps::Step;
pub use store::{ImageStore, Lease};
