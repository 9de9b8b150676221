//! What came of a build.

use std::sync::Arc;

use tare_distribution::BuildHold;
use tare_docker_api::stream::JsonMessage;
use tare_engine::{ByteStream, Engine, Error, Result};
use tare_images::rootdir::RootDir;
use tare_reference::Reference;
use tokio::sync::mpsc;

use crate::builder::{Builder, short};
use crate::caller::{Caller, credentials};
use crate::output::{Failure, Output};

/// An image that was built. Until it is published it is kept by this alone.
pub struct Built {
    engine: Arc<Engine>,
    output: Output,
    names: Vec<Reference>,
    caller: Option<Arc<dyn Caller>>,
    id: String,
    hold: BuildHold,
}

/// An image that was built, for other builds: it stays while this lives.
#[derive(Debug, Clone)]
pub struct Kept {
    id: String,
    _hold: BuildHold,
}

impl Kept {
    /// The image's ID.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Built {
    pub(crate) fn new(builder: Builder, id: String) -> Built {
        let Builder { engine, options, output, hold, context, .. } = builder;
        Built { engine, output, names: options.names, caller: context.caller().cloned(), id, hold }
    }

    /// The image's ID.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The image, for other builds.
    pub fn kept(&self) -> Kept {
        Kept { id: self.id.clone(), _hold: self.hold.clone() }
    }

    /// Shows the image, with the names that the caller gave.
    pub async fn publish(self) -> Result<String, Failure> {
        let names = self.names.clone();
        self.show(&names).await?;
        self.output.say(format!("Successfully built {}\n", short(&self.id))).await;
        for name in &names {
            self.output.say(format!("Successfully tagged {}\n", name.familiar())).await;
        }
        Ok(self.id)
    }

    /// Shows the image, with names that are only known now, as a step.
    pub async fn export(&self, names: &[Reference]) -> Result<String, Failure> {
        let work = async {
            self.output.detail("exporting layers").await;
            self.output.detail(format!("writing image {}", self.id)).await;
            self.show(names).await?;
            for name in names {
                self.output.detail(format!("naming to {name}")).await;
            }
            Ok::<_, Failure>(())
        };
        self.output.step("exporting to image", work).await?;
        Ok(self.id.clone())
    }

    /// What is in the image, for work that is a step's only part.
    pub async fn files<W: Future<Output = Result<()>>>(
        self,
        step: &str,
        part: &str,
        work: impl FnOnce(RootDir) -> W,
    ) -> Result<()> {
        let whole = async {
            let store = self.engine.image_store().clone();
            let id = self.id.clone();
            let mounted = crate::blocking(move || {
                let image = store.resolve_platform(&id, None).map_err(crate::stored)?;
                store.mount_image(image.diff_ids()).map_err(crate::stored)
            });
            let root = RootDir::from_fd(mounted.await?);
            self.output.part(part, work(root)).await
        };
        self.output.step(step, whole).await
    }

    /// An archive of the image, with names that only stand there, for work that is a step's only part.
    pub async fn archive<W: Future<Output = Result<()>>>(
        self,
        step: &str,
        part: &str,
        names: &[Reference],
        work: impl FnOnce(ByteStream) -> W,
    ) -> Result<()> {
        let whole = async {
            let archive = self.engine.distribution().save_as(&self.id, names).await;
            let archive = archive.map_err(|error| Error::internal(error.to_string()))?;
            self.output.part(part, work(archive)).await
        };
        self.output.step(step, whole).await
    }

    /// Sends the image under a name that it has to its registry, as a step.
    pub async fn push(&self, name: &Reference) -> Result<(), Failure> {
        let (sender, mut messages) = mpsc::unbounded_channel();
        let progress = move |message: JsonMessage| {
            // Whoever listens is below.
            let _ = sender.send(message);
        };
        let push = async move {
            let credentials = credentials(self.caller.as_ref(), name.domain()).await?;
            let pushed = self.engine.distribution().push(name, None, credentials, &progress).await;
            drop(progress);
            pushed.map_err(|error| Error::internal(format!("failed to push {name}: {error}")))
        };
        let show = async {
            while let Some(message) = messages.recv().await {
                self.output.message(message).await;
            }
        };
        let whole = async { tokio::join!(push, show).0 };
        self.output.step(format!("pushing {name}"), whole).await?;
        self.engine.pushed_by_build(name);
        Ok(())
    }

    async fn show(&self, names: &[Reference]) -> Result<()> {
        let store = self.engine.image_store().clone();
        let found = store.resolve_platform(&self.id, None).map_err(|e| tare_engine::Error::not_found(e.to_string()))?;
        let owned = names.to_vec();
        crate::blocking(move || store.publish(&found.target, &owned).map_err(crate::stored)).await?;
        for name in names {
            self.engine.tagged_by_build(&self.id, &name.familiar());
        }
        Ok(())
    }
}
