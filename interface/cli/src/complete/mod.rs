//! Completion: what may follow the words of a command line, for the shells' scripts ([`crate::commands::completion`]).
//!
//! `tare __complete WORD… PART` prints one proposal a line, `value` or `value⇥description`, then `:N`, the sum of what a
//! shell has to know ([`Directive`]); the form is the one that docker's scripts read. `__completeNoDesc` leaves out the
//! descriptions. Names of commands and flags are filtered by what is there of them, values are left to the shell.
//!
//! * here: from words to the place in the command line ([`Place`]), names of commands and flags
//! * [`source`]: what each argument and each flag takes; [`values`]: what there is of it

pub mod source;
pub mod values;

use crate::app::{self, GLOBAL_FLAGS};
use crate::cli::Cli;
use crate::command::Command;
use crate::commands::{GROUPS, TABLE};
use crate::error::CliError;
use crate::flags::{Flag, Kind};
use crate::{help, plugins};

/// The command that prints proposals.
pub const COMMAND: &str = "__complete";
/// The same without descriptions.
pub const COMMAND_WITHOUT_DESCRIPTIONS: &str = "__completeNoDesc";

/// What is to be completed.
#[derive(Debug, Clone)]
pub struct Question {
    /// The words before.
    pub words: Vec<String>,
    /// What there is of the word.
    pub part: String,
    /// Whether descriptions are wanted.
    pub described: bool,
}

/// What a shell has to know about proposals; the numbers are those that docker's scripts know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directive(pub u8);

impl Directive {
    /// Names of files when there is no proposal.
    pub const FILES: Directive = Directive(0);
    /// Something went wrong.
    pub const ERROR: Directive = Directive(1);
    /// No space after the word.
    pub const NO_SPACE: Directive = Directive(2);
    /// No names of files.
    pub const NO_FILES: Directive = Directive(4);
    /// Names of directories.
    pub const DIRECTORIES: Directive = Directive(16);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Directive) -> Directive {
        Directive(self.0 | other.0)
    }

    fn names(self) -> String {
        let known = [
            (Directive::ERROR, "ShellCompDirectiveError"),
            (Directive::NO_SPACE, "ShellCompDirectiveNoSpace"),
            (Directive::NO_FILES, "ShellCompDirectiveNoFileComp"),
            (Directive::DIRECTORIES, "ShellCompDirectiveFilterDirs"),
        ];
        let set: Vec<&str> = known.iter().filter(|(d, _)| self.0 & d.0 != 0).map(|(_, name)| *name).collect();
        if set.is_empty() { "ShellCompDirectiveDefault".to_owned() } else { set.join(", ") }
    }
}

/// Proposals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposals {
    /// Values with descriptions, which may be empty.
    pub entries: Vec<(String, String)>,
    /// What a shell has to know.
    pub directive: Directive,
}

impl Proposals {
    /// Values without descriptions.
    pub fn of(values: impl IntoIterator<Item = impl Into<String>>, directive: Directive) -> Proposals {
        Proposals { entries: values.into_iter().map(|v| (v.into(), String::new())).collect(), directive }
    }

    /// Nothing, and no names of files either.
    pub fn none() -> Proposals {
        Proposals { entries: Vec::new(), directive: Directive::NO_FILES }
    }
}

/// Where in a command line the words end.
#[derive(Default)]
pub struct Place {
    /// The command's group, if it is in one.
    pub group: Option<&'static str>,
    /// The command.
    pub command: Option<&'static Command>,
    /// Its arguments so far; of a command that is not here, its name.
    pub arguments: Vec<String>,
    /// Flags so far, with their values.
    pub given: Vec<(&'static Flag, String)>,
    /// A flag whose value comes next.
    pub pending: Option<&'static Flag>,
    /// Only arguments follow.
    plain: bool,
    /// There is no such command here.
    pub lost: bool,
}

impl Place {
    fn flags(&self) -> &'static [Flag] {
        self.command.map_or(GLOBAL_FLAGS, |command| command.flags)
    }

