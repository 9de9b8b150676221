//! What a command is: one value in one table ([`crate::commands::TABLE`]) that feeds dispatch, parser, help and completion.
//!
//! A command file holds `pub static COMMAND: Command` and an `async fn run(cli: &Cli, m: &Matches) -> Result<i32, CliError>`.

use std::future::Future;
use std::pin::Pin;

use crate::cli::Cli;
use crate::error::CliError;
use crate::flags::{Flag, Matches};

/// What `run` of a command gives: its exit status.
pub type RunFuture<'a> = Pin<Box<dyn Future<Output = Result<i32, CliError>> + 'a>>;

/// A command's code: `|cli, m| Box::pin(run(cli, m))`.
pub type Run = for<'a> fn(&'a Cli, &'a Matches) -> RunFuture<'a>;

/// One command, under all its names.
pub struct Command {
    /// Every path it is reached by, as help lists them: `container ls`, `container list`, `container ps`, `ps`.
    pub names: &'static [&'static str],
    /// What follows the name in its usage line: `[OPTIONS] CONTAINER [CONTAINER...]`.
    pub usage: &'static str,
    /// One line of help.
    pub about: &'static str,
    /// Rank among the "Common Commands" of the overall help; 0: not among them.
    pub common: u8,
    /// How many arguments it takes.
    pub arity: Arity,
    /// Whether flags may follow the first argument (not in `run`, `exec`, …, where they belong to the container's command).
    pub interspersed: bool,
    /// Its flags, without `--help`.
    pub flags: &'static [Flag],
    /// Its code.
    pub run: Run,
}

/// Bounds on the number of arguments, with the wording that goes with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// Anything goes.
    Any,
    /// None at all.
    None,
    /// So many.
    Exactly(usize),
    /// So many or more.
    AtLeast(usize),
    /// So many or fewer.
    AtMost(usize),
    /// Between the two.
    Range(usize, usize),
}

impl Arity {
    /// The complaint about `n` arguments, without the command's name; `None` when they are fine.
    pub fn complaint(self, n: usize) -> Option<(String, &'static str)> {
        let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
        let text = match self {
            Arity::None if n > 0 => "accepts no arguments".to_owned(),
            Arity::Exactly(want) if n != want => format!("requires {want} {}", plural(want)),
            Arity::AtLeast(min) if n < min => {
                return Some((format!("requires at least {min} {}", plural(min)), "See"));
            }
            Arity::AtMost(max) if n > max => format!("requires at most {max} {}", plural(max)),
            Arity::Range(min, max) if n < min || n > max => {
                format!("requires at least {min} and at most {max} {}", plural(max))
            }
            _ => return None,
        };
        Some((text, "Run"))
    }
}

/// A command that only holds others: `container`, `image`, ….
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// One line of help.
    pub about: &'static str,
}

impl Command {
    /// The path this command has in `group` (empty: at the top), if it has one. The first such path names it in lists.
    pub fn name_in(&self, group: &str) -> Option<&'static str> {
        self.names.iter().find_map(|path| match (path.split_once(' '), group) {
            (None, "") => Some(*path),
            (Some((g, name)), _) if g == group => Some(name),
            _ => None,
        })
    }
}
