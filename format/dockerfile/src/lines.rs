//! Lines: directives, comments, continuations, here-documents.

use crate::Error;
use crate::words::{heredoc_words, split_command};

/// Longest line, bytes; Docker's scanner has the same bound.
const MAX_LINE: usize = 64 * 1024 - 1;

/// A line with everything that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Where it begins, counted from 1.
    pub(crate) number: usize,
    /// Continuations joined.
    pub(crate) text: String,
    /// First word as written.
    pub(crate) name: String,
    /// `--name=value`, unquoted.
    pub(crate) flags: Vec<String>,
    /// What follows, trimmed.
    pub(crate) rest: String,
    pub(crate) heredocs: Vec<Heredoc>,
}

/// `<<NAME` with what follows the line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Heredoc {
    pub(crate) name: String,
    /// Variables in it are replaced (the name was not quoted).
    pub(crate) expand: bool,
    /// Leading tabs go (`<<-`).
    pub(crate) chomp: bool,
    pub(crate) content: String,
}

/// The lines of a text.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) escape: char,
    pub(crate) lines: Vec<Line>,
    pub(crate) warnings: Vec<String>,
}

/// Splits a text.
pub(crate) fn lines(text: &str) -> Result<Lines, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let raw: Vec<&str> = text.split_inclusive('\n').collect();
    if let Some(at) = raw.iter().position(|line| line.len() > MAX_LINE) {
        return Err(syntax(at + 1, format!("dockerfile line greater than max allowed size of {MAX_LINE}")));
    }
    let mut directives = Directives { escape: '\\', seen: Vec::new(), done: false };
    let mut found = Lines { escape: '\\', lines: Vec::new(), warnings: Vec::new() };
    let mut at = 0;
    while let Some(first) = raw.get(at) {
        at += 1;
        let number = at;
        let first = first.trim_end_matches(['\r', '\n']).trim_start();
        directives.read(first, number)?;
        if is_comment(first) || first.is_empty() {
            continue;
        }
        let (mut text, mut continues) = continuation(first, directives.escape);
        let mut empty_line = false;
        while continues && let Some(next) = raw.get(at) {
            at += 1;
            let next = next.trim_end_matches(['\r', '\n']);
            if is_comment(next) {
                continue;
            }
            if next.trim().is_empty() {
                empty_line = true;
                continue;
            }
            let (more, again) = continuation(next, directives.escape);
            text.push_str(&more);
            continues = again;
        }
        if text.trim().is_empty() {
            continue;
        }
        if empty_line {
            found.warnings.push(format!("Empty continuation line found in: {text}"));
        }
        let (name, flags, rest) = split_command(&text, directives.escape);
        let mut line = Line { number, text, name, flags, rest, heredocs: Vec::new() };
        if takes_heredocs(&line) {
            for mut heredoc in heredoc_words(&line.text).map_err(|message| syntax(number, message))? {
                at = read_heredoc(&mut heredoc, &raw, at).ok_or_else(|| syntax(number, "unterminated heredoc"))?;
                line.heredocs.push(heredoc);
            }
        }
        found.lines.push(line);
    }
    if found.lines.is_empty() {
        return Err(syntax(at, "file with no instructions"));
    }
    found.escape = directives.escape;
    Ok(found)
}

fn syntax(line: usize, message: impl Into<String>) -> Error {
    Error::Syntax { line, message: message.into() }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// A line without its continuation mark, and whether it had one. A mark after another mark does not continue.
fn continuation(line: &str, escape: char) -> (String, bool) {
    let trimmed = line.trim_end_matches([' ', '\t']);
    match trimmed.strip_suffix(escape) {
        Some(before) if !before.ends_with(escape) => (before.to_owned(), true),
        _ => (line.to_owned(), false),
    }
}

/// Reads a here-document's lines up to its name; says where it ends.
fn read_heredoc(heredoc: &mut Heredoc, raw: &[&str], mut at: usize) -> Option<usize> {
    while let Some(line) = raw.get(at) {
        at += 1;
        let end = line.trim_end_matches(['\r', '\n']);
        let end = if heredoc.chomp { end.trim_start_matches('\t') } else { end };
        if end == heredoc.name {
            return Some(at);
        }
        heredoc.content.push_str(line);
    }
    None
}

/// `ADD`, `COPY` and `RUN` take here-documents, unless they are written as JSON; `ONBUILD` passes them on.
fn takes_heredocs(line: &Line) -> bool {
    let (mut name, mut rest) = (line.name.as_str(), line.rest.as_str());
    if name.eq_ignore_ascii_case("onbuild") {
        (name, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    }
    let json = rest.trim_start().starts_with('[') && crate::words::json_list(rest).is_ok_and(|list| list.is_some());
    ["add", "copy", "run"].iter().any(|known| name.eq_ignore_ascii_case(known)) && !json && line.text.contains("<<")
}

/// `# escape=` and others, which come before anything else.
struct Directives {
    escape: char,
    seen: Vec<String>,
    done: bool,
}

impl Directives {
    fn read(&mut self, line: &str, number: usize) -> Result<(), Error> {
        if self.done {
            return Ok(());
        }
        let directive = line.strip_prefix('#').and_then(|comment| comment.split_once('='));
        let Some((name, value)) = directive.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()))
        else {
            self.done = true;
            return Ok(());
        };
        if !["syntax", "escape", "check"].contains(&name.as_str()) || value.is_empty() {
            self.done = true;
            return Ok(());
        }
        if self.seen.contains(&name) {
            return Err(syntax(number, format!("only one {name} parser directive can be used")));
        }
        if name == "escape" {
            self.escape = match value {
                "\\" => '\\',
                "`" => '`',
                other => {
                    return Err(syntax(number, format!("invalid escape token '{other}' does not match ` or \\")));
                }
            };
        }
        self.seen.push(name);
        Ok(())
    }
}
