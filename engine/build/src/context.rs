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

use crate::caller::{Caller, Directory, Wanted};
use crate::events::What;
use crate::git::Repository;
use crate::needed::Files;
use crate::options::{DOCKERFILE, Options};
use crate::output::Output;
use crate::{Source, blocking, fetch, frontend, stored};

/// Largest Dockerfile, bytes.
const MAX_DOCKERFILE: u64 = 16 << 20;
/// Says which files an instruction does not see.
const IGNORE_FILE: &str = ".dockerignore";

/// A directory that goes with the build.
#[derive(Debug)]
pub(crate) struct Workspace(PathBuf);

impl Workspace {
    fn make(engine: &Engine) -> Result<Workspace> {
        let path = engine.build_directory().join(Engine::random_id());
        let context = path.join("context");
        std::fs::create_dir_all(&context).map_err(|error| Error::io("mkdir", context.display(), error))?;
        Ok(Workspace(path))
    }

    fn context(&self) -> PathBuf {
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
    /// Has the files, where they are fetched when it is known which are wanted.
    caller: Option<Arc<dyn Caller>>,
    /// Patterns of files that stay with the caller.
    ignored: Vec<String>,
    /// What of the files is here.
    here: Files,
}

/// Receives the files and finds the Dockerfile in them.
pub(crate) async fn receive(
    engine: &Arc<Engine>,
    source: Source,
    options: &Options,
    output: &Output,
) -> Result<Context> {
    let name = options.dockerfile.clone();
    let body = match source {
        Source::Archive(body) => body,
        Source::Caller(caller) => return ask(engine, caller, options, output).await,
    };
    let workspace = Workspace::make(engine)?;
    if let Some(repository) = Repository::parse(&options.remote) {
        let place = repository.clone(&workspace.0).await?;
        return blocking(move || Context::of(workspace, &place, &name)).await;
    }
    if options.remote.is_empty() {
        return blocking(move || extract(workspace, BufReader::new(SyncIoBridge::new(body)), &name)).await;
    }
    let path = workspace.0.join("remote");
    fetch::save(engine.download(&options.remote).await?, &path).await?;
    blocking(move || {
        let failed = |error| Error::io("open", path.display(), error);
        let mut file = BufReader::new(std::fs::File::open(&path).map_err(failed)?);
        if is_archive(file.fill_buf().map_err(failed)?) {
            return extract(workspace, file, &name);
        }
        // What is no archive is a Dockerfile, without any files.
        let place = workspace.context();
        std::fs::rename(&path, place.join(DOCKERFILE)).map_err(failed)?;
        Context::of(workspace, &place, DOCKERFILE)
    })
    .await
}

/// Whether a file that starts so is an archive: compressed, or with a header of tar.
fn is_archive(start: &[u8]) -> bool {
    Compression::detect(start) != Compression::None
        || Reader::new(start).next_entry().is_ok_and(|entry| entry.is_some())
}

fn extract(workspace: Workspace, archive: impl BufRead + Send + 'static, name: &str) -> Result<Context> {
    let (_, plain) = decompress(archive).map_err(|error| Error::invalid(error.to_string()))?;
    let path = workspace.context();
    unpack(&mut Reader::new(buffered(plain)), open_root(&path)?, unpack::Options::default())
        .map_err(|error| Error::internal(format!("error reading the build context: {error}")))?;
    Context::of(workspace, &path, name)
}

impl Context {
    fn of(workspace: Workspace, path: &Path, name: &str) -> Result<Context> {
        let root = Arc::new(open_root(path)?);
        let dockerfile = dockerfile(&root, name)?;
        let (caller, ignored, here) = (None, Vec::new(), Files::All);
        Ok(Context { workspace: Arc::new(workspace), place: path.to_owned(), root, dockerfile, caller, ignored, here })
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

/// Asks a caller for the Dockerfile and for what it leaves out.
async fn ask(engine: &Engine, caller: Arc<dyn Caller>, options: &Options, output: &Output) -> Result<Context> {
    let name = options.dockerfile.as_str();
    let workspace = Workspace::make(engine)?;
    if let Some(body) = caller.archive().await? {
        let name = name.to_owned();
        let extracted = blocking(move || extract(workspace, BufReader::new(SyncIoBridge::new(body)), &name));
        let extracted = async {
            output.warn_all(&options.warnings).await;
            extracted.await
        };
        let context = output.step("[internal] load remote build context", extracted).await?;
        return Ok(Context { caller: Some(caller), ..context });
    }
    let title = format!("[internal] load build definition from {}", last(name));
    let definition = async {
        output.warn_all(&options.warnings).await;
        definition(&workspace, &caller, name, output).await
    };
    let (dockerfile, own) = output.step(title, definition).await?;
    let ignored = async {
        match own {
            Some(text) => Ok(Some(text)),
            None => ignored(&workspace, &caller, output).await,
        }
    };
    let ignored = output.step("[internal] load .dockerignore", ignored).await?;
    let ignored = patterns(&ignored.unwrap_or_default())?;
    let place = workspace.context();
    let root = Arc::new(open_root(&place)?);
    let (workspace, here) = (Arc::new(workspace), Files::None);
    Ok(Context { workspace, place, root, dockerfile, caller: Some(caller), ignored, here })
}

/// The Dockerfile, and the text of the `.dockerignore` that is its own.
async fn definition(
    workspace: &Workspace,
    caller: &Arc<dyn Caller>,
    name: &str,
    output: &Output,
) -> Result<(Dockerfile, Option<String>)> {
    let own = format!("{name}{IGNORE_FILE}");
    let mut follow = vec![name.to_owned(), own.clone()];
    // Some have it in lower case, which nobody needs to name.
    let lower =
        last(name).eq(DOCKERFILE).then(|| format!("{}{}", &name[..name.len() - DOCKERFILE.len()], "dockerfile"));
    follow.extend(lower.clone());
    let place = workspace.directory()?;
    let wanted = Wanted { directory: Directory::Dockerfile, follow, exclude: Vec::new(), place: place.clone() };
    transfer(caller, wanted, "dockerfile", output).await?;
    let name = name.to_owned();
    blocking(move || {
        let root = open_root(&place)?;
        let mut text = read(&root, &name, MAX_DOCKERFILE)?;
        if let (None, Some(lower)) = (&text, lower) {
            text = read(&root, &lower, MAX_DOCKERFILE)?;
        }
        let missing =
            || Error::invalid(format!("failed to read dockerfile: open {}: no such file or directory", last(&name)));
        let text = text.ok_or_else(missing)?;
        if let Some(frontend) = frontend::asked(&text).filter(|frontend| !frontend::is_own_frontend(frontend)) {
            return Err(Error::invalid(format!(
                "the Dockerfile frontend {frontend:?} is not supported by this engine"
            )));
        }
        let file = parse(&text).map_err(|error| Error::invalid(error.to_string()))?;
        if file.stages.is_empty() {
            return Err(Error::invalid("no build stage in current context"));
        }
        Ok((file, read(&root, &own, MAX_FILE)?))
    })
    .await
}

async fn ignored(workspace: &Workspace, caller: &Arc<dyn Caller>, output: &Output) -> Result<Option<String>> {
    let place = workspace.directory()?;
    let follow = vec![IGNORE_FILE.to_owned()];
    let wanted = Wanted { directory: Directory::Context, follow, exclude: Vec::new(), place: place.clone() };
    transfer(caller, wanted, "context", output).await?;
    blocking(move || read(&open_root(&place)?, IGNORE_FILE, MAX_FILE)).await
}

/// The patterns of a `.dockerignore`, each looked at.
fn patterns(text: &str) -> Result<Vec<String>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    Ignore::parse(text).map_err(|why| Error::invalid(format!("error reading .dockerignore: {why}")))?;
    Ok(lines)
}

/// Fetches files, and tells how far that is.
async fn transfer(caller: &Arc<dyn Caller>, wanted: Wanted, what: &str, output: &Output) -> Result<()> {
    let (sender, mut counts) = tokio::sync::watch::channel(0);
    let told = |bytes: u64, is_done| What::Progress {
        id: format!("transferring {what}:"),
        name: format!("transferring {what}:"),
        current: i64::try_from(bytes).unwrap_or(i64::MAX),
        total: 0,
        is_done,
    };
    let work = async {
        let count = |bytes| {
            sender.send_replace(bytes);
        };
        let result = caller.files(wanted, &count).await;
        drop(sender);
        result
    };
    let show = async {
        while counts.changed().await.is_ok() {
            let bytes = *counts.borrow_and_update();
            output.tell(told(bytes, false)).await;
        }
        *counts.borrow()
    };
    let (result, bytes) = tokio::join!(work, show);
    output.tell(told(bytes, true)).await;
    result
}

/// The last component of a path.
pub(crate) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

pub(crate) fn open_root(path: &Path) -> Result<RootDir> {
    RootDir::open(path).map_err(|error| Error::io("open", path.display(), error))
}

fn dockerfile(root: &RootDir, name: &str) -> Result<Dockerfile> {
    let mut name = name.to_owned();
    let mut found = read(root, &name, MAX_DOCKERFILE)?;
    if found.is_none() && name == DOCKERFILE {
        let lower = name.to_lowercase();
        found = read(root, &lower, MAX_DOCKERFILE)?;
        if found.is_some() {
            name = lower;
        }
    }
    let text = found.ok_or_else(|| Error::internal(format!("Cannot locate specified Dockerfile: {name}")))?;
    if text.is_empty() {
        return Err(Error::invalid(format!("the Dockerfile ({name}) cannot be empty")));
    }
    let file = parse(&text).map_err(|error| match error {
        tare_dockerfile::Error::Syntax { .. } => Error::invalid(format!("failed to parse {name}: {error}")),
        other => Error::invalid(other.to_string()),
    })?;
    leave_out(root, &name)?;
    Ok(file)
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
fn read(root: &RootDir, name: &str, limit: u64) -> Result<Option<String>> {
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
    fn paths_stay_inside() {
        for (path, clean) in
            [("a/./b//c", Some("a/b/c")), ("a/../b", Some("b")), ("/a", Some("a")), ("..", None), ("a/../../b", None)]
        {
            assert_eq!(inside(path).map(|path| String::from_utf8(path).unwrap()).as_deref(), clean, "{path}");
        }
    }
}
