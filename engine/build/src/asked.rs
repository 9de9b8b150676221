//! Files that are with a caller who is asked for them: the Dockerfile first, then what it leaves out, then the rest when it
//! is known which.

use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use tare_dockerfile::ignore::{Ignore, MAX_FILE, lines};
use tare_dockerfile::{Dockerfile, parse};
use tare_engine::{Engine, Error, Result};
use tokio_util::io::SyncIoBridge;

use crate::caller::{Caller, Directory, Wanted};
use crate::context::{
    Context, IGNORE_FILE, Workspace, extract, find_dockerfile, last, open_root, other_name, read, remote, remote_files,
};
use crate::events::What;
use crate::needed::Files;
use crate::options::Options;
use crate::output::Output;
use crate::{blocking, frontend};

/// Asks a caller for the Dockerfile and for what it leaves out.
pub(crate) async fn ask(
    engine: &Engine,
    caller: Arc<dyn Caller>,
    options: &Options,
    output: &Output,
) -> Result<Context> {
    let name = options.dockerfile.as_str();
    if !options.remote.is_empty() && !options.dockerfile_of_caller {
        let title = format!("[internal] load {}", options.remote);
        let context = first(output, options, title, remote(engine, options)).await?;
        return Ok(Context { caller: Some(caller), ..context });
    }
    let workspace = Workspace::make(engine)?;
    if let Some(body) = caller.archive().await? {
        let name = name.to_owned();
        let extracted = blocking(move || extract(workspace, BufReader::new(SyncIoBridge::new(body)), &name));
        let context = first(output, options, "[internal] load remote build context".to_owned(), extracted).await?;
        return Ok(Context { caller: Some(caller), ..context });
    }
    let title = format!("[internal] load build definition from {}", last(name));
    let definition = definition(&workspace, &caller, name, output);
    let (dockerfile, text, own) = first(output, options, title, definition).await?;
    if !options.remote.is_empty() {
        let got = remote_files(engine, &workspace, options);
        let (place, _) = output.step(format!("[internal] load {}", options.remote), got).await?;
        let (root, workspace) = (Arc::new(open_root(&place)?), Arc::new(workspace));
        let (ignored, here) = (Vec::new(), Files::All);
        return Ok(Context { workspace, place, root, dockerfile, text, caller: Some(caller), ignored, here });
    }
    let ignored = async {
        match own {
            Some(own) => Ok(Some(own)),
            None => ignored(&workspace, &caller, output).await,
        }
    };
    let ignored = output.step("[internal] load .dockerignore", ignored).await?;
    let ignored = patterns(&ignored.unwrap_or_default())?;
    let place = workspace.context();
    let root = Arc::new(open_root(&place)?);
    let (workspace, here) = (Arc::new(workspace), Files::None);
    Ok(Context { workspace, place, root, dockerfile, text, caller: Some(caller), ignored, here })
}

/// The first step, in which it is also said what of the options is not followed.
async fn first<T>(
    output: &Output,
    options: &Options,
    title: String,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let warned = async {
        for text in &options.warnings {
            output.warn(text).await;
        }
        work.await
    };
    output.step(title, warned).await
}

/// The Dockerfile, its text, and that of the `.dockerignore` that is its own.
async fn definition(
    workspace: &Workspace,
    caller: &Arc<dyn Caller>,
    name: &str,
    output: &Output,
) -> Result<(Dockerfile, String, Option<String>)> {
    let own = format!("{name}{IGNORE_FILE}");
    let mut follow = vec![name.to_owned(), own.clone()];
    follow.extend(other_name(name));
    let place = workspace.directory()?;
    let wanted = Wanted { directory: Directory::Dockerfile, follow, exclude: Vec::new(), place: place.clone() };
    transfer(caller, wanted, "dockerfile", output).await?;
    let name = name.to_owned();
    blocking(move || {
        let root = open_root(&place)?;
        let missing =
            || Error::invalid(format!("failed to read dockerfile: open {}: no such file or directory", last(&name)));
        let (_, text) = find_dockerfile(&root, &name)?.ok_or_else(missing)?;
        // Another may read another language: it is refused before this one is looked for.
        frontend::check(&text)?;
        let file = parse(&text).map_err(|error| Error::invalid(error.to_string()))?;
        if file.stages.is_empty() {
            return Err(Error::invalid("no build stage in current context"));
        }
        Ok((file, text, read(&root, &own, MAX_FILE)?))
    })
    .await
}

async fn ignored(workspace: &Workspace, caller: &Arc<dyn Caller>, output: &Output) -> Result<Option<String>> {
    let place = workspace.directory()?;
    let follow = vec![IGNORE_FILE.to_owned()];
    let wanted = Wanted { directory: Directory::Context, follow, exclude: Vec::new(), place: place.clone() };
    transfer(caller, wanted, "context", output).await?;
    read_ignored(&place).await
}

/// The text of a `.dockerignore`, where there is one.
pub(crate) async fn read_ignored(place: &Path) -> Result<Option<String>> {
    let place = place.to_owned();
    blocking(move || read(&open_root(&place)?, IGNORE_FILE, MAX_FILE)).await
}

/// The patterns of a `.dockerignore`, each looked at.
pub(crate) fn patterns(text: &str) -> Result<Vec<String>> {
    Ignore::parse(text).map_err(|why| Error::invalid(format!("error reading .dockerignore: {why}")))?;
    Ok(lines(text))
}

/// Fetches files, and tells how far that is.
pub(crate) async fn transfer(caller: &Arc<dyn Caller>, wanted: Wanted, what: &str, output: &Output) -> Result<()> {
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