    /// Whether a switch is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.given.iter().any(|(flag, value)| flag.long == name && value != "false")
    }

    /// The last value of a flag.
    pub fn value(&self, name: &str) -> &str {
        self.given.iter().rev().find(|(flag, _)| flag.long == name).map_or("", |(_, value)| value)
    }

    /// The place after some words; `None`: there is no such flag.
    pub fn after(words: &[String]) -> Option<Place> {
        let mut place = Place::default();
        for word in words {
            if let Some(flag) = place.pending.take() {
                place.given.push((flag, word.clone()));
            } else if place.plain || word == "-" || !word.starts_with('-') {
                place.argument(word);
            } else if word == "--" {
                place.plain = true;
            } else if let Some(long) = word.strip_prefix("--") {
                place.long(long)?;
            } else {
                place.short(&word[1..])?;
            }
        }
        Some(place)
    }

    fn argument(&mut self, word: &str) {
        if let Some(command) = self.command {
            self.arguments.push(word.to_owned());
            self.plain |= !command.interspersed;
            return;
        }
        let path = self.group.map_or_else(|| word.to_owned(), |group| format!("{group} {word}"));
        self.command = app::find(&path);
        if self.command.is_some() {
            return;
        }
        match GROUPS.iter().find(|g| self.group.is_none() && g.name == word) {
            Some(group) => self.group = Some(group.name),
            None => {
                (self.lost, self.plain) = (true, true);
                self.arguments.push(word.to_owned());
            }
        }
    }

    fn long(&mut self, text: &str) -> Option<()> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let flag = self.flags().iter().find(|f| f.long == name)?;
        match value {
            Some(value) => self.given.push((flag, value.to_owned())),
            None if flag.kind == Kind::Bool => self.given.push((flag, "true".to_owned())),
            None => self.pending = Some(flag),
        }
        Some(())
    }

    fn short(&mut self, letters: &str) -> Option<()> {
        for (i, letter) in letters.char_indices() {
            let flag = self.flags().iter().find(|f| f.short == Some(letter))?;
            let rest = &letters[i + letter.len_utf8()..];
            match (flag.kind, rest) {
                (Kind::Bool, _) => self.given.push((flag, "true".to_owned())),
                (_, "") => self.pending = Some(flag),
                (_, value) => {
                    self.given.push((flag, value.trim_start_matches('=').to_owned()));
                    break;
                }
            }
        }
        Some(())
    }
}

/// Prints the proposals for a question.
pub async fn run(cli: &Cli, question: &Question) -> Result<i32, CliError> {
    let proposals = propose(cli, question).await;
    let mut text = String::new();
    for (value, description) in &proposals.entries {
        let description = description.lines().next().filter(|d| question.described && !d.is_empty());
        text.push_str(&description.map_or_else(|| format!("{value}\n"), |d| format!("{value}\t{d}\n")));
    }
    cli.out.print(format!("{text}:{}\n", proposals.directive.0))?;
    cli.err.println(format!("Completion ended with directive: {}", proposals.directive.names()))?;
    Ok(0)
}

/// The proposals for a question.
pub async fn propose(cli: &Cli, question: &Question) -> Proposals {
    let Some(place) = Place::after(&question.words) else {
        return Proposals { entries: Vec::new(), directive: Directive::FILES };
    };
    let part = question.part.as_str();
    if let Some(flag) = place.pending {
        return values::of_flag(cli, &place, flag, part).await;
    }
    if part.starts_with('-') && !place.plain {
        let Some((name, value)) = part.strip_prefix("--").and_then(|long| long.split_once('=')) else {
            return Proposals { entries: names_of_flags(&place, part), directive: Directive::NO_FILES };
        };
        return match place.flags().iter().find(|f| f.long == name) {
            Some(flag) => values::of_flag(cli, &place, flag, value).await,
            None => Proposals::none(),
        };
    }
    match place.command {
        Some(command) => values::of_arguments(cli, &place, command, part).await,
        None if place.lost => Proposals::none(),
        None => Proposals { entries: names_of_commands(cli, place.group, part), directive: Directive::NO_FILES },
    }
}

/// Flags that are not given yet, or may be given again.
fn names_of_flags(place: &Place, part: &str) -> Vec<(String, String)> {
    static HELP: Flag = Flag::bool("help", "Print usage");
    let mut flags: Vec<&Flag> = place.flags().iter().filter(|f| !f.hidden && f.unsupported.is_none()).collect();
    // As in help: where `-h` is another flag.
    flags.extend(flags.iter().any(|f| f.short == Some('h')).then_some(&HELP));
    flags.sort_by_key(|f| f.long);
    let again = |flag: &Flag| matches!(flag.kind, Kind::List | Kind::Commas);
    flags.retain(|f| again(f) || place.given.iter().all(|(given, _)| given.long != f.long));
    let names = flags.into_iter().flat_map(|flag| {
        let short = flag.short.map(|short| format!("-{short}"));
        [Some(format!("--{}", flag.long)), short].into_iter().flatten().map(|name| (name, flag.help.to_owned()))
    });
    names.filter(|(name, _)| name.starts_with(part)).collect()
}

/// Commands of a group, or all at the top with the plugins among them.
fn names_of_commands(cli: &Cli, group: Option<&str>, part: &str) -> Vec<(String, String)> {
    let commands = TABLE.iter().filter_map(|c| Some((c.name_in(group.unwrap_or(""))?, c.about)));
    let mut names: Vec<(String, String)> =
        commands.map(|(name, about)| (name.to_owned(), help::short_form(about).to_owned())).collect();
    if group.is_none() {
        let here = |(name, about): (&str, &str)| (name.to_owned(), about.to_owned());
        names.extend(GROUPS.iter().map(|g| here((g.name, g.about))));
        names.extend(cli.globals.local.iter().copied().map(here));
        names.push(here(("help", "Help about the command")));
        let usable = plugins::all(cli).into_iter().filter_map(|p| Some((p.name, p.metadata.ok()?.short_description)));
        names.extend(usable);
    }
    names.sort();
    names.retain(|(name, _)| name.starts_with(part));
    names
}
