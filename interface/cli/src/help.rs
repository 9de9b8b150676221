//! Help: usage lines, options in two columns, the lists of commands.

use crate::PROGRAM;
use crate::app::GLOBAL_FLAGS;
use crate::command::{Command, Group};
use crate::commands::{GROUPS, TABLE};
use crate::flags::{Flag, Kind};
use crate::plugins::Plugin;

/// Columns when the terminal does not say.
pub const DEFAULT_WIDTH: usize = 80;
/// Smallest width of the column of names of commands.
const NAME_COLUMN: usize = 11;
/// Columns below which text is not wrapped beside its flag but under it.
const NARROW: usize = 24;
/// How far a line may overshoot rather than leave an orphan word.
const SLOP: usize = 5;

static HELP: Flag = Flag::bool("help", "Print usage");

/// The usage line of a command called by `path`.
pub fn usage_line(command: &Command, path: &str) -> String {
    format!("{PROGRAM} {path} {}", command.usage).trim_end().to_owned()
}

/// The whole help of a command.
pub fn command_help(command: &Command, path: &str, width: usize) -> String {
    let mut text = format!("Usage:  {}\n\n{}\n", usage_line(command, path), command.about);
    if command.names.len() > 1 {
        let names: Vec<String> = command.names.iter().map(|n| format!("{PROGRAM} {n}")).collect();
        text.push_str(&format!("\nAliases:\n  {}\n", names.join(", ")));
    }
    let mut flags: Vec<&Flag> = command.flags.iter().collect();
    // Where `-h` is another flag, `--help` is worth a line.
    flags.extend(flags.iter().any(|f| f.short == Some('h')).then_some(&HELP));
    let options = options(flags, width);
    if !options.is_empty() {
        text.push_str(&format!("\nOptions:\n{options}"));
    }
    text
}

/// The help of a group.
pub fn group_help(group: &Group) -> String {
    let mut text = format!("Usage:  {PROGRAM} {} COMMAND\n\n{}\n\nCommands:\n", group.name, group.about);
    let mut commands: Vec<(&str, &str)> =
        TABLE.iter().filter_map(|c| Some((c.name_in(group.name)?, c.about))).collect();
    commands.sort_unstable();
    push_columns(&mut text, &commands);
    text.push_str(&format!("\nRun '{PROGRAM} {} COMMAND --help' for more information on a command.\n", group.name));
    text
}

/// The overall help. `local`: commands that the program has besides ours.
pub fn overall_help(local: &[(&'static str, &'static str)], plugins: &[Plugin], width: usize) -> String {
    let mut text = format!("Usage:  {PROGRAM} [OPTIONS] COMMAND\n\nA self-sufficient runtime for containers\n");
    let top = || TABLE.iter().filter_map(|c| Some((c, c.name_in("")?)));
    let mut common: Vec<_> = top().filter(|(c, _)| c.common > 0).collect();
    common.sort_by_key(|(c, _)| c.common);
    text.push_str("\nCommon Commands:\n");
    push_columns(&mut text, &common.iter().map(|(c, name)| (*name, c.about)).collect::<Vec<_>>());
    // Plugins have a star.
    let usable = plugins.iter().filter_map(|p| Some((format!("{}*", p.name), p.metadata.as_ref().ok()?)));
    let usable: Vec<_> = usable.collect();
    let mut groups: Vec<_> = GROUPS.iter().map(|g| (g.name, g.about)).collect();
    groups.extend(usable.iter().map(|(name, metadata)| (name.as_str(), metadata.short_description.as_str())));
    groups.sort_unstable();
    text.push_str("\nManagement Commands:\n");
    push_columns(&mut text, &groups);
    let mut others: Vec<_> = top().filter(|(c, _)| c.common == 0).map(|(c, name)| (name, c.about)).collect();
    others.extend_from_slice(local);
    others.sort_unstable();
    text.push_str("\nCommands:\n");
    push_columns(&mut text, &others);
    let invalid = plugins.iter().filter_map(|p| Some((p.name.as_str(), p.metadata.as_ref().err()?.as_str())));
    let invalid: Vec<_> = invalid.collect();
    if !invalid.is_empty() {
        text.push_str("\nInvalid Plugins:\n");
        push_columns(&mut text, &invalid);
    }
    text.push_str(&format!("\nGlobal Options:\n{}", options(GLOBAL_FLAGS.iter().collect(), width)));
    text.push_str(&format!("\nRun '{PROGRAM} COMMAND --help' for more information on a command.\n"));
    text
}

