//! As much of Rust's grammar as tidiness needs: what is code and what is comment or text, and where functions end.

/// The source with everything that is not code (comments, the insides of strings and characters) as spaces; lines stay
/// where they are.
pub fn code(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    let mut previous = ' ';
    while let Some(first) = rest.chars().next() {
        let length = token(rest, previous);
        let (token, after) = rest.split_at(length);
        if length == first.len_utf8() {
            code.push(first);
        } else {
            code.extend(token.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        previous = first;
        rest = after;
    }
    code
}

/// The length of the comment, string or character at the start; otherwise of one character of code.
fn token(rest: &str, previous: char) -> usize {
    let one = rest.chars().next().map_or(0, char::len_utf8);
    let until = |end: &str, from: usize| {
        let tail = rest.get(from..).unwrap_or_default();
        tail.find(end).map_or(rest.len(), |at| from + at + end.len())
    };
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return quoted(rest);
    }
    if rest.starts_with('\'') {
        return character(rest).unwrap_or(one);
    }
    // Raw strings: r"…", r#"…"#, br, cr. An identifier may end in r or be r#name.
    if !(previous.is_alphanumeric() || previous == '_') {
        let body = rest.trim_start_matches(['b', 'c']);
        let prefix = rest.len() - body.len();
        if let Some(body) = body.strip_prefix('r').filter(|_| prefix <= 1) {
            let hashes = body.len() - body.trim_start_matches('#').len();
            if body.get(hashes..).is_some_and(|body| body.starts_with('"')) {
                return until(&format!("\"{}", "#".repeat(hashes)), prefix + 1 + hashes + 1);
            }
        }
    }
    one
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A character literal; `None` for a lifetime or label.
fn character(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('\'')?;
    if let Some(escape) = body.strip_prefix('\\') {
        let first = escape.chars().next()?.len_utf8();
        let end = escape.get(first..)?.find('\'')?;
        return Some(1 + 1 + first + end + 1);
    }
    let length = body.chars().next()?.len_utf8();
    body.get(length..)?.starts_with('\'').then_some(1 + length + 1)
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of `fn`, from one.
    pub line: usize,
    /// Lines with code from there to the closing brace: comments, empty lines and the insides of long strings are free.
    pub length: usize,
}

/// All functions in code without comments and strings.
pub fn functions(code: &str) -> Vec<Function> {
    let mut functions = Vec::new();
    for (start, _) in words(code, "fn") {
        let after = code.get(start + 2..).unwrap_or_default();
        let name: String = after.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        // A type such as `fn(u8)` has no name, a declaration in a trait no body.
        if name.is_empty() {
            continue;
        }
        let Some(end) = body_end(after) else { continue };
        let line = code.get(..start).unwrap_or_default().matches('\n').count() + 1;
        let body = after.get(..end).unwrap_or_default();
        let length = body.lines().filter(|line| !line.trim().is_empty()).count();
        functions.push(Function { name, line, length });
    }
    functions
}

/// Where the body ends; `None` without one.
fn body_end(text: &str) -> Option<usize> {
    let mut brackets = 0_i32;
    let mut braces = 0_i32;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if brackets == 0 && braces == 0 => return None,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                // A brace within brackets belongs to a constant in the signature.
                if braces == 0 && brackets == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Occurrences of a word, with the line each is on.
pub fn words<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = (usize, usize)> + 'c {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).filter_map(move |(start, _)| {
        let (before, rest) = code.split_at(start);
        let after = rest.get(word.len()..).unwrap_or_default();
        let whole = !before.ends_with(is_part) && !after.starts_with(is_part);
        whole.then(|| (start, before.matches('\n').count() + 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_remains() {
        let source = "a // b\n/* c /* d */ e */ f \"g \\\" h\" r#\"i \" j\"# 'k' '\\'' &'l m br\"n\" r#fn \"{\n}\"";
        let expected = "a     \n                      f                              &'l m       r#fn   \n  ";
        let actual = code(source);
        assert_eq!(actual.split_whitespace().collect::<Vec<_>>(), expected.split_whitespace().collect::<Vec<_>>());
        assert_eq!(actual.matches('\n').count(), source.matches('\n').count());
        assert_eq!(actual.chars().count(), source.chars().count());
    }

    #[test]
    fn functions_are_measured() {
        let source = "trait T { fn declared(&self) -> [u8; 2]; fn given() {} }\n\
                      type F = fn(u8) -> u8;\n\
                      pub fn long<const N: usize>(\n    a: [u8; { 1 + 1 }],\n) -> u8 {\n    let f = || { 1 };\n    \"}\n \n\";\n\n    // x\n    f()\n}\n";
        let found: Vec<_> = functions(&code(source)).into_iter().map(|f| (f.name, f.line, f.length)).collect();
        assert_eq!(found, [("given".to_owned(), 1, 1), ("long".to_owned(), 3, 7)]);
    }

    #[test]
    fn words_are_whole() {
        let found: Vec<_> = words("unsafe_code\nunsafe {} not_unsafe", "unsafe").collect();
        assert_eq!(found, [(12, 2)]);
    }

    #[test]
    fn unfinished_source_ends() {
        for source in ["\"abc", "/* abc", "r#\"abc", "'", "'\\", "fn a(", "fn", "b", "br", "r#"] {
            functions(&code(source));
        }
    }
}
