//! Patterns of `${NAME#pattern}`: `*` is any text, `?` any character, a backslash takes either literally.

/// Longest value and pattern, characters: replacing takes the product of the pattern and the value's square.
const MAX_VALUE: usize = 1024;
const MAX_PATTERN: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Char(char),
    Any,
    Star,
}

/// A pattern that can be compared.
#[derive(Debug)]
pub(crate) struct Pattern(Vec<Token>);

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Pattern, String> {
        let bad = |why: String| format!("invalid pattern ({text}) in substitution: {why}");
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Star,
                '?' => Token::Any,
                // These are escaped for `${…}`, not for the pattern.
                '\\' if matches!(chars.peek(), Some('}' | '/')) => continue,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\')) => Token::Char(c),
                    other => return Err(bad(format!("invalid escape '\\{}'", other.unwrap_or('\\')))),
                },
                c => Token::Char(c),
            });
        }
        if tokens.len() > MAX_PATTERN {
            return Err(bad("too long".to_owned()));
        }
        Ok(Pattern(tokens))
    }

    /// The value without a beginning that matches.
    pub(crate) fn trim_start(&self, value: &str, longest: bool) -> Result<String, String> {
        let chars = bounded(value)?;
        let ends = matches(&self.0, &chars);
        let mut fitting = ends.iter().enumerate().filter(|(_, fits)| **fits).map(|(end, _)| end);
        let end = if longest { fitting.next_back() } else { fitting.next() };
        Ok(chars.iter().skip(end.unwrap_or(0)).collect())
    }

    /// The value without an end that matches.
    pub(crate) fn trim_end(&self, value: &str, longest: bool) -> Result<String, String> {
        let backwards = Pattern(self.0.iter().rev().copied().collect());
        let reversed: String = value.chars().rev().collect();
        Ok(backwards.trim_start(&reversed, longest)?.chars().rev().collect())
    }

    /// The value with the first match, or all, replaced; each match as long as can be.
    pub(crate) fn replace(&self, value: &str, by: &str, all: bool) -> Result<String, String> {
        let chars = bounded(value)?;
        let mut out = String::new();
        let mut rest = chars.as_slice();
        let mut replaced = false;
        while !rest.is_empty() && (all || !replaced) {
            let end = matches(&self.0, rest).iter().rposition(|fits| *fits).filter(|end| *end > 0);
            match end {
                Some(end) => {
                    out.push_str(by);
                    rest = rest.get(end..).unwrap_or_default();
                    replaced = true;
                }
                None => {
                    out.extend(rest.first());
                    rest = rest.get(1..).unwrap_or_default();
                }
            }
        }
        out.extend(rest);
        Ok(out)
    }
}

fn bounded(value: &str) -> Result<Vec<char>, String> {
    let chars: Vec<char> = value.chars().take(MAX_VALUE + 1).collect();
    if chars.len() > MAX_VALUE { Err("value too long for a pattern in substitution".to_owned()) } else { Ok(chars) }
}

/// For each length, whether a beginning of that length matches.
fn matches(pattern: &[Token], value: &[char]) -> Vec<bool> {
    let mut fits = vec![false; value.len() + 1];
    if let Some(first) = fits.first_mut() {
        *first = true;
    }
    for token in pattern {
        let mut next = vec![false; value.len() + 1];
        let mut before = false;
        for (at, slot) in next.iter_mut().enumerate() {
            let here = fits.get(at).copied().unwrap_or_default();
            let last = at.checked_sub(1);
            let came = last.and_then(|last| fits.get(last).copied()).unwrap_or_default();
            let c = last.and_then(|last| value.get(last));
            *slot = match token {
                Token::Star => here || before,
                Token::Any => came,
                Token::Char(wanted) => came && c == Some(wanted),
            };
            before = *slot;
        }
        fits = next;
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_cut_and_middles_replaced() {
        let pattern = |text: &str| Pattern::parse(text).unwrap();
        assert_eq!(pattern("*a").trim_start("bananas", false).unwrap(), "nanas");
        assert_eq!(pattern("*a").trim_start("bananas", true).unwrap(), "s");
        assert_eq!(pattern("a*").trim_end("bananas", false).unwrap(), "banan");
        assert_eq!(pattern("a*").trim_end("bananas", true).unwrap(), "b");
        assert_eq!(pattern("x").trim_end("bananas", true).unwrap(), "bananas");
        assert_eq!(pattern("an").replace("bananas", "-", false).unwrap(), "b-anas");
        assert_eq!(pattern("an").replace("bananas", "-", true).unwrap(), "b--as");
        assert_eq!(Pattern::parse("\\x").unwrap_err(), "invalid pattern (\\x) in substitution: invalid escape '\\x'");
    }
}
