//! The files that are built from: an archive that anybody may have made, extracted below a directory of the build's own.

use std::io::{BufRead, BufReader, Read as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use tare_archive::Reader;
use tare_archive::path::{join, split};
use tare_dockerfile::ignore::{Ignore, MAX_FILE};
use tare_dockerfile::{Dockerfile, parse};
use tare_engine::{Engine, Error, Result};
use tare_images::compression::{Compression, buffered, decompress};
use tare_images::rootdir::RootDir;
use tare_images::unpack::{self, unpack};
use tokio_util::io::SyncIoBridge;

use crate::asked::{ask, transfer};
use crate::caller::{Caller, Directory, Wanted};
use crate::git::Repository;
use crate::needed::Files;
use crate::options::{DOCKERFILE, Options};
use crate::output::Output;
use crate::{Source, blocking, fetch, frontend, stored};

/// Largest Dockerfile, bytes.
pub(crate) const MAX_DOCKERFILE: u64 = 16 << 20;
/// Says which files an instruction does not see.
pub(crate) const IGNORE_FILE: &str = ".dockerignore";

/// A directory that goes with the build.
#[derive(Debug)]
pub(crate) struct Workspace(PathBuf);

impl Workspace {
    pub(crate) fn make(engine: &Engine) -> Result<Workspace> {
        let path = engine.build_directory().join(Engine::random_id());
        let context = path.join("context");
        std::fs::create_dir_all(&context).map_err(|error| Error::io("mkdir", context.display(), error))?;
        Ok(Workspace(path))
    }

    pub(crate) fn context(&self) -> PathBuf {
        self.0.join("context")
    }

    /// A new directory in it.
    pub(crate) fn directory(&self) -> Result<PathBuf> {
        let path = self.0.join(Engine::random_id());
        std::fs::create_dir(&path).map_err(|error| Error::io("mkdir", path.display(), error))?;
        Ok(path)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.0);
        let remove = move || {
            if let Err(error) = std::fs::remove_dir_all(&path) {
                tracing::warn!("removing the files of a build, {}: {error}", path.display());
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// What a build has to do with.
pub(crate) struct Context {
    pub(crate) workspace: Arc<Workspace>,
    /// The directory with the files.
    pub(crate) place: PathBuf,
    pub(crate) root: Arc<RootDir>,
    pub(crate) dockerfile: Dockerfile,
    /// The same as it is written.
    pub(crate) text: String,
    /// Has the files, where they are fetched when it is known which are wanted.
    pub(crate) caller: Option<Arc<dyn Caller>>,
    /// Patterns of files that stay with the caller.
    pub(crate) ignored: Vec<String>,
    /// What of the files is here.
    pub(crate) here: Files,
}

/// Receives the files and finds the Dockerfile in them.
pub(crate) async fn receive(
    engine: &Arc<Engine>,
    source: Source,
    options: &Options,
    output: &Output,
) -> Result<Context> {
    let name = options.dockerfile.clone();
    match source {
        Source::Archive(body) if options.remote.is_empty() => {
            let workspace = Workspace::make(engine)?;
            blocking(move || extract(workspace, BufReader::new(SyncIoBridge::new(body)), &name)).await
        }
        Source::Archive(_) => remote(engine, options).await,
        Source::Caller(caller) => {
            let context = ask(engine, caller, options, output).await?;
            frontend::check(&context.text)?;
            Ok(context)
        }
    }
}

/// Gets the files from where they are, the Dockerfile among them.
pub(crate) async fn remote(engine: &Engine, options: &Options) -> Result<Context> {
    let name = options.dockerfile.clone();
    let workspace = Workspace::make(engine)?;
    let (place, is_whole) = remote_files(engine, &workspace, options).await?;
    // What is no archive is a Dockerfile, without any files.
    blocking(move || Context::of(workspace, &place, if is_whole { &name } else { DOCKERFILE })).await
}

/// Gets files from where they are; whether they are more than one file.
pub(crate) async fn remote_files(engine: &Engine, workspace: &Workspace, options: &Options) -> Result<(PathBuf, bool)> {
    if let Some(repository) = Repository::parse(&options.remote) {
        return Ok((repository.clone(&workspace.0, options.keep_git).await?, true));
    }
    let path = workspace.0.join("remote");
    fetch::save(engine.download(&options.remote).await?, &path).await?;
    let place = workspace.context();
    blocking(move || {
        let failed = |error| Error::io("open", path.display(), error);
        let mut file = BufReader::new(std::fs::File::open(&path).map_err(failed)?);
        if is_archive(file.fill_buf().map_err(failed)?) {
            unpack_into(file, &place)?;
            return Ok((place, true));
        }
        std::fs::rename(&path, place.join(DOCKERFILE)).map_err(failed)?;
        Ok((place, false))
    })
    .await
}

/// Whether a file that starts so is an archive: compressed, or with a header of tar.
fn is_archive(start: &[u8]) -> bool {
    Compression::detect(start) != Compression::None
        || Reader::new(start).next_entry().is_ok_and(|entry| entry.is_some())
}

pub(crate) fn extract(workspace: Workspace, archive: impl BufRead + Send + 'static, name: &str) -> Result<Context> {
    let path = workspace.context();
    unpack_into(archive, &path)?;
    Context::of(workspace, &path, name)
}

fn unpack_into(archive: impl BufRead + Send + 'static, path: &Path) -> Result<()> {
    let (_, plain) = decompress(archive).map_err(|error| Error::invalid(error.to_string()))?;
    let options = unpack::Options { contained: true, ..unpack::Options::default() };
    unpack(&mut Reader::new(buffered(plain)), open_root(path)?, options)
        .map(drop)
        .map_err(|error| Error::internal(format!("error reading the build context: {error}")))
}

impl Context {
    fn of(workspace: Workspace, path: &Path, name: &str) -> Result<Context> {
        let root = Arc::new(open_root(path)?);
        let (dockerfile, text) = dockerfile(&root, name)?;
        let (caller, ignored, here) = (None, Vec::new(), Files::All);
        let (workspace, place) = (Arc::new(workspace), path.to_owned());
        Ok(Context { workspace, place, root, dockerfile, text, caller, ignored, here })
    }

    /// Who is asked for files and more.
    pub(crate) fn caller(&self) -> Option<&Arc<dyn Caller>> {
        self.caller.as_ref()
    }

    /// Sees to it that files are here.
    pub(crate) async fn fetch(&mut self, wanted: Files, output: &Output) -> Result<()> {
        let Some(caller) = self.caller.clone() else { return Ok(()) };
        let follow = match &wanted {
            _ if self.here == Files::All => return Ok(()),
            Files::None => return Ok(()),
            Files::Some(paths) => paths.clone(),
            Files::All => Vec::new(),
        };
        let place = self.workspace.directory()?;
        let exclude = self.ignored.clone();
        let asked = Wanted { directory: Directory::Context, follow, exclude, place: place.clone() };
        output.step("[internal] load build context", transfer(&caller, asked, "context", output)).await?;
        self.root = Arc::new(open_root(&place)?);
        (self.place, self.here) = (place, wanted);
        Ok(())
    }
}

/// The last component of a path.
pub(crate) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

pub(crate) fn open_root(path: &Path) -> Result<RootDir> {
    RootDir::open(path).map_err(|error| Error::io("open", path.display(), error))
}

/// Another name that a Dockerfile may have which nobody named: some write the usual one in lower case.
pub(crate) fn other_name(name: &str) -> Option<String> {
    let directory = name.strip_suffix(DOCKERFILE).filter(|_| last(name) == DOCKERFILE)?;
    Some(format!("{directory}{}", DOCKERFILE.to_lowercase()))
}

/// The Dockerfile by its name or the other one: which, and its text.
pub(crate) fn find_dockerfile(root: &RootDir, name: &str) -> Result<Option<(String, String)>> {
    for name in [Some(name.to_owned()), other_name(name)].into_iter().flatten() {
        if let Some(text) = read(root, &name, MAX_DOCKERFILE)? {
            return Ok(Some((name, text)));
        }
    }
    Ok(None)
}

fn dockerfile(root: &RootDir, name: &str) -> Result<(Dockerfile, String)> {
    let missing = || Error::internal(format!("Cannot locate specified Dockerfile: {name}"));
    let (name, text) = find_dockerfile(root, name)?.ok_or_else(missing)?;
    if text.is_empty() {
        return Err(Error::invalid(format!("the Dockerfile ({name}) cannot be empty")));
    }
    let file = parse(&text).map_err(|error| match error {
        tare_dockerfile::Error::Syntax { .. } => Error::invalid(format!("failed to parse {name}: {error}")),
        other => Error::invalid(other.to_string()),
    })?;
    leave_out(root, &name)?;
    Ok((file, text))
}

/// The client sends Dockerfile and ignore file in any case; instructions do not see them where patterns leave them out.
fn leave_out(root: &RootDir, dockerfile: &str) -> Result<()> {
    let Some(text) = read(root, IGNORE_FILE, MAX_FILE)? else { return Ok(()) };
    let ignore = Ignore::parse(&text).map_err(|why| Error::internal(format!("error reading .dockerignore: {why}")))?;
    for name in [IGNORE_FILE, dockerfile] {
        let Some(path) = inside(name).filter(|path| ignore.ignores(&String::from_utf8_lossy(path))) else { continue };
        let removed = root
            .open_parent(&path)
            .and_then(|(parent, name)| rustix::fs::unlinkat(parent, name, rustix::fs::AtFlags::empty()));
        removed.map_err(|error| Error::io("unlink", name, error))?;
    }
    Ok(())
}

/// A file's text; `None` if there is none.
pub(crate) fn read(root: &RootDir, name: &str, limit: u64) -> Result<Option<String>> {
    let path = inside(name).ok_or_else(|| Error::internal(outside(name)))?;
    let file: OwnedFd = match root.open_at(&path, OFlags::RDONLY | OFlags::NONBLOCK) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(Error::io("open", name, error)),
    };
    let stat = rustix::fs::fstat(&file).map_err(|error| Error::io("stat", name, error))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::internal(format!("read {name}: is not a regular file")));
    }
    let mut bytes = Vec::new();
    let read = std::fs::File::from(file).take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|error| Error::io("read", name, error))?;
    if bytes.len() as u64 > limit {
        return Err(Error::invalid(format!("{name} is larger than {limit} bytes")));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// A path below a root, clean; `None` if it leads out of it.
pub(crate) fn inside(path: &str) -> Option<Vec<u8>> {
    let mut clean = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if clean.is_empty() => return None,
            ".." => clean.truncate(split(&clean).0.len()),
            part => clean = join(&clean, part.as_bytes()),
        }
    }
    Some(clean)
}

/// Docker's sentence about a path that leads out of the context.
pub(crate) fn outside(path: &str) -> String {
    format!("forbidden path outside the build context: {path} ()")
}

/// An error that is only a sentence, from one of the store.
pub(crate) fn sentence(error: tare_images::Error) -> String {
    stored(error).message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dockerfiles_in_lower_case() {
        for (name, other) in [
            ("Dockerfile", Some("dockerfile")),
            ("a/Dockerfile", Some("a/dockerfile")),
            ("my.Dockerfile", None),
            ("dockerfile", None),
        ] {
            assert_eq!(other_name(name).as_deref(), other, "{name}");
        }
    }

    #[test]
    fn paths_stay_inside() {
        for (path, clean) in
            [("a/./b//c", Some("a/b/c")), ("a/../b", Some("b")), ("/a", Some("a")), ("..", None), ("a/../../b", None)]
        {
            assert_eq!(inside(path).map(|path| String::from_utf8(path).unwrap()).as_deref(), clean, "{path}");
        }
    }
}
