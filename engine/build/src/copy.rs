//! `COPY`, `ADD` and `WORKDIR`: files written on top of the image so far, without a container.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tare_dockerfile::Copy;
use tare_engine::{Engine, Error, Result};
use tare_images::ImageStore;
use tare_images::mode::NewMode;
use tare_images::overlay::Durability;
use tare_images::rootdir::RootDir;
use tare_reference::Digest;

use crate::builder::Builder;
use crate::context::{Workspace, open_root};
use crate::git::Repository;
use crate::owner;
use crate::parts::Part;
use crate::place::{self, Destination};
use crate::sources::{self, Source, Words};
use crate::stage::State;
use crate::{blocking, stored};

/// Flags that are followed.
const FLAGS: [&str; 5] = ["from", "chown", "chmod", "link", "checksum"];
/// Flags that are followed for callers with BuildKit's protocol.
const MORE_FLAGS: [&str; 4] = ["exclude", "parents", "keep-git-dir", "unpack"];

impl Builder {
    pub(crate) async fn copy(&mut self, state: &mut State, name: &'static str, copy: &Copy) -> Result<()> {
        let is_known =
            |flag: &str| FLAGS.contains(&flag) || MORE_FLAGS.contains(&flag) && self.context.caller().is_some();
        if let Some(flag) = copy.flags.iter().find(|flag| !is_known(flag)) {
            return Err(self.needs_buildkit(flag));
        }
        let expander = state.expander(self.escape);
        let word = |text: &str| expander.word(text).map_err(Error::invalid);
        let destination = word(&copy.destination)?;
        let (chown, chmod) = (word(&copy.chown)?, word(&copy.chmod)?);
        let mode = mode(&chmod, self.context.caller().is_some())?;
        let paths = copy.sources.iter().map(|path| word(path)).collect::<Result<Vec<_>>>()?;
        let mut contents = Vec::new();
        for content in &copy.contents {
            let text = if content.expand {
                expander.document(&content.text).map_err(Error::invalid)?
            } else {
                content.text.clone()
            };
            contents.push((content.name.clone(), text));
        }
        let words = self.words(copy.from.is_empty());
        let failed = move |why: String| match words {
            Words::BuildKit => Error::internal(why),
            Words::Context | Words::Image => Error::internal(format!("{name} failed: {why}")),
        };
        let checksum = checksum(copy, &paths, word(&copy.checksum)?, words).map_err(failed)?;
        let fetched = match name {
            "ADD" => self.elsewhere(copy, &paths, &destination, &checksum).await,
            _ => Ok(HashMap::new()),
        };
        let fetched = fetched.map_err(|error| failed(error.message))?;
        let exclude = copy.exclude.iter().map(|pattern| word(pattern)).collect::<Result<Vec<_>>>()?;
        let part = Part { parents: copy.parents, exclude };
        let from = self.source_root(&copy.from).await?;
        let in_context = copy.from.is_empty() || self.named_directory(&copy.from).is_some();
        let workspace = Arc::clone(&self.context.workspace);
        let found = blocking(move || {
            let wanted = Wanted { paths: &paths, fetched: &fetched, contents: &contents };
            gather(&from, words, &wanted, &part, &workspace).map_err(failed)
        });
        let found = found.await?;
        if found.len() > 1 && !destination.ends_with('/') && !copy.parents {
            return Err(Error::internal(format!(
                "When using {name} with more than one source file, the destination must be a directory and end with a /"
            )));
        }
        let flag =
            |name: &str, value: &str| if value.is_empty() { String::new() } else { format!("--{name}={value} ") };
        let parents = if copy.parents { "--parents " } else { "" };
        let flags = format!("{parents}{}{}", flag("chown", &chown), flag("chmod", &chmod));
        let said = state.note(&format!("{name} {flags}{} in {destination} ", sources::hash(&found)), true);
        let key = self.key(state, &said)?;
        if self.cached(state, &said, &key).await? {
            return Ok(());
        }
        let target = Target {
            path: absolute(&state.config.working_dir, &destination),
            chown,
            mode,
            keep_owner: !in_context,
            extract: name == "ADD",
            unpack: copy.unpack,
        };
        let layer = self.changed(state, move |root| write(root, &found, &target)).await?;
        self.commit(state, &said, key, Some(layer.upper())).await
    }

