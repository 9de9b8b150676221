//! What came of a build.

use std::sync::Arc;

use tare_distribution::BuildHold;
use tare_engine::{Engine, Result};
use tare_reference::Reference;

use crate::builder::{Builder, short};
use crate::output::{Failure, Output};

/// An image that was built. Until it is published it is kept by this alone.
pub struct Built {
    engine: Arc<Engine>,
    output: Output,
    names: Vec<Reference>,
    id: String,
    _hold: BuildHold,
}

impl Built {
    pub(crate) fn new(builder: Builder, id: String) -> Built {
        let Builder { engine, options, output, hold, .. } = builder;
        Built { engine, output, names: options.names, id, _hold: hold }
    }

    /// The image's ID.
    pub fn id(&self) -> &str {
        &self.id
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
    pub async fn export(self, names: &[Reference]) -> Result<String, Failure> {
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
        Ok(self.id)
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
