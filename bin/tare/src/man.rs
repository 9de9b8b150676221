//! `tare man DIRECTORY`: writes the manual pages of all commands into `DIRECTORY/man1`. For those who package the program,
//! so help does not list it.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::builder::StyledStr;
use tare_cli::man::{self, Page};

use crate::LOCAL;

/// Runs the command line after `man`.
pub fn main(args: &[OsString]) -> ExitCode {
    let [directory] = args else {
        eprintln!("usage: tare man DIRECTORY");
        return ExitCode::FAILURE;
    };
    match write(Path::new(directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn write(directory: &Path) -> Result<()> {
    let directory = directory.join("man1");
    std::fs::create_dir_all(&directory).with_context(|| format!("create `{}`", directory.display()))?;
    let mut pages = man::pages(LOCAL);
    for command in [crate::daemon::command(), crate::oci::command()] {
        add(&mut pages, &command, command.get_name().trim_start_matches("tare "));
    }
    for (name, text) in pages.iter().flat_map(Page::files) {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("write `{}`", path.display()))?;
    }
    Ok(())
}

/// Adds the pages of one of clap's commands and those below it.
fn add(pages: &mut Vec<Page>, command: &clap::Command, path: &str) {
    let below: Vec<&clap::Command> = command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    let about = text(command.get_about());
    let row = |command: &&clap::Command| (command.get_name().to_owned(), text(command.get_about()));
    let usage = std::iter::once("[OPTIONS]".to_owned()).chain(command.get_positionals().map(value));
    let usage = usage.chain((!below.is_empty()).then(|| "COMMAND".to_owned()));
    pages.push(Page {
        path: path.to_owned(),
        about,
        usage: usage.collect::<Vec<_>>().join(" "),
        options: command.get_opts().filter(|argument| !argument.is_hide_set()).map(option).collect(),
        commands: below.iter().map(row).collect(),
        ..Page::default()
    });
    for command in below {
        add(pages, command, &format!("{path} {}", command.get_name()));
    }
}

fn option(argument: &clap::Arg) -> (String, String) {
    let mut left = argument.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    left.push_str(&format!("--{}", argument.get_long().unwrap_or_default()));
    if argument.get_action().takes_values() {
        left.push_str(&format!(" {}", value(argument)));
    }
    (left, text(argument.get_help()))
}

/// What a value is called.
fn value(argument: &clap::Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let names = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
    if names.is_empty() { argument.get_id().as_str().to_uppercase() } else { names }
}

fn text(styled: Option<&StyledStr>) -> String {
    styled.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_local_command_has_a_page() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path()).unwrap();
        let page = |name: &str| {
            let path = directory.path().join("man1").join(format!("tare{name}.1"));
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        for (name, about) in LOCAL {
            let text = page(&format!("-{name}"));
            assert!(text.contains(&about.replace('-', "\\-")), "{name}: {text}");
        }
        assert!(page("-daemon").contains(".TP\n.B \\-G, \\-\\-group GROUP\n"));
        assert!(page("-oci-create").contains(".SH SYNOPSIS\n.B tare oci create\n[OPTIONS] ID\n"));
        assert!(page("").contains("\n.TP\n.B daemon\nRun the engine\n"));
    }
}
