//! Shell patterns of Go's `path.Match`, which Docker uses in `--filter reference=`.

/// A pattern with an unclosed class, an empty class or a trailing backslash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// Whether the whole of `name` matches `pattern`: `*` and `?` stop at `/`; `[a-z]`, `[^a]` and `\x` are known.
///
/// Runs in O(pattern × name): a `*` is retried only from the last one, as none can cross a `/` another could not.
pub fn path_match(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    check(&pattern)?;
    let (mut p, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if p == pattern.len() && n == name.len() {
            return Ok(true);
        }
        if pattern.get(p) == Some(&'*') {
            retry = Some((p, n));
            p += 1;
            continue;
        }
        if let (Some(&c), true) = (name.get(n), p < pattern.len())
            && let Some(next) = match_one(&pattern, p, c)?
        {
            (p, n) = (next, n + 1);
            continue;
        }
        match retry {
            Some((star, from)) if name.get(from).is_some_and(|&c| c != '/') => {
                retry = Some((star, from + 1));
                (p, n) = (star + 1, from + 1);
            }
            _ => return Ok(false),
        }
    }
}

fn check(pattern: &[char]) -> Result<(), BadPattern> {
    let mut p = 0;
    while let Some(&c) = pattern.get(p) {
        p = if c == '*' { p + 1 } else { item(pattern, p, '\0')?.1 };
    }
    Ok(())
}

/// The index after the item at `p` if it matches `c`.
fn match_one(pattern: &[char], p: usize, c: char) -> Result<Option<usize>, BadPattern> {
    item(pattern, p, c).map(|(matched, next)| matched.then_some(next))
}

/// Whether the item at `p` (a literal, `?`, `\x` or a class) matches `c`, and where the next one starts.
fn item(pattern: &[char], p: usize, c: char) -> Result<(bool, usize), BadPattern> {
    match pattern.get(p) {
        Some('?') => Ok((c != '/', p + 1)),
        Some('\\') => pattern.get(p + 1).map(|&x| (x == c, p + 2)).ok_or(BadPattern),
        Some('[') => class(pattern, p + 1, c),
        Some(&x) => Ok((x == c, p + 1)),
        None => Err(BadPattern),
    }
}

fn class(pattern: &[char], mut p: usize, c: char) -> Result<(bool, usize), BadPattern> {
    let negated = pattern.get(p) == Some(&'^');
    p += usize::from(negated);
    let (mut matched, mut ranges) = (false, 0);
    loop {
        if pattern.get(p) == Some(&']') && ranges > 0 {
            return Ok((matched != negated, p + 1));
        }
        let (low, next) = class_char(pattern, p)?;
        p = next;
        let mut high = low;
        if pattern.get(p) == Some(&'-') {
            (high, p) = class_char(pattern, p + 1)?;
        }
        matched |= (low..=high).contains(&c);
        ranges += 1;
    }
}

fn class_char(pattern: &[char], p: usize) -> Result<(char, usize), BadPattern> {
    match pattern.get(p) {
        None | Some('-' | ']') => Err(BadPattern),
        Some('\\') => pattern.get(p + 1).map(|&x| (x, p + 2)).ok_or(BadPattern),
        Some(&x) => Ok((x, p + 1)),
    }
}
