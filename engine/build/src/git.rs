//! Contexts that are a repository: `https://host/path.git#reference:directory`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tare_engine::{Error, Result};
use tokio::process::Command;

use crate::context::{inside, outside};

/// Where a context comes from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    url: String,
    /// Branch, tag or commit; empty for what the repository says.
    reference: String,
    /// Below the repository's root.
    directory: String,
}

impl Repository {
    /// Reads what a caller names, if it is a repository and not a file.
    pub(crate) fn parse(text: &str) -> Option<Repository> {
        let (url, fragment) = text.split_once('#').unwrap_or((text, ""));
        let is_file = (url.starts_with("http://") || url.starts_with("https://")) && !url.ends_with(".git");
        let known = ["http://", "https://", "git://", "ssh://", "git@", "github.com/"];
        if is_file || !known.iter().any(|start| url.starts_with(start)) {
            return None;
        }
        let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
        let url = if url.starts_with("github.com/") { format!("https://{url}") } else { url.to_owned() };
        Some(Repository { url, reference: reference.to_owned(), directory: directory.to_owned() })
    }

    /// Gets the files into a new directory below another; gives the directory that is the context.
    pub(crate) async fn clone(&self, workspace: &Path, keep_git: bool) -> Result<PathBuf> {
        let reference = if self.reference.is_empty() { "HEAD" } else { &self.reference };
        let below = inside(&self.directory).ok_or_else(|| Error::invalid(outside(&self.directory)))?;
        if reference.starts_with('-') {
            return Err(Error::invalid(format!("invalid refspec: {reference}")));
        }
        let place = workspace.join("repository");
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            command.arg("-C").arg(workspace).args(["-c", "protocol.file.allow=never"]).args(arguments);
            // Of the machine's settings nothing counts, and nobody is there to be asked.
            command.env("HOME", workspace).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
            command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
            command.stdin(Stdio::null()).kill_on_drop(true);
            command
        };
        let here = |arguments: &[&str]| git(&[&["-C", "repository"], arguments].concat());
        run(git(&["init", "--quiet", "repository"])).await?;
        run(here(&["remote", "add", "origin", &self.url])).await?;
        if run(here(&["fetch", "--quiet", "--depth=1", "origin", reference])).await.is_err() {
            // Servers that give no single commits: everything, then.
            let failed = |error| Error::io("remove", place.display(), error);
            tokio::fs::remove_dir_all(&place).await.map_err(failed)?;
            run(git(&["clone", "--quiet", "--no-checkout", "--", &self.url, "repository"])).await?;
            run(here(&["checkout", "--quiet", reference])).await?;
        } else {
            run(here(&["checkout", "--quiet", "--detach", "FETCH_HEAD"])).await?;
        }
        run(here(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth=1"])).await?;
        let failed = |step| move |error| Error::io(step, "repository", error);
        if !keep_git {
            tokio::fs::remove_dir_all(place.join(".git")).await.map_err(failed("remove .git of"))?;
        }
        // A link in the repository must not make another directory the context.
        let root = crate::context::open_root(&place)?;
        let real = root.real_path(&below, true);
        let real = real.map_err(|error| Error::invalid(format!("subdirectory {:?}: {error}", self.directory)))?;
        let context = place.join(String::from_utf8_lossy(&real).as_ref());
        if context.is_dir() {
            Ok(context)
        } else {
            Err(Error::invalid(format!("{:?} is not a directory", self.directory)))
        }
    }
}

async fn run(mut command: Command) -> Result<()> {
    let output = command.output().await.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::internal("unable to find 'git': building from a repository needs it"),
        _ => Error::io("run", "git", error),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::internal(format!("error fetching: {} ({})", said.trim(), output.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_and_files() {
        let parsed = |text: &str| Repository::parse(text).map(|r| [r.url, r.reference, r.directory].join(" "));
        for (text, wanted) in [
            ("https://host/a.git#v1:sub/dir", Some("https://host/a.git v1 sub/dir")),
            ("https://host/a.git", Some("https://host/a.git  ")),
            ("https://host/a.tar.gz", None),
            ("git@host:a/b#:dir", Some("git@host:a/b  dir")),
            ("github.com/a/b", Some("https://github.com/a/b  ")),
            ("--upload-pack=x", None),
            ("/a/b.git", None),
        ] {
            assert_eq!(parsed(text).as_deref(), wanted, "{text}");
        }
    }
}