    /// Gets the sources that are elsewhere.
    async fn elsewhere(
        &self,
        copy: &Copy,
        paths: &[String],
        destination: &str,
        checksum: &str,
    ) -> Result<HashMap<String, Source>> {
        let mut fetched = HashMap::new();
        for url in paths.iter().filter(|path| is_remote(path)) {
            let got = match Repository::parse(url).filter(|_| self.words(true) == Words::BuildKit) {
                Some(_) if !checksum.is_empty() => {
                    return Err(Error::internal("checksum can't be specified for non-HTTP sources"));
                }
                Some(repository) => self.clone(&repository, copy.keep_git).await?,
                None => self.fetch(url, destination, checksum).await?,
            };
            fetched.insert(url.clone(), got);
        }
        Ok(fetched)
    }

    pub(crate) async fn workdir(&mut self, state: &mut State, path: &str) -> Result<()> {
        let path = state.expander(self.escape).word(path).map_err(Error::invalid)?;
        if path.is_empty() {
            return Err(Error::internal("cannot normalize nothing"));
        }
        state.config.working_dir = clean(&absolute(&state.config.working_dir, &path));
        let words = state.note(&format!("WORKDIR {}", state.config.working_dir), true);
        let key = self.key(state, &words)?;
        if self.cached(state, &words, &key).await? {
            return Ok(());
        }
        let wanted = state.config.working_dir.clone();
        let make = move |root: RootDir| {
            let destination = Destination::new(root, &wanted).map_err(Error::internal)?;
            destination.make_directory(Some((0, 0))).map_err(Error::internal)
        };
        let layer = self.changed(state, make).await?;
        self.commit(state, &words, key, Some(layer.upper())).await
    }

    /// How it is said that a file is not there.
    pub(crate) fn words(&self, in_context: bool) -> Words {
        match (self.context.caller(), in_context) {
            (Some(_), _) => Words::BuildKit,
            (None, true) => Words::Context,
            (None, false) => Words::Image,
        }
    }

    /// What files are copied from: the context, a stage, or an image.
    async fn source_root(&self, from: &str) -> Result<Arc<RootDir>> {
        if from.is_empty() {
            return Ok(Arc::clone(&self.context.root));
        }
        if let Some(here) = self.named_directory(from) {
            return Ok(Arc::clone(&here.root));
        }
        let invalid = |error: Error| error.context(format!("invalid from flag value {from}: "));
        let image = match self.stage(from).map_err(invalid)? {
            Some("") => {
                let empty = self.context.workspace.directory()?;
                return Ok(Arc::new(open_root(&empty)?));
            }
            Some(id) => self.local(id, None).map_err(invalid)?,
            None => self.image_of(from, self.options.platform.as_ref()).await.map_err(invalid)?,
        };
        let store = self.engine.image_store().clone();
        let layers = image.diff_ids().to_vec();
        let mounted = blocking(move || store.mount_image(&layers).map_err(stored)).await?;
        Ok(Arc::new(RootDir::from_fd(mounted)))
    }

    /// Lets some work write on top of the image so far.
    async fn changed(
        &self,
        state: &State,
        work: impl FnOnce(RootDir) -> Result<()> + Send + 'static,
    ) -> Result<TemporaryLayer> {
        let store = self.engine.image_store().clone();
        let below: Vec<Digest> = state.image.iter().flat_map(|image| image.config.rootfs.diff_ids.clone()).collect();
        blocking(move || {
            let layer = TemporaryLayer { store, name: Engine::random_id() };
            layer.store.create_rw_layer(&layer.name, &below).map_err(stored)?;
            let root = layer.store.mount_rw_layer(&layer.name, Durability::Volatile).map_err(stored)?;
            work(RootDir::from_fd(root))?;
            Ok(layer)
        })
        .await
    }
}

/// What the digest of a download is to be.
fn checksum(copy: &Copy, paths: &[String], text: String, words: Words) -> Result<String, String> {
    let is_download = matches!(paths, [only] if is_url(only));
    match words {
        _ if copy.checksum.is_empty() => Ok(text),
        Words::BuildKit if !is_download => Err("checksum requires HTTP(S) or Git sources".to_owned()),
        _ if !is_download => Err("checksum can't be specified for non-HTTP sources".to_owned()),
        Words::BuildKit if Digest::parse(&text).is_err() => Err("invalid checksum digest format".to_owned()),
        _ => Ok(text),
    }
}

/// What an instruction names.
struct Wanted<'a> {
    paths: &'a [String],
    /// What of it came from elsewhere.
    fetched: &'a HashMap<String, Source>,
    contents: &'a [(String, String)],
}

