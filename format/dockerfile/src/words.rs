//! Words of a line: blanks separate them, quotes hold them together.

use crate::expand::Expander;
use crate::lines::Heredoc;

/// The first word, the flags that follow it, and the rest.
pub(crate) fn split_command(line: &str, escape: char) -> (String, Vec<String>, String) {
    let line = line.trim();
    let Some((name, rest)) = line.split_once(is_blank) else { return (line.to_owned(), Vec::new(), String::new()) };
    let (flags, rest) = flags(rest, escape);
    (name.to_owned(), flags, rest.trim().to_owned())
}

fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// Words that begin with `--`, up to one that does not or to `--` alone.
fn flags(line: &str, escape: char) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = line.trim_start();
    while rest.starts_with("--") {
        let mut word = String::new();
        let mut quote = None;
        let mut chars = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, c)) = chars.next() {
            match quote {
                None if c.is_whitespace() => {
                    end = at;
                    break;
                }
                None if c == '\'' || c == '"' => quote = Some(c),
                Some(open) if c == open => quote = None,
                _ if c == escape => word.extend(chars.next().map(|(_, c)| c)),
                _ => word.push(c),
            }
        }
        rest = rest.get(end..).unwrap_or_default().trim_start();
        if word == "--" {
            break;
        }
        flags.push(word);
    }
    (flags, rest)
}

/// Splits at blanks outside quotes; quotes and escapes stay.
pub(crate) fn quoted_words(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match quote {
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ => {}
        }
        if c == escape && quote != Some('\'') {
            // One at the very end is nothing.
            let Some(next) = chars.next() else { break };
            word.extend([c, next]);
            continue;
        }
        word.push(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Splits at blanks.
pub(crate) fn plain_words(text: &str) -> Vec<String> {
    text.split(is_blank).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// `["a", "b"]`; `None` for anything that is not JSON. A list of other things than texts is an error.
pub(crate) fn json_list(text: &str) -> Result<Option<Vec<String>>, String> {
    if !text.trim_start().starts_with('[') {
        return Ok(None);
    }
    let Ok(list) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Ok(None) };
    let texts: Option<Vec<String>> = list.into_iter().map(|v| v.as_str().map(str::to_owned)).collect();
    texts.map(Some).ok_or_else(|| "when using JSON array syntax, arrays must be comprised of strings only".to_owned())
}

/// The here-documents that a line announces.
pub(crate) fn heredoc_words(line: &str) -> Result<Vec<Heredoc>, String> {
    let joined = join_marks(line);
    Ok(quoted_words(&joined, '\\').iter().filter_map(|word| heredoc(word)).collect())
}

/// `<< NAME` is the same as `<<NAME`.
fn join_marks(line: &str) -> String {
    let mut joined = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("<<") {
        let (before, after) = rest.split_at(at + 2);
        joined.push_str(before);
        let dash = after.starts_with('-');
        let after = if dash { after.get(1..).unwrap_or_default() } else { after };
        joined.push_str(if dash { "-" } else { "" });
        rest = after.trim_start_matches([' ', '\t']);
    }
    joined.push_str(rest);
    joined
}

/// `<<NAME`, `<<-NAME`, `3<<"NAME"`.
pub(crate) fn heredoc(word: &str) -> Option<Heredoc> {
    let word = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let (chomp, quoted) = match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    if quoted.is_empty() || quoted.contains('<') {
        return None;
    }
    let name = Expander::new::<&str>('\\', &[]).keep_unset().word(quoted).ok()?;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    if name.is_empty() || name.contains(char::is_whitespace) {
        return None;
    }
    Some(Heredoc { expand: quotes(&name) == quotes(quoted), name, chomp, content: String::new() })
}

/// A here-document's content without the tabs its lines begin with.
pub(crate) fn chomp(content: &str) -> String {
    content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
}
