//! Steps that were made before: by builds here, or on the way to images that the caller trusts (`cachefrom`).
//!
//! Where the caller names images, only steps on the way to one of them count. An image that was made elsewhere and pulled
//! tells its steps by its history: as long as what an instruction says is what comes next there, on top of the same
//! layers, its layer is that image's.

use sha2::{Digest as _, Sha256};
use tare_distribution::Taken;
use tare_engine::{Engine, Error, Result};
use tare_images::{Image, ImageContent};
use tare_reference::Digest;

use crate::builder::Builder;
use crate::events::What;
use crate::options::Checked;
use crate::sources::hex;
use crate::stage::State;

/// The images that steps are taken from.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    images: Vec<Image>,
    /// Only steps on the way to them count.
    is_bound: bool,
}

impl Cache {
    /// Finds the images a caller names. Those that are not here are no mistake: a first build has none to name.
    pub(crate) fn of(engine: &Engine, options: &Checked) -> Cache {
        let names = &options.given.cache_from;
        let found = |name: &String| {
            let found = engine.image_store().resolve_platform(name, options.platform.as_ref());
            found.inspect_err(|error| tracing::debug!("no cache from {name}: {error}")).ok()
        };
        Cache { images: names.iter().filter_map(found).collect(), is_bound: !names.is_empty() }
    }
}

impl Builder {
    /// Gets the images that the caller names as caches from their registries. Those that are not there are no mistake,
    /// but their steps say so.
    pub(crate) async fn import_caches(&mut self) {
        for name in self.options.given.cache_imports.clone() {
            let platform = self.options.platform.clone();
            let got = self.pulled(&name, platform.as_ref());
            let got = self.output.step(format!("importing cache manifest from {name}"), got).await;
            // One that is only here, because nobody has pushed it yet, is as good.
            let here = || self.local(&name, platform.as_ref());
            if let Ok(image) = got.or_else(|_| here()) {
                self.hold(&image.id);
                self.cache.images.push(image);
            }
        }
    }

    /// What stands for a step: the image below, the instruction with all it brings, and what it makes of the configuration.
    pub(crate) fn key(&self, state: &State, words: &[String]) -> Result<String> {
        let parts = (&state.id, words, &state.config, &state.author);
        let parts = match &self.options.created {
            None => serde_json::to_vec(&parts),
            Some(created) => serde_json::to_vec(&(parts, created)),
        };
        let parts = parts.map_err(|error| Error::internal(error.to_string()))?;
        Ok(hex(&Sha256::digest(parts)))
    }

    /// Takes the image that an earlier build made of the same, if there is one.
    pub(crate) async fn cached(&mut self, state: &mut State, words: &[String], key: &str) -> Result<bool> {
        if self.options.given.no_cache || state.cache_missed {
            return Ok(false);
        }
        let known = self.engine.distribution().find_step(key, &self.hold);
        let found = match known {
            Some(known) if self.leads_to_a_source(&known) => Some(known),
            _ => self.taken(state, words, key).await?,
        };
        let Some(found) = found else {
            state.cache_missed = true;
            return Ok(false);
        };
        self.output.say(" ---> Using cache\n").await;
        self.output.tell(What::Cached).await;
        self.advance(state, &found)?;
        Ok(true)
    }

    /// Whether a step is one of those that the caller's images were made of; without such images every one will do.
    fn leads_to_a_source(&self, step: &Digest) -> bool {
        if !self.cache.is_bound {
            return true;
        }
        let steps = self.engine.image_store().steps();
        let mut line: Vec<&Digest> = self.cache.images.iter().map(|image| &image.id).collect();
        // A parent is older than its children.
        for known in steps.iter().rev() {
            if line.contains(&&known.target.digest) {
                line.extend(&known.parent);
            }
        }
        line.contains(&step)
    }

    /// Takes the step out of an image that has it in its history.
    async fn taken(&mut self, state: &State, words: &[String], key: &str) -> Result<Option<Digest>> {
        let said = words.join(" ");
        let store = self.engine.image_store();
        let source = self.cache.images.iter().find(|source| {
            let Some(next) = next_step(source.content(), state.image.as_deref()) else { return false };
            let manifest = &source.content().manifest;
            let here = manifest.layers.iter().all(|layer| store.has_blob(&layer.digest));
            here && next.created_by == said
                && source.content().config.rootfs.diff_ids.iter().all(|layer| store.has_layer(layer))
        });
        let Some(source) = source.cloned() else { return Ok(None) };
        let taken = Taken {
            from: source.content().clone(),
            below: state.image.clone(),
            parent: Digest::parse(&state.id).ok(),
            config: state.config.clone(),
        };
        let made = self.engine.distribution().take_step(taken, key.to_owned(), &self.hold).await;
        // Two images that begin alike may go on differently: what follows is taken from this one alone.
        self.cache.images = vec![source];
        made.map(Some).map_err(|error| Error::internal(error.to_string()))
    }
}

/// What comes in an image's history after the one below, if it was made on top of that.
fn next_step<'i>(image: &'i ImageContent, below: Option<&ImageContent>) -> Option<&'i tare_images::oci::History> {
    let Some(below) = below else { return image.config.history.first() };
    let (history, layers) = (&below.config.history, &below.config.rootfs.diff_ids);
    let same = image.config.history.starts_with(history) && image.config.rootfs.diff_ids.starts_with(layers);
    image.config.history.get(history.len()).filter(|_| same)
}
