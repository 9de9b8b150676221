//! Variables in words: `$NAME`, `${NAME}` and the shell's modifiers, with the shell's quotes.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;

use crate::pattern::Pattern;

/// Deepest `${a:-${b:-…}}`.
const MAX_DEPTH: usize = 64;

/// Replaces variables by values.
#[derive(Debug, Clone)]
pub struct Expander {
    escape: char,
    values: HashMap<String, String>,
    keep_unset: bool,
}

impl Expander {
    /// With variables as `NAME=value`; of several with one name the last counts.
    pub fn new<S: AsRef<str>>(escape: char, variables: &[S]) -> Expander {
        let pair = |variable: &str| match variable.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (variable.to_owned(), String::new()),
        };
        Expander { escape, values: variables.iter().map(|v| pair(v.as_ref())).collect(), keep_unset: false }
    }

    /// Leaves variables without a value as they are.
    #[must_use]
    pub fn keep_unset(mut self) -> Expander {
        self.keep_unset = true;
        self
    }

    /// A word with quotes taken away and variables replaced.
    pub fn word(&self, text: &str) -> Result<String, String> {
        Ok(self.process(text)?.0)
    }

    /// The same, split at blanks that no quotes hold together: values may bring several words.
    pub fn words(&self, text: &str) -> Result<Vec<String>, String> {
        Ok(self.process(text)?.1)
    }

    /// A here-document: variables replaced, quotes left.
    pub fn document(&self, text: &str) -> Result<String, String> {
        let mut scan = Scan { expander: self, chars: text.chars().peekable(), depth: 0 };
        let mut out = String::new();
        while let Some(&c) = scan.chars.peek() {
            if c == '$' {
                out.push_str(&scan.dollar().map_err(failed(text))?);
                continue;
            }
            scan.chars.next();
            match scan.chars.peek() {
                Some(&next) if c == self.escape && (next == '$' || next == self.escape) => {
                    out.push(next);
                    scan.chars.next();
                }
                _ => out.push(c),
            }
        }
        Ok(out)
    }

    fn process(&self, text: &str) -> Result<(String, Vec<String>), String> {
        let mut scan = Scan { expander: self, chars: text.chars().peekable(), depth: 0 };
        scan.until(None, false).map_err(failed(text))
    }
}

fn failed(text: &str) -> impl Fn(String) -> String {
    move |why| format!("failed to process {text:?}: {why}")
}

struct Scan<'a> {
    expander: &'a Expander,
    chars: Peekable<Chars<'a>>,
    depth: usize,
}

/// Words as they grow.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    fn plain(&mut self, c: char) {
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

