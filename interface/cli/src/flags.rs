//! Flags as values, and the parser that reads them the way POSIX-style Go programs do.
//!
//! `--name value`, `--name=value`, `-n value`, `-nvalue`, `-n=value`, joined short flags (`-it`), `--flag=false`, `--`.
//! Values are checked while parsing, so a command only ever sees good ones. Texts of errors are Docker's.

mod parse;

use crate::command::Command;
use crate::values;

pub use parse::{FlagError, Help, Parsed, parse};

/// A check of one value: the error is what follows `invalid argument "x" for "--y" flag: `.
pub type Check = fn(&str) -> Result<(), String>;

/// One flag of a command.
#[derive(Clone, Copy)]
pub struct Flag {
    /// Name without dashes.
    pub long: &'static str,
    /// One-letter name.
    pub short: Option<char>,
    /// Type of its value.
    pub kind: Kind,
    /// Type's name in help; empty for switches.
    pub type_name: &'static str,
    /// Value when not given.
    pub default: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// Left out of help and completion.
    pub hidden: bool,
    /// Understood, but refused with this text (why).
    pub unsupported: Option<&'static str>,
    /// Accepted with no effect but this warning: `Flag --x has been deprecated, WARNING`.
    pub deprecated: Option<&'static str>,
    /// Check beyond that of the kind.
    pub check: Option<Check>,
}

/// Types of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// On or off.
    Bool,
    /// Any text; the last one given counts.
    Text,
    /// Any text, any number of times.
    List,
    /// Texts separated by commas, any number of times.
    Commas,
    /// Signed number of so many bits.
    Int(u32),
    /// Unsigned number of so many bits.
    Uint(u32),
    /// `1m30s`.
    Duration,
    /// `64m`.
    Bytes,
    /// `64m`, or -1.
    BytesOrMinusOne,
    /// CPUs with up to nine decimals.
    Cpus,
}

impl Flag {
    const fn new(long: &'static str, kind: Kind, type_name: &'static str, help: &'static str) -> Flag {
        Flag {
            long,
            short: None,
            kind,
            type_name,
            default: "",
            help,
            hidden: false,
            unsupported: None,
            deprecated: None,
            check: None,
        }
    }
    /// A switch, off unless given.
    pub const fn bool(long: &'static str, help: &'static str) -> Flag {
        Flag::new(long, Kind::Bool, "", help).default("false")
    }
    /// One text.
    pub const fn text(long: &'static str, help: &'static str) -> Flag {
        Flag::new(long, Kind::Text, "string", help)
    }
    /// Texts, repeatable.
    pub const fn list(long: &'static str, help: &'static str) -> Flag {
        Flag::new(long, Kind::List, "list", help)
    }
    /// Texts, repeatable and comma-separated.
    pub const fn commas(long: &'static str, help: &'static str) -> Flag {
        Flag::new(long, Kind::Commas, "strings", help).default("[]")
    }
    /// `int` (64 bits).
    pub const fn int(long: &'static str, help: &'static str) -> Flag {
        Flag::new(long, Kind::Int(64), "int", help).default("0")
    }
    /// Unsigned number of `bits` bits, shown as `type_name`.
    pub const fn uint(long: &'static str, bits: u32, type_name: &'static str, help: &'static str) -> Flag {
        Flag::new(long, Kind::Uint(bits), type_name, help).default("0")
    }
    /// Go duration.
    pub const fn duration(long: &'static str, help: &'static str) -> Flag {
        Flag::new(long, Kind::Duration, "duration", help).default("0s")
    }
    /// Amount of memory.
    pub const fn bytes(long: &'static str, help: &'static str) -> Flag {
        Flag::new(long, Kind::Bytes, "bytes", help).default("0")
    }
    /// Amount of memory, or -1.
    pub const fn bytes_or_minus_one(long: &'static str, help: &'static str) -> Flag {
        Flag::new(long, Kind::BytesOrMinusOne, "bytes", help).default("0")
    }
    /// Number of CPUs.
    pub const fn cpus(long: &'static str, help: &'static str) -> Flag {
        Flag::new(long, Kind::Cpus, "decimal", help)
    }
    /// One-letter name.
    pub const fn short(mut self, short: char) -> Flag {
        self.short = Some(short);
        self
    }
    /// Value when not given.
    pub const fn default(mut self, value: &'static str) -> Flag {
        self.default = value;
        self
    }
    /// Type's name in help.
    pub const fn type_name(mut self, name: &'static str) -> Flag {
        self.type_name = name;
        self
    }
    /// Leaves it out of help.
    pub const fn hidden(mut self) -> Flag {
        self.hidden = true;
        self
    }
    /// Refuses it with `"--x" is not supported: WHY`; see [`Flag::unsupported`].
    pub const fn unsupported(mut self, why: &'static str) -> Flag {
        self.unsupported = Some(why);
        self
    }
    /// Accepts it with a warning.
    pub const fn deprecated(mut self, warning: &'static str) -> Flag {
        self.deprecated = Some(warning);
        self.hidden = true;
        self
    }
    /// Another line of help.
    pub const fn help(mut self, help: &'static str) -> Flag {
        self.help = help;
        self
    }
    /// Adds a check of each value.
    pub const fn check(mut self, check: Check) -> Flag {
        self.check = Some(check);
        self
    }

