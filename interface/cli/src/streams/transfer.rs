//! Bodies to files and files to bodies: `save`, `export`, `load`, `import`, `cp`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tare_docker_client::{Body, Response};
use tokio::sync::mpsc;

use super::input::Input;
use super::pump;
use crate::cli::{Cli, Output};
use crate::error::CliError;
use crate::opts::surroundings::path_error;

/// Mode of files that hold images and file systems.
const MODE: u32 = 0o600;

/// Where a large body goes.
pub enum Sink {
    /// Standard output.
    Stdout(Output),
    /// A file that gets its name when it is complete.
    File(Box<Replacement>),
}

impl Sink {
    /// Standard output unless it is a terminal, or the file named. `what` begins the sentence about a failure.
    pub fn open(cli: &Cli, path: &str, what: &str) -> Result<Sink, CliError> {
        if !path.is_empty() {
            let file = Replacement::create(Path::new(path)).map_err(|e| CliError::new(format!("{what}: {e}")))?;
            return Ok(Sink::File(Box::new(file)));
        }
        if cli.out.is_terminal() {
            return Err(CliError::new("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
        }
        Ok(Sink::Stdout(cli.out.clone()))
    }

    /// Writes a whole body.
    pub async fn fill(self, mut response: Response) -> Result<(), CliError> {
        match self {
            Sink::Stdout(out) => {
                while let Some(chunk) = response.chunk().await? {
                    pump::write(&out, chunk).await?;
                }
                Ok(())
            }
            Sink::File(mut replacement) => {
                while let Some(chunk) = response.chunk().await? {
                    replacement.file.write_all(&chunk)?;
                }
                replacement.commit()
            }
        }
    }
}

/// A file written under another name beside its place, so that its name never stands for half of it.
pub struct Replacement {
    file: tempfile::NamedTempFile,
    path: PathBuf,
}

impl Replacement {
    /// Begins to replace `path`, which must be a file or nothing, in a directory that is there.
    fn create(path: &Path) -> Result<Replacement, String> {
        let directory = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let not_there = |error: &io::Error| format!("invalid output path: {}", path_error("stat", directory, error));
        if !std::fs::metadata(directory).map_err(|e| not_there(&e))?.is_dir() {
            return Err(not_there(&io::ErrorKind::NotADirectory.into()));
        }
        // What a rename would replace: a link itself, not what it points to.
        if let Some(what) = std::fs::symlink_metadata(path).ok().and_then(|meta| special(meta.file_type())) {
            return Err(format!("cannot write to {what}"));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".tmp-").permissions(std::fs::Permissions::from_mode(MODE));
        let file = builder.tempfile_in(directory).map_err(|e| path_error("open", path, &e))?;
        Ok(Replacement { file, path: path.to_owned() })
    }

    fn commit(self) -> Result<(), CliError> {
        let Replacement { file, path } = self;
        file.persist(&path).map_err(|e| CliError::new(path_error("rename", &path, &e.error)))?;
        Ok(())
    }
}

/// What a file is that is no regular one.
fn special(kind: std::fs::FileType) -> Option<&'static str> {
    let kinds = [
        (kind.is_dir(), "a directory"),
        (kind.is_symlink(), "a symbolic link directly"),
        (kind.is_fifo(), "a named pipe (FIFO)"),
        (kind.is_socket(), "a socket"),
        (kind.is_char_device(), "a character device file"),
        (kind.is_block_device(), "a block device file"),
    ];
    kinds.into_iter().find_map(|(is, name)| is.then_some(name))
}

/// Opens a file as a body.
pub fn file_body(path: &str) -> Result<Body, CliError> {
    let file = File::open(path).map_err(|e| CliError::new(path_error("open", path, &e)))?;
    reader_body(move || Box::new(file))
}

/// Standard input as a body.
pub fn input_body(input: &Input) -> Result<Body, CliError> {
    Ok(channel_body(input.chunks()?))
}

/// What a reader gives, read by a thread, as a body.
pub fn reader_body(open: impl FnOnce() -> Box<dyn Read + Send> + Send + 'static) -> Result<Body, CliError> {
    let cell = std::sync::Mutex::new(Some(open));
    let input = Input::from(move || match cell.lock().ok().and_then(|mut open| open.take()) {
        Some(open) => open(),
        None => Box::new(io::empty()),
    });
    input_body(&input)
}

/// A channel as a body.
pub fn channel_body(receiver: mpsc::Receiver<io::Result<Bytes>>) -> Body {
    Body::stream(futures_util::stream::unfold(receiver, |mut receiver| async move {
        let item = receiver.recv().await?;
        Some((item, receiver))
    }))
}
