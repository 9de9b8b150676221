//! Manual pages, made from the tables that feed parser and help: one for each command under each of its names.

use std::fmt::Write as _;

use crate::app::GLOBAL_FLAGS;
use crate::command::{Command, Group};
use crate::commands::{GROUPS, TABLE};
use crate::flags::Flag;
use crate::{PROGRAM, VERSION, help};

/// A page of section 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// What is typed, after the program's name; empty: the program itself.
    pub path: String,
    /// One line.
    pub about: String,
    /// What follows the name in the synopsis.
    pub usage: String,
    /// Options: how they are written, and what they do.
    pub options: Vec<(String, String)>,
    /// Commands below this one, with a line each.
    pub commands: Vec<(String, String)>,
    /// Further sections: heading, and terms with their meaning.
    pub sections: Vec<(&'static str, Vec<(String, String)>)>,
    /// Other names of the same command.
    pub aliases: Vec<String>,
}

/// Variables that every command heeds.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("TARE_HOST, DOCKER_HOST", "Address of the daemon; Tare's own is started where none is named and none runs"),
    ("DOCKER_CONTEXT", "Name of the context to use; DOCKER_HOST wins over it"),
    ("DOCKER_CONFIG", "Directory of the client's configuration instead of ~/.docker"),
    ("DOCKER_API_VERSION", "Version of the API to speak instead of the newest that both sides know"),
    ("DOCKER_DEFAULT_PLATFORM", "Platform of images where --platform does not name one"),
];

/// Files of the engine.
const FILES: &[(&str, &str)] = &[
    ("/run/tare.sock", "The daemon's socket"),
    ("/etc/tare/daemon.json", "The daemon's settings"),
    ("/var/lib/tare", "Images, containers, volumes"),
    ("~/.docker/config.json", "Credentials and formats, shared with docker"),
];

/// All pages of the table of commands, the program's own first. `local`: commands that the program has besides ours.
pub fn pages(local: &[(&'static str, &'static str)]) -> Vec<Page> {
    let mut pages = vec![overall(local)];
    pages.extend(GROUPS.iter().map(group));
    pages.extend(TABLE.iter().filter_map(|command| leaf(command)));
    pages
}

fn rows(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(term, text)| ((*term).to_owned(), (*text).to_owned())).collect()
}

fn overall(local: &[(&'static str, &'static str)]) -> Page {
    let groups = GROUPS.iter().map(|group| (group.name, group.about));
    let top = TABLE.iter().filter_map(|command| Some((command.name_in("")?, command.about)));
    let mut commands: Vec<_> = groups.chain(top).chain(local.iter().copied()).collect();
    commands.sort_unstable();
    Page {
        about: "Containers, with docker's commands".to_owned(),
        usage: "[OPTIONS] COMMAND [ARG...]".to_owned(),
        options: options(GLOBAL_FLAGS),
        commands: rows(&commands),
        sections: vec![("ENVIRONMENT", rows(ENVIRONMENT)), ("FILES", rows(FILES))],
        ..Page::default()
    }
}

fn group(group: &Group) -> Page {
    let mut commands: Vec<_> =
        TABLE.iter().filter_map(|command| Some((command.name_in(group.name)?, command.about))).collect();
    commands.sort_unstable();
    Page {
        path: group.name.to_owned(),
        about: group.about.to_owned(),
        usage: "COMMAND".to_owned(),
        commands: rows(&commands),
        ..Page::default()
    }
}

fn leaf(command: &Command) -> Option<Page> {
    let (first, others) = command.names.split_first()?;
    Some(Page {
        path: (*first).to_owned(),
        about: command.about.to_owned(),
        usage: command.usage.to_owned(),
        options: options(command.flags),
        aliases: others.iter().map(|name| (*name).to_owned()).collect(),
        ..Page::default()
    })
}

fn options(flags: &[Flag]) -> Vec<(String, String)> {
    let mut visible: Vec<&Flag> = flags.iter().filter(|flag| !flag.hidden && flag.unsupported.is_none()).collect();
    visible.sort_by_key(|flag| flag.long);
    let rows = visible.into_iter().map(help::option_row);
    rows.map(|(left, right)| (left.trim_start().to_owned(), right)).collect()
}

impl Page {
    /// Names of files and what is in them: the page, and for each other name a file that leads to it.
    pub fn files(&self) -> Vec<(String, String)> {
        let own = file_name(&self.path);
        let aliases = self.aliases.iter().map(|alias| (file_name(alias), format!(".so man1/{own}\n")));
        std::iter::once((own.clone(), self.to_string())).chain(aliases).collect()
    }
}