    fn verify(&self, value: &str) -> Result<(), String> {
        values::verify(self.kind, value)?;
        self.check.map_or(Ok(()), |check| check(value))
    }
}

/// What the command line said.
pub struct Matches {
    /// The command.
    pub command: &'static Command,
    /// The path it was called by, without the program's name: `container ls` or `ps`.
    pub path: String,
    /// Arguments that are not flags.
    pub args: Vec<String>,
    /// Whether `--` came, and before which argument.
    pub dash: Option<usize>,
    /// Help was asked for instead.
    pub help: Option<Help>,
    values: Values,
}

/// Values of flags, parallel to the table of flags.
pub struct Values {
    flags: &'static [Flag],
    given: Vec<Option<Vec<String>>>,
}

impl Values {
    /// Nothing given.
    pub fn new(flags: &'static [Flag]) -> Values {
        Values { flags, given: vec![None; flags.len()] }
    }

    fn find(&self, name: &str) -> Option<(&Flag, Option<&[String]>)> {
        let i = self.flags.iter().position(|f| f.long == name);
        debug_assert!(i.is_some(), "a command asks for a flag that it does not declare: {name}");
        Some((self.flags.get(i?)?, self.given.get(i?)?.as_deref()))
    }

    /// Whether the flag was on the command line.
    pub fn given(&self, name: &str) -> bool {
        self.find(name).is_some_and(|(_, v)| v.is_some())
    }

    /// The last value given, else the default.
    pub fn text(&self, name: &str) -> &str {
        let Some((flag, given)) = self.find(name) else { return "" };
        given.and_then(|v| v.last()).map_or(flag.default, String::as_str)
    }

    /// Whether the switch is on.
    pub fn bool(&self, name: &str) -> bool {
        values::parse_bool(self.text(name)).unwrap_or(false)
    }

    /// All values given.
    pub fn list(&self, name: &str) -> &[String] {
        self.find(name).and_then(|(_, v)| v).unwrap_or_default()
    }

    /// The number.
    pub fn int(&self, name: &str) -> i64 {
        values::parse_int(self.text(name), 64).unwrap_or(0)
    }

    /// Nanoseconds.
    pub fn duration(&self, name: &str) -> i64 {
        values::parse_duration(self.text(name)).unwrap_or(0)
    }

    /// Bytes.
    pub fn bytes(&self, name: &str) -> i64 {
        match self.text(name) {
            "-1" => -1,
            text => values::parse_bytes(text).unwrap_or(0),
        }
    }

    /// Billionths of a CPU.
    pub fn nano_cpus(&self, name: &str) -> i64 {
        values::parse_cpus(self.text(name)).unwrap_or(0)
    }

    /// Names of the flags given.
    pub fn given_names(&self) -> impl Iterator<Item = &'static str> {
        self.flags.iter().zip(&self.given).filter(|(_, v)| v.is_some()).map(|(f, _)| f.long)
    }

    /// Takes over a value of the `i`th flag.
    fn set(&mut self, i: usize, value: String) -> Result<(), FlagError> {
        let flag = &self.flags[i];
        flag.verify(&value).map_err(|why| {
            let name = match flag.short {
                Some(short) => format!("-{short}, --{}", flag.long),
                None => format!("--{}", flag.long),
            };
            parse::invalid(&value, &name, &why)
        })?;
        if let Some(why) = flag.unsupported {
            return Err(FlagError::Unsupported(format!("\"--{}\" is not supported: {why}", flag.long)));
        }
        let slot = self.given[i].get_or_insert_default();
        match flag.kind {
            Kind::List => slot.push(value),
            Kind::Commas => slot.extend(value.split(',').filter(|v| !v.is_empty()).map(str::to_owned)),
            _ => *slot = vec![value],
        }
        Ok(())
    }
}

impl std::ops::Deref for Matches {
    type Target = Values;
    fn deref(&self) -> &Values {
        &self.values
    }
}

impl Matches {
    /// Reads a command's arguments.
    pub fn parse(command: &'static Command, path: String, args: Vec<String>) -> Result<Matches, FlagError> {
        let Parsed { values, args, dash, help } = parse(command.flags, args, command.interspersed)?;
        Ok(Matches { command, path, args, dash, help, values })
    }

    /// The argument at `i`; empty when there are fewer (the command's [`crate::command::Arity`] says there are not).
    pub fn arg(&self, i: usize) -> &str {
        self.args.get(i).map_or("", String::as_str)
    }

    /// Warnings about deprecated flags that were given.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        let given = self.values.flags.iter().zip(&self.values.given).filter(|(_, v)| v.is_some());
        given.filter_map(|(f, _)| f.deprecated.map(|why| format!("Flag --{} has been deprecated, {why}", f.long)))
    }
}
