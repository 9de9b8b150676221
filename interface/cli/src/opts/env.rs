//! Variables and labels: `-e NAME[=value]`, `--env-file`, `--label-file`, and maps made of `key=value`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use tare_docker_api::Map;

use super::surroundings::path_error;
use super::{Invalid, Parsed, invalid};

/// Longest file of variables or labels that is read, in bytes; an argument list this long could not be executed.
const MAX_FILE: u64 = 8 << 20;
/// Longest line of such a file, in bytes: Go's scanner gives up beyond it.
const MAX_LINE: usize = 64 << 10;

/// Looks up a variable of the client's environment.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Checks `-e`: the name must not be empty.
pub fn check(value: &str) -> Parsed<()> {
    if value.is_empty() || value.starts_with('=') {
        return invalid(format_args!("invalid environment variable: {value}"));
    }
    Ok(())
}

/// The variables of `-e` flags. One without `=` takes its value from the client; where there is none, the bare name
/// removes the image's variable. The last of several values of a name counts, at the place of the first.
pub fn variables(values: &[String], lookup: Lookup<'_>) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(values.len());
    for value in values {
        let value = completed(value, lookup);
        match out.iter_mut().find(|other| self::name(other) == self::name(&value)) {
            Some(slot) => *slot = value,
            None => out.push(value),
        }
    }
    out
}

/// `NAME=value` as it is, `NAME` with the client's value if there is one.
pub fn completed(value: &str, lookup: Lookup<'_>) -> String {
    match lookup(name(value)) {
        Some(found) if !value.contains('=') => format!("{value}={found}"),
        _ => value.to_owned(),
    }
}

/// The part before `=`.
pub fn name(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

/// Reads files of `KEY[=value]` lines. With a `lookup`, a key alone takes its value from there or is left out;
/// without one it is left out always.
pub fn files(paths: &[String], lookup: Option<Lookup<'_>>) -> Parsed<Vec<String>> {
    let mut out = Vec::new();
    for path in paths {
        let mut bytes = Vec::new();
        let read = File::open(path).map_err(|e| Invalid(path_error("open", path, &e)));
        let read = read?.take(MAX_FILE + 1).read_to_end(&mut bytes);
        read.map_err(|e| Invalid(format!("invalid env file ({path}): {}", path_error("read", path, &e))))?;
        if bytes.len() as u64 > MAX_FILE {
            return invalid(format_args!("invalid env file ({path}): file is too large"));
        }
        lines(&bytes, lookup, &mut out)
            .or_else(|error| invalid(format_args!("invalid env file ({}): {error}", Path::new(path).display())))?;
    }
    Ok(out)
}

fn lines(bytes: &[u8], lookup: Option<Lookup<'_>>, out: &mut Vec<String>) -> Parsed<()> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (at, line) in bytes.split(|b| *b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() >= MAX_LINE {
            return invalid("bufio.Scanner: token too long");
        }
        let Ok(line) = std::str::from_utf8(line) else {
            return invalid(format_args!("invalid utf8 bytes at line {}: {}", at + 1, decimal(line)));
        };
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = name(line);
        if key.is_empty() {
            return invalid(format_args!("no variable name on line '{line}'"));
        }
        if key.contains([' ', '\t']) {
            return invalid(format_args!("variable '{key}' contains whitespaces"));
        }
        if line.contains('=') {
            out.push(line.to_owned());
        } else if let Some(value) = lookup.and_then(|lookup| lookup(line)) {
            out.push(format!("{key}={value}"));
        }
    }
    Ok(())
}

/// Bytes as Go prints a slice of them.
fn decimal(bytes: &[u8]) -> String {
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    format!("[{}]", numbers.join(" "))
}

/// `["key=value"]` as a map; a key alone has the empty value, the last of several counts.
pub fn to_map<S: AsRef<str>>(pairs: &[S]) -> Map<String> {
    let split = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key.to_owned(), value.to_owned())
    };
    pairs.iter().map(|pair| split(pair.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    fn of(values: &[&str]) -> Vec<String> {
        let values: Vec<String> = values.iter().map(ToString::to_string).collect();
        variables(&values, &home)
    }

    fn file(content: &[u8], lookup: Option<Lookup<'_>>) -> Result<Vec<String>, String> {
        let mut out = Vec::new();
        lines(content, lookup, &mut out).map(|()| out).map_err(|e| e.0)
    }

    #[test]
    fn variables_from_flags() {
        assert_eq!(of(&["A=1", "B=", "HOME", "UNSET"]), ["A=1", "B=", "HOME=/root", "UNSET"]);
        assert_eq!(of(&["A=1", "B=2", "A=3"]), ["A=3", "B=2"]);
        assert_eq!(check("A"), Ok(()));
        assert_eq!(check("=x").unwrap_err().0, "invalid environment variable: =x");
        assert_eq!(check("").unwrap_err().0, "invalid environment variable: ");
    }

    #[test]
    fn variables_from_files() {
        let content = b"\xef\xbb\xbfA=1\n# comment\n\n  B= x \r\nHOME\nUNSET\nC=\"q\"=z\n";
        assert_eq!(file(content, Some(&home)).unwrap(), ["A=1", "B= x ", "HOME=/root", "C=\"q\"=z"]);
        assert_eq!(file(b"A\nB=1", None).unwrap(), ["B=1"]);
        assert_eq!(file(b"=x", None).unwrap_err(), "no variable name on line '=x'");
        assert_eq!(file(b"a b=x", None).unwrap_err(), "variable 'a b' contains whitespaces");
        assert_eq!(file(b"ok=1\nx=\xff", None).unwrap_err(), "invalid utf8 bytes at line 2: [120 61 255]");
        let missing = files(&["/does/not/exist".into()], None).unwrap_err().0;
        assert_eq!(missing, "open /does/not/exist: no such file or directory");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(content: Vec<u8>) {
            let _ = file(&content, Some(&home));
        }
    }
}
