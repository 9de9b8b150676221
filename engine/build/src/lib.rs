//! `docker build`: images from Dockerfiles, as Docker's classic builder makes them and with its words.
//!
//! In reading order:
//! * [`options`]: what a caller says
//! * `context`: the files that are built from, received and kept below one directory; `fetch`, `git`: from elsewhere;
//!   `asked`, [`caller`]: from whoever asked, when they are wanted; [`named`]: other files and images, by name
//! * `arguments`: `ARG` and who may see it
//! * [`frontend`]: who else could read a Dockerfile; [`checks`]: what it says that is rarely meant
//! * `builder`: stages and steps; `needed`: which of them; `stage`: what a stage is at one moment; `cache`: steps that were made before
//! * `metadata`, `run` with `mounts` and `grants`, `copy`: the instructions; `sources`, `parts`, `place`, `owner`: files on their way into an image
//! * `output`: what the caller reads; [`events`]: or follows step by step; [`result`]: what came of it
//!
//! Instructions that only say something make neither container nor layer; files are written into a layer without a
//! container; a `RUN` is a container like any other, gone when its step is done. An instruction that was followed before,
//! with the same image below and the same files, gives the image of that time ([`tare_images::steps`]).
#![forbid(unsafe_code)]

mod arguments;
mod asked;
mod builder;
mod cache;
pub mod caller;
pub mod checks;
mod context;
mod copy;
pub mod events;
mod fetch;
pub mod frontend;
mod git;
mod grants;
mod metadata;
mod mounts;
pub mod named;
mod needed;
pub mod options;
mod output;
mod owner;
mod parts;
mod place;
pub mod result;
mod run;
mod sources;
mod stage;
mod steps;

use std::sync::Arc;

use tare_engine::{ByteSource, Engine, Error, ProgressStream, Result};
use tokio::sync::mpsc;

pub use caller::Caller;
pub use events::Event;
pub use needed::needed_stages;
pub use options::Options;
pub use output::Failure;
pub use result::{Built, Kept};

use output::Output;

/// Where the files to build from are.
pub enum Source {
    /// In an archive.
    Archive(ByteSource),
    /// With whoever asked, who is asked for them.
    Caller(Arc<dyn Caller>),
}

/// Messages a slow caller may be behind before the build waits.
const MESSAGES_MAX: usize = 64;

/// Builds an image. An error that comes before any message means that nothing was begun. The build ends, and leaves
/// nothing, when the stream is dropped.
pub fn build(engine: &Arc<Engine>, options: Options, context: ByteSource) -> Result<ProgressStream> {
    let options = options.checked()?;
    let (sender, receiver) = mpsc::channel(MESSAGES_MAX);
    let output = Output::lines(sender.clone(), options.quiet);
    let work = builder::build(Arc::clone(engine), options, Source::Archive(context), output.clone());
    let work = async { work.await?.publish().await };
    tokio::spawn(async move {
        tokio::select! {
            result = work => output.finish(result).await,
            () = sender.closed() => tracing::debug!("build cancelled: its caller has gone"),
        }
    });
    Ok(receiver)
}

/// Builds what a target needs for a caller that is asked back and told every step. Nothing has a name yet, and no list
/// shows it, until the result is published. The build ends, and leaves nothing, when the future is dropped.
pub async fn solve(
    engine: &Arc<Engine>,
    options: Options,
    caller: Arc<dyn Caller>,
    events: mpsc::Sender<Event>,
) -> Result<Built, Failure> {
    let options = options.checked()?;
    builder::build(Arc::clone(engine), options, Source::Caller(caller), Output::events(events)).await
}

/// Reads a caller's Dockerfile, and does not follow it.
pub async fn read(
    engine: &Arc<Engine>,
    options: Options,
    caller: Arc<dyn Caller>,
    events: mpsc::Sender<Event>,
) -> Result<checks::Read> {
    let options = options.checked()?;
    let context = context::receive(engine, Source::Caller(caller), &options.given, &Output::events(events)).await?;
    checks::Read::of(context, &options.given)
}

/// Runs work that blocks on a thread of its own.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::internal(error.to_string()))?
}

/// An error of the image store.
fn stored(error: tare_images::Error) -> Error {
    Error::internal(error.to_string())
}