/// `tare-container-ls.1`
fn file_name(path: &str) -> String {
    format!("{}.1", title(path))
}

fn title(path: &str) -> String {
    format!("{PROGRAM} {path}").trim_end().replace(' ', "-")
}

impl std::fmt::Display for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let title = title(&self.path);
        let about = help::short_form(&self.about).trim_end_matches('.');
        writeln!(f, ".TH {} 1 \"\" \"Tare {VERSION}\" \"Tare manual\"", title.to_uppercase())?;
        writeln!(f, ".SH NAME\n{} \\- {}", roff(&title), roff(about))?;
        f.write_str(".SH SYNOPSIS\n")?;
        for path in std::iter::once(&self.path).chain(&self.aliases) {
            let typed = format!("{PROGRAM} {path}");
            writeln!(f, ".B {}\n{}\n.br", roff(typed.trim_end()), roff(&self.usage))?;
        }
        writeln!(f, ".SH DESCRIPTION\n{}", roff(&self.about))?;
        let own = [("OPTIONS", &self.options), ("COMMANDS", &self.commands)];
        for (heading, rows) in own.into_iter().chain(self.sections.iter().map(|(heading, rows)| (*heading, rows))) {
            if rows.is_empty() {
                continue;
            }
            writeln!(f, ".SH {heading}")?;
            for (term, text) in rows {
                let text = text.split('\n').map(roff).collect::<Vec<_>>().join("\n.br\n");
                writeln!(f, ".TP\n.B {}\n{text}", roff(term))?;
            }
        }
        let parent = match (self.path.is_empty(), self.path.rsplit_once(' ')) {
            (true, _) => return Ok(()),
            (false, Some((group, _))) => self::title(group),
            (false, None) => PROGRAM.to_string(),
        };
        writeln!(f, ".SH SEE ALSO\n.BR {} (1)", roff(&parent))
    }
}

/// A line of text as roff reads it.
fn roff(text: &str) -> String {
    let mut line = String::with_capacity(text.len() + 8);
    if text.starts_with(['.', '\'']) {
        line.push_str("\\&");
    }
    for c in text.chars() {
        match c {
            '\\' => line.push_str("\\e"),
            '-' => line.push_str("\\-"),
            // Both are quotes of another kind in a typeset page.
            '\'' => line.push_str("\\(aq"),
            '`' => line.push_str("\\(ga"),
            '"' => line.push_str("\\(dq"),
            '\n' => line.push(' '),
            c if c.is_ascii() => line.push(c),
            c => {
                let _ = write!(line, "\\[u{:04X}]", u32::from(c));
            }
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_under_each_name() {
        let files: Vec<String> =
            pages(&[]).iter().flat_map(Page::files).map(|(name, _)| name.trim_end_matches(".1").to_owned()).collect();
        for name in TABLE.iter().flat_map(|command| command.names).chain(GROUPS.iter().map(|group| &group.name)) {
            let count = files.iter().filter(|file| **file == format!("tare-{}", name.replace(' ', "-"))).count();
            assert_eq!(count, 1, "{name}");
        }
        assert_eq!(files.iter().filter(|file| *file == "tare").count(), 1);
    }

    #[test]
    fn a_page() {
        let page = Page {
            path: "volume rm".to_owned(),
            about: "Remove one or more volumes. You can't remove one that is in use.".to_owned(),
            usage: "[OPTIONS] VOLUME".to_owned(),
            options: vec![("-f, --force".to_owned(), ".hard\nand \\fast".to_owned())],
            aliases: vec!["volume remove".to_owned()],
            ..Page::default()
        };
        let files = page.files();
        assert_eq!(files[1], ("tare-volume-remove.1".to_owned(), ".so man1/tare-volume-rm.1\n".to_owned()));
        insta::assert_snapshot!(files[0].1, @r#"
        .TH TARE-VOLUME-RM 1 "" "Tare 0.1.0" "Tare manual"
        .SH NAME
        tare\-volume\-rm \- Remove one or more volumes
        .SH SYNOPSIS
        .B tare volume rm
        [OPTIONS] VOLUME
        .br
        .B tare volume remove
        [OPTIONS] VOLUME
        .br
        .SH DESCRIPTION
        Remove one or more volumes. You can\(aqt remove one that is in use.
        .SH OPTIONS
        .TP
        .B \-f, \-\-force
        \&.hard
        .br
        and \efast
        .SH SEE ALSO
        .BR tare\-volume (1)
        "#);
    }
}