/// Finds what an instruction names; here-documents become files.
fn gather(
    from: &Arc<RootDir>,
    words: Words,
    wanted: &Wanted<'_>,
    part: &Part,
    workspace: &Workspace,
) -> Result<Vec<Source>, String> {
    let mut found = Vec::new();
    for path in wanted.paths {
        if let Some(file) = wanted.fetched.get(path) {
            found.push(file.clone());
            continue;
        }
        if is_url(path) {
            return Err("source can't be a URL for COPY".to_owned());
        }
        found.extend(part.find(from, path, words)?);
    }
    let contents = wanted.contents;
    if !contents.is_empty() {
        let directory = workspace.directory().map_err(|error| error.message)?;
        let root = Arc::new(open_root(&directory).map_err(|error| error.message)?);
        for (file, text) in contents {
            if file.contains('/') || matches!(file.as_str(), "." | "..") {
                return Err(format!("invalid name of a heredoc: {file}"));
            }
            let path = directory.join(file);
            std::fs::write(&path, text).map_err(|error| format!("write {}: {error}", path.display()))?;
            found.push(sources::one(&root, file, Words::Image)?);
        }
    }
    if found.is_empty() && !part.may_be_nothing() {
        return Err("no source files were specified".to_owned());
    }
    Ok(found)
}

/// Where files go, and how they look there.
struct Target {
    path: String,
    chown: String,
    mode: Option<NewMode>,
    keep_owner: bool,
    extract: bool,
    /// Instead of the rule that archives from elsewhere stay as they are.
    unpack: Option<bool>,
}

fn write(root: RootDir, found: &[Source], target: &Target) -> Result<()> {
    let owner = match (target.chown.as_str(), target.keep_owner) {
        ("", true) => None,
        ("", false) => Some((0, 0)),
        (text, _) => Some(owner::lookup(&root, text).map_err(|why| {
            Error::internal(format!("unable to convert uid/gid chown string to host mapping: {why}"))
        })?),
    };
    let destination = Destination::new(root, &target.path).map_err(Error::internal)?;
    for source in found {
        let extract = target.unpack.unwrap_or(target.extract && !source.is_remote);
        let options = place::Options { owner, mode: target.mode.clone(), extract };
        destination.write(source, &options).map_err(|why| Error::internal(format!("failed to copy files: {why}")))?;
    }
    Ok(())
}

/// A layer that is written without a container; it goes when it is dropped.
struct TemporaryLayer {
    store: ImageStore,
    name: String,
}

impl TemporaryLayer {
    fn upper(&self) -> PathBuf {
        self.store.rw_layer(&self.name).upper
    }
}

impl Drop for TemporaryLayer {
    fn drop(&mut self) {
        if let Err(error) = self.store.remove_rw_layer(&self.name) {
            tracing::warn!("removing a layer of a build: {error}");
        }
    }
}

/// `--chmod`: in octal; with BuildKit's protocol, changes too.
fn mode(text: &str, with_changes: bool) -> Result<Option<NewMode>> {
    if text.is_empty() {
        return Ok(None);
    }
    match NewMode::parse(text).filter(|mode| with_changes || matches!(mode, NewMode::Exactly(_))) {
        Some(mode) => Ok(Some(mode)),
        None if with_changes => Err(Error::invalid("invalid syntax")),
        None => Err(Error::invalid(format!(
            "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
        ))),
    }
}

pub(crate) fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Whether a source is somewhere else.
pub(crate) fn is_remote(text: &str) -> bool {
    is_url(text) || ["git://", "ssh://", "git@"].iter().any(|start| text.starts_with(start))
}

/// A path from the root, by the working directory. A trailing slash stays.
pub(crate) fn absolute(directory: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let joined = clean(&format!("/{directory}/{path}"));
    if path.ends_with('/') && joined != "/" { format!("{joined}/") } else { joined }
}

/// Go's `path.Clean` of an absolute path.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute() {
        assert_eq!(absolute("/a", "b/"), "/a/b/");
        assert_eq!(absolute("", "."), "/");
        assert_eq!(absolute("/a/b", "../c"), "/a/c");
        assert_eq!(absolute("/a", "/x/"), "/x/");
        assert_eq!(clean("/../a/./b//"), "/a/b");
    }

    #[test]
    fn modes() {
        assert_eq!(mode("755", false).unwrap(), Some(NewMode::Exactly(0o755)));
        assert_eq!(mode("", false).unwrap(), None);
        assert!(mode("u+x", true).unwrap().is_some());
        assert!(mode("u+x", false).is_err() && mode("99", true).is_err() && mode("10000", true).is_err());
    }
}