impl Scan<'_> {
    /// Up to a character, or the end; with `raw` escapes stay.
    fn until(&mut self, stop: Option<char>, raw: bool) -> Result<(String, Vec<String>), String> {
        let mut out = String::new();
        let mut words = Words::default();
        while let Some(&c) = self.chars.peek() {
            if Some(c) == stop {
                self.chars.next();
                return Ok((out, words.finish()));
            }
            match c {
                '\'' | '"' => {
                    let quoted = if c == '"' { self.double_quoted(raw)? } else { self.single_quoted()? };
                    words.word.push_str(&quoted);
                    out.push_str(&quoted);
                }
                '$' => {
                    let value = self.dollar()?;
                    value.chars().for_each(|c| words.plain(c));
                    out.push_str(&value);
                }
                c if c == self.expander.escape => {
                    self.chars.next();
                    if raw {
                        out.push(c);
                        words.word.push(c);
                    }
                    let Some(next) = self.chars.next() else { break };
                    out.push(next);
                    words.word.push(next);
                }
                c => {
                    self.chars.next();
                    words.plain(c);
                    out.push(c);
                }
            }
        }
        match stop {
            Some(stop) => Err(format!("unexpected end of statement while looking for matching {stop}")),
            None => Ok((out, words.finish())),
        }
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        self.chars.next();
        let mut out = String::new();
        for c in self.chars.by_ref() {
            if c == '\'' {
                return Ok(out);
            }
            out.push(c);
        }
        Err("unexpected end of statement while looking for matching single-quote".to_owned())
    }

    fn double_quoted(&mut self, raw: bool) -> Result<String, String> {
        self.chars.next();
        let escape = self.expander.escape;
        let mut out = String::new();
        while let Some(&c) = self.chars.peek() {
            match c {
                '"' => {
                    self.chars.next();
                    return Ok(out);
                }
                '$' => out.push_str(&self.dollar()?),
                c if c == escape => {
                    self.chars.next();
                    if raw {
                        out.push(c);
                    }
                    match self.chars.peek() {
                        Some(&next) if next == '"' || next == '$' || next == escape => {
                            self.chars.next();
                            out.push(next);
                        }
                        Some(_) if !raw => out.push(c),
                        _ => {}
                    }
                }
                c => {
                    self.chars.next();
                    out.push(c);
                }
            }
        }
        Err("unexpected end of statement while looking for matching double-quote".to_owned())
    }

    /// What begins with a dollar.
    fn dollar(&mut self) -> Result<String, String> {
        self.chars.next();
        if self.chars.peek() != Some(&'{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.expander.values.get(&name) {
                Some(value) => value.clone(),
                None if self.expander.keep_unset => format!("${name}"),
                None => String::new(),
            });
        }
        self.chars.next();
        match self.chars.peek() {
            None => return Err("syntax error: missing '}'".to_owned()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_owned()),
            Some(_) => {}
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("syntax error: bad substitution".to_owned());
        }
        let name = self.name();
        let value = self.braced(&name);
        self.depth -= 1;
        value
    }

    /// The rest of `${NAME…}`.
    fn braced(&mut self, name: &str) -> Result<String, String> {
        let values = &self.expander.values;
        let value = values.get(name).cloned();
        let keep = self.expander.keep_unset && value.is_none();
        let modifier = self.chars.next().ok_or("syntax error: missing '}'")?;
        let (modifier, colon) = match modifier {
            '}' if keep => return Ok(format!("${{{name}}}")),
            '}' => return Ok(value.unwrap_or_default()),
            ':' => (self.chars.next().ok_or("syntax error: missing '}'")?, true),
            other => (other, false),
        };
        let shown = if colon { format!(":{modifier}") } else { modifier.to_string() };
        if modifier == '/' && !colon {
            return self.replaced(name, value.as_deref());
        }
        let cuts = matches!(modifier, '#' | '%');
        if !matches!(modifier, '+' | '-' | '?' | '#' | '%') || (colon && cuts) {
            return Err(format!("unsupported modifier ({shown}) in substitution"));
        }
        let word = self.until(Some('}'), cuts).map_err(|why| self.at_end(why, "missing '}'"))?.0;
        if keep {
            return Ok(format!("${{{name}{shown}{word}}}"));
        }
        let usable = value.as_ref().is_some_and(|value| !colon || !value.is_empty());
        let value = value.unwrap_or_default();
        match modifier {
            '-' => Ok(if usable { value } else { word }),
            '+' => Ok(if usable { word } else { String::new() }),
            '?' if usable => Ok(value),
            '?' if !word.is_empty() => Err(format!("{name}: {word}")),
            '?' if values.contains_key(name) => Err(format!("{name}: is not allowed to be empty")),
            '?' => Err(format!("{name}: is not allowed to be unset")),
            cut => {
                let (longest, pattern) = match word.strip_prefix(cut) {
                    Some(rest) => (true, rest),
                    None => (false, word.as_str()),
                };
                let pattern = Pattern::parse(pattern)?;
                if cut == '#' { pattern.trim_start(&value, longest) } else { pattern.trim_end(&value, longest) }
            }
        }
    }

    /// The rest of `${NAME/pattern/replacement}`.
    fn replaced(&mut self, name: &str, value: Option<&str>) -> Result<String, String> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let pattern = self.until(Some('/'), true).map_err(|why| self.at_end(why, "missing '/' in ${}"))?.0;
        let by = self.until(Some('}'), true).map_err(|why| self.at_end(why, "missing '}'"))?.0;
        let pattern_of = Pattern::parse(&pattern)?;
        match value {
            None if self.expander.keep_unset => Ok(format!("${{{name}/{pattern}/{by}}}")),
            value => pattern_of.replace(value.unwrap_or_default(), &by, all),
        }
    }

    fn at_end(&mut self, why: String, missing: &str) -> String {
        if self.chars.peek().is_none() { format!("syntax error: {missing}") } else { why }
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.chars.peek() {
            Some(c) if c.is_numeric() => {
                while let Some(c) = self.chars.next_if(|c| c.is_numeric()) {
                    name.push(c);
                }
                return name;
            }
            Some(&c @ ('@' | '*' | '#' | '?' | '-' | '$' | '!')) => {
                self.chars.next();
                return c.to_string();
            }
            _ => {}
        }
        while let Some(c) = self.chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
            name.push(c);
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> Result<String, String> {
        Expander::new('\\', &["A=one", "E=", "P=/usr/lib/x.tar.gz"]).word(text)
    }

    #[test]
    fn variables_and_modifiers() {
        for (text, value) in [
            ("$A-${A}", "one-one"),
            ("'$A' \"$A\" \\$A", "$A one $A"),
            ("${N:-x} ${E:-x} ${E-x} ${N-x}", "x x  x"),
            ("${A:+y} ${E:+y} ${E+y} ${N+y}", "y  y "),
            ("${N:-${A}s}", "ones"),
            ("${P##*/} ${P%.*} ${P%%.*} ${P#/usr}", "x.tar.gz /usr/lib/x.tar /usr/lib/x /lib/x.tar.gz"),
            ("${A/o/0} ${P//\\//_}", "0ne _usr_lib_x.tar.gz"),
            ("$", "$"),
            ("a\\\\b", "a\\b"),
        ] {
            assert_eq!(expand(text).as_deref(), Ok(value), "{text}");
        }
    }

    #[test]
    fn mistakes_have_dockers_words() {
        for (text, why) in [
            ("${", "syntax error: missing '}'"),
            ("${}", "syntax error: bad substitution"),
            ("${A", "syntax error: missing '}'"),
            ("${A:-x", "syntax error: missing '}'"),
            ("${A^x}", "unsupported modifier (^) in substitution"),
            ("${N?}", "N: is not allowed to be unset"),
            ("${E:?}", "E: is not allowed to be empty"),
            ("${N:?give it}", "N: give it"),
            ("'x", "unexpected end of statement while looking for matching single-quote"),
        ] {
            assert_eq!(expand(text), Err(format!("failed to process {text:?}: {why}")), "{text}");
        }
    }

    #[test]
    fn values_bring_several_words() {
        let ports = Expander::new('\\', &["P=80 443"]);
        assert_eq!(ports.words("$P '1 2'").unwrap(), ["80", "443", "1 2"]);
    }
}