/// What lists of commands say of one: the first of several lines or sentences.
pub fn short_form(about: &str) -> &str {
    match about.split_once('\n').or_else(|| about.split_once(". ")) {
        Some((first, _)) => first.trim_end_matches('.'),
        None => about,
    }
}

fn push_columns(text: &mut String, rows: &[(&str, &str)]) {
    for (name, about) in rows {
        let about = short_form(about);
        text.push_str(&format!("  {name:NAME_COLUMN$} {about}\n"));
    }
}

/// The options of a table of flags, sorted, wrapped to `width` columns.
fn options(flags: Vec<&Flag>, width: usize) -> String {
    let mut visible: Vec<&Flag> = flags.into_iter().filter(|f| !f.hidden).collect();
    visible.sort_by_key(|f| f.long);
    let rows: Vec<(String, String)> = visible.into_iter().map(option_row).collect();
    let column = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (left, right) in rows {
        text.push_str(&format!("{left:column$}   {}\n", wrap(column + 3, width.saturating_sub(1), &right)));
    }
    text
}

pub(crate) fn option_row(flag: &Flag) -> (String, String) {
    let mut left = match flag.short {
        Some(short) => format!("  -{short}, --{}", flag.long),
        None => format!("      --{}", flag.long),
    };
    // A word in back quotes names the value.
    let mut help = flag.help.to_owned();
    let mut type_name = flag.type_name;
    if let Some((_, rest)) = flag.help.split_once('`')
        && let Some((name, _)) = rest.split_once('`')
    {
        type_name = name;
        help = flag.help.replacen('`', "", 2);
    }
    if !type_name.is_empty() {
        left.push_str(&format!(" {type_name}"));
    }
    // Only lists of plain texts are known to be empty, those of docker's own types are shown.
    let plain = flag.kind == Kind::Commas && flag.type_name == "strings";
    let zero = matches!(flag.default, "" | "0" | "0s" | "false" | "<nil>") || (plain && flag.default == "[]");
    match (zero, flag.kind) {
        (true, _) => {}
        (false, Kind::Text) if flag.type_name == "string" => help.push_str(&format!(" (default \"{}\")", flag.default)),
        (false, _) => help.push_str(&format!(" (default {})", flag.default)),
    }
    (left, help)
}

/// Wraps `text` to `width` columns, all lines but the first indented by `indent`.
fn wrap(indent: usize, width: usize, text: &str) -> String {
    let mut indent = indent;
    let mut out = String::new();
    let mut room = width.saturating_sub(indent);
    if room < NARROW {
        indent = 16;
        room = width.saturating_sub(indent);
        out.push('\n');
        out.push_str(&" ".repeat(indent));
    }
    if room < NARROW {
        return text.to_owned();
    }
    let room = room - SLOP;
    let margin = format!("\n{}", " ".repeat(indent));
    let (mut line, mut rest) = wrap_line(room, text);
    out.push_str(&line.replace('\n', &margin));
    while !rest.is_empty() {
        (line, rest) = wrap_line(room, rest);
        out.push_str(&margin);
        out.push_str(&line.replace('\n', &margin));
    }
    out
}

/// Splits `text` so that its first part has at most `room` bytes, if there is a space to split at.
fn wrap_line(room: usize, text: &str) -> (&str, &str) {
    if room + SLOP > text.len() {
        return (text, "");
    }
    let head = &text[..text.floor_char_boundary(room)];
    let Some(space) = head.rfind([' ', '\t', '\n']).filter(|i| *i > 0) else { return (text, "") };
    let split = head.rfind('\n').filter(|n| *n > 0 && *n < space).unwrap_or(space);
    (&text[..split], &text[split + 1..])
}
