//! `docker build`: images from Dockerfiles, as Docker's classic builder makes them and with its words.
//!
//! In reading order:
//! * [`options`]: what a caller says
//! * `context`: the files that are built from, received and kept below one directory; `fetch`, `git`: from elsewhere
//! * `arguments`: `ARG` and who may see it
//! * `builder`: stages and steps; `stage`: what a stage is at one moment; `cache`: steps that were made before
//! * `metadata`, `run` with `mounts`, `copy`: the instructions; `sources`, `place`, `owner`: files on their way into an image
//! * `output`: what the caller reads
//!
//! Instructions that only say something make neither container nor layer; files are written into a layer without a
//! container; a `RUN` is a container like any other, gone when its step is done. An instruction that was followed before,
//! with the same image below and the same files, gives the image of that time ([`tare_images::steps`]).
#![forbid(unsafe_code)]

mod arguments;
mod builder;
mod cache;
mod context;
mod copy;
mod fetch;
mod git;
mod metadata;
mod mounts;
pub mod options;
mod output;
mod owner;
mod place;
mod run;
mod sources;
mod stage;

use std::sync::Arc;

use tare_engine::{ByteSource, Engine, Error, ProgressStream, Result};
use tokio::sync::mpsc;

pub use options::Options;

use output::Output;

/// Messages a slow caller may be behind before the build waits.
const MESSAGES_MAX: usize = 64;

/// Builds an image. An error that comes before any message means that nothing was begun. The build ends, and leaves
/// nothing, when the stream is dropped.
pub fn build(engine: &Arc<Engine>, options: Options, context: ByteSource) -> Result<ProgressStream> {
    let options = options.checked()?;
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    let output = Output::new(sender.clone(), options.quiet);
    let work = builder::build(Arc::clone(engine), options, context, output.clone());
    tokio::spawn(async move {
        tokio::select! {
            result = work => output.finish(result).await,
            () = sender.closed() => tracing::debug!("build cancelled: its caller has gone"),
        }
    });
    Ok(receiver)
}

/// Runs work that blocks on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal(error.to_string()))?
}

/// An error of the image store.
fn stored(error: tare_images::Error) -> Error {
    Error::internal(error.to_string())
}
