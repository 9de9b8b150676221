//! Reading a command line: flags and arguments, with Docker's texts for what is wrong.

use super::{Flag, Kind, Values};
use crate::values;

/// Why a command line cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlagError {
    /// It is wrong.
    Bad(String),
    /// It is right, but not for us.
    Unsupported(String),
}

/// `name` is the flag's, with its dashes.
pub(super) fn invalid(value: &str, name: &str, why: &str) -> FlagError {
    FlagError::Bad(format!("invalid argument {} for {} flag: {why}", values::quote(value), values::quote(name)))
}

/// How help was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Help {
    /// `--help`
    Long,
    /// `-h`, which is deprecated.
    Short,
}

impl Help {
    /// What is said about the way it was asked for.
    pub fn notice(self) -> &'static str {
        match self {
            Help::Long => "",
            Help::Short => "Flag shorthand -h has been deprecated, use --help\n",
        }
    }
}

/// Result of [`parse`].
pub struct Parsed {
    /// Flags.
    pub values: Values,
    /// Other arguments.
    pub args: Vec<String>,
    /// Number of arguments before `--`, when it came.
    pub dash: Option<usize>,
    /// Every command has this flag.
    pub help: Option<Help>,
}

/// Reads flags and arguments. Without `interspersed` everything from the first argument on is an argument.
pub fn parse(flags: &'static [Flag], input: Vec<String>, interspersed: bool) -> Result<Parsed, FlagError> {
    let mut parsed = Parsed { values: Values::new(flags), args: Vec::new(), dash: None, help: None };
    let mut input = input.into_iter();
    while let Some(arg) = input.next() {
        if arg == "--" {
            parsed.dash = Some(parsed.args.len());
            parsed.args.extend(input);
            break;
        } else if let Some(long) = arg.strip_prefix("--") {
            parse_long(&mut parsed, &arg, long, &mut input)?;
        } else if arg.len() > 1 && arg.starts_with('-') {
            parse_short(&mut parsed, &arg[1..], &mut input)?;
        } else {
            parsed.args.push(arg);
            if !interspersed {
                parsed.args.extend(input);
                break;
            }
        }
    }
    Ok(parsed)
}

fn parse_long(
    parsed: &mut Parsed,
    arg: &str,
    long: &str,
    rest: &mut impl Iterator<Item = String>,
) -> Result<(), FlagError> {
    let values = &mut parsed.values;
    let (name, value) = match long.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long, None),
    };
    if name.is_empty() || name.starts_with('-') {
        return Err(FlagError::Bad(format!("bad flag syntax: {arg}")));
    }
    let Some(i) = values.flags.iter().position(|f| f.long == name) else {
        if name != "help" {
            return Err(FlagError::Bad(format!("unknown flag: --{name}")));
        }
        let value = value.unwrap_or("true");
        let wanted = values::parse_bool(value).map_err(|why| invalid(value, "--help", &why))?;
        parsed.help = wanted.then_some(Help::Long);
        return Ok(());
    };
    let value = match value {
        Some(value) => value.to_owned(),
        None if values.flags[i].kind == Kind::Bool => "true".to_owned(),
        None => rest.next().ok_or_else(|| FlagError::Bad(format!("flag needs an argument: --{name}")))?,
    };
    values.set(i, value)
}

fn parse_short(parsed: &mut Parsed, shorts: &str, rest: &mut impl Iterator<Item = String>) -> Result<(), FlagError> {
    let values = &mut parsed.values;
    let mut left = shorts;
    while let Some(short) = left.chars().next() {
        let after = &left[short.len_utf8()..];
        let Some(i) = values.flags.iter().position(|f| f.short == Some(short)) else {
            if short == 'h' {
                parsed.help = Some(Help::Short);
                left = after;
                continue;
            }
            return Err(FlagError::Bad(format!("unknown shorthand flag: {} in -{left}", values::quote_char(short))));
        };
        // A lone `=` is the value.
        let explicit = after.strip_prefix('=').filter(|v| !v.is_empty());
        let value = if let Some(value) = explicit {
            value.to_owned()
        } else if values.flags[i].kind == Kind::Bool {
            values.set(i, "true".to_owned())?;
            left = after;
            continue;
        } else if !after.is_empty() {
            after.to_owned()
        } else {
            let message = || format!("flag needs an argument: {} in -{left}", values::quote_char(short));
            rest.next().ok_or_else(|| FlagError::Bad(message()))?
        };
        return values.set(i, value);
    }
    Ok(())
}
