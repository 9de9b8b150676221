//! Contexts with names: what a caller puts in the place of an image or stage that a Dockerfile names.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tare_dockerfile::{Copy, Stage};
use tare_engine::{Error, Result};
use tare_images::rootdir::RootDir;
use tare_reference::Reference;

use crate::asked::{patterns, read_ignored, transfer};
use crate::builder::Builder;
use crate::caller::{Directory, Wanted};
use crate::context::{IGNORE_FILE, open_root};
use crate::fetch;
use crate::git::Repository;
use crate::needed::{self, Files};
use crate::output::Failure;
use crate::stage::State;

/// What stands for a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// An image.
    Image(String),
    /// A directory of the caller's, by the caller's name for it.
    Directory(String),
    /// A repository, or a file, at a URL.
    Remote(String),
    /// What another build made, by its image's ID. Whoever says so keeps it.
    Result(String),
}

/// A directory that is here.
#[derive(Debug, Clone)]
pub(crate) struct Here {
    pub(crate) root: Arc<RootDir>,
    pub(crate) place: PathBuf,
}

/// Those that are here, by name.
pub(crate) type AllHere = BTreeMap<String, Here>;

/// A name as names are compared: short, without the tag that stands for none.
pub fn short_name(name: &str) -> String {
    let short = Reference::parse_normalized(name).map(|name| name.familiar());
    let short = short.unwrap_or_else(|_| name.to_owned());
    short.strip_suffix(":latest").map_or(short.clone(), str::to_owned)
}

impl Builder {
    /// What stands for a name, if the caller has said so.
    pub(crate) fn named(&self, name: &str) -> Option<&Named> {
        let contexts = &self.options.given.contexts;
        if contexts.is_empty() || name.is_empty() { None } else { contexts.get(&short_name(name)) }
    }

    /// The directory that stands for a name.
    pub(crate) fn named_directory(&self, name: &str) -> Option<&Here> {
        self.named(name).and_then(|_| self.here.get(&short_name(name)))
    }

    /// The image that stands for a name, which is its own where nothing does.
    pub(crate) fn named_image<'n>(&'n self, name: &'n str) -> &'n str {
        match self.named(name) {
            Some(Named::Image(image)) => image,
            _ => name,
        }
    }

    /// Sees to it that the directories are here which the needed stages name.
    pub(crate) async fn fetch_named(&mut self, stages: &[Stage], needed: &[bool]) -> Result<(), Failure> {
        for (name, context) in self.options.given.contexts.clone() {
            let is_it = |from: &str| short_name(from) == name || from.contains('$');
            let as_base = stages.iter().zip(needed).any(|(stage, needed)| *needed && is_it(&stage.base));
            let files = if as_base { Files::All } else { needed::files(stages, needed, &is_it) };
            let follow = match files {
                Files::None => continue,
                Files::Some(paths) => paths,
                Files::All => Vec::new(),
            };
            let place = match &context {
                Named::Image(_) | Named::Result(_) => continue,
                Named::Directory(key) => self.fetch_directory(&name, key, follow).await?,
                Named::Remote(url) => {
                    let got = fetch_remote(self, url);
                    self.output.step(format!("[context {name}] {url}"), got).await?
                }
            };
            let root = Arc::new(open_root(&place)?);
            self.here.insert(name, Here { root, place });
        }
        Ok(())
    }

    async fn fetch_directory(&self, name: &str, key: &str, follow: Vec<String>) -> Result<PathBuf> {
        let Some(caller) = self.context.caller() else {
            return Err(Error::invalid(format!("the context {name} is with nobody who can be asked")));
        };
        let wanted = |follow, exclude, place: &PathBuf| Wanted {
            directory: Directory::Named(key.to_owned()),
            follow,
            exclude,
            place: place.clone(),
        };
        let place = self.context.workspace.directory()?;
        let asked = wanted(vec![IGNORE_FILE.to_owned()], Vec::new(), &place);
        let ignored = async {
            transfer(caller, asked, "context", &self.output).await?;
            read_ignored(&place).await
        };
        let ignored = self.output.step(format!("[context {name}] load .dockerignore"), ignored).await?;
        let place = self.context.workspace.directory()?;
        let asked = wanted(follow, patterns(&ignored.unwrap_or_default())?, &place);
        let got = transfer(caller, asked, "context", &self.output);
        self.output.step(format!("[context {name}] load from client"), got).await?;
        Ok(place)
    }

    /// A stage that begins with a directory has its files, and nothing else.
    pub(crate) async fn begin_with(&mut self, state: &mut State, name: &str) -> Result<()> {
        let all = Copy {
            sources: vec!["/".to_owned()],
            destination: "/".to_owned(),
            from: name.to_owned(),
            ..Copy::default()
        };
        self.copy(state, "COPY", &all).await
    }
}

async fn fetch_remote(builder: &Builder, url: &str) -> Result<PathBuf> {
    let place = builder.context.workspace.directory()?;
    if let Some(repository) = Repository::parse(url) {
        return repository.clone(&place, builder.options.given.keep_git).await;
    }
    fetch::save(builder.engine.download(url).await?, &place.join("context")).await?;
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short() {
        for (name, short) in [
            ("docker.io/library/alpine:latest", "alpine"),
            ("alpine", "alpine"),
            ("alpine:3", "alpine:3"),
            ("host:5000/a/b", "host:5000/a/b"),
            ("UPPER", "UPPER"),
        ] {
            assert_eq!(short_name(name), short);
        }
    }
}
